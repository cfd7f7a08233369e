//! `classes.csv`: what the numbers of classes stand for where model and data set number them
//! differently, or where nothing but their numbers matched them.

use super::scored::save;
use crate::data::classes::Matched;
use crate::stages::{Context, Failure};

/// A row of `classes.csv`: a class of a model, and what a data set calls it.
struct NumberedClass {
    model: String,
    dataset: String,
    class: usize,
    in_model: String,
    in_dataset: String,
    matched_by: &'static str,
}

impl NumberedClass {
    fn cells(self) -> [String; 6] {
        let Self { model, dataset, class, in_model, in_dataset, matched_by } = self;
        [model, dataset, class.to_string(), in_model, in_dataset, matched_by.to_owned()]
    }
}

/// The rows of `classes.csv` so far.
#[derive(Default)]
pub(super) struct Numbering {
    rows: Vec<NumberedClass>,
}

impl Numbering {
    /// Adds the classes `known` of a model with what a data set calls them, `found`. Lists that are the
    /// same need no table.
    pub(super) fn add(
        &mut self,
        (model, known): (&str, &[String]),
        (dataset, found): (&str, &[String]),
        matched: &Matched,
    ) {
        let matched_by = match matched {
            Matched::Same => return,
            Matched::ByName(_) => "name",
            Matched::ByNumber(_) => "number",
        };
        let mut there = vec![""; known.len()];
        for (class, name) in (0..).zip(found) {
            if let Some(number) = matched.number(class) {
                there[number as usize] = name;
            }
        }
        for (class, (here, there)) in known.iter().zip(there).enumerate() {
            let [model, dataset, in_model, in_dataset] =
                [model, dataset, here, there].map(str::to_owned);
            let row = NumberedClass { model, dataset, class, in_model, in_dataset, matched_by };
            self.rows.push(row);
        }
    }

    pub(super) fn save(self, context: &Context) -> Result<(), Failure> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let header = ["model", "dataset", "class", "in_model", "in_dataset", "matched_by"];
        save(context, "classes.csv", header, self.rows.into_iter().map(NumberedClass::cells))
    }
}
