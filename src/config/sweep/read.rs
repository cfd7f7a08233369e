//! Reads the `[sweep]` table.

use serde_json::json;

use super::super::diagnostic::{Diagnostic, Noted, suggest};
use super::super::keys::Keys;
use super::super::node::{Node, Value};
use super::super::source::Span;
use super::super::word::words;
use super::axis::{self, Axis, AxisValues};
use super::condition::Condition;
use super::dimension::Dimension;
use super::goal::{Halving, Select};
use super::pairs::{self, PairKeys};
use super::sampler::{SOBOL_DIMENSIONS, SOBOL_POINTS, Sampler};
use super::{MOST_TRIALS, Sweep};

words! {
    /// How trials are found among all that there could be.
    enum SearchKind {
        /// Every combination.
        Grid = "grid",
        /// Independent draws.
        Random = "random",
        /// Draws that spread evenly.
        Sobol = "sobol",
        /// Draws that go by the results so far.
        Tpe = "tpe",
    }
}

/// Reads `[sweep]` from the reader of that table.
///
/// # Errors
/// When something is wrong with it, which was noted.
pub fn read(keys: &mut Keys) -> Result<Sweep, Noted> {
    let (span, before) = (keys.span(), keys.problems());
    keys.about(&[
        ("search", "how configurations are chosen"),
        (
            "trials",
            "number of configurations; of every combination of `each`, where there is that key",
        ),
        ("seed", "seed of the choice of configurations"),
        ("axes", "keys of the pipeline and the values that they take"),
        ("pairs", "ordered pairs of domains, as two axes that move together; lists of axes and tables call them `pair`"),
        ("zip", "groups of axes that move together"),
        ("repeat", "axes that repeat a configuration; `pipeline.seed` when left out and listed"),
        ("each", "axes that every drawn configuration is tried with each value of"),
        ("where", "which combinations to keep"),
        ("select", "what makes one trial better than another"),
        ("halving", "ending trials early"),
        ("startup", "configurations that are drawn at random first"),
        ("batch", "configurations that are decided on at a time"),
    ]);
    let search = keys.choice("search").or(SearchKind::Grid);
    let count = keys.count("trials", 1..=MOST_TRIALS).optional();
    // A key that would decide nothing is an unknown key.
    let seed = match search {
        Ok(SearchKind::Grid) => Ok(0),
        Ok(SearchKind::Random | SearchKind::Sobol | SearchKind::Tpe) | Err(_) => {
            keys.integer("seed").such_that("an integer of at least 0", |it| *it >= 0).or(0)
        }
    };
    let axes = axes(keys);
    let pairs = keys.optional_nested("pairs", pairs::read);
    let group = || json!({ "type": "array", "minItems": 2, "items": { "type": "string" } });
    keys.may_be(
        "zip",
        || json!({ "type": "array", "items": group(), "description": "axes that move together" }),
    );
    let zip = keys.node("zip");
    let repeat = keys.has("repeat").then(|| keys.strings("repeat").or(Vec::new()));
    keys.node("repeat");
    let each = match search {
        Ok(SearchKind::Random | SearchKind::Sobol) | Err(_) => keys.strings("each").optional(),
        Ok(SearchKind::Grid | SearchKind::Tpe) => Ok(None),
    };
    keys.may_be("where", || json!({ "type": "string", "description": "which trials to keep" }));
    let condition = keys.node("where");
    let select = keys.optional_nested("select", Select::read);
    let halving = keys.optional_nested("halving", Halving::read);
    let is_adaptive = search == Ok(SearchKind::Tpe);
    let startup = match is_adaptive {
        true => keys.count("startup", 1..=MOST_TRIALS).or(10_usize),
        false => Ok(0),
    };
    let batch = match is_adaptive || matches!(halving, Ok(Some(_))) {
        true => keys.count("batch", 1..=MOST_TRIALS).or(4_usize),
        false => Ok(MOST_TRIALS),
    };
    let (search, count, seed, mut axes) = (search?, count?, seed?, axes?);
    let (startup, batch) = (startup?, batch?);
    let (mut each, mut select) = (each?.unwrap_or_default(), select.unwrap_or_default());
    let sampler = {
        let seed = u64::try_from(seed).unwrap_or_default();
        match search {
            SearchKind::Grid => Sampler::Grid,
            SearchKind::Random => Sampler::Random { seed },
            SearchKind::Sobol => Sampler::Sobol { seed },
            SearchKind::Tpe => Sampler::Tpe { seed, startup },
        }
    };
    // From here on every part is looked at even where another is wrong.
    let mut repeat = repeat.and_then(Result::ok);
    let pairs = pairs?.map(|(pairs, own)| {
        axes.splice(0..0, own);
        repeat = repeat.take().map(|names| pairs.in_keys(names));
        each = pairs.in_keys(std::mem::take(&mut each));
        if let Some(goal) = &mut select {
            goal.per = pairs.in_keys(std::mem::take(&mut goal.per));
        }
        pairs
    });
    let mut dimensions = dimensions(keys, &axes, pairs.as_ref(), zip, repeat.as_deref());
    tried_with_each(keys, &axes, &mut dimensions, &each);
    let condition = condition.and_then(|node| where_holds(keys, node, &axes).ok());
    let sweep = Sweep {
        axes,
        pairs,
        dimensions,
        condition,
        sampler,
        trials: count.unwrap_or_default(),
        batch,
        select,
        halving: halving.unwrap_or_default(),
    };
    problems(keys, &sweep, count, span);
    keys.no_problem_since(before).map(|()| sweep)
}

