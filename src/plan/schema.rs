//! The JSON Schema (draft 4) of a pipeline file, for editors. It is what the readers of a file say of
//! themselves; no key is written here but the names of the file's tables.

use serde_json::{Value, json};

use super::draft::read_stage;
use super::sections::head;
use super::tables::{self, Swept};
use crate::config::schema::{share, table};
use crate::config::{explore, sweep};
use crate::stages::{Defaults, KINDS};

/// The schema of a whole file.
pub fn of_file() -> Value {
    let defaults = Defaults { seed: 0 };
    let stages = explore::explore(|keys| read_stage(keys, KINDS, &defaults).is_ok());
    let records = explore::explore(|keys| {
        let head = keys.nested("pipeline", head);
        let sweep = keys.optional_nested("sweep", sweep::read);
        tables::read(keys, Swept { keys: &[], wrong: true, selects: true });
        head.is_ok() && sweep.is_ok()
    });
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
}
