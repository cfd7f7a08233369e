//! `classes.csv`: what the numbers of classes stand for where model and data set number them
//! differently, or where nothing but their numbers matched them.

use super::save;
use crate::data::classes::Matched;
use crate::stages::{Context, Failure};

/// Its rows so far.
#[derive(Default)]
pub(super) struct Numbering {
    rows: Vec<Vec<String>>,
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
        let by = match matched {
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
            let class = class.to_string();
            self.rows.push([model, dataset, &class, here, there, by].map(str::to_owned).to_vec());
        }
    }

    pub(super) fn save(self, context: &Context) -> Result<(), Failure> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let header = ["model", "dataset", "class", "in_model", "in_dataset", "matched_by"];
        save(context, "classes.csv", &header, self.rows)
    }
}
