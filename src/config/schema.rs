//! What readers said of themselves, as JSON Schema (draft 4).
//!
//! Knows no key: all of it comes from [`explore`](super::explore::explore).

use std::collections::HashMap;

use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value, json};

use super::describe::{Form, Read, TableReads};

/// Subschemas that are written once and referred to are at least this long as text.
const SHARED: usize = 300;

/// The schema of a table from the records of its reader.
pub fn table(records: &[TableReads]) -> Value {
    let records: Vec<&TableReads> = records.iter().collect();
    of_table(&records)
}

fn of_table(records: &[&TableReads]) -> Value {
    let mut by_kind: IndexMap<Option<&str>, Vec<&TableReads>> = IndexMap::new();
    for record in records {
        let word = record.tag.as_ref().map(|tag| tag.word.as_str());
        by_kind.entry(word).or_default().push(record);
    }
    let mut kinds: IndexMap<Option<&str>, Vec<Value>> = IndexMap::new();
    for (word, records) in &by_kind {
        let deciding = deciding(records);
        let mut variants: IndexMap<_, Vec<&TableReads>> = IndexMap::new();
        for record in records {
            let there: Vec<(&str, bool)> =
                presence(record).into_iter().filter(|(key, _)| deciding.contains(key)).collect();
            variants.entry((there, keys(record))).or_default().push(record);
        }
        for ((there, _), variant) in &variants {
            kinds.entry(*word).or_default().push(of_variant(variant, records, there));
        }
    }
    let mut schemas: Vec<Value> = kinds.into_values().map(any_of).collect();
    match schemas.len() {
        1 => schemas.remove(0),
        _ => json!({ "oneOf": schemas }),
    }
}

/// The keys that a record knows, sorted.
fn keys(record: &TableReads) -> Vec<&str> {
    let mut keys: Vec<&str> = record.reads.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn presence(record: &TableReads) -> Vec<(&str, bool)> {
    record.presence.iter().map(|(key, there)| (key.as_str(), *there)).collect()
}

/// Keys whose presence alone changes which other keys there are.
fn deciding<'r>(records: &[&'r TableReads]) -> Vec<&'r str> {
    let asked: IndexSet<&str> =
        records.iter().flat_map(|record| &record.presence).map(|(key, _)| key.as_str()).collect();
    let decides = |key: &str| {
        let mut known: HashMap<_, Vec<&str>> = HashMap::new();
        records.iter().any(|record| {
            let others: Vec<(&str, bool)> =
                presence(record).into_iter().filter(|(other, _)| *other != key).collect();
            let keys = keys(record);
            *known.entry((&record.words, others)).or_insert_with(|| keys.clone()) != keys
        })
    };
    asked.into_iter().filter(|key| decides(key)).collect()
}

/// The table as records that asked for the same keys have it, with the deciding keys that are or are not
/// `there`; `all` are those of its other forms too.
fn of_variant(records: &[&TableReads], all: &[&TableReads], there: &[(&str, bool)]) -> Value {
    let optional =
        |key: &str| all.iter().flat_map(|record| &record.presence).any(|(asked, _)| asked == key);
    let mut properties = Map::new();
    let mut required: Vec<&str> = Vec::new();
    for key in records[0].reads.keys() {
        match there.iter().find(|(asked, _)| asked == key) {
            Some((_, false)) => continue,
            Some((_, true)) => required.push(key),
            None => {}
        }
        let reads: Vec<&Read> = records.iter().flat_map(|record| &record.reads[key]).collect();
        let demands = |record: &&TableReads| record.reads[key].iter().any(|read| read.required);
        if !optional(key) && records.iter().any(demands) {
            required.push(key);
        }
        let mut schema = of_reads(&reads);
        let here = words(records, key);
        if here.len() < words(all, key).len()
            && let Some(Value::Array(every)) = schema.get_mut("enum")
        {
            every.retain(|word| here.iter().any(|one| word == one));
        }
        if let Some(about) = records.iter().find_map(|record| record.about.get(key)) {
            let takes = schema.get("description").and_then(Value::as_str);
            let text = takes.map_or_else(|| about.clone(), |takes| format!("{about}: {takes}"));
            schema["description"] = text.into();
        }
        properties.insert(key.clone(), schema);
    }
    let mut schema = Map::new();
    if let Some(tag) = &records[0].tag {
        schema.insert("title".into(), tag.word.as_str().into());
        if let Some(about) = &tag.about {
            schema.insert("description".into(), about.as_str().into());
        }
        if let Some(found) = properties.get_mut(&tag.key) {
            found["enum"] = json!([tag.word]);
            if let Some(about) = &tag.about {
                found["description"] = about.as_str().into();
            }
        }
        if !tag.default && !required.contains(&tag.key.as_str()) {
            required.push(&tag.key);
        }
    }
    schema.insert("type".into(), "object".into());
    if !required.is_empty() {
        schema.insert("required".into(), required.into());
    }
    schema.insert("properties".into(), properties.into());
    schema.insert("additionalProperties".into(), false.into());
    schema.into()
}

