//! One direction of a sweep: an axis, or several that move together.

use super::super::node::Node;
use super::axis::{Axis, AxisValues};
use super::space::Space;

/// A direction.
#[derive(Debug, Clone)]
pub(super) struct Dimension {
    /// The numbers of its axes.
    pub axes: Vec<usize>,
    /// Every configuration is run with each of its values.
    pub repeats: bool,
    /// Every draw is tried with each of its values, which set configurations apart.
    pub each: bool,
}

impl Dimension {
    /// The axis that stands for all of them.
    fn first<'a>(&self, axes: &'a [Axis]) -> &'a Axis {
        &axes[self.axes[0]]
    }

    /// The keys of its axes, as one word.
    pub fn name(&self, axes: &[Axis]) -> String {
        self.axes.iter().map(|at| axes[*at].key.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The ends of its coordinates.
    #[expect(clippy::cast_precision_loss, reason = "a list is short")]
    pub fn ends(&self, axes: &[Axis]) -> (f64, f64) {
        match &self.first(axes).values {
            AxisValues::Listed(values) => (0.0, values.len() as f64),
            AxisValues::Drawn(space) => space.ends(),
        }
    }

    /// Whether its values have no order.
    pub fn is_categorical(&self, axes: &[Axis]) -> bool {
        matches!(
            &self.first(axes).values,
            AxisValues::Listed(_) | AxisValues::Drawn(Space::Choice(_))
        )
    }

    /// Coordinates of all its values in order, where they can be counted.
    pub fn all(&self, axes: &[Axis]) -> Option<Vec<f64>> {
        let axis = self.first(axes);
        match &axis.values {
            AxisValues::Listed(values) => Some((0..values.len()).map(middle).collect()),
            AxisValues::Drawn(space) => {
                let values = space.all(axis.span)?;
                Some(values.iter().map(|value| space.coordinate(value)).collect())
            }
        }
    }

    /// The coordinates of its first value and of its ends: whoever is content with them is likely to
    /// be with what lies between.
    pub fn corners(&self, axes: &[Axis]) -> Vec<f64> {
        match self.all(axes) {
            Some(all) if all.len() <= 16 => all,
            _ => {
                let (low, high) = self.ends(axes);
                vec![low, high]
            }
        }
    }

    /// The values of its axes at a coordinate, each with the number of its axis.
    pub fn values(&self, at: f64, axes: &[Axis]) -> Vec<(usize, Node)> {
        let value = |number: &usize| {
            let axis = &axes[*number];
            let value = match &axis.values {
                AxisValues::Listed(values) => values[place(at, values.len())].clone(),
                AxisValues::Drawn(space) => space.value(at, axis.span),
            };
            (*number, value)
        };
        self.axes.iter().map(value).collect()
    }
}

/// The coordinate in the middle of what stands for item `at` of a list.
#[expect(clippy::cast_precision_loss, reason = "a list is short")]
fn middle(at: usize) -> f64 {
    at as f64 + 0.5
}

/// The item of a list that a coordinate stands for.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the list")]
fn place(at: f64, len: usize) -> usize {
    (at.floor().max(0.0) as usize).min(len - 1)
}
