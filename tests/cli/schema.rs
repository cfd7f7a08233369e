//! The JSON Schema of `runner schema` takes what `runner check` takes and refuses what is wrong by
//! structure.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use jsonschema::Validator;
use runner::plan::resolve;
use serde_json::Value;

/// Files of `tests/bad` whose keys, types and ranges are right: what is wrong is between stages.
const RIGHT_BY_STRUCTURE: &[&str] = &[
    "cycle",
    "finetune_contradictions",
    "heads_misfits",
    "image_too_small",
    "reserved_name",
    "scores_misfits",
    "table_names",
    "unknown_split",
    "unknown_stage",
    "wrong_channels",
    "wrong_classes",
];

fn schema() -> Value {
    let output = Command::cargo_bin("runner").unwrap().arg("schema").output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft4::new(&schema()).unwrap()
}

/// The TOML files of a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    files.sort();
    files
}

fn parsed(path: &Path) -> Option<toml::Table> {
    String::from_utf8(fs::read(path).unwrap()).ok()?.parse().ok()
}

fn problems(validator: &Validator, table: &toml::Table) -> Vec<String> {
    let value = serde_json::to_value(table).unwrap();
    let found = validator.iter_errors(&value);
    found.map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_schema_is_valid_draft_4_and_refers_only_to_what_it_defines() {
    let schema = schema();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-04/schema#");
    jsonschema::draft4::meta::validate(&schema).unwrap();
    let text = schema.to_string();
    for name in text.split("#/definitions/").skip(1) {
        let name = name.split('"').next().unwrap();
        assert!(schema["definitions"].get(name).is_some(), "{name}");
    }
}

#[test]
fn every_shipped_pipeline_is_valid() {
    let validator = validator();
    let pipelines = files("pipelines").into_iter().chain(files("src/starters"));
    for path in pipelines {
        let found = problems(&validator, &parsed(&path).unwrap());
        assert_eq!(found, Vec::<String>::new(), "{}", path.display());
    }
}

#[test]
fn a_file_that_is_wrong_by_structure_is_refused_and_no_other() {
    let validator = validator();
    let mut refused = 0;
    for path in files("tests/bad") {
        let Some(table) = parsed(&path) else { continue };
        let name = path.file_stem().unwrap().to_str().unwrap();
        let found = problems(&validator, &table);
        assert_eq!(
            RIGHT_BY_STRUCTURE.contains(&name),
            found.is_empty(),
            "is `{name}` wrong by structure, or between stages alone? {found:?}"
        );
        refused += usize::from(!found.is_empty());
    }
    assert!(refused >= 10, "{refused}");
}

#[test]
fn a_file_that_says_things_once_is_valid_and_its_mistakes_are_not() {
    const SHORT: &str = r#"
        include = ["data.toml"]
        [pipeline]
        name = "short"
        seed = "${seed}"
        [vars]
        seed = 1
        rates = [0.1, 0.2]
        [stages.net]
        kind = "pretrain"
        train = "${domain}.train"
        model = { arch = "lenet", head = ["${width}", "relu"] }
        epochs = "${epochs}"
        optimizer = { kind = "sgd", lr = "${lr}", nesterov = "${flag}" }
        [stages.fast]
        like = "net"
        without = ["optimizer.nesterov"]
        optimizer.lr = 0.2
        schedule.gamma = 0.1
        [stages.score]
        kind = "evaluate"
        models = "${models}"
        on = ["${domain}.test"]
    "#;
    let validator = validator();
    assert_eq!(problems(&validator, &SHORT.parse().unwrap()), Vec::<String>::new());
    for (right, wrong) in [
        ("\"${epochs}\"", "\"epochs\""),
        ("\"${lr}\"", "\"$lr\""),
        ("optimizer.lr = 0.2", "optimizer.rate = 0.2"),
        ("without = [\"optimizer.nesterov\"]", "without = 3"),
        ("like = \"net\"", "like = \"net\"\nsize_of_batches = 3"),
        ("like = \"net\"", ""),
        ("seed = 1", "seed = { a = 1 }"),
        ("include = [\"data.toml\"]", "include = \"data.toml\""),
        ("kind = \"pretrain\"", "kind = \"${kind}\""),
    ] {
        assert!(SHORT.contains(right), "{right}");
        let wrong = SHORT.replacen(right, wrong, 1);
        assert!(!problems(&validator, &wrong.parse().unwrap()).is_empty(), "{wrong}");
    }
}

/// The dotted paths of all tables below `table`, itself included; arrays are entered.
fn tables(value: &toml::Value, path: &[String], found: &mut Vec<Vec<String>>) {
    let mut below = |part: String, value: &toml::Value| {
        tables(value, &[path, &[part]].concat(), found);
    };
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(key, value)| below(key.clone(), value));
            found.push(path.to_vec());
        }
        toml::Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| below(at.to_string(), item));
        }
        _ => {}
    }
}

fn enter<'a>(value: &'a mut toml::Value, path: &[String]) -> &'a mut toml::Value {
    path.iter().fold(value, |value, part| match value {
        toml::Value::Array(items) => &mut items[part.parse::<usize>().unwrap()],
        value => value.get_mut(part.as_str()).unwrap(),
    })
}

#[test]
fn a_key_that_check_does_not_know_is_refused() {
    let validator = validator();
    let folder = tempfile::tempdir().unwrap();
    let mut unknown = 0;
    let shipped = files("pipelines").into_iter().chain(files("src/starters"));
    for path in shipped {
        let whole = toml::Value::Table(parsed(&path).unwrap());
        let mut places = Vec::new();
        tables(&whole, &[], &mut places);
        for place in places {
            let mut changed = whole.clone();
            let table = enter(&mut changed, &place).as_table_mut().unwrap();
            table.insert("nobodys_key".into(), 1.into());
            let file = folder.path().join("changed.toml");
            fs::write(&file, toml::to_string(&changed).unwrap()).unwrap();
            let Err(report) = resolve::load(&file, &[]) else { continue };
            if !report.to_string().contains("unknown key") {
                continue;
            }
            unknown += 1;
            let table = changed.as_table().unwrap();
            let found = problems(&validator, table);
            assert!(!found.is_empty(), "{}: {}", path.display(), place.join("."));
        }
    }
    assert!(unknown > 60, "{unknown}");
}

#[test]
fn kinds_words_ranges_and_defaults_are_described() {
    let text = schema().to_string();
    for part in [
        r#""enum":["coral"]"#,
        r#""enum":["reduce_on_plateau"]"#,
        r#""enum":["adamw"]"#,
        r#""enum":["mnist-10k""#,
        r#""title":"finetune""#,
        r#""minimum":1,"maximum":100000"#,
        r#""default":64"#,
    ] {
        assert!(text.contains(part), "{part}");
    }
}
