//! What a tape promises, on every backend.

use super::{Backend, CpuOps, DfdxOps, Dims, Gradients, Tape, Tensor};
use crate::nn::geometry::Chw;

fn backends() -> [Backend; 2] {
    [CpuOps::shared(), DfdxOps::shared(dfdx::prelude::Cpu::default())]
}

fn row(ops: &Backend, values: &[f32]) -> Tensor {
    ops.tensor(values.to_vec(), Dims::Rows(1, values.len())).unwrap()
}

/// The gradients of the sum of `y`.
fn backward(tape: &Tape, y: &Tensor) -> Gradients {
    tape.backward(&y.sum().unwrap()).unwrap()
}

fn taken(gradients: &mut Gradients, of: &Tensor) -> Option<Vec<f32>> {
    gradients.take(of).map(|gradient| gradient.host())
}

#[test]
fn a_tape_is_empty_after_it_went_backward() {
    for ops in backends() {
        let tape = Tape::default();
        let x = row(&ops, &[1.0, 2.0]).on(&tape);
        let loss = x.square().unwrap().sum().unwrap();
        let mut first = tape.backward(&loss).unwrap();
        // The same loss has no way back any more, whether or not its gradients were taken.
        let mut again = tape.backward(&loss).unwrap();
        assert_eq!(taken(&mut again, &x), None, "{ops:?}");
        assert_eq!(taken(&mut first, &x), Some(vec![2.0, 4.0]), "{ops:?}");
        assert_eq!(taken(&mut first, &x), None, "a gradient is taken once");
        // A new loss on it starts afresh.
        let mut third = backward(&tape, &x.scale(3.0).unwrap());
        assert_eq!(taken(&mut third, &x), Some(vec![3.0, 3.0]), "{ops:?}");
    }
}

#[test]
fn a_detached_tensor_gets_no_gradient() {
    for ops in backends() {
        let tape = Tape::default();
        let x = row(&ops, &[1.0, 2.0]).on(&tape);
        let constant = x.square().unwrap().detached();
        assert!(x.is_recorded() && !constant.is_recorded());
        let mut gradients = backward(&tape, &x.mul(&constant).unwrap());
        assert_eq!(taken(&mut gradients, &constant), None, "{ops:?}");
        assert_eq!(taken(&mut gradients, &x), Some(vec![1.0, 4.0]), "{ops:?}");
        // Of the same values, once as a constant.
        let mut gradients = backward(&tape, &x.mul(&x.detached()).unwrap());
        assert_eq!(taken(&mut gradients, &x), Some(vec![1.0, 2.0]), "{ops:?}");
    }
}

#[test]
fn a_tensor_that_is_used_twice_gets_the_sum() {
    for ops in backends() {
        let tape = Tape::default();
        let x = row(&ops, &[1.0, -2.0]).on(&tape);
        let y = x.square().unwrap().add(&x.scale(5.0).unwrap()).unwrap();
        let y = y.add(&x).unwrap();
        assert_eq!(taken(&mut backward(&tape, &y), &x), Some(vec![8.0, 2.0]), "{ops:?}");
    }
}

#[test]
fn a_loss_that_is_not_on_the_tape_has_no_gradients() {
    for ops in backends() {
        let tape = Tape::default();
        let x = row(&ops, &[1.0]).on(&tape);
        let _unused = x.square().unwrap();
        let elsewhere = row(&ops, &[1.0]).on(&Tape::default()).square().unwrap();
        for loss in [row(&ops, &[3.0]), elsewhere] {
            let mut gradients = tape.backward(&loss).unwrap();
            assert_eq!(taken(&mut gradients, &x), None, "{ops:?}");
            assert_eq!(taken(&mut gradients, &loss), None, "{ops:?}");
        }
    }
}

#[test]
fn two_tapes_do_not_mix() {
    for ops in backends() {
        let (one, other) = (Tape::default(), Tape::default());
        let parameter = row(&ops, &[1.0, 2.0]);
        let first = parameter.on(&one).square().unwrap().sum().unwrap();
        let second = parameter.on(&other).scale(10.0).unwrap().sum().unwrap();
        let mut of_first = one.backward(&first).unwrap();
        let mut of_second = other.backward(&second).unwrap();
        assert_eq!(taken(&mut of_first, &parameter), Some(vec![2.0, 4.0]), "{ops:?}");
        assert_eq!(taken(&mut of_second, &parameter), Some(vec![10.0, 10.0]), "{ops:?}");
    }
}

/// Two losses of one tape, one after the other, as where two optimizers take turns.
#[test]
fn what_one_pass_left_behind_does_not_reach_the_next() {
    for ops in backends() {
        let tape = Tape::default();
        let (x, y) = (row(&ops, &[1.0]).on(&tape), row(&ops, &[2.0]).on(&tape));
        let mut first = backward(&tape, &x.mul(&y).unwrap());
        assert_eq!(taken(&mut first, &x), Some(vec![2.0]));
        drop(first);
        let mut second = backward(&tape, &x.add(&y).unwrap());
        assert_eq!(taken(&mut second, &y), Some(vec![1.0]), "{ops:?}");
    }
}

