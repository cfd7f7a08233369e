//! `split`: puts splits together, holds out images, keeps a few a class or proportions of the classes, keeps
//! some of the classes or renames them.

use indexmap::IndexMap;
use serde_json::json;

use self::settings::{class_proportions, misfits, pool, pooled};
use super::{
    Context, DatasetShape, Defaults, Described, Halt, Kind, Measures, Outcome, Problem, Product,
    Renamed, Stage,
};
use crate::config::diagnostic::suggest;
use crate::config::node::{KeyValue, Node, Value};
use crate::config::{Diagnostic, Keys, Noted, Wants};
use crate::data::pool::pool_splits;
use crate::data::proportions::{ClassWeight, Proportions, keep_proportions};
use crate::data::subset::{
    Amount, Class, OTHER_NAME, called_as_others, find_class, gather_others, hold_out, keep_classes,
    keep_per_class, rename_classes, renamed,
};

mod settings;

pub(super) const KIND: Kind = Kind {
    name: "split",
    about: "pool splits, hold out images, keep some of the images, keep or rename classes",
    measures: Measures::Nothing,
    parse,
};

/// Applied in the order pool, classes, holdout, and then proportions or per_class.
#[derive(Debug)]
struct SplitStage {
    from: String,
    /// Splits that become one, called `from`.
    pool: Option<Vec<String>>,
    classes: Option<ClassChange>,
    /// The class of the images of all classes that do not stay, instead of leaving them out.
    others: Option<String>,
    holdout: Option<HoldOut>,
    proportions: Option<Proportions>,
    per_class: Option<usize>,
    seed: u64,
}

/// What becomes of the classes.
#[derive(Debug)]
enum ClassChange {
    /// These stay, in this order.
    Keep(Vec<Class>),
    /// Each pair's first is called as its second.
    Rename(Vec<(String, String)>),
}

#[derive(Debug)]
struct HoldOut {
    amount: Amount,
    name: String,
    stratified: bool,
}

fn parse(keys: &mut Keys, defaults: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    keys.about(&[
        ("input", "data set to take from"),
        ("from", "split that images are taken from"),
        ("pool", "splits that become one first, called `from`, in the order given"),
        ("classes", "classes that stay, or new names of classes"),
        (
            "others",
            "one more class, the last one: that of the images of all classes which `classes` does not name",
        ),
        ("holdout", "images of `from` that become a split of their own"),
        ("name", "name of the split that is held out"),
        ("stratified", "whether the held-out split has the same share of each class"),
        (
            "proportions",
            "how often the classes are to be in `from` beside each other; as many images stay as \
             that allows",
        ),
        ("per_class", "images of each class that `from` keeps"),
    ]);
    let input = keys.reference("input", Wants::Dataset);
    let from = keys.string("from").or("train");
    let pool = pool(keys, from.as_deref().ok());
    let classes = classes(keys);
    let others = others(keys, classes.as_ref().ok().and_then(Option::as_ref));
    let holdout = hold_out_keys(keys);
    let proportions = class_proportions(keys);
    let per_class = keys.count("per_class", 1..=usize::MAX).optional();
    let seed = defaults.seed(keys);
    let changes = ["pool", "classes", "others", "holdout", "proportions", "per_class"];
    if !changes.iter().any(|key| keys.has(key)) {
        let span = keys.span();
        return Err(keys.problem(
            Diagnostic::at(span, "this stage would change nothing", "in this table")
                .help("add `holdout = 0.1`, `per_class = 10` or `classes = [0, 1]`"),
        ));
    }
    input?;
    Ok(Box::new(SplitStage {
        from: from?,
        pool: pool?,
        classes: classes?,
        others: others?,
        holdout: holdout?,
        proportions: proportions?,
        per_class: per_class?,
        seed: seed?,
    }))
}