fn axes(keys: &mut Keys) -> Result<Vec<Axis>, Noted> {
    keys.may_be("axes", || {
        let pair = |about: &str| {
            json!({ "type": "array", "items": { "type": "number" }, "minItems": 2, "maxItems": 2,
                "description": about })
        };
        let number = |about: &str| json!({ "type": "number", "description": about });
        let forms = json!({ "type": "object", "additionalProperties": false, "properties": {
            "from": number("the first of evenly spaced values"),
            "to": number("the last of them at most"),
            "step": number("how far they lie apart"),
            "choice": { "type": "array", "minItems": 1, "description": "values that are drawn from" },
            "int": pair("the least and the largest of whole numbers that are drawn"),
            "uniform": pair("the least and the largest of numbers that are drawn"),
            "log_uniform": pair("the same, drawn evenly on a logarithmic scale") } });
        let values = json!({ "anyOf": [{ "type": "array", "minItems": 1 }, forms],
            "description": "an array of values, or a range to draw them from" });
        json!({ "type": "object", "minProperties": 1, "additionalProperties": values,
            "description": "dotted keys, in quotes, with their values" })
    });
    let Some(node) = keys.node("axes") else {
        if keys.peek("pairs").is_some() {
            return Ok(Vec::new());
        }
        let problem = Diagnostic::at(keys.span(), "missing key `sweep.axes`", "in this table")
            .help("add `axes = { \"pipeline.seed\" = [0, 1, 2] }`");
        return Err(keys.problem(problem));
    };
    let Value::Table(table) = &node.value else {
        return Err(keys.problem(Diagnostic::at(
            node.span,
            "`sweep.axes` must be a table of dotted keys and arrays of values",
            format!("found {}", node.value.type_name()),
        )));
    };
    let before = keys.problems();
    let mut axes = Vec::new();
    for (key, entry) in &table.entries {
        match axis::read(key, entry.key, &entry.node) {
            Ok(axis) => axes.push(axis),
            Err(problem) => {
                keys.problem(problem);
            }
        }
    }
    if table.entries.is_empty() {
        keys.problem(Diagnostic::at(node.span, "`sweep.axes` is empty", "expected an axis"));
    }
    keys.record("axes", node.to_toml());
    keys.no_problem_since(before).map(|()| axes)
}

