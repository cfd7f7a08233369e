//! The JSON Schema (draft 4) of a pipeline file, for editors. It is what the readers of a file say of
//! themselves; no key is written here but the names of the file's tables.

use serde_json::{Value, json};

use super::draft::read_stage;
use super::sections::head;
use super::tables::{self, Swept};
use crate::config::describe::TableReads;
use crate::config::schema::{share, table};
use crate::config::{explore, sweep};
use crate::stages::{Defaults, KINDS};

/// What the readers of a whole file say of its tables, but for the stages.
pub(super) fn of_tables() -> Vec<TableReads> {
    explore::explore(|keys| {
        keys.about(&[
            ("pipeline", "what is true of the whole pipeline"),
            ("sweep", "trials of the pipeline with other values"),
            ("table", "tables of the scores"),
        ]);
        let head = keys.nested("pipeline", head);
        let sweep = keys.optional_nested("sweep", sweep::read);
        tables::read(keys, Swept { keys: &[], pairs: None, wrong: true, selects: true });
        head.is_ok() && sweep.is_ok()
    })
}

/// What the readers of stages say, in a pipeline with this seed.
pub(super) fn of_stages(seed: u64) -> Vec<TableReads> {
    let defaults = Defaults { seed };
    explore::explore(|keys| {
        keys.about(&[
            ("after", "stages that must be finished first, although nothing is taken from them"),
            ("resources", "what one task needs of the machine that a queue lends"),
        ]);
        read_stage(keys, KINDS, &defaults).is_ok()
    })
}

/// The schema of a whole file.
pub fn of_file() -> Value {
    let (stages, records) = (of_stages(0), of_tables());
    let mut schema = table(&records);
    schema["properties"]["stages"] = json!({
        "type": "object",
        "description": "the stages; one that names another as its input comes after it",
        "minProperties": 1,
        "patternProperties": { "^[A-Za-z0-9_-]+$": table(&stages) },
        "additionalProperties": false,
    });
    schema["required"] = json!(["pipeline", "stages"]);
    let mut whole = json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "title": "A pipeline of runner",
    });
    if let (Value::Object(whole), Value::Object(schema)) = (&mut whole, share(schema)) {
        whole.extend(schema);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::overrides::TABLES;

    #[test]
    fn every_table_of_a_file_is_described() {
        let schema = of_file();
        let described = schema["properties"].as_object().unwrap();
        for name in TABLES {
            assert!(described.contains_key(*name), "`{name}` is missing");
        }
        assert_eq!(described.len(), TABLES.len());
    }

    #[test]
    fn every_key_of_a_file_has_a_description() {
        fn undescribed(schema: &Value, place: &str, found: &mut Vec<String>) {
            let below: Vec<(String, &Value)> = match schema {
                Value::Object(map) => map.iter().map(|(key, it)| (key.clone(), it)).collect(),
                Value::Array(items) => {
                    items.iter().enumerate().map(|(at, it)| (at.to_string(), it)).collect()
                }
                _ => return,
            };
            for (key, it) in below {
                let place = format!("{place}/{key}");
                if key == "properties" && it.is_object() {
                    for (key, property) in it.as_object().unwrap() {
                        let is_described = ["description", "$ref"]
                            .into_iter()
                            .any(|word| property.get(word).is_some());
                        if !is_described {
                            found.push(format!("{place}/{key}"));
                        }
                    }
                }
                undescribed(it, &place, found);
            }
        }
        let mut found = Vec::new();
        undescribed(&of_file(), "", &mut found);
        assert!(found.is_empty(), "{found:#?}");
    }
}
