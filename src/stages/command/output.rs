//! What a program is to make: which files, of what, and how they become an artifact. Files are read strictly: what is
//! missing, too much, or not as declared is a failure that names the file and what was expected.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use super::taken::{self, METRICS, SplitOfInput, WEIGHTS, build, shown, unreadable};
use crate::config::diagnostic::suggest;
use crate::config::node::{Node, Value};
use crate::config::source::Span;
use crate::config::{Diagnostic, Keys, Noted, words};
use crate::data::ClassScores;
use crate::nn::architecture::Architecture;
use crate::nn::geometry::Chw;
use crate::stages::{
    Context, DatasetShape, Described, Failure, Halt, ModelShape, Outcome, PredictionsShape,
    Problem, Product,
};

words! {
    /// What a program makes.
    enum OutputKind {
        /// Class scores of the images of splits.
        Predictions = "predictions",
        /// Weights of a network of a known architecture.
        Model = "model",
        /// Images with labels.
        Dataset = "dataset",
        /// Features of the images of splits.
        Features = "features",
        /// Numbers.
        Metrics = "metrics",
    }
}

/// What a program makes.
#[derive(Debug)]
pub(super) struct Output {
    form: Form,
    /// Whether there is `metrics.csv`, too.
    metrics: bool,
}

#[derive(Debug)]
enum Form {
    Predictions { of: Vec<SplitOfInput>, scores: ClassScores, classes: String },
    Model { architecture: Box<Architecture>, classes: String },
    Dataset { splits: Vec<String>, classes: String },
    Features { of: Vec<SplitOfInput> },
    Metrics,
}

impl Form {
    /// Reads what goes with a kind of output.
    fn read(kind: OutputKind, keys: &mut Keys, inputs: &[NamedInput]) -> Result<Self, Noted> {
        Ok(match kind {
            OutputKind::Predictions => {
                let (of, scores) = (splits_of(keys, inputs), keys.choice("scores").required());
                let classes = class_input(keys, inputs);
                Self::Predictions { of: of?, scores: scores?, classes: classes? }
            }
            OutputKind::Model => {
                let architecture = Architecture::read(keys);
                let classes = class_input(keys, inputs);
                Self::Model { architecture: Box::new(architecture?), classes: classes? }
            }
            OutputKind::Dataset => {
                const EXPECTED: &str =
                    "names of letters, digits, `-` and `_`, each once, at least one";
                let splits = keys
                    .strings("splits")
                    .such_that(EXPECTED, |names| are_names(names))
                    .limits([("minItems", 1.into())])
                    .required();
                let classes = class_input(keys, inputs);
                Self::Dataset { splits: splits?, classes: classes? }
            }
            OutputKind::Features => Self::Features { of: splits_of(keys, inputs)? },
            OutputKind::Metrics => Self::Metrics,
        })
    }
}

/// Whether these can be names of splits: each becomes a folder and a file.
fn are_names(names: &[String]) -> bool {
    let fits = |it: char| it.is_ascii_alphanumeric() || "-_".contains(it);
    let different: HashSet<&String> = names.iter().collect();
    let all_fit = names.iter().all(|it| !it.is_empty() && it.chars().all(fits));
    all_fit && !names.is_empty() && different.len() == names.len()
}

/// An input as the settings name it: its name, its stage, and the split.
pub(super) type NamedInput<'a> = (&'a str, &'a str, Option<&'a str>);

impl Output {
    /// Reads `output = { kind = "predictions", of = ["target.test"], scores = "logits" }`.
    pub(super) fn read(keys: &mut Keys, inputs: &[NamedInput]) -> Result<Self, Noted> {
        keys.kinded("output", "kind", None, |kind: OutputKind, keys| {
            keys.about(&[
                ("of", "the splits whose images it is of, \"INPUT.SPLIT\": a file for each"),
                ("scores", "what the scores of the classes are"),
                (
                    "classes",
                    "the input whose classes they are; `source` when left out, or else the only input with classes",
                ),
                ("splits", "the splits of the data set: a folder for each"),
                ("model", "the network that the weights belong to"),
                ("metrics", "whether the program also writes `metrics.csv`"),
            ]);
            let form = Form::read(kind, keys, inputs);
            let metrics = match kind {
                OutputKind::Predictions | OutputKind::Model | OutputKind::Features => {
                    keys.boolean("metrics").or(false)
                }
                OutputKind::Dataset | OutputKind::Metrics => Ok(false),
            };
            Ok(Self { form: form?, metrics: metrics? })
        })
    }