/// The axes, those that `zip` joins and those of pairs as one, and which of them only repeat: those of `repeat`, or
/// the pipeline's seed.
fn dimensions(
    keys: &mut Keys,
    axes: &[Axis],
    pairs: Option<&PairKeys>,
    zip: Option<&Node>,
    repeat: Option<&[String]>,
) -> Vec<Dimension> {
    let mut dimensions: Vec<Dimension> = Vec::new();
    let mut groups = zip.map(|node| groups(keys, node, axes, pairs)).unwrap_or_default();
    groups.extend(pairs.map(|_| vec![0, 1]));
    for (number, axis) in axes.iter().enumerate() {
        if dimensions.iter().any(|it| it.axes.contains(&number)) {
            continue;
        }
        let group = groups.iter().find(|group| group.contains(&number));
        let group = group.cloned().unwrap_or_else(|| vec![number]);
        let repeats = match repeat {
            Some(named) => group.iter().any(|at| named.contains(&axes[*at].key)),
            None => {
                group.len() == 1
                    && axis.path == ["pipeline", "seed"]
                    && matches!(axis.values, AxisValues::Listed(_))
            }
        };
        dimensions.push(Dimension { axes: group, repeats, each: false });
    }
    let place = keys.peek("repeat").map_or(keys.span(), |node| node.span);
    for key in repeat.into_iter().flatten() {
        let Some(axis) = axes.iter().find(|axis| axis.key == *key) else {
            let mut problem =
                Diagnostic::at(place, format!("`sweep.repeat` names `{key}`"), "not an axis");
            problem.help.extend(suggest(key, axes.iter().map(|axis| axis.key.as_str())));
            keys.problem(problem);
            continue;
        };
        if let AxisValues::Drawn(_) = axis.values {
            let message = format!("`{key}` cannot repeat a configuration: its values are drawn");
            keys.problem(
                Diagnostic::at(place, message, "in this array").help("list them: `[0, 1, 2]`"),
            );
        }
    }
    dimensions
}

/// Marks the dimensions that `each` names.
fn tried_with_each(keys: &mut Keys, axes: &[Axis], dimensions: &mut [Dimension], each: &[String]) {
    let place = keys.peek("each").map_or(keys.span(), |node| node.span);
    for key in each {
        let of = |it: &&mut Dimension| it.axes.iter().any(|at| axes[*at].key == *key);
        let Some(dimension) = dimensions.iter_mut().find(of) else {
            let mut problem =
                Diagnostic::at(place, format!("`sweep.each` names `{key}`"), "not an axis");
            problem.help.extend(suggest(key, axes.iter().map(|axis| axis.key.as_str())));
            keys.problem(problem);
            continue;
        };
        if dimension.repeats {
            let message = format!("`{key}` is both in `sweep.each` and an axis that repeats");
            keys.problem(
                Diagnostic::at(place, message, "in this array")
                    .help("leave it out here: configurations are repeated with each of its values"),
            );
        } else if dimension.all(axes).is_none() {
            let message = format!("`{key}` cannot be in `sweep.each`: its values have no end");
            keys.problem(
                Diagnostic::at(place, message, "in this array").help("list them: `[0, 1, 2]`"),
            );
        } else {
            dimension.each = true;
        }
    }
}

/// `zip = [["a", "b"], ...]` as numbers of axes.
fn groups(
    keys: &mut Keys,
    node: &Node,
    axes: &[Axis],
    pairs: Option<&PairKeys>,
) -> Vec<Vec<usize>> {
    const EXAMPLE: &str =
        "for example `zip = [[\"stages.net.optimizer.lr\", \"stages.net.epochs\"]]`";
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let shape = |node: &Node| {
        let found = format!("found {}", node.value.type_name());
        Diagnostic::at(node.span, "`sweep.zip` must be an array of arrays of axes", found)
            .help(EXAMPLE)
    };
    let Value::Array(items) = &node.value else {
        keys.problem(shape(node));
        return groups;
    };
    for item in items {
        let Value::Array(words) = &item.value else {
            keys.problem(shape(item));
            continue;
        };
        if words.len() < 2 {
            let message = "a group of `sweep.zip` needs two axes or more";
            keys.problem(Diagnostic::at(item.span, message, "this group").help(EXAMPLE));
        }
        let mut group: Vec<usize> = Vec::new();
        let mut lengths = Vec::new();
        for word in words {
            let Value::String(key) = &word.value else {
                keys.problem(shape(word));
                continue;
            };
            let Some(number) = axes.iter().position(|axis| axis.key == *key) else {
                let mut problem =
                    Diagnostic::at(word.span, format!("`sweep.zip` names `{key}`"), "not an axis");
                problem.help.extend(suggest(key, axes.iter().map(|axis| axis.key.as_str())));
                keys.problem(problem);
                continue;
            };
            if pairs.is_some_and(|pairs| pairs.has(key)) {
                let message = format!("`{key}` moves in pairs, and with no other axis");
                keys.problem(Diagnostic::at(word.span, message, "a key of `[sweep.pairs]`").help(
                    "write the two as axes in place of `[sweep.pairs]`: axes of `zip` may repeat values",
                ));
                continue;
            }
            if group.contains(&number) || groups.iter().any(|group| group.contains(&number)) {
                let message = format!("`sweep.zip` names `{key}` twice");
                keys.problem(Diagnostic::at(word.span, message, "the same axis again"));
                continue;
            }
            let AxisValues::Listed(values) = &axes[number].values else {
                let message = format!("`{key}` cannot move with other axes: its values are drawn");
                keys.problem(
                    Diagnostic::at(word.span, message, "this axis").help("list them: `[a, b]`"),
                );
                continue;
            };
            lengths.push(format!("`{key}` has {}", values.len()));
            if let Some(first) = group.first()
                && let AxisValues::Listed(others) = &axes[*first].values
                && others.len() != values.len()
            {
                let message = "axes that move together need as many values";
                keys.problem(Diagnostic::at(word.span, message, lengths.join(", ")));
                continue;
            }
            group.push(number);
        }
        if group.len() > 1 {
            groups.push(group);
        }
    }
    keys.record("zip", node.to_toml());
    groups
}

