//! One adaptation step of `dacnn` gives the losses, gradients, updated parameters and running
//! statistics that PyTorch gives, on every backend (tests/golden/dann_step.py, tests/golden/coral_step.py).

use crate::backends::backends;
use crate::reference::{Distance, step};

#[track_caller]
fn assert_within(distances: &[Distance]) {
    assert!(!distances.is_empty());
    for distance in distances {
        assert!(distance.is_within(), "{distance}");
    }
}

#[test]
fn one_step_of_dann_equals_pytorch() {
    for ops in backends() {
        assert_within(&step::dann(&ops));
    }
}

#[test]
fn one_step_of_deep_coral_equals_pytorch() {
    for ops in backends() {
        assert_within(&step::coral(&ops));
    }
}
