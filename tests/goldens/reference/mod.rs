//! What the tests against PyTorch share with the scripts in tests/golden: numbers that both compute,
//! and how near ours must come.

#![allow(dead_code, reason = "a bench that shares it does not use all of it")]

pub mod bf16;
pub mod method_step;
pub mod ops;
pub mod pixel_changes;
pub mod primitives;
pub mod step;

use std::fmt;

use runner::nn::Model;
use runner::nn::ops::{Dims, Gradients, Tape};
use safetensors::SafeTensors;

/// The hash of tests/golden/hashed.py: uniform in [-bound, bound).
pub fn hashed(salt: usize, len: usize, bound: f32) -> Vec<f32> {
    let salt = u32::try_from(salt).unwrap();
    (0..u32::try_from(len).unwrap())
        .map(|i| {
            let mut h = i.wrapping_add(salt.wrapping_mul(0x9E37_79B1));
            h ^= h >> 16;
            h = h.wrapping_mul(0x85EB_CA6B);
            h ^= h >> 13;
            h = h.wrapping_mul(0xC2B2_AE35);
            h ^= h >> 16;
            ((h >> 8) as f32 / (1 << 23) as f32 - 1.0) * bound
        })
        .collect()
}

/// Every k-th value, as few as are at most `most`.
pub fn sampled(values: &[f32], most: usize) -> Vec<f32> {
    values.iter().step_by(values.len().div_ceil(most)).copied().collect()
}

/// The values of a tensor in a safetensors file.
pub fn tensor(file: &[u8], name: &str) -> Vec<f32> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let view = tensors.tensor(name).unwrap();
    view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

pub fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// How far some numbers are from PyTorch's, and how far they may be.
#[derive(Debug, Clone)]
pub struct Distance {
    pub name: String,
    /// The L2 norm of the difference.
    pub off: f64,
    /// The L2 norm of PyTorch's numbers.
    pub scale: f64,
    /// The largest difference that passes.
    pub limit: f64,
}

impl Distance {
    /// The distance of `ours` to `golden`, which may be `bound` of the golden norm plus `floor`.
    #[track_caller]
    pub fn of(name: &str, ours: &[f32], golden: &[f32], (bound, floor): (f64, f64)) -> Self {
        assert_eq!(ours.len(), golden.len(), "{name}");
        let difference = |(a, b): (&f32, &f32)| f64::from(*a) - f64::from(*b);
        let off = ours.iter().zip(golden).map(difference).map(|d| d * d).sum::<f64>().sqrt();
        let scale = norm(golden.iter().copied());
        Self { name: name.to_owned(), off, scale, limit: bound * scale + floor }
    }

    /// Whether the numbers are PyTorch's. A NaN is not.
    pub fn is_within(&self) -> bool {
        self.off <= self.limit
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, off, scale, limit } = self;
        write!(f, "{name}: off by {off:.2e} of {scale:.2e}, at most {limit:.2e} passes")
    }
}

/// Their L2 distance is at most `bound` of the golden norm, plus `floor`.
#[track_caller]
pub fn close(name: &str, ours: &[f32], golden: &[f32], bounds: (f64, f64)) {
    let distance = Distance::of(name, ours, golden, bounds);
    assert!(distance.is_within(), "{distance}");
}

/// Gives `model` the weights and running statistics that the scripts give PyTorch's: `scale` says how
/// large the weights of a batch norm are, and a batch norm has `buffers` buffers there.
pub fn fill(model: &mut Model, scale: impl Fn(&str) -> f32, buffers: usize) {
    for (salt, parameter) in model.parameters_mut().iter_mut().enumerate() {
        let len = parameter.value.len();
        let values = if parameter.shape.len() > 1 {
            let fan_in: usize = parameter.shape[1..].iter().product();
            hashed(salt, len, (6.0 / fan_in as f64).sqrt() as f32)
        } else if parameter.name.ends_with("weight") {
            let scale = scale(&parameter.name);
            hashed(salt, len, 0.25).iter().map(|value| scale * (1.0 + value)).collect()
        } else {
            hashed(salt, len, 0.1)
        };
        parameter.value.write(&values);
    }
    for (at, stats) in model.stats_mut().iter_mut().enumerate() {
        let (len, salt) = (stats.mean.len(), 1000 + buffers * at);
        stats.mean.write(&hashed(salt, len, 0.1));
        let var: Vec<f32> = hashed(salt + 1, len, 0.25).iter().map(|v| 1.0 + v).collect();
        stats.var.write(&var);
    }
}

/// The gradients of a loss whose derivative along each parameter is what `of` gives for its place.
pub fn gradients(model: &Model, of: impl Fn(usize) -> Vec<f32>) -> Gradients {
    let tape = Tape::default();
    let mut loss = model.ops().tensor(vec![0.0], Dims::Scalar).unwrap();
    for (at, parameter) in model.parameters().iter().enumerate() {
        let slopes = model.ops().tensor(of(at), parameter.value.dims()).unwrap();
        let part = parameter.value.on(&tape).mul(&slopes).unwrap().sum().unwrap();
        loss = part.add(&loss).unwrap();
    }
    tape.backward(&loss).unwrap()
}
