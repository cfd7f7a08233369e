//! One adaptation step of `dacnn` gives the losses, gradients, updated parameters and running
//! statistics that PyTorch gives, on every backend (tests/golden/dann_step.py, tests/golden/coral_step.py).

use crate::backends::{backends, gpu};
use crate::reference::{Distance, step};
use runner::device::Precision;
use runner::nn::ops::CpuOps;

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
fn one_step_of_dann_in_bf16_equals_pytorch() {
    if let Some(gpu) = gpu(Precision::Bf16) {
        assert_within(&step::dann_in_bf16(&gpu));
    }
    let precise = step::dann_in_bf16(&CpuOps::shared());
    let gradient = precise.iter().find(|it| it.name == "gradient features.conv2.weight");
    assert!(!gradient.unwrap().is_within(), "without rounding it is another one");
}

#[test]
fn one_step_of_deep_coral_equals_pytorch() {
    for ops in backends() {
        assert_within(&step::coral(&ops));
    }
}
