//! The small operations that losses are composed of give PyTorch's values and gradients
//! (tests/golden/primitives.py) on every backend, and the same as each other.

use crate::backends::{backends, processors};
use crate::reference::hashed;
use crate::reference::primitives::goldens;
use runner::nn::ops::{Backend, CpuOps, Dims, Primitive, Tape, Tensor};

#[test]
fn every_primitive_equals_pytorch() {
    let goldens = goldens();
    assert_eq!(goldens.len(), 57);
    for golden in goldens {
        for ops in backends() {
            for distance in golden.distances(&ops) {
                assert!(distance.is_within(), "{distance}");
            }
        }
    }
}

/// Inputs of a primitive: their shapes, and the least value of theirs.
type Inputs = (Vec<(usize, usize)>, f32);

/// Shapes that show more than the golden ones: single rows and columns, and sizes that are no multiple
/// of anything. The compiler asks for those of a new primitive.
fn inputs(primitive: &Primitive) -> Vec<Inputs> {
    let one = |shapes: &[(usize, usize)], least| {
        shapes.iter().map(|shape| (vec![*shape], least)).collect::<Vec<_>>()
    };
    let shapes = [(1, 1), (1, 13), (7, 1), (7, 13)];
    match primitive {
        Primitive::Add | Primitive::Subtract | Primitive::Multiply => {
            let others = [(7, 13), (1, 13), (7, 1), (1, 1)];
            others.into_iter().map(|other| (vec![(7, 13), other], -1.0)).collect()
        }
        Primitive::Divide => {
            let others = [(7, 13), (1, 13), (7, 1), (1, 1)];
            others.into_iter().map(|other| (vec![(7, 13), other], 0.5)).collect()
        }
        Primitive::Log | Primitive::Sqrt => one(&shapes, 0.5),
        Primitive::Scale(_)
        | Primitive::DivideBy(_)
        | Primitive::Shift(_)
        | Primitive::Square
        | Primitive::Abs
        | Primitive::Exp
        | Primitive::Sigmoid
        | Primitive::Clamp(..)
        | Primitive::Above(_)
        | Primitive::Softmax
        | Primitive::LogSoftmax
        | Primitive::RowMax
        | Primitive::Sum
        | Primitive::SumOfRows
        | Primitive::RowSums
        | Primitive::Transpose => one(&shapes, -1.0),
        Primitive::MatMul => [(13, 5), (13, 1)].map(|other| (vec![(7, 13), other], -1.0)).into(),
        Primitive::ConcatRows => {
            [(7, 13), (1, 13)].map(|other| (vec![(7, 13), other], -1.0)).into()
        }
        Primitive::ConcatColumns => vec![
            (vec![(7, 13)], -1.0),
            (vec![(7, 13), (7, 1)], -1.0),
            (vec![(7, 3), (7, 13), (7, 5), (7, 1)], -1.0),
        ],
        Primitive::GatherRows(_) => one(&[(7, 13), (7, 1)], -1.0),
    }
}

/// Every primitive.
fn primitives() -> Vec<Primitive> {
    let values = [
        Primitive::Add,
        Primitive::Subtract,
        Primitive::Multiply,
        Primitive::Divide,
        Primitive::Scale((-0.7).into()),
        Primitive::DivideBy(0.3),
        Primitive::Shift(0.25),
        Primitive::Square,
        Primitive::Abs,
        Primitive::Exp,
        Primitive::Log,
        Primitive::Sqrt,
        Primitive::Sigmoid,
        Primitive::Clamp(-0.4, 0.5),
        Primitive::Above(0.1),
    ];
    let rows = [
        Primitive::Softmax,
        Primitive::LogSoftmax,
        Primitive::RowMax,
        Primitive::Sum,
        Primitive::SumOfRows,
        Primitive::RowSums,
        Primitive::MatMul,
        Primitive::Transpose,
        Primitive::ConcatRows,
        Primitive::ConcatColumns,
        Primitive::GatherRows(vec![6, 2, 2, 0, 6, 2]),
        Primitive::GatherRows(vec![4]),
    ];
    values.into_iter().chain(rows).collect()
}