    /// The inputs that its settings name.
    pub(super) fn inputs(&self) -> impl Iterator<Item = &str> {
        let (of, classes) = match &self.form {
            Form::Predictions { of, classes, .. } => (of.as_slice(), Some(classes)),
            Form::Model { classes, .. } | Form::Dataset { classes, .. } => (&[][..], Some(classes)),
            Form::Features { of } => (of.as_slice(), None),
            Form::Metrics => (&[][..], None),
        };
        of.iter().map(|it| it.input.as_str()).chain(classes.map(String::as_str))
    }

    /// What will be there, as far as the inputs are known.
    pub(super) fn describe(
        &self,
        inputs: &Described,
        named: &[NamedInput],
    ) -> Result<Product, Vec<Problem>> {
        match &self.form {
            Form::Predictions { of, classes, .. } => {
                let mut problems = unfit(of, inputs);
                problems.extend(without_classes(classes, inputs));
                if !problems.is_empty() {
                    return Err(problems);
                }
                let stage = |it: &SplitOfInput| {
                    let (_, stage, _) = named.iter().find(|(name, ..)| *name == it.input)?;
                    Some(((*stage).to_owned(), it.split.clone()))
                };
                let of = of.iter().map(stage).collect();
                Ok(Product::Predictions(PredictionsShape {
                    of,
                    classes: known(classes, inputs).names,
                }))
            }
            Form::Model { architecture, classes } => {
                if let Some(problem) = without_classes(classes, inputs) {
                    return Err(vec![problem]);
                }
                let shape = known(classes, inputs);
                let (Some(input), Some(count)) = (shape.input(), shape.classes) else {
                    return Ok(Product::Model(ModelShape::unknown()));
                };
                match build(architecture, input, count) {
                    Ok(spec) => Ok(Product::Model(ModelShape::fresh(spec, shape.names))),
                    Err(reason) => Err(vec![Problem::at("output.model", reason)]),
                }
            }
            Form::Dataset { splits, classes } => {
                if let Some(problem) = without_classes(classes, inputs) {
                    return Err(vec![problem]);
                }
                let shape = known(classes, inputs);
                Ok(Product::Dataset(DatasetShape {
                    splits: Some(splits.iter().map(|name| (name.clone(), None)).collect()),
                    // How its images are is known once they were made.
                    channels: None,
                    size: None,
                    features: false,
                    classes: shape.classes,
                    names: shape.names,
                    empty: Vec::new(),
                }))
            }
            Form::Features { of } => match unfit(of, inputs) {
                problems if problems.is_empty() => Ok(Product::Features),
                problems => Err(problems),
            },
            Form::Metrics => Ok(Product::Metrics),
        }
    }

    /// Reads what the program left in `folder`, and writes the artifact to [`Context::out`].
    pub(super) fn take(&self, folder: &Path, context: &Context) -> Result<Outcome, Halt> {
        self.nothing_else(folder)?;
        let mut outcome = match &self.form {
            Form::Predictions { of, scores, classes } => {
                taken::predictions(folder, of, *scores, classes, context)?
            }
            Form::Model { architecture, classes } => {
                taken::model(folder, architecture, classes, context)?
            }
            Form::Dataset { splits, classes } => taken::dataset(folder, splits, classes, context)?,
            Form::Features { of } => taken::features(folder, of, context)?,
            Form::Metrics => {
                let metrics = taken::metrics(folder)?;
                let count = metrics.csv().map_or(0, |text| text.lines().count() - 1);
                Outcome { metrics, summary: format!("{count} numbers"), ..Outcome::default() }
            }
        };
        if self.metrics {
            outcome.metrics = taken::metrics(folder)?;
        }
        Ok(outcome)
    }

