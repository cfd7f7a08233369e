//! Convolutions and linear layers whose factors are bf16 (tests/golden/bf16.py), of the inputs of `ops`, on any backend.

use std::collections::BTreeMap;

use runner::nn::ops::Backend;
use safetensors::SafeTensors;

use super::ops::{BOTH, Golden, Op, floats};
use super::{Distance, ops};

/// Largest L2 distance to sums in double precision, relative to theirs.
const OF_SUMS: f64 = 1e-4;

/// To `autocast`'s results, which are rounded to bf16, as its biases are. A number of bf16 has 8 bits that count, so rounding moves
/// one by 2^-9 of itself at most, and both together move it by 2^-8 where result and bias are as large as each other.
const OF_ROUNDED: f64 = 1.0 / 256.0;

/// An operation with what PyTorch computed of it, by `form/tensor`.
pub struct Case {
    pub golden: Golden,
    tensors: BTreeMap<String, Vec<f32>>,
}

impl Case {
    /// How far values and gradients on `ops` are from sums in double precision of factors of bf16, and from `autocast`'s.
    pub fn distances(&self, ops: &Backend) -> Vec<Distance> {
        let ours = self.golden.run(ops, BOTH);
        let gradients = [Some(ours.dx), ours.parameters.first().cloned()];
        let bias = ours.parameters.get(1).cloned();
        let gradients = gradients.into_iter().chain([bias]).map(Option::flatten);
        let found = ["dx", "dweight", "dbias"].into_iter().zip(gradients);
        let found = found.filter_map(|(tensor, values)| Some((tensor, values?)));
        let found: Vec<_> = [("y", ours.y)].into_iter().chain(found).collect();
        let mut distances = Vec::new();
        for (form, bound) in [("exact", OF_SUMS), ("autocast", OF_ROUNDED)] {
            for (tensor, ours) in &found {
                let Some(wanted) = self.tensors.get(&format!("{form}/{tensor}")) else { continue };
                let name = format!("{} {tensor}, {form}", self.golden.name);
                distances.push(Distance::of(&name, ours, wanted, (bound, 0.0)));
            }
        }
        assert_eq!(distances.len(), self.tensors.len(), "{}", self.golden.name);
        distances
    }
}

/// Every case of the golden file whose factors a GPU rounds: depthwise convolutions are in single precision.
pub fn cases() -> Vec<Case> {
    let bytes = std::fs::read("tests/golden/bf16.safetensors").unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let is_rounded = |op: &Op| match op {
        Op::Conv2d(conv) => conv.groups < conv.filters || conv.groups < conv.input.channels,
        Op::Linear { .. } => true,
        _ => false,
    };
    let goldens = ops::goldens().into_iter().filter(|golden| is_rounded(&golden.op));
    goldens
        .map(|golden| {
            let prefix = format!("{}/", golden.name);
            let own =
                file.iter().filter_map(|(key, view)| Some((key.strip_prefix(&prefix)?, view)));
            let tensors = own.map(|(key, view)| (key.to_owned(), floats(view.data()))).collect();
            Case { golden, tensors }
        })
        .collect()
}