/// Values of these inputs, from `least` to 1.
fn numbers((shapes, least): &Inputs) -> Vec<Vec<f32>> {
    let numbers = |(salt, (rows, columns)): (usize, &(usize, usize))| {
        let values = hashed(100 + salt, rows * columns, 1.0).into_iter();
        values.map(|value| least + (value + 1.0) / 2.0 * (1.0 - least)).collect()
    };
    shapes.iter().enumerate().map(numbers).collect()
}

/// Values, and gradients of the inputs for an output gradient without a pattern.
type Values = (Vec<f32>, Vec<Option<Vec<f32>>>);

fn run(
    ops: &Backend,
    primitive: &Primitive,
    shapes: &[(usize, usize)],
    values: &[Vec<f32>],
) -> Values {
    let tape = Tape::default();
    let tensor = |(values, (rows, columns)): (&Vec<f32>, &(usize, usize))| {
        ops.tensor(values.clone(), Dims::Rows(*rows, *columns)).unwrap().on(&tape)
    };
    let inputs: Vec<Tensor> = values.iter().zip(shapes).map(tensor).collect();
    let y = ops.primitive(primitive, &inputs.iter().collect::<Vec<_>>()).unwrap();
    let dy = ops.tensor(hashed(7, y.len(), 1.0), y.dims()).unwrap();
    let mut gradients = tape.backward(&y.mul(&dy).unwrap().sum().unwrap()).unwrap();
    let taken = inputs.iter().map(|it| gradients.take(it).map(|it| it.host())).collect();
    (y.host(), taken)
}

#[test]
fn the_backends_agree_on_every_primitive() {
    let [cpu, dfdx] = processors();
    for primitive in primitives() {
        for inputs in inputs(&primitive) {
            let values = numbers(&inputs);
            let ours = run(&cpu, &primitive, &inputs.0, &values);
            let theirs = run(&dfdx, &primitive, &inputs.0, &values);
            // The CPU computes them as dfdx does, in the same order.
            assert_eq!(ours, theirs, "{primitive:?} of {:?}", inputs.0);
            let recorded = primitive != Primitive::Above(0.1);
            assert!(ours.1.iter().all(|it| it.is_some() == recorded), "{primitive:?}");
        }
    }
}

/// Large enough to be cut into tasks.
#[test]
fn large_inputs_give_the_bits_of_dfdx_at_any_number_of_threads() {
    let [_, dfdx] = processors();
    let whole = (211, 501);
    let cases = [
        (Primitive::Add, vec![whole, whole]),
        (Primitive::Scale((-0.7).into()), vec![whole]),
        (Primitive::Sum, vec![whole]),
        (Primitive::ConcatRows, vec![whole, (40, 501)]),
        (Primitive::ConcatColumns, vec![whole, (211, 9), (211, 250)]),
        (Primitive::GatherRows((0..300).map(|at| at * 7 % 211).collect()), vec![whole]),
    ];
    for (primitive, shapes) in cases {
        let inputs = (shapes, -1.0);
        let values = numbers(&inputs);
        let theirs = run(&dfdx, &primitive, &inputs.0, &values);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let ours = pool.install(|| run(&CpuOps::shared(), &primitive, &inputs.0, &values));
            assert!(ours == theirs, "{primitive:?} with {threads} threads");
        }
    }
}

