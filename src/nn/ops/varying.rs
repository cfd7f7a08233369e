//! What is another at every step, in forms that the code of a step hands on without a look at it.
//!
//! A device may repeat a step without running its code. That is sound where the code has looked at nothing that changes from step
//! to step: then it would ask for the same again, with the same numbers but for those that it handed on in these forms, whose next
//! values are known. So whoever does look says so here, and the step is one that is not repeated. Nobody has to know of
//! this: to take the number out of its form is to look.

use std::cell::Cell;
use std::ops::{Deref, Neg};

thread_local! {
    static LOOKED: Cell<bool> = const { Cell::new(false) };
}

/// Notes that the code of this thread's step has looked at something that may be another at the next step.
pub(crate) fn look() {
    LOOKED.set(true);
}

/// Whether it has since this was last asked for.
pub(crate) fn has_looked() -> bool {
    LOOKED.take()
}

/// A number that an operation takes: one that is always the same, or one that follows from where a training stands.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    value: f32,
    origin: Option<OfKnob>,
}

/// How a number follows from a knob of the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::nn) struct OfKnob {
    /// Which of the step's knobs, in the order in which these were asked for.
    knob: usize,
    is_negated: bool,
}

impl OfKnob {
    /// Whether it is one of so many knobs.
    pub fn is_among(self, knobs: &[f32]) -> bool {
        self.knob < knobs.len()
    }

    /// The number, when the step's knobs have these values.
    pub fn at(self, knobs: &[f32]) -> f32 {
        if self.is_negated { -knobs[self.knob] } else { knobs[self.knob] }
    }
}

impl Number {
    /// What a step's knob of this number is worth.
    pub(crate) fn of_knob(value: f32, knob: usize) -> Self {
        Self { value, origin: Some(OfKnob { knob, is_negated: false }) }
    }

    /// The number itself. Where it changes from step to step, the code that asks for it runs at every step.
    pub fn value(self) -> f32 {
        if self.origin.is_some() {
            look();
        }
        self.value
    }

    /// The number, for an operation that says where it comes from or whose device repeats nothing.
    pub(in crate::nn) fn unseen(self) -> f32 {
        self.value
    }

    pub(in crate::nn) fn origin(self) -> Option<OfKnob> {
        self.origin
    }
}

impl From<f32> for Number {
    fn from(value: f32) -> Self {
        Self { value, origin: None }
    }
}

impl Neg for Number {
    type Output = Self;

    fn neg(self) -> Self {
        let turned = |it: OfKnob| OfKnob { is_negated: !it.is_negated, ..it };
        Self { value: -self.value, origin: self.origin.map(turned) }
    }
}

/// To compare is to look.
impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}

/// A list with a value for each image of a step: labels, places in a data set. Its length is no secret; to take values out of it is
/// to look.
#[derive(Debug, Clone, Copy)]
pub struct Varying<'a, T> {
    values: &'a [T],
    is_of_step: bool,
}

impl<'a, T> Varying<'a, T> {
    /// A list that belongs to the images of the step, and is another at the next one.
    pub(crate) fn of_step(values: &'a [T]) -> Self {
        Self { values, is_of_step: true }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The values, for an operation that says where they come from or whose device repeats nothing.
    pub(in crate::nn) fn unseen(self) -> &'a [T] {
        self.values
    }

    /// Whether it belongs to the images of the step.
    pub(crate) fn is_of_step(&self) -> bool {
        self.is_of_step
    }
}

impl<T> Deref for Varying<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        if self.is_of_step {
            look();
        }
        self.values
    }
}

impl<'a, T> From<&'a [T]> for Varying<'a, T> {
    fn from(values: &'a [T]) -> Self {
        Self { values, is_of_step: false }
    }
}

impl<'a, T> From<&'a Vec<T>> for Varying<'a, T> {
    fn from(values: &'a Vec<T>) -> Self {
        Self::from(&values[..])
    }
}

impl<'a, T, const N: usize> From<&'a [T; N]> for Varying<'a, T> {
    fn from(values: &'a [T; N]) -> Self {
        Self::from(&values[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_a_number_out_of_its_form_has_looked() {
        let looked = |work: &dyn Fn()| {
            has_looked();
            work();
            has_looked()
        };
        let (fixed, knob) = (Number::from(2.0), Number::of_knob(0.5, 1));
        assert!(!looked(&|| assert!((fixed.value() - 2.0).abs() < 1e-9)));
        assert!(!looked(&|| assert!(((-knob).unseen() + 0.5).abs() < 1e-9)));
        assert!(looked(&|| assert!(((-knob).value() + 0.5).abs() < 1e-9)));
        assert!(looked(&|| assert!(fixed != knob)));
        let (plain, labels) = (Varying::from(&[1, 2]), Varying::of_step(&[1, 2]));
        assert!(!looked(&|| assert_eq!(plain[1], 2)));
        assert!(!looked(&|| assert!(labels.len() == 2 && !labels.is_empty())));
        assert!(looked(&|| assert_eq!(labels[1], 2)));
        assert!(looked(&|| assert_eq!(labels.iter().sum::<i32>(), 3)));
    }

    #[test]
    fn a_number_follows_its_knob_to_the_bit() {
        let knobs = [0.25, 3.0];
        let of = |number: Number| number.origin().unwrap().at(&knobs).to_bits();
        let knob = Number::of_knob(1.0, 1);
        assert_eq!([of(knob), of(-knob), of(-(-knob))], [3.0_f32, -3.0, 3.0].map(f32::to_bits));
    }
}