fn where_holds(keys: &mut Keys, node: &Node, axes: &[Axis]) -> Result<Condition, Noted> {
    let Value::String(text) = &node.value else {
        let found = format!("found {}", node.value.type_name());
        return Err(keys.problem(
            Diagnostic::at(node.span, "`sweep.where` must be a string", found)
                .help("for example `where = \"lr < 0.1 or seed == 0\"`"),
        ));
    };
    keys.record("where", text.clone());
    let names: Vec<&str> = axes.iter().map(|axis| axis.key.as_str()).collect();
    Condition::read(text, node.span, &names).map_err(|problem| keys.problem(problem))
}

/// What the parts of a sweep ask of each other.
fn problems(keys: &mut Keys, sweep: &Sweep, count: Option<usize>, span: Span) {
    let at = |keys: &Keys, key: &str| keys.peek(key).map_or(span, |node| node.span);
    let drawn = !matches!(sweep.sampler, Sampler::Grid);
    if drawn && count.is_none() {
        keys.problem(
            Diagnostic::at(at(keys, "search"), "this search needs `sweep.trials`", "draws trials")
                .help("add `trials = 20`, the number of configurations to draw"),
        );
    }
    if let (false, Some(_)) = (drawn, count) {
        let message = "`sweep.trials` does not go with a grid, which has every combination";
        keys.problem(
            Diagnostic::at(at(keys, "trials"), message, "decides nothing")
                .help("add `search = \"random\"`, `\"sobol\"` or `\"tpe\"`, or leave it out"),
        );
    }
    if !drawn {
        let mut trials = Some(1_usize);
        for dimension in &sweep.dimensions {
            let axis = &sweep.axes[dimension.axes[0]];
            let Some(all) = dimension.all(&sweep.axes) else {
                let message = format!("a grid cannot have every value of `{}`", axis.key);
                keys.problem(
                    Diagnostic::at(axis.span, message, "has no end of values")
                        .help("add `search = \"random\"`, `\"sobol\"` or `\"tpe\"` with `trials`")
                        .help("or list them: `[a, b]` or `{ from, to, step }`"),
                );
                return;
            };
            trials = trials.and_then(|trials| trials.checked_mul(all.len()));
        }
        if trials.is_none_or(|trials| trials > MOST_TRIALS) {
            keys.problem(Diagnostic::at(
                at(keys, "axes"),
                format!("the sweep has more than {MOST_TRIALS} trials"),
                "every axis multiplies their number",
            ));
        }
    }
    // How many trials `where` leaves of these for all draws is counted when they are drawn.
    let multiply = sweep.dimensions.iter().filter(|it| it.repeats || it.each);
    let lengths = multiply.filter_map(|it| it.all(&sweep.axes)).map(|all| all.len());
    if drawn && lengths.fold(1, usize::saturating_mul) > MOST_TRIALS {
        keys.problem(Diagnostic::at(
            at(keys, "axes"),
            format!("a draw of this sweep has more than {MOST_TRIALS} trials"),
            "every axis that repeats or is in `each` multiplies their number",
        ));
    }
    if drawn && sweep.dimensions.iter().all(|it| it.repeats || it.each) {
        let message = "every axis repeats or is in `each`: there is nothing to draw";
        let problem = Diagnostic::at(at(keys, "axes"), message, "no other axis");
        keys.problem(match sweep.dimensions.iter().any(|it| it.each) {
            true => problem.help("add an axis, or leave out `each` to draw these"),
            false => problem.help("add an axis, or `repeat = []` to draw this one"),
        });
    }
    let own = sweep.dimensions.iter().filter(|it| !it.repeats).count();
    if let Sampler::Sobol { .. } = sweep.sampler
        && (own > SOBOL_DIMENSIONS || count.is_some_and(|it| it > SOBOL_POINTS / 4))
    {
        let message = format!(
            "a Sobol sequence has at most {SOBOL_DIMENSIONS} axes and {} trials",
            SOBOL_POINTS / 4
        );
        keys.problem(Diagnostic::at(at(keys, "search"), message, "more than that"));
    }
    let needs = match (&sweep.sampler, sweep.halving) {
        (Sampler::Tpe { .. }, _) => Some(("search", "`search = \"tpe\"`")),
        (_, Some(_)) => Some(("halving", "`[sweep.halving]`")),
        (Sampler::Grid | Sampler::Random { .. } | Sampler::Sobol { .. }, None) => None,
    };
    if let (Some((key, what)), false) = (needs, keys.has("select")) {
        keys.problem(
            Diagnostic::at(
                at(keys, key),
                format!("{what} needs `[sweep.select]`"),
                "goes by what?",
            )
            .help("add `[sweep.select]` with `stage = \"...\"` and `by = \"validate.accuracy\"`"),
        );
    }
    compared_pairs(keys, sweep, span);
    if let Some(goal) = &sweep.select {
        let place = keys.peek("select").map_or(goal.span, |node| node.nearest("per").span);
        for key in &goal.per {
            if !sweep.axes.iter().any(|axis| axis.key == *key) || sweep.is_repeat(key) {
                let message = format!("`sweep.select.per` names `{key}`");
                let mut problem =
                    Diagnostic::at(place, message, "not an axis that sets trials apart");
                problem.help.extend(suggest(key, sweep.axes.iter().map(|axis| axis.key.as_str())));
                keys.problem(problem);
            }
        }
    }
    if let (Some(_), Some(goal)) = (sweep.halving, &sweep.select) {
        let path = ["stages", &goal.stage, "epochs"];
        if let Some(axis) = sweep.axes.iter().find(|axis| axis.path == path) {
            let key = path.join(".");
            let message = format!("`[sweep.halving]` cannot compare trials of other `{key}`");
            keys.problem(Diagnostic::at(axis.span, message, "swept here"));
        }
    }
}