/// The directional derivative of `<y, dy>` along a random direction, by central differences.
#[test]
fn gradients_of_primitives_agree_with_finite_differences() {
    const STEP: f32 = 2e-3;
    let [cpu, _] = processors();
    for primitive in primitives() {
        // A step over a kink proves nothing.
        let kinked = matches!(
            primitive,
            Primitive::Abs | Primitive::Clamp(..) | Primitive::Above(_) | Primitive::RowMax
        );
        if kinked {
            continue;
        }
        for inputs in inputs(&primitive) {
            let values = numbers(&inputs);
            let directions: Vec<Vec<f32>> =
                values.iter().enumerate().map(|(at, it)| hashed(200 + at, it.len(), 1.0)).collect();
            let along = |sign: f32| -> f64 {
                let moved = values.iter().zip(&directions).map(|(values, direction)| {
                    values.iter().zip(direction).map(|(v, d)| v + sign * STEP * d).collect()
                });
                let y = run(&cpu, &primitive, &inputs.0, &moved.collect::<Vec<Vec<f32>>>()).0;
                let dy = hashed(7, y.len(), 1.0);
                y.iter().zip(dy).map(|(y, dy)| f64::from(*y) * f64::from(dy)).sum()
            };
            let measured = (along(1.0) - along(-1.0)) / f64::from(2.0 * STEP);
            let gradients = run(&cpu, &primitive, &inputs.0, &values).1;
            let pairs = gradients.iter().flatten().flatten().zip(directions.iter().flatten());
            let (mut computed, mut scale) = (0.0, 0.0);
            for (gradient, direction) in pairs {
                computed += f64::from(*gradient) * f64::from(*direction);
                scale += f64::from(*gradient).powi(2);
            }
            let off = (measured - computed).abs();
            let name = format!("{primitive:?} of {:?}", inputs.0);
            assert!(off <= 2e-3 * scale.sqrt() + 1e-3, "{name}: {measured} is not {computed}");
        }
    }
}

#[test]
fn an_input_that_comes_twice_gets_both_gradients() {
    for ops in backends() {
        let tape = Tape::default();
        let x = ops.tensor(vec![1.0, -2.0, 3.0, 0.5], Dims::Rows(2, 2)).unwrap().on(&tape);
        let gradient = |y: Tensor| {
            let mut gradients = tape.backward(&y.sum().unwrap()).unwrap();
            gradients.take(&x).unwrap().host()
        };
        assert_eq!(gradient(x.mul(&x).unwrap()), [2.0, -4.0, 6.0, 1.0], "{ops:?}");
        assert_eq!(gradient(x.add(&x).unwrap()), [2.0; 4], "{ops:?}");
        assert_eq!(gradient(x.sub(&x).unwrap()), [0.0; 4], "{ops:?}");
        assert_eq!(gradient(x.concat_rows(&x).unwrap()), [2.0; 4], "{ops:?}");
        let parts = [x.clone(), x.clone(), x.clone()];
        assert_eq!(gradient(Tensor::concat_columns(&parts).unwrap()), [3.0; 4], "{ops:?}");
        // By element i, j: the sum of row j and that of column i.
        assert_eq!(gradient(x.matmul(&x).unwrap()), [3.0, 7.5, -2.5, 2.0], "{ops:?}");
        // By way of another tensor, too.
        let number = || x.sum().unwrap();
        assert_eq!(gradient(number().square().unwrap()), [5.0; 4], "{ops:?}");
        assert_eq!(gradient(x.mul(&number()).unwrap()), [5.0; 4], "{ops:?}");
    }
}

#[test]
fn a_row_that_is_gathered_twice_gets_both_gradients() {
    for ops in backends() {
        let tape = Tape::default();
        let x = ops.tensor(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], Dims::Rows(3, 2)).unwrap().on(&tape);
        let y = x.gather_rows(vec![2, 0, 2]).unwrap();
        assert_eq!(y.host(), [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
        let dy = x.constant(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0], y.dims()).unwrap();
        let mut gradients = tape.backward(&y.mul(&dy).unwrap().sum().unwrap()).unwrap();
        assert_eq!(gradients.take(&x).unwrap().host(), [4.0, 8.0, 0.0, 0.0, 17.0, 34.0]);
    }
}

#[test]
fn nothing_that_is_not_wanted_has_a_gradient() {
    for ops in backends() {
        let tape = Tape::default();
        let tensor = |values: Vec<f32>| ops.tensor(values, Dims::Rows(1, 2)).unwrap();
        let (x, constant) = (tensor(vec![1.0, 2.0]).on(&tape), tensor(vec![3.0, 4.0]));
        let y = x.mul(&constant).unwrap();
        let mut gradients = tape.backward(&y.sum().unwrap()).unwrap();
        assert_eq!(gradients.take(&x).unwrap().host(), [3.0, 4.0]);
        assert!(gradients.take(&constant).is_none(), "{ops:?}");
    }
}