/// `classes = [0, 1, "cat"]`, or `classes = { "touring-bike" = "bike" }`.
fn classes(keys: &mut Keys) -> Result<Option<ClassChange>, Noted> {
    keys.may_be("classes", || {
        let class = json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string" }] });
        let what = "names of classes, or their numbers from 0: these stay";
        let keep = json!({ "type": "array", "minItems": 1, "items": class, "description": what });
        let what = "new names of classes by their names; classes of one name become one";
        let name = json!({ "type": "string", "minLength": 1 });
        let rename = json!({ "type": "object", "minProperties": 1, "additionalProperties": name,
            "description": what });
        json!({ "anyOf": [keep, rename] })
    });
    let Some(node) = keys.node("classes") else { return Ok(None) };
    let class = |item: &Node| match &item.value {
        Value::Integer(number) => usize::try_from(*number).ok().map(Class::Number),
        Value::String(name) => Some(Class::Name(name.clone())),
        _ => None,
    };
    let name = |(old, entry): (&String, &KeyValue)| match &entry.node.value {
        Value::String(new) if !new.is_empty() => Some((old.clone(), new.clone())),
        _ => None,
    };
    let classes = match &node.value {
        Value::Array(items) if !items.is_empty() => {
            items.iter().map(class).collect::<Option<_>>().map(ClassChange::Keep)
        }
        Value::Table(table) if !table.entries.is_empty() => {
            table.entries.iter().map(name).collect::<Option<_>>().map(ClassChange::Rename)
        }
        _ => None,
    };
    let Some(classes) = classes else {
        return Err(keys.problem(
            Diagnostic::at(
                node.span,
                "`classes` must be an array of class numbers (from 0) or names, at least one, or a table \
                 of new names",
                format!("found {}", node.shown()),
            )
            .help("`[0, 1]` or `[\"cat\", \"dog\"]` keeps classes, `{ old = \"new\" }` renames them"),
        ));
    };
    keys.record("classes", node.to_toml());
    Ok(Some(classes))
}

/// `others = "unknown"`, which goes with classes that stay.
fn others(keys: &mut Keys, classes: Option<&ClassChange>) -> Result<Option<String>, Noted> {
    let others = keys
        .string("others")
        .such_that("the name of a class", |name| !name.is_empty())
        .limits([("minLength", json!(1))])
        .optional()?;
    if others.is_some() && matches!(classes, Some(ClassChange::Rename(_))) {
        let span = keys.peek("others").map_or(keys.span(), |node| node.span);
        let message = "`others` goes with a list of the classes that stay, not with new names";
        let label = "there is nothing that it would be the rest of";
        return Err(keys.problem(
            Diagnostic::at(span, message, label)
                .help("give the classes their new names in a `split` stage in front"),
        ));
    }
    Ok(others)
}

/// `holdout`, and what only counts with it.
fn hold_out_keys(keys: &mut Keys) -> Result<Option<HoldOut>, Noted> {
    if keys.is_describing() {
        keys.may_be("holdout", || {
            let part = json!({ "type": "number", "minimum": 0, "exclusiveMinimum": true,
                "maximum": 1, "exclusiveMaximum": true, "description": "a fraction" });
            let count = json!({ "type": "integer", "minimum": 1, "description": "images" });
            json!({ "anyOf": [part, count] })
        });
        held_out_name(keys)?;
        held_out_evenly(keys)?;
        return Ok(None);
    }
    let Some(node) = keys.node("holdout") else {
        for key in ["name", "stratified"] {
            if let Some(node) = keys.node(key) {
                keys.problem(
                    Diagnostic::at(
                        node.span,
                        format!("`{key}` has no meaning without `holdout`"),
                        "nothing is held out",
                    )
                    .help("add `holdout = 0.1`"),
                );
            }
        }
        return Ok(None);
    };
    let amount = match node.value {
        Value::Integer(count) => usize::try_from(count).ok().filter(|n| *n > 0).map(Amount::Count),
        Value::Float(part) => (part > 0.0 && part < 1.0).then_some(Amount::Fraction(part)),
        _ => None,
    };
    let amount = amount.ok_or_else(|| {
        keys.problem(Diagnostic::at(
            node.span,
            "`holdout` must be a number of images (1 or more) or a fraction above 0 and below 1",
            format!("found {}", node.shown()),
        ))
    });
    if amount.is_ok() {
        keys.record("holdout", node.to_toml());
    }
    let name = held_out_name(keys);
    let stratified = held_out_evenly(keys);
    Ok(Some(HoldOut { amount: amount?, name: name?, stratified: stratified? }))
}

fn held_out_name(keys: &mut Keys) -> Result<String, Noted> {
    keys.string("name")
        .such_that("letters, digits, `-` and `_`", |name| {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !name.is_empty() && name.chars().all(plain)
        })
        .limits([("pattern", json!("^[A-Za-z0-9_-]+$"))])
        .or("valid")
}

fn held_out_evenly(keys: &mut Keys) -> Result<bool, Noted> {
    keys.boolean("stratified").or(true)
}

/// See [`super::handed_on`].
pub(super) fn handed_on(setting: impl Fn(&str) -> Option<serde_json::Value>) -> Renamed {
    let text = |key| Some(setting(key)?.as_str()?.to_owned());
    let Some(from) = text("from") else { return Renamed::new() };
    let pool = setting("pool").and_then(|it| serde_json::from_value::<Vec<String>>(it).ok());
    let pooled = pool.unwrap_or_else(|| vec![from.clone()]);
    let held = setting("holdout").and_then(|_| text("name"));
    held.map(|held| (held, pooled.clone())).into_iter().chain([(from, pooled)]).collect()
}