    /// The names of files and folders that it may make, those in braces being one of several.
    fn expected(&self) -> Vec<String> {
        let of_splits = |of: &[SplitOfInput], endings: &[&str]| -> Vec<String> {
            let name = |it: &SplitOfInput| {
                let text = it.text();
                endings.iter().map(|ending| format!("{text}.{ending}")).collect::<Vec<_>>()
            };
            of.iter().flat_map(name).collect()
        };
        let mut names = match &self.form {
            Form::Predictions { of, .. } => of_splits(of, &["npy", "csv"]),
            Form::Features { of } => of_splits(of, &["npy"]),
            Form::Model { .. } => WEIGHTS.map(str::to_owned).to_vec(),
            Form::Dataset { splits, .. } => splits
                .iter()
                .flat_map(|split| {
                    let parts = ["images", "features", "pixels", "sizes", "labels"];
                    parts.map(|part| format!("{split}/{part}.npy"))
                })
                .collect(),
            Form::Metrics => vec![METRICS.to_owned()],
        };
        if self.metrics {
            names.push(METRICS.to_owned());
        }
        names
    }

    /// Fails where there is a file that nobody declared.
    fn nothing_else(&self, folder: &Path) -> Result<(), Failure> {
        let mut found = BTreeSet::new();
        list(folder, "", &mut found).map_err(|error| unreadable("", &error))?;
        let expected = self.expected();
        let Some(extra) = found.iter().find(|name| !expected.contains(name)) else { return Ok(()) };
        Err(Failure::new(format!("the program wrote {}, which `output` does not declare", shown(extra)))
            .help(format!("what it may write there is {}", expected.join(", ")))
            .help("what it needs for itself alone it can write to the folder that it runs in, or to `{state}`"))
    }
}

/// Every file below a folder.
fn list(folder: &Path, before: &str, found: &mut BTreeSet<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{before}{}", entry.file_name().to_string_lossy());
        // A link would lead to where the artifact is not.
        match entry.file_type()?.is_dir() {
            true => list(&entry.path(), &format!("{name}/"), found)?,
            false => {
                found.insert(name);
            }
        }
    }
    Ok(())
}

/// Reads `of = ["target.test"]`.
fn splits_of(keys: &mut Keys, inputs: &[NamedInput]) -> Result<Vec<SplitOfInput>, Noted> {
    let names = keys
        .strings("of")
        .such_that("splits of inputs, \"INPUT.SPLIT\", each once, at least one", |names| {
            let different: HashSet<&String> = names.iter().collect();
            let is_split = |it: &String| {
                it.split_once('.').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty())
            };
            !names.is_empty() && different.len() == names.len() && names.iter().all(is_split)
        })
        .limits([("minItems", 1.into())])
        .required();
    if keys.is_describing() {
        return Ok(Vec::new());
    }
    let names = names?;
    let mut found = Ok(Vec::new());
    for (at, name) in names.iter().enumerate() {
        let (input, split) = name.split_once('.').unwrap_or((name, ""));
        let span = match keys.peek("of") {
            Some(Node { value: Value::Array(items), .. }) => {
                items.get(at).map_or(keys.span(), |it| it.span)
            }
            Some(node) => node.span,
            None => keys.span(),
        };
        match inputs.iter().find(|(known, ..)| *known == input) {
            None => found = Err(keys.problem(no_input(input, inputs, span))),
            Some((_, stage, Some(only))) if *only != split => {
                let message =
                    format!("the input `{input}` is `{stage}.{only}`, and has no split `{split}`");
                let problem = Diagnostic::at(span, message, "not among what the program is handed");
                found = Err(keys.problem(problem.help(format!("write `{input}.{only}`"))));
            }
            Some(_) => {
                if let Ok(found) = &mut found {
                    found.push(SplitOfInput { input: input.to_owned(), split: split.to_owned() });
                }
            }
        }
    }
    found
}