#[test]
fn a_parameter_that_the_loss_does_not_reach_has_no_gradient() {
    for ops in backends() {
        let tape = Tape::default();
        let (x, unreached) = (row(&ops, &[1.0]).on(&tape), row(&ops, &[2.0]).on(&tape));
        let _unused = unreached.exp().unwrap();
        let mut gradients = backward(&tape, &x.exp().unwrap());
        assert_eq!(taken(&mut gradients, &unreached), None, "{ops:?}");
        assert!(taken(&mut gradients, &x).is_some());
    }
}

#[test]
fn another_shape_of_a_tensor_shares_its_gradient() {
    for ops in backends() {
        let tape = Tape::default();
        let x = row(&ops, &[1.0, 2.0, 3.0, 4.0]).on(&tape);
        let square = x.reshaped(Dims::Rows(2, 2));
        let weights = square.constant(vec![1.0, 10.0], Dims::Rows(1, 2)).unwrap();
        let y = square.mul(&weights).unwrap().sum().unwrap().add(&x.sum().unwrap()).unwrap();
        let mut gradients = tape.backward(&y).unwrap();
        let gradient = gradients.take(&x).unwrap();
        assert_eq!(gradient.dims(), x.dims());
        assert_eq!(gradient.host(), [2.0, 11.0, 2.0, 11.0], "{ops:?}");
        let flat = square.reshaped(Dims::Flat(4));
        let mut gradients = backward(&tape, &flat.mul(&flat).unwrap());
        let gradient = gradients.take(&square).unwrap();
        assert_eq!((gradient.dims(), gradient.host()), (square.dims(), vec![2.0, 4.0, 6.0, 8.0]));
    }
}

#[test]
fn a_gradient_finds_its_way_through_feature_maps() {
    let shape = Chw { channels: 2, height: 1, width: 2 };
    for ops in backends() {
        let tape = Tape::default();
        let values: Vec<f32> = (0..12_u8).map(f32::from).collect();
        let x = ops.tensor(values.clone(), Dims::Rows(3, 4)).unwrap().on(&tape);
        let maps = ops.maps(&x, shape).unwrap();
        assert_eq!((maps.dims(), maps.host()), (Dims::Maps(3, shape), values.clone()));
        let rows = ops.flat_rows(&maps).unwrap();
        let mut gradients = backward(&tape, &rows.mul(&rows).unwrap());
        let expected = values.iter().map(|it| 2.0 * it).collect();
        assert_eq!(taken(&mut gradients, &x), Some(expected), "{ops:?}");
    }
}

#[test]
fn a_tensor_that_a_kernel_takes_twice_gets_both_gradients() {
    for ops in backends() {
        let tape = Tape::default();
        let x = ops.tensor(vec![1.0, 2.0, 3.0, 5.0], Dims::Rows(2, 2)).unwrap().on(&tape);
        let products = ops.linear(&x, &x, None, 2).unwrap();
        assert_eq!(products.host(), [5.0, 13.0, 13.0, 34.0]);
        // Twice the sums of the columns.
        let expected = vec![8.0, 14.0, 8.0, 14.0];
        assert_eq!(taken(&mut backward(&tape, &products), &x), Some(expected), "{ops:?}");
    }
}

#[test]
fn maps_are_put_together_along_their_channels() {
    let shape = |channels| Chw { channels, height: 1, width: 2 };
    let values = |len: u8, from: u8| (0..len).map(|at| f32::from(from + at)).collect::<Vec<_>>();
    for ops in backends() {
        let tape = Tape::default();
        // 17 images do not fill two blocks.
        let tensor = |values, columns| ops.tensor(values, Dims::Rows(17, columns)).unwrap();
        let a = tensor(values(17 * 4, 0), 4).on(&tape);
        let b = tensor(values(17 * 2, 100), 2).on(&tape);
        let maps = [ops.maps(&a, shape(2)).unwrap(), ops.maps(&b, shape(1)).unwrap()];
        let joined = Tensor::concat_columns(&maps).unwrap();
        assert_eq!(joined.dims(), Dims::Maps(17, shape(3)));
        let rows = ops.flat_rows(&joined).unwrap();
        let of_rows = Tensor::concat_columns(&[a.clone(), b.clone()]).unwrap();
        assert_eq!((rows.dims(), rows.host()), (of_rows.dims(), of_rows.host()), "{ops:?}");
        let mut gradients = backward(&tape, &rows.mul(&of_rows.detached()).unwrap());
        assert_eq!(taken(&mut gradients, &a), Some(a.host()), "{ops:?}");
        assert_eq!(taken(&mut gradients, &b), Some(b.host()), "{ops:?}");
    }
}

#[test]
fn the_gradient_of_any_shape_is_scaled_alone() {
    for ops in backends() {
        let tape = Tape::default();
        for dims in [Dims::Scalar, Dims::Flat(1), Dims::Rows(1, 1)] {
            let x = ops.tensor(vec![2.0], dims).unwrap().on(&tape);
            let y = x.grad_scale(-0.5).unwrap();
            assert_eq!((y.dims(), y.value()), (dims, 2.0), "{ops:?}");
            assert_eq!(taken(&mut backward(&tape, &y), &x), Some(vec![-0.5]), "{ops:?}");
        }
    }
}

#[test]
fn writing_to_a_tensor_leaves_those_that_shared_its_values() {
    for ops in backends() {
        let mut x = row(&ops, &[1.0, 2.0]);
        let before = x.clone();
        x.write(&[3.0, 4.0]);
        assert_eq!((before.host(), x.host()), (vec![1.0, 2.0], vec![3.0, 4.0]), "{ops:?}");
    }
}
