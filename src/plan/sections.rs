//! The tables of a file, each read for itself: `[pipeline]`, `[sweep]` and every `[table]`. Reads no stage.

use crate::config::node::{Node, Table, Value};
use crate::config::source::Span;
use crate::config::sweep::{self, Sweep};
use crate::config::{Diagnostic, Gathered, Keys, Noted, reuse};
use crate::device::{Device, Precision};
use crate::nn::dispatch;

use super::tables::{self, Swept, TableDraft};

/// What a file says but for its stages.
pub(super) struct Sections<'a> {
    pub head: Result<Head, Noted>,
    /// `[stages]`, as it is written.
    pub stages: Result<&'a Table, Noted>,
    /// `None` without one, or where it is wrong, which was noted.
    pub sweep: Option<Sweep>,
    /// Every table without problems of its own.
    pub tables: Vec<TableDraft>,
    /// These tables with every default.
    pub resolved: toml::Table,
}

impl<'a> Sections<'a> {
    /// Reads the tables below `root`, and notes every problem.
    pub fn read(root: &'a Node, problems: &mut Vec<Diagnostic>) -> Self {
        let Value::Table(table) = &root.value else { unreachable!("a TOML document is a table") };
        let mut keys = Keys::new(table, root.span);
        reuse::know(&mut keys);
        let head = section(&mut keys, "pipeline", "name = \"...\"")
            .and_then(|(table, span)| keys.descend("pipeline", table, span, head));
        let stages = section(&mut keys, "stages.NAME", "kind = \"...\"").map(|(table, _)| table);
        let sweep = keys.optional_nested("sweep", sweep::read);
        let wrong = sweep.is_err();
        let sweep = sweep.unwrap_or_default();
        let swept = Swept {
            keys: &swept_keys(sweep.as_ref()),
            pairs: sweep.as_ref().and_then(|sweep| sweep.pairs.as_ref()),
            wrong,
            selects: tables::selects(&keys),
        };
        let tables = tables::read(&mut keys, swept);
        let Gathered { resolved, problems: found, .. } = keys.finish();
        problems.extend(found);
        Self { head, stages, sweep, tables, resolved }
    }
}

/// The keys that a sweep sweeps, and the word for its pairs.
pub(super) fn swept_keys(sweep: Option<&Sweep>) -> Vec<&str> {
    let axes = sweep.map(|sweep| sweep.axes.as_slice()).unwrap_or_default();
    let pair = sweep.and_then(|sweep| sweep.pairs.as_ref()).map(|_| sweep::PAIR);
    axes.iter().map(|axis| axis.key.as_str()).chain(pair).collect()
}

/// `[pipeline]`.
pub(super) struct Head {
    pub name: String,
    pub title: Option<String>,
    pub seed: u64,
    pub device: Device,
}

/// A table that every file must have.
fn section<'a>(
    keys: &mut Keys<'a>,
    header: &'static str,
    example: &str,
) -> Result<(&'a Table, Span), Noted> {
    let name = header.split('.').next().unwrap_or(header);
    match keys.node(name) {
        Some(Node { value: Value::Table(table), span }) => Ok((table, *span)),
        Some(node) => {
            let (message, found) =
                (format!("`{name}` must be a table"), format!("found {}", node.value.type_name()));
            Err(keys.problem(Diagnostic::at(node.span, message, found)))
        }
        None => Err(keys.problem(
            Diagnostic::general(format!("missing table `[{header}]`"))
                .help(format!("add `[{header}]` with `{example}`")),
        )),
    }
}

/// Reads `[pipeline]`.
pub(super) fn head(keys: &mut Keys) -> Result<Head, Noted> {
    let legal = |name: &String| {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
        !name.is_empty() && name.chars().all(fits)
    };
    keys.about(&[
        ("name", "name of the pipeline, and of the folder of its results"),
        ("title", "title of the report"),
        ("seed", "seed of every stage that draws random numbers and has no `seed` of its own"),
        ("device", "where tensors live: `auto`, `cpu` or `cuda:N`"),
        ("precision", "how a GPU rounds the factors of convolutions and linear layers"),
    ]);
    let name = keys.string("name").such_that("ASCII letters, digits, `_` and `-`", legal);
    let name = name.limits([("pattern", serde_json::json!("^[A-Za-z0-9_-]+$"))]).required();
    let title = keys.string("title").optional();
    let seed = keys.integer("seed").not_negative().or(0);
    let word = keys.string("device").or("auto");
    let chosen = keys.has("precision");
    // A default that would decide nothing is not shown.
    let precision = match &word {
        Ok(word) if word != "auto" && !word.starts_with("cuda") && !chosen => Ok(Precision::Tf32),
        _ => keys.choice("precision").or(Precision::Tf32),
    };
    let place = |keys: &mut Keys, key| keys.node(key).map_or(keys.span(), |node| node.span);
    let (word_at, precision_at) = (place(keys, "device"), place(keys, "precision"));
    let device = word.and_then(|word| {
        let precision = precision?;
        let device = dispatch::find(&word, precision).map_err(|error| {
            let text = error.to_string();
            keys.problem(Diagnostic::at(word_at, text, "in `pipeline.device`"))
        })?;
        if matches!(device, Device::Cuda { .. }) || !chosen {
            return Ok(device);
        }
        let (message, label, help) = match (word.as_str(), precision) {
            // A processor is at least as precise.
            ("auto", Precision::Tf32 | Precision::Float32) => return Ok(device),
            (_, Precision::Bf16) => (
                match word.as_str() {
                    "auto" => "`bf16` needs a GPU, and `auto` finds none that can be used".into(),
                    _ => format!("`bf16` needs a GPU, and `{word}` is in single precision"),
                },
                "only GPUs have it",
                "leave it out; `runner devices` says what there is",
            ),
            (_, Precision::Tf32 | Precision::Float32) => (
                format!("`precision` is of GPUs, and `{word}` is in single precision"),
                "decides nothing",
                "leave it out, or `device = \"auto\"`",
            ),
        };
        Err(keys.problem(Diagnostic::at(precision_at, message, label).help(help)))
    });
    // One after the other, so that each key is known before the first `?`.
    Ok(Head { name: name?, title: title?, seed: seed?.unsigned_abs(), device: device? })
}
