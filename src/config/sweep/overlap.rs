//! Axes that meet, and values that are one: whatever would run a trial that is not what its labels say.
//!
//! Apart from the reading of a sweep, so that the records of old sweeps can be read whatever they hold.

use std::collections::HashMap;

use super::super::diagnostic::Diagnostic;
use super::super::node::{Node, Value};
use super::Sweep;
use super::axis::{Axis, AxisValues};
use super::space::Space;

impl Sweep {
    /// Why trials would not be what their labels say: an axis whose values set a key that another axis
    /// sweeps, a key that is swept twice, an axis with the same value twice.
    pub fn contradictions(&self) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        for (at, axis) in self.axes.iter().enumerate() {
            problems.extend(same_value_twice(axis));
            for other in &self.axes[..at] {
                if other.path == axis.path {
                    problems.push(
                        Diagnostic::at(
                            axis.span,
                            format!("`{}` is swept twice", axis.key),
                            "again here",
                        )
                        .related(other.span, "first here")
                        .help("keep one of the two axes"),
                    );
                }
            }
            problems.extend(self.compares_other_epochs(axis));
            for inner in self.axes.iter().filter(|it| is_within(&it.path, &axis.path)) {
                problems.extend(sets_what_is_swept(axis, inner));
            }
        }
        problems
    }
}

/// Two axes of which one sets what the other sweeps. Labels do not say which of the two values counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// The axis whose values set the key of the other.
    pub outer: String,
    /// The axis of a key inside those values.
    pub inner: String,
    /// Whether both are the same key, in two spellings.
    pub is_same_key: bool,
}

impl Sweep {
    /// All pairs of axes of which one sets what the other sweeps, or which sweep the same key.
    pub fn overlaps(&self) -> Vec<Overlap> {
        let pairs = self.axes.iter().enumerate().flat_map(|(at, outer)| {
            let again = self.axes[at + 1..].iter().filter(move |it| it.path == outer.path);
            let within = self.axes.iter().filter(move |inner| {
                is_within(&inner.path, &outer.path) && sets_what_is_swept(outer, inner).is_some()
            });
            within.chain(again).map(move |inner| (outer, inner))
        });
        let named = |(outer, inner): (&Axis, &Axis)| Overlap {
            outer: outer.key.clone(),
            inner: inner.key.clone(),
            is_same_key: outer.path == inner.path,
        };
        pairs.map(named).collect()
    }

    /// Why halving cannot compare trials whose `epochs` differ by a value of `axis` as a whole.
    fn compares_other_epochs(&self, axis: &Axis) -> Option<Diagnostic> {
        let (Some(_), Some(goal)) = (self.halving, &self.select) else { return None };
        let path = ["stages", &goal.stage, "epochs"].map(str::to_owned);
        if !is_within(&path, &axis.path) {
            return None;
        }
        let epochs = |value: &Node| value.below(&path[axis.path.len()..]).cloned();
        let all: Vec<Option<Node>> = written(axis).iter().map(epochs).collect();
        let differ = |pair: &[Option<Node>]| match pair {
            [Some(a), Some(b)] => !a.is_same(b),
            [a, b] => a.is_some() != b.is_some(),
            _ => false,
        };
        all.windows(2).any(differ).then(|| {
            let message =
                format!("`[sweep.halving]` cannot compare trials of other `{}`", path.join("."));
            Diagnostic::at(axis.span, message, "swept by these values")
                .help("give all of them the same `epochs`")
        })
    }
}

/// Whether `path` leads to something inside what `outer` leads to.
pub(super) fn is_within(path: &[String], outer: &[String]) -> bool {
    path.len() > outer.len() && path.starts_with(outer)
}

/// The values of an axis, where they are written one by one.
fn written(axis: &Axis) -> &[Node] {
    match &axis.values {
        AxisValues::Listed(values) | AxisValues::Drawn(Space::Choice(values)) => values,
        AxisValues::Drawn(Space::Uniform(..) | Space::LogUniform(..) | Space::Int(..)) => &[],
    }
}

/// The first value that is that of another place in the axis, as `1.0` is that of `1`.
fn same_value_twice(axis: &Axis) -> Option<Diagnostic> {
    let mut seen: HashMap<String, &Node> = HashMap::new();
    written(axis).iter().find_map(|value| {
        let first = seen.insert(value.meaning(), value)?;
        let message = format!("axis `{}` has the value {} twice", axis.key, value.shown());
        Some(
            Diagnostic::at(value.span, message, "the same trial again")
                .related(first.span, "first here")
                .help("leave one of the two out"),
        )
    })
}

/// A value of `outer` that holds the key of `inner`: it never counts, and `trials.csv` would say that it
/// does.
fn sets_what_is_swept(outer: &Axis, inner: &Axis) -> Option<Diagnostic> {
    let rest = &inner.path[outer.path.len()..];
    let (value, found) =
        written(outer).iter().find_map(|value| Some((value, value.below(rest)?)))?;
    let message = format!("`{}` is swept, and set by the values of `{}`", inner.key, outer.key);
    let problem = Diagnostic::at(found.span, message, "this value would never count")
        .related(inner.span, "swept here");
    let in_array = (0..rest.len()).any(|depth| {
        matches!(value.below(&rest[..depth]).map(|it| &it.value), Some(Value::Array(_)))
    });
    Some(if in_array {
        problem.help(format!("sweep `{}` or `{}`, not both", outer.key, inner.key))
    } else {
        let key = rest.join(".");
        problem.help(format!("leave `{key}` out of the values of `{}`", outer.key))
    })
}