impl SplitStage {
    /// Whether images of some classes go.
    fn drops_classes(&self) -> bool {
        matches!(self.classes, Some(ClassChange::Keep(_))) && self.others.is_none()
    }

    /// The classes that come out, as far as those that come in are known: their number, names and those
    /// without images.
    fn classes_after(
        &self,
        input: &DatasetShape,
    ) -> (Option<usize>, Option<Vec<String>>, Vec<usize>) {
        let known = input.names.as_deref();
        let name = |class: &Class| match (class, known) {
            (Class::Name(name), None) => Some(name.clone()),
            (class, Some(known)) => Some(known[find_class(known, class).ok()?].clone()),
            (Class::Number(_), None) => None,
        };
        let is_empty = |at: usize| input.empty.binary_search(&at).is_ok();
        let (count, names, mut empty) = match &self.classes {
            None => (input.classes, input.names.clone(), input.empty.clone()),
            Some(ClassChange::Keep(classes)) => {
                let place = |class: &Class| find_class(known?, class).ok();
                let stays_empty = |at: &usize| place(&classes[*at]).is_some_and(is_empty);
                let empty = (0..classes.len()).filter(stays_empty).collect();
                (Some(classes.len()), classes.iter().map(name).collect(), empty)
            }
            Some(ClassChange::Rename(pairs)) => {
                let after = known.and_then(|known| renamed(known, pairs).ok());
                let Some((names, numbers)) = after else { return (None, None, Vec::new()) };
                let mut empty = vec![true; names.len()];
                for (at, number) in numbers.iter().enumerate() {
                    empty[*number as usize] &= is_empty(at);
                }
                let empty = (0..names.len()).filter(|at| empty[*at]).collect();
                (Some(names.len()), Some(names), empty)
            }
        };
        let Some(others) = &self.others else { return (count, names, empty) };
        let nothing_else = match &self.classes {
            Some(ClassChange::Keep(kept)) => known.is_some_and(|known| {
                let kept = kept.iter().filter_map(|class| find_class(known, class).ok());
                let kept: Vec<usize> = kept.collect();
                (0..known.len()).all(|at| kept.contains(&at) || is_empty(at))
            }),
            Some(ClassChange::Rename(_)) | None => true,
        };
        if nothing_else {
            empty.extend(count);
        }
        let with_others = |mut names: Vec<String>| {
            names.push(others.clone());
            names
        };
        (count.map(|count| count + 1), names.map(with_others), empty)
    }

    /// Why the class of the others cannot be called as it is to be, as far as the classes are known.
    fn no_others(&self, input: &DatasetShape) -> Option<Problem> {
        let others = self.others.as_ref()?;
        let (_, names, _) = self.classes_after(input);
        let (_, staying) = names.as_ref()?.split_last()?;
        staying
            .contains(others)
            .then(|| Problem::at("others", called_as_others(others)).help(OTHER_NAME))
    }

    /// ClassChange that are named but not there, as far as that is known.
    fn absent_classes(&self, names: &[String]) -> Vec<Problem> {
        let problem = |key: String, class: &Class| {
            let error = find_class(names, class).err()?;
            let problem = Problem::at(key, error.to_string());
            Some(error.help().into_iter().fold(problem, Problem::help))
        };
        match &self.classes {
            None => Vec::new(),
            Some(ClassChange::Keep(classes)) => {
                let keyed = classes.iter().enumerate();
                keyed.filter_map(|(at, class)| problem(format!("classes.{at}"), class)).collect()
            }
            Some(ClassChange::Rename(pairs)) => {
                let named = |(old, _): &(String, String)| {
                    problem(format!("classes.{old}"), &Class::Name(old.clone()))
                };
                pairs.iter().filter_map(named).collect()
            }
        }
    }

    fn splits_after(
        &self,
        splits: &IndexMap<String, Option<usize>>,
        classes: Option<usize>,
    ) -> IndexMap<String, Option<usize>> {
        let mut after = IndexMap::new();
        for (name, count) in splits {
            // How many images the classes leave is known once they were counted.
            let mut count = count.filter(|_| !self.drops_classes());
            let mut held = None;
            if *name == self.from {
                if let Some(hold_out) = &self.holdout {
                    let out = match (hold_out.amount, count) {
                        (Amount::Count(out), _) => Some(out),
                        (amount, Some(count)) => Some(amount.of(count)),
                        (Amount::Fraction(_), None) => None,
                    };
                    count = count.zip(out).map(|(count, out)| count.saturating_sub(out));
                    held = Some((hold_out.name.clone(), out));
                }
                // How many images of each class there are is known once they were counted.
                count = count.filter(|_| self.proportions.is_none());
                if let Some(per_class) = self.per_class {
                    count = classes.and_then(|classes| classes.checked_mul(per_class));
                }
            }
            after.insert(name.clone(), count);
            after.extend(held);
        }
        after
    }