/// What is wrong where something names an input that the settings do not have.
pub(super) fn no_input(name: &str, inputs: &[NamedInput], span: Span) -> Diagnostic {
    let mut problem = Diagnostic::at(span, format!("there is no input `{name}`"), "names it");
    problem.help.extend(suggest(name, inputs.iter().map(|(known, ..)| *known)));
    problem.help(format!("or add it: `{name} = \"STAGE\"` in `inputs`"))
}

/// Reads `classes = "source"`.
fn class_input(keys: &mut Keys, inputs: &[NamedInput]) -> Result<String, Noted> {
    let span = keys.peek("classes").map_or(keys.span(), |node| node.span);
    let named = keys.string("classes").optional()?;
    if keys.is_describing() {
        return Ok("source".into());
    }
    let found = match &named {
        Some(name) => {
            if !inputs.iter().any(|(known, ..)| known == name) {
                return Err(keys.problem(no_input(name, inputs, span)));
            }
            name.clone()
        }
        None => match inputs {
            [(only, ..)] => (*only).to_owned(),
            all if all.iter().any(|(name, ..)| *name == "source") => "source".to_owned(),
            _ => {
                let message = "nothing says which classes the program tells apart";
                let problem = Diagnostic::at(span, message, "no input is called `source`");
                return Err(keys.problem(
                    problem.help("add `classes = \"INPUT\"` with the input whose classes they are"),
                ));
            }
        },
    };
    keys.record("classes", found.clone());
    Ok(found)
}

/// Splits that are not there, and inputs that have none.
fn unfit(of: &[SplitOfInput], inputs: &Described) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, split) in of.iter().enumerate() {
        let key = format!("output.of.{at}");
        let (input, name) = (&split.input, &split.split);
        match inputs.product(&split.key()) {
            Some(Product::Dataset(shape)) => {
                let Some(splits) = &shape.splits else { continue };
                if !splits.contains_key(name) {
                    let known: Vec<String> = splits.keys().map(|it| format!("`{it}`")).collect();
                    problems.push(
                        Problem::at(key, format!("the input `{input}` has no split `{name}`"))
                            .help(format!("its splits are {}", known.join(", "))),
                    );
                }
            }
            Some(other) => {
                let message =
                    format!("the input `{input}` is {}, which has no splits", other.name());
                problems.push(
                    Problem::at(key, message).help("name a split of an input that is a data set"),
                );
            }
            None => {}
        }
    }
    problems
}

fn without_classes(input: &str, inputs: &Described) -> Option<Problem> {
    match inputs.product(&format!("inputs.{input}"))? {
        Product::Dataset(_) | Product::Model(_) | Product::Predictions(_) => None,
        other @ (Product::Features | Product::Metrics | Product::Scores | Product::Pictures) => {
            let message = format!("the input `{input}` is {}, which has no classes", other.name());
            Some(
                Problem::at("output.classes", message)
                    .help("add `classes = \"INPUT\"` with an input that is a data set or a model"),
            )
        }
    }
}

/// What is known of the input whose classes count.
#[derive(Default)]
struct KnownInput {
    channels: Option<usize>,
    size: Option<(usize, usize)>,
    classes: Option<usize>,
    names: Option<Vec<String>>,
}

impl KnownInput {
    fn input(&self) -> Option<Chw> {
        let (channels, (height, width)) = (self.channels?, self.size?);
        Some(Chw { channels, height, width })
    }
}

fn known(input: &str, inputs: &Described) -> KnownInput {
    match inputs.product(&format!("inputs.{input}")) {
        Some(Product::Dataset(shape)) => KnownInput {
            channels: shape.channels,
            size: shape.size,
            classes: shape.classes,
            names: shape.names.clone(),
        },
        Some(Product::Model(ModelShape { spec, classes, .. })) => KnownInput {
            channels: spec.as_ref().map(|it| it.input.channels),
            size: spec.as_ref().map(|it| (it.input.height, it.input.width)),
            classes: spec.as_ref().map(|it| it.classes),
            names: classes.clone(),
        },
        Some(Product::Predictions(shape)) => KnownInput {
            classes: shape.classes.as_ref().map(Vec::len),
            names: shape.classes.clone(),
            ..KnownInput::default()
        },
        _ => KnownInput::default(),
    }
}