/// The words that were answered for `key`.
fn words(records: &[&TableReads], key: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (at, word) in records.iter().flat_map(|record| &record.words) {
        if at == key && !found.contains(word) {
            found.push(word.clone());
        }
    }
    found
}

/// The schema of a key from everything that was read at it.
fn of_reads(reads: &[&Read]) -> Value {
    let forms: Vec<&Form> = reads.iter().map(|read| &read.form).collect();
    let mut schema = of_forms(&forms);
    let mut defaults: Vec<&Value> = reads.iter().filter_map(|read| read.default.as_ref()).collect();
    defaults.dedup();
    // A default that hangs on other keys is not one that an editor could show.
    if let ([default], Value::Object(schema)) = (defaults.as_slice(), &mut schema) {
        schema.insert("default".into(), (*default).clone());
    }
    schema
}

fn of_forms(forms: &[&Form]) -> Value {
    let mut schemas: Vec<Value> = Vec::new();
    let mut add = |schema: Value| {
        if !schemas.contains(&schema) {
            schemas.push(schema);
        }
    };
    let (mut plain, mut tagged, mut items, mut leaves) = (vec![], vec![], vec![], vec![]);
    let mut maps = Vec::new();
    for form in forms {
        match form {
            Form::Leaf(schema) => add(schema.clone()),
            Form::Table(record) if record.tag.is_some() => tagged.push(record),
            Form::Table(record) => plain.push(record),
            Form::Items(record, others) => {
                items.push(record);
                leaves.extend(others);
            }
            Form::Map(forms) => maps.extend(forms),
        }
    }
    for tables in [tagged, plain].iter().filter(|tables| !tables.is_empty()) {
        add(of_table(tables));
    }
    if !items.is_empty() {
        let mut of = Vec::new();
        for schema in leaves.into_iter().cloned().chain([of_table(&items)]) {
            if !of.contains(&schema) {
                of.push(schema);
            }
        }
        add(json!({ "type": "array", "items": any_of(of) }));
    }
    if !maps.is_empty() {
        add(json!({ "type": "object", "additionalProperties": of_forms(&maps) }));
    }
    any_of(schemas)
}

/// The keys that any form of the table `schema` has, with what they may be in each; nothing in them is required. It is what
/// a table may say that is put over another one.
pub fn parts(schema: &Value) -> Map<String, Value> {
    let mut all: IndexMap<&str, Vec<Value>> = IndexMap::new();
    let mut open = vec![schema];
    while let Some(form) = open.pop() {
        let forms = ["oneOf", "anyOf"].iter().filter_map(|key| form.get(key)?.as_array());
        open.extend(forms.flatten());
        let properties = form.get("properties").and_then(Value::as_object);
        for (key, schema) in properties.into_iter().flatten() {
            let found = all.entry(key).or_default();
            let schema = without_demands(schema);
            if !found.contains(&schema) {
                found.push(schema);
            }
        }
    }
    let part = |(key, schemas): (&str, Vec<Value>)| {
        let about = schemas[0].get("description").cloned();
        let mut schema = any_of(schemas);
        if let (Some(about), None) = (about, schema.get("description")) {
            schema["description"] = about;
        }
        (key.to_owned(), schema)
    };
    all.into_iter().map(part).collect()
}

