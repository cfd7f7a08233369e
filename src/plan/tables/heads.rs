//! Whether the columns of a table can be told apart by their labels, as far as that is known before anything runs.

use indexmap::IndexMap;

use super::FACTS;
use crate::config::Diagnostic;
use crate::config::source::Span;
use crate::config::sweep::PairKeys;
use crate::plan::pipeline::PlannedStage;
use crate::plan::table_spec::{Columns, TableSpec};

/// The columns that scores would make, each label with the name of the first column that has it.
#[derive(Default)]
pub(super) struct Heads(IndexMap<String, String>);

impl Heads {
    /// Adds the columns that the scores of `stages` make in a trial whose axes have the values `label`. Says which two
    /// have the same label.
    pub fn add<'a>(
        &mut self,
        spec: &TableSpec,
        span: Span,
        stages: &[PlannedStage],
        (label, pairs): (impl Fn(&str) -> Option<&'a str>, Option<&PairKeys>),
    ) -> Option<Diagnostic> {
        let template = spec.column_label.as_ref()?;
        for (stage, model, dataset) in scored(stages) {
            let value = |name: &str| match FACTS.iter().position(|fact| *fact == name) {
                Some(0) => Some(model.clone()),
                Some(1) => Some(stage.to_owned()),
                Some(_) => Some(dataset.clone()),
                None => {
                    let key = pairs.and_then(|pairs| pairs.domain(name));
                    label(key.unwrap_or(name)).map(str::to_owned)
                }
            };
            let counts = |(key, values): (&String, &Vec<String>)| {
                value(key).is_none_or(|found| values.contains(&found))
            };
            let values: Option<Vec<String>> = spec.columns.0.iter().map(|it| value(it)).collect();
            let (Some(head), Some(values), true) =
                (template.of(value), values, spec.only.iter().all(counts))
            else {
                continue;
            };
            let name = Columns::name(&values);
            let first = self.0.entry(head.clone()).or_insert_with(|| name.clone());
            if *first != name {
                let message = format!("two columns of the table have the label `{head}`");
                return Some(
                    Diagnostic::at(span, message, format!("`{first}` and `{name}`"))
                        .help("write more of their values, or leave `column_label` out"),
                );
            }
        }
        None
    }
}

/// Stage, model and data set of every score.
fn scored(stages: &[PlannedStage]) -> impl Iterator<Item = (&str, String, String)> {
    let of = |stage: &PlannedStage| stage.scored();
    stages.iter().flat_map(move |stage| {
        of(stage).into_iter().map(|(model, dataset)| (stage.name.as_str(), model, dataset))
    })
}
