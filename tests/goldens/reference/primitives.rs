//! The small operations that losses are composed of, as PyTorch computes them (tests/golden/primitives.py),
//! on any backend.

use std::collections::BTreeMap;

use runner::nn::ops::{Backend, Dims, OpError, Tape, Tensor};
use safetensors::SafeTensors;
use serde_json::Value;

use super::{Distance, tensor};

/// Largest L2 distance to PyTorch, relative to PyTorch's norm.
const TOLERANCE: f64 = 1e-5;

/// One case of the golden file.
pub struct Golden {
    pub name: String,
    /// What the script calls the operation.
    pub op: String,
    settings: Value,
    inputs: Vec<(Vec<f32>, Dims)>,
    y: Vec<f32>,
    /// The gradient of `y` and those of the inputs, where there are any.
    gradients: Option<(Vec<f32>, Vec<Vec<f32>>)>,
}

impl Golden {
    fn float(&self, key: &str) -> f32 {
        self.settings[key].as_f64().unwrap() as f32
    }

    fn count(&self, key: &str) -> usize {
        usize::try_from(self.settings[key].as_u64().unwrap()).unwrap()
    }

    /// The operation on these inputs.
    fn compute(&self, inputs: &[Tensor]) -> Result<Tensor, OpError> {
        let a = &inputs[0];
        let b = || &inputs[1];
        match self.op.as_str() {
            "add" => a.add(b()),
            "sub" => a.sub(b()),
            "mul" => a.mul(b()),
            "div" => a.div(b()),
            "scale" => a.scale(self.float("by")),
            "div_by" => a.div_by(self.float("by")),
            "shift" => a.shift(self.float("by")),
            "square" => a.square(),
            "abs" => a.abs(),
            "exp" => a.exp(),
            "log" => a.log(),
            "sqrt" => a.sqrt(),
            "reciprocal" => a.constant(vec![1.0; a.len()], a.dims())?.div(a),
            "sigmoid" => a.sigmoid(),
            "clamp" => a.clamp(self.float("low"), self.float("high")),
            "above" => a.above(self.float("threshold")),
            "softmax" => a.softmax(),
            "log_softmax" => a.log_softmax(),
            "row_max" => a.row_max(),
            "sum" => a.sum(),
            "mean" => a.mean(),
            "sum_of_rows" => a.sum_of_rows(),
            "mean_of_rows" => a.mean_of_rows(),
            "row_sums" => a.row_sums(),
            "row_means" => a.row_means(),
            "matmul" => a.matmul(b()),
            "matmul_transposed" => a.matmul(&b().transposed()?),
            "gram" => a.matmul(&a.transposed()?),
            "transposed" => a.transposed(),
            "concat_rows" => a.concat_rows(b()),
            "concat_columns" => Tensor::concat_columns(inputs),
            "slice_rows" => a.slice_rows(self.count("start"), self.count("end")),
            "gather_rows" => {
                a.gather_rows(serde_json::from_value(self.settings["rows"].clone()).unwrap())
            }
            "row_entropies" => a.row_entropies(self.float("eps")),
            "normalize_rows" => a.div(&a.square()?.row_sums()?.sqrt()?),
            "pair_distances" => pair_distances(a, b()),
            "pair_distances_of_one_batch" => pair_distances(a, a),
            "covariance_gap" => {
                let gap = covariance(a)?.sub(&covariance(b())?)?;
                gap.square()?.sum()?.scale(1.0 / (4 * a.columns().pow(2)) as f32)
            }
            other => panic!("{other} is not an operation"),
        }
    }

    /// How far values and gradients on `ops` are from PyTorch's.
    pub fn distances(&self, ops: &Backend) -> Vec<Distance> {
        let tape = Tape::default();
        let tensor = |values: &[f32], dims| ops.tensor(values.to_vec(), dims).unwrap();
        let inputs: Vec<Tensor> =
            self.inputs.iter().map(|(values, dims)| tensor(values, *dims).on(&tape)).collect();
        let distance = |what: &str, ours: &[f32], golden: &[f32]| {
            let name = format!("{} {what} ({ops:?})", self.name);
            Distance::of(&name, ours, golden, (TOLERANCE, 0.0))
        };
        let y = self.compute(&inputs).unwrap();
        let mut distances = vec![distance("y", &y.host(), &self.y)];
        assert_eq!(y.is_recorded(), self.gradients.is_some(), "{}", self.name);
        if let Some((dy, expected)) = &self.gradients {
            let loss = y.mul(&tensor(dy, y.dims())).unwrap().sum().unwrap();
            let mut gradients = tape.backward(&loss).unwrap();
            for (at, (input, expected)) in inputs.iter().zip(expected).enumerate() {
                let ours = gradients.take(input).expect("it is wanted");
                assert_eq!(ours.dims(), input.dims(), "{}", self.name);
                distances.push(distance(&format!("gradient {at}"), &ours.host(), expected));
            }
        }
        distances
    }
}

/// The squared distance of each row of `a` to each row of `b`.
fn pair_distances(a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    let products = a.matmul(&b.transposed()?)?.scale(-2.0)?;
    let squares = |of: &Tensor| of.square()?.row_sums();
    products.add(&squares(a)?)?.add(&squares(b)?.transposed()?)
}

/// The covariance of the columns, without bias.
fn covariance(x: &Tensor) -> Result<Tensor, OpError> {
    let centred = x.sub(&x.mean_of_rows()?)?;
    centred.transposed()?.matmul(&centred)?.div_by((x.rows() - 1) as f32)
}

/// Every case of the golden file.
pub fn goldens() -> Vec<Golden> {
    let bytes = std::fs::read("tests/golden/primitives.safetensors").unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases: BTreeMap<String, Value> =
        serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    let case = |(name, settings): (String, Value)| {
        let values = |key: &str| tensor(&bytes, &format!("{name}/{key}"));
        let dims = |key: &str| match file.tensor(&format!("{name}/{key}")).unwrap().shape() {
            [1] => Dims::Scalar,
            [rows, columns] => Dims::Rows(*rows, *columns),
            shape => panic!("{name}/{key}: {shape:?}"),
        };
        let letters =
            ["a", "b", "c"].into_iter().take(settings["inputs"].as_u64().unwrap() as usize);
        let inputs = letters.clone().map(|key| (values(key), dims(key))).collect();
        let has_gradient = file.tensor(&format!("{name}/dy")).is_ok();
        let gradients = letters.map(|key| values(&format!("d{key}")));
        let gradients = has_gradient.then(|| (values("dy"), gradients.collect()));
        let (op, y) = (settings["op"].as_str().unwrap().to_owned(), values("y"));
        Golden { op, y, inputs, gradients, settings, name }
    };
    cases.into_iter().map(case).collect()
}