/// Whether a search would take pairs for settings, of which the easiest is the best.
fn compared_pairs(keys: &mut Keys, sweep: &Sweep, span: Span) {
    let Some(pairs) = &sweep.pairs else { return };
    let place = keys.peek("pairs").map_or(span, |node| node.span);
    let dimension = sweep.dimensions.iter().find(|it| it.axes.contains(&0));
    if dimension.is_none_or(|it| it.repeats) {
        return;
    }
    let seeded = sweep.axes.iter().any(|axis| axis.path == ["pipeline", "seed"]);
    let repeat = match seeded {
        true => {
            "add `repeat = [\"pair\", \"pipeline.seed\"]` to `[sweep]`: every configuration runs on all pairs"
        }
        false => "add `repeat = [\"pair\"]` to `[sweep]`: every configuration runs on all pairs",
    };
    let is_each = dimension.is_some_and(|it| it.each);
    if !matches!(sweep.sampler, Sampler::Grid) && !is_each {
        let message = "this search would draw pairs of domains as if they were settings";
        let mut problem = Diagnostic::at(place, message, "one of these for each draw").help(repeat);
        if !sweep.is_adaptive() {
            problem =
                problem.help("or add `each = [\"pair\"]`: every pair gets as many configurations");
        }
        keys.problem(problem);
        return;
    }
    let per_pair =
        |goal: &Select| goal.per.contains(&pairs.source) && goal.per.contains(&pairs.target);
    if let Some(goal) = sweep.select.as_ref().filter(|goal| !per_pair(goal)) {
        let message = "`[sweep.select]` would compare trials of different pairs of domains";
        keys.problem(
            Diagnostic::at(goal.span, message, "the easiest pair would win")
                .related(place, "the pairs")
                .help("add \"pair\" to its axes: `per = [\"pair\"]` selects for each pair")
                .help(format!("or {repeat}")),
        );
    }
}
