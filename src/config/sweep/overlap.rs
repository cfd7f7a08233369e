//! Axes that meet, and values that are one: whatever would run a trial that is not what its labels say.
//!
//! Apart from the reading of a sweep, so that the records of old sweeps can be read whatever they hold.

use std::collections::HashMap;
use std::fmt::Write;

use super::super::diagnostic::Diagnostic;
use super::super::node::{Node, Value};
use super::Sweep;
use super::axis::{Axis, AxisValues};
use super::dimension::Dimension;
use super::space::Space;

impl Sweep {
    /// Why trials would not be what their labels say: an axis whose values set a key that another axis
    /// sweeps, a key that is swept twice, an axis with the same value twice, axes that move together with the
    /// same values in two places.
    pub fn contradictions(&self) -> Vec<Diagnostic> {
        let together =
            |it: &Dimension| it.axes.iter().map(|at| &self.axes[*at]).collect::<Vec<_>>();
        let mut problems: Vec<Diagnostic> =
            self.dimensions.iter().filter_map(|it| same_values_twice(&together(it))).collect();
        for (at, axis) in self.axes.iter().enumerate() {
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

/// The first place whose values are those of another place in the axes, which move together: `1.0` is `1`.
fn same_values_twice(axes: &[&Axis]) -> Option<Diagnostic> {
    let places = axes.iter().map(|axis| written(axis).len()).min().unwrap_or_default();
    let mut seen: HashMap<Vec<String>, usize> = HashMap::new();
    (0..places).find_map(|at| {
        let values: Vec<&Node> = axes.iter().map(|axis| &written(axis)[at]).collect();
        let first = seen.insert(values.iter().map(|it| it.meaning()).collect(), at)?;
        let [(axis, value), others @ ..] = &axes.iter().zip(values).collect::<Vec<_>>()[..] else {
            return None;
        };
        let mut message = format!("axis `{}` has the value {} twice", axis.key, value.shown());
        for (axis, value) in others {
            let _ = write!(message, ", both times with `{}` = {}", axis.key, value.shown());
        }
        Some(
            Diagnostic::at(value.span, message, "the same trial again")
                .related(written(axis)[first].span, "first here")
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