/// `schema` with all of its keys, none of them required: which of several forms a table has may be said elsewhere.
fn without_demands(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            let below = |(key, it): (&String, &Value)| match (key.as_str(), it) {
                ("required", Value::Array(_)) => None,
                ("properties", Value::Object(keys)) => {
                    let keys = keys.iter().map(|(key, it)| (key.clone(), without_demands(it)));
                    Some((key.clone(), Value::Object(keys.collect())))
                }
                ("oneOf", _) => Some(("anyOf".to_owned(), without_demands(it))),
                _ => Some((key.clone(), without_demands(it))),
            };
            Value::Object(map.iter().filter_map(below).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_demands).collect()),
        other => other.clone(),
    }
}

/// Lets every key below `schema`, and every item of an array, be what `other` says too, but for the keys `fixed`.
pub fn admit(schema: &mut Value, other: &Value, fixed: &[&str]) {
    let Value::Object(map) = schema else { return };
    for (key, below) in map {
        match (key.as_str(), below) {
            ("properties", Value::Object(keys)) => {
                for (_, it) in keys.iter_mut().filter(|(key, _)| !fixed.contains(&key.as_str())) {
                    admit(it, other, fixed);
                    also(it, other);
                }
            }
            ("items", it) => {
                admit(it, other, fixed);
                also(it, other);
            }
            ("additionalProperties", it) => admit(it, other, fixed),
            ("patternProperties", Value::Object(forms)) => {
                forms.values_mut().for_each(|it| admit(it, other, fixed));
            }
            ("oneOf" | "anyOf", Value::Array(forms)) => {
                forms.iter_mut().for_each(|it| admit(it, other, fixed));
            }
            _ => {}
        }
    }
}

/// Lets `schema` be what `other` says too, unless it is a table or any text.
fn also(schema: &mut Value, other: &Value) {
    let Value::Object(map) = schema else { return };
    if let Some(Value::Array(forms)) = map.get_mut("anyOf") {
        forms.push(other.clone());
        return;
    }
    let narrow = ["enum", "pattern"].iter().any(|key| map.contains_key(*key));
    match map.get("type").and_then(Value::as_str) {
        Some("number" | "integer" | "boolean" | "array") => {}
        Some("string") if narrow => {}
        _ => return,
    }
    let mut outer = Map::new();
    for key in ["description", "default"] {
        outer.extend(map.remove(key).map(|it| (key.to_owned(), it)));
    }
    outer.insert("anyOf".into(), json!([map, other]));
    *map = outer;
}

/// One of several schemas; anything when there is none.
pub fn any_of(mut schemas: Vec<Value>) -> Value {
    match schemas.len() {
        0 => json!({}),
        1 => schemas.remove(0),
        _ => json!({ "anyOf": schemas }),
    }
}

/// Moves what a schema says more than once below `definitions`.
pub fn share(mut root: Value) -> Value {
    let mut seen: IndexMap<String, usize> = IndexMap::new();
    count(&root, &mut seen);
    let mut shared: IndexMap<String, String> = IndexMap::new();
    for (text, times) in &seen {
        if *times > 1 {
            let name = format!("shared-{}", shared.len() + 1);
            shared.insert(text.clone(), name);
        }
    }
    let mut definitions = Map::new();
    for (text, name) in &shared {
        let mut schema: Value = serde_json::from_str(text).expect("it was written from a schema");
        replace_below(&mut schema, &shared);
        definitions.insert(name.clone(), schema);
    }
    replace_below(&mut root, &shared);
    if let (Value::Object(root), false) = (&mut root, definitions.is_empty()) {
        root.insert("definitions".into(), definitions.into());
    }
    root
}

/// Whether it is a schema worth a name: not `properties`, whose keys are a file's own.
fn text_of(schema: &Value) -> Option<String> {
    let is_schema = ["type", "oneOf", "anyOf"]
        .iter()
        .any(|key| schema.get(key).is_some_and(|value| value.is_string() || value.is_array()));
    let text = if is_schema { schema.to_string() } else { return None };
    (text.len() >= SHARED).then_some(text)
}

