//! The JSON Schema (draft 4) of a pipeline file, for editors. It is what the readers of a file say of
//! themselves; no key is written here but the names of the file's tables.

use serde_json::{Value, json};

use super::draft::read_stage;
use super::sections::head;
use super::tables::{self, Swept};
use crate::config::describe::TableReads;
use crate::config::schema::{admit, parts, share, table};
use crate::config::{explore, reuse, sweep};
use crate::stages::{Defaults, KINDS};

/// What the readers of a whole file say of its tables, but for the stages.
pub(super) fn of_tables() -> Vec<TableReads> {
    explore::explore(|keys| {
        keys.about(&[
            ("pipeline", "what is true of the whole pipeline"),
            ("sweep", "trials of the pipeline with other values"),
            ("table", "tables of the scores"),
        ]);
        reuse::describe_file(keys);
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

/// What is read of a stage that is like another one, whatever its kind.
pub(super) fn of_likeness() -> Vec<TableReads> {
    explore::explore(reuse::describe_stage)
}

/// The schema of a whole file.
pub fn of_file() -> Value {
    let (stages, records) = (of_stages(0), of_tables());
    let mut schema = table(&records);
    let stages = table(&stages);
    let mut like = table(&of_likeness());
    // What it must have is in the other stage, which may be of any kind.
    if let Some(Value::Object(keys)) = like.get_mut("properties") {
        keys.extend(parts(&stages));
    }
    schema["properties"]["stages"] = json!({
        "type": "object",
        "description": "the stages; one that names another as its input comes after it",
        "minProperties": 1,
        "patternProperties": { "^[A-Za-z0-9_-]+$": { "anyOf": [stages, like] } },
        "additionalProperties": false,
    });
    schema["required"] = json!(["pipeline"]);
    schema["anyOf"] = json!([{ "required": ["stages"] }, { "required": ["include"] }]);
    let text = json!({ "$ref": "#/definitions/variable" });
    let fixed = [&reuse::TAGS[..], &reuse::PLAIN].concat();
    admit(&mut schema, &text, &fixed);
    let mut whole = json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "title": "A pipeline of runner",
    });
    if let (Value::Object(whole), Value::Object(schema)) = (&mut whole, share(schema)) {
        whole.extend(schema);
    }
    whole["definitions"]["variable"] = json!({
        "type": "string",
        "pattern": r"\$\{[A-Za-z0-9_-]+\}",
        "description": "a text with variables of `[vars]`",
    });
    whole
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::describe::Form;
    use crate::config::overrides::TABLES;

    #[test]
    fn every_table_of_a_file_is_described() {
        let schema = of_file();
        let described = schema["properties"].as_object().unwrap();
        for name in TABLES {
            assert!(described.contains_key(*name), "`{name}` is missing");
        }
        assert!(described.contains_key("include"));
        assert_eq!(described.len(), TABLES.len() + 1);
    }

    #[test]
    fn every_key_that_says_the_kind_of_a_table_is_known_to_who_merges_tables() {
        fn look(record: &TableReads, found: &mut BTreeSet<String>) {
            found.extend(record.tag.iter().map(|tag| tag.key.clone()));
            record.reads.values().flatten().for_each(|read| look_into(&read.form, found));
        }
        fn look_into(form: &Form, found: &mut BTreeSet<String>) {
            match form {
                Form::Leaf(_) => {}
                Form::Table(record) | Form::Items(record, _) => look(record, found),
                Form::Map(forms) => forms.iter().for_each(|form| look_into(form, found)),
            }
        }
        let mut found = BTreeSet::new();
        of_tables().iter().chain(&of_stages(0)).for_each(|record| look(record, &mut found));
        assert_eq!(found, reuse::TAGS.map(str::to_owned).into());
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