    /// Images that are asked for of a class that is known to have none.
    fn wanted_of_none(&self, names: Option<&[String]>, empty: &[usize]) -> Option<Problem> {
        let names = names?;
        if self.per_class.is_some() {
            let class = &names[*empty.first()?];
            let message = format!("class `{class}` has no image, and `per_class` asks for some");
            let advice = "keep fewer a class, or leave that class out with `classes`";
            return Some(Problem::at("per_class", message).help(advice));
        }
        let weights = self.proportions.as_ref()?.weights(names).ok()?;
        let class = empty.iter().find(|at| weights[**at] != ClassWeight::ZERO)?;
        let message =
            format!("class `{}` has no image, though its proportion is above 0", names[*class]);
        let advice = "write 0 for a class that is to have no image, or leave it out with `classes`";
        Some(Problem::at("proportions", message).help(advice))
    }

    fn problems(&self, input: &DatasetShape) -> Vec<Problem> {
        let names = input.names.as_deref();
        let mut problems = names.map(|names| self.absent_classes(names)).unwrap_or_default();
        problems.extend(self.no_others(input));
        let Some(splits) = &input.splits else { return problems };
        let Some(count) = splits.get(&self.from) else {
            let mut problem =
                Problem::at("from", format!("the data set has no split `{}`", self.from));
            problem.help.extend(suggest(&self.from, splits.keys().map(String::as_str)));
            problems.push(problem);
            return problems;
        };
        let count = count.filter(|_| !self.drops_classes());
        if let Some(hold_out) = &self.holdout {
            if splits.contains_key(&hold_out.name) {
                let message = format!("the data set has a split `{}` already", hold_out.name);
                let problem = Problem::at("name", message);
                problems.push(problem.help("give the held-out images another `name`"));
            }
            if let Some(count) = count
                && hold_out.amount.of(count) >= count
            {
                let message = format!("`{}` has only {count} images", self.from);
                let advice = "leave at least one image to train on";
                problems.push(Problem::at("holdout", message).help(advice));
            }
        }
        if let (Some(per_class), Some(count), (Some(classes), ..)) =
            (self.per_class, count, self.classes_after(input))
            && per_class.saturating_mul(classes) > count
        {
            let message = format!("`{}` has only {count} images of {classes} classes", self.from);
            let advice = "keep fewer a class, or leave that class out with `classes`";
            problems.push(Problem::at("per_class", message).help(advice));
        }
        problems
    }
}

impl Stage for SplitStage {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        2
    }

    /// Images are chosen and moved, by whole random numbers.
    fn computes(&self) -> bool {
        false
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        let mut input = inputs.dataset("input");
        if let Some(pool) = &self.pool {
            let after = input.splits.as_ref().map(|splits| pooled(splits, pool, &self.from));
            input.splits = after.transpose()?;
        }
        let mut problems = self.problems(&input);
        let (classes, names, empty) = self.classes_after(&input);
        if let (Some(proportions), Some(names)) = (&self.proportions, &names) {
            problems.extend(misfits(proportions, names));
        }
        problems.extend(self.wanted_of_none(names.as_deref(), &empty));
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Product::Dataset(DatasetShape {
            splits: input.splits.as_ref().map(|splits| self.splits_after(splits, classes)),
            classes,
            names,
            empty,
            ..input
        }))
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        let mut set = context.dataset("input")?;
        if let Some(pool) = &self.pool {
            pool_splits(&mut set, pool, &self.from)?;
        }
        match (&self.classes, &self.others) {
            (Some(ClassChange::Keep(classes)), Some(others)) => {
                gather_others(&mut set, Some(classes), others)?;
            }
            (Some(ClassChange::Keep(classes)), None) => keep_classes(&mut set, classes)?,
            (Some(ClassChange::Rename(pairs)), _) => rename_classes(&mut set, pairs)?,
            (None, Some(others)) => gather_others(&mut set, None, others)?,
            (None, None) => {}
        }
        if let Some(HoldOut { amount, name, stratified }) = &self.holdout {
            hold_out(&mut set, &self.from, name, *amount, *stratified, self.seed)?;
        }
        if let Some(proportions) = &self.proportions {
            keep_proportions(&mut set, &self.from, proportions, self.seed)?;
        }
        if let Some(per_class) = self.per_class {
            keep_per_class(&mut set, &self.from, per_class, self.seed)?;
        }
        Outcome::of_dataset(&set, context)
    }
}