fn count(schema: &Value, seen: &mut IndexMap<String, usize>) {
    if let Some(text) = text_of(schema) {
        let times = seen.entry(text).or_insert(0);
        *times += 1;
        // What only repeats within something that repeats needs no name of its own.
        if *times > 1 {
            return;
        }
    }
    match schema {
        Value::Object(map) => map.values().for_each(|below| count(below, seen)),
        Value::Array(items) => items.iter().for_each(|below| count(below, seen)),
        _ => {}
    }
}

fn replace_below(schema: &mut Value, shared: &IndexMap<String, String>) {
    let each: Vec<&mut Value> = match schema {
        Value::Object(map) => map.values_mut().collect(),
        Value::Array(items) => items.iter_mut().collect(),
        _ => return,
    };
    for below in each {
        match text_of(below).and_then(|text| shared.get(&text)) {
            Some(name) => *below = json!({ "$ref": format!("#/definitions/{name}") }),
            None => replace_below(below, shared),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::explore::explore;
    use crate::config::{Keys, words};

    words! {
        /// Kinds of a table, the first of which has no keys of its own.
        enum OuterKind {
            /// Without keys.
            Plain = "plain",
            /// With a table below.
            Dann = "dann",
        }
    }

    words! {
        /// Kinds of the table below.
        enum InnerKind {
            /// With a key more.
            Ganin = "ganin",
            /// Without it.
            Flat = "flat",
        }
    }

    fn of<T>(read: impl Fn(&mut Keys) -> T) -> Value {
        table(&explore(read))
    }

    #[test]
    fn a_word_leads_to_the_keys_of_its_kind_however_deep() {
        let schema = of(|keys| {
            keys.kinded("method", "kind", Some(OuterKind::Plain), |kind, keys| {
                if kind == OuterKind::Dann {
                    keys.kinded("lambda", "schedule", None, |kind: InnerKind, keys| {
                        keys.float("max").at_least(0.0).or(1.0)?;
                        match kind {
                            InnerKind::Ganin => keys.float("gamma").required(),
                            InnerKind::Flat => Ok(0.0),
                        }
                    })?;
                }
                Ok(())
            })
        });
        let method = &schema["properties"]["method"]["anyOf"];
        assert_eq!(method[0], json!({ "type": "string", "enum": ["plain", "dann"] }));
        let [plain, dann] = [0, 1].map(|at| &method[1]["oneOf"][at]);
        assert_eq!(plain["properties"]["kind"]["enum"], json!(["plain"]));
        assert_eq!(plain.get("required"), None, "the usual kind may be left out");
        assert_eq!(dann["required"], json!(["lambda", "kind"]));
        let lambda = &dann["properties"]["lambda"]["anyOf"][1]["oneOf"];
        assert_eq!(lambda[0]["required"], json!(["schedule", "gamma"]));
        assert_eq!(lambda[1]["required"], json!(["schedule"]));
        let max = &lambda[1]["properties"]["max"];
        assert_eq!((&max["minimum"], &max["default"]), (&json!(0.0), &json!(1.0)));
        assert_eq!(lambda[1]["properties"].get("gamma"), None);
        assert_eq!(lambda[1]["additionalProperties"], json!(false));
    }

    #[test]
    fn a_key_that_another_calls_for_is_known_only_with_it() {
        let schema = of(|keys| {
            let halving =
                keys.optional_nested("halving", |keys| keys.count("factor", 2..=9).or(3_usize));
            halving?.map(|_| keys.count("batch", 1..=8).required()).transpose()
        });
        let [without, with] = [0, 1].map(|at| &schema["anyOf"][at]);
        assert_eq!(without["properties"], json!({}));
        assert_eq!(with["required"], json!(["halving", "batch"]));
    }

    #[test]
    fn what_is_said_twice_is_written_once() {
        let long = json!({ "type": "string", "description": "x".repeat(SHARED) });
        let schema = share(json!({ "type": "object", "properties": { "a": long, "b": long } }));
        assert_eq!(schema["properties"]["a"], schema["properties"]["b"]);
        assert_eq!(schema["properties"]["a"]["$ref"], "#/definitions/shared-1");
        assert_eq!(schema["definitions"]["shared-1"], long);
    }
}
