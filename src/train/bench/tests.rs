//! What a bench promises to methods, on a network of one convolution, batch norm and one linear layer.

use super::*;
use crate::nn::ops::{CpuOps, Dims};
use crate::train::tiny;

const SGD: super::super::Optimizer =
    super::super::Optimizer::Sgd { lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0 };

/// Images of 3x4x4 without a pattern.
fn images(count: usize, salt: usize) -> Tensor {
    let value = |at: usize| ((at * 7919 + salt * 104_729) % 1009) as f32 / 504.5 - 1.0;
    let values = (0..count * 48).map(value).collect();
    CpuOps::shared().tensor(values, Dims::Rows(count, 48)).unwrap()
}

fn values(bench: &Bench) -> Vec<Vec<f32>> {
    bench.model(NetId::MAIN).parameters().iter().map(|it| it.value.host()).collect()
}

fn means(bench: &Bench) -> Vec<f32> {
    bench.model(NetId::MAIN).stats()[0].mean.host()
}

/// The cross-entropy of the main network for some images.
fn loss(bench: &mut Bench, x: &Tensor) -> Tensor {
    let labels: Vec<u32> = (0..x.rows()).map(|at| at as u32 % 2).collect();
    let features = bench.learn(&Part::FEATURES, x, Domain::Source).unwrap();
    let logits = bench.learn(&Part::CLASSIFIER, &features, Domain::Source).unwrap();
    bench.ops().cross_entropy(&logits, &Targets::plain(&labels)).unwrap()
}

fn with<T>(family: BatchNormFamily, work: impl FnOnce(&mut Bench) -> T) -> T {
    let settings = TrainingSettings { batch_norm: family, ..TrainingSettings::plain(4, SGD) };
    let mut model = tiny::model();
    if family == BatchNormFamily::Domain {
        model.split_norms().unwrap();
    }
    let mut bench = Bench::alone(model, &settings).unwrap();
    bench.begin_step(Clock { epochs: 1, steps_per_epoch: 1, ..Clock::default() }, &[]);
    work(&mut bench)
}

#[test]
fn a_descent_moves_its_groups_and_nothing_else() {
    with(BatchNormFamily::Separate, |bench| {
        let before = values(bench);
        let parts: Vec<Part> =
            bench.model(NetId::MAIN).parameters().iter().map(|it| it.part.clone()).collect();
        let loss = loss(bench, &images(4, 1));
        bench.descend(&loss, &[Group::part(Part::CLASSIFIER)]).unwrap();
        for ((before, after), part) in before.iter().zip(values(bench)).zip(parts) {
            assert_eq!(*before != after, part == Part::CLASSIFIER, "{part:?}");
        }
    });
}

#[test]
fn a_second_descent_sees_what_the_first_one_moved() {
    let steps = |times: usize| {
        with(BatchNormFamily::Separate, |bench| {
            for _ in 0..times {
                let loss = loss(bench, &images(4, 1));
                bench.descend(&loss, &[Group::MAIN]).unwrap();
            }
            loss(bench, &images(4, 1)).value()
        })
    };
    let [none, one, two] = [0, 1, 2].map(steps);
    assert!(one < none && two < one, "{none}, {one}, {two}");
}

#[test]
fn parameters_that_were_perturbed_get_every_bit_back() {
    with(BatchNormFamily::Separate, |bench| {
        let before = values(bench);
        let at_start = loss(bench, &images(4, 1));
        let mut gradients = bench.gradients(&at_start).unwrap();
        let climbed = bench
            .perturbed(&mut gradients, &[Group::MAIN], 0.05, |bench| {
                assert_ne!(values(bench), before);
                let away = values(bench);
                let moved = away.iter().flatten().zip(before.iter().flatten());
                let squares = moved.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
                assert!((squares.sqrt() - 0.05).abs() < 1e-4, "{}", squares.sqrt());
                Ok(loss(bench, &images(4, 1)).value())
            })
            .unwrap();
        assert!(climbed > at_start.value(), "{climbed}");
        assert_eq!(values(bench), before);
    });
}

#[test]
fn the_gradient_of_an_input_is_that_of_finite_differences() {
    with(BatchNormFamily::Separate, |bench| {
        let x = images(4, 1);
        let value = |bench: &mut Bench, x: &Tensor| loss(bench, x);
        let input = bench.input(&x).unwrap();
        let at = value(bench, &input);
        let gradient = bench.gradients(&at).unwrap().take(&input).unwrap().host();
        let along = |bench: &mut Bench, sign: f32| {
            let moved: Vec<f32> =
                x.host().iter().zip(&gradient).map(|(x, g)| x + sign * 0.05 * g).collect();
            let moved = x.constant(moved, x.dims()).unwrap();
            value(bench, &moved).value()
        };
        let measured = (along(bench, 1.0) - along(bench, -1.0)) / 0.1;
        let computed: f64 = gradient.iter().map(|g| f64::from(*g).powi(2)).sum();
        assert!((measured - computed).abs() <= 2e-2 * computed, "{measured} and {computed}");
    });
}

#[test]
fn each_family_of_batch_norm_moves_the_averages_that_it_says() {
    let both = |family| {
        with(family, |bench| {
            let start = means(bench);
            let x = Domains { source: images(4, 1), target: images(6, 2) };
            let features = bench.both(&Part::FEATURES, &x).unwrap();
            assert_eq!((features.source.rows(), features.target.rows()), (4, 6));
            let stats = bench.model(NetId::MAIN).stats();
            let batches: Vec<i64> = stats.iter().map(|it| it.batches).collect();
            let host = |it: &Tensor| it.host();
            (host(&features.source), host(&features.target), means(bench) != start, batches)
        })
    };
    let separate = both(BatchNormFamily::Separate);
    let joint = both(BatchNormFamily::Joint);
    let target = both(BatchNormFamily::Target);
    let domain = both(BatchNormFamily::Domain);
    assert_eq!((separate.3, joint.3, target.3), (vec![2], vec![1], vec![1]));
    assert_eq!(domain.3, [1, 1]);
    assert!(separate.2 && joint.2 && target.2 && domain.2);
    // Whatever the averages, a domain by itself is normalised by its own batch; two together are not.
    assert!(separate.0 == target.0 && separate.1 == target.1 && separate.0 == domain.0);
    assert!(joint.0 != separate.0 && joint.1 != separate.1);
}

/// What comes out of the features, and the gradients of a loss of the main network, in such a mode; and
/// the running means afterwards.
fn passes(stochastic_norm: Option<f32>, mode: Mode) -> (Vec<f32>, Vec<Vec<f32>>, Vec<f32>) {
    let settings = TrainingSettings { stochastic_norm, ..TrainingSettings::plain(4, SGD) };
    let mut bench = Bench::alone(tiny::model(), &settings).unwrap();
    bench.begin_step(Clock { epochs: 1, steps_per_epoch: 1, ..Clock::default() }, &[]);
    let (x, source) = (images(4, 1), Domain::Source);
    let features = bench.pass(NetId::MAIN, &Part::FEATURES, &x, source, mode).unwrap();
    let logits = bench.pass(NetId::MAIN, &Part::CLASSIFIER, &features, source, mode).unwrap();
    let loss = bench.ops().cross_entropy(&logits, &Targets::plain(&[0, 1, 0, 1])).unwrap();
    let mut gradients = bench.gradients(&loss).unwrap();
    let parameters = bench.model(NetId::MAIN).parameters().iter();
    let taken = parameters.map(|it| gradients.take(&it.value).map_or(Vec::new(), |it| it.host()));
    let taken = taken.collect();
    (features.host(), taken, means(&bench))
}

#[test]
fn stochastic_normalisation_goes_from_batch_norm_to_frozen_averages() {
    let plain = passes(None, Mode::LEARN);
    assert_eq!(passes(Some(0.0), Mode::LEARN), plain);
    let (features, gradients, moved) = passes(Some(1.0), Mode::LEARN);
    let frozen = passes(None, Mode::FROZEN);
    let pairs = features.iter().zip(&frozen.0);
    let pairs = pairs.chain(gradients.iter().flatten().zip(frozen.1.iter().flatten()));
    for (found, expected) in pairs {
        let near = (found - expected).abs() < 1e-4 * (1.0 + expected.abs());
        assert!(near, "{found} and {expected}");
    }
    // The averages move as ever, after they were used.
    assert!(moved == plain.2 && moved != frozen.2);
    assert_ne!(features, plain.0);
    assert_eq!(passes(Some(1.0), Mode::EVAL).0, passes(None, Mode::EVAL).0);
}

#[test]
fn a_copy_follows_by_the_closed_form_of_its_average() {
    const COPY: NetId = NetId::named("copy");
    with(BatchNormFamily::Separate, |bench| {
        bench.copy(NetId::MAIN, COPY);
        let from = values(bench);
        for parameter in bench.model_mut(NetId::MAIN).parameters_mut() {
            let moved: Vec<f32> = parameter.value.host().iter().map(|it| it + 1.0).collect();
            parameter.value.write(&moved);
        }
        for _ in 0..10 {
            bench.average(COPY, NetId::MAIN, 0.9).unwrap();
        }
        let now = bench.model(COPY).parameters().iter().map(|it| it.value.host());
        for (now, from) in now.zip(from) {
            for (now, from) in now.iter().zip(from) {
                let expected = f64::from(from) + 1.0 - 0.9_f64.powi(10);
                assert!((f64::from(*now) - expected).abs() < 1e-5, "{now} not {expected}");
            }
        }
    });
}

#[test]
fn a_number_that_is_measured_several_times_in_a_step_is_reported_as_one_mean() {
    with(BatchNormFamily::Separate, |bench| {
        let number = |value: f32| CpuOps::shared().tensor(vec![value], Dims::Scalar).unwrap();
        bench.knob("lambda", |_| 0.25);
        bench.meter("loss", &number(1.0), 3);
        bench.meter("loss", &number(5.0), 1);
        bench.meter_share("hits", &[&number(3.0), &number(2.0)], 10);
        let readings = bench.end_step().unwrap().read(&mut None).unwrap();
        let told: Vec<(&str, f64)> = readings.iter().map(|it| (it.name, it.value)).collect();
        assert_eq!(told, [("loss", 2.0), ("hits", 0.5), ("lambda", 0.25), ("lr", 0.1)]);
    });
}

#[test]
fn dropout_of_a_later_pass_of_a_step_draws_anew_and_the_first_one_as_ever() {
    let settings = TrainingSettings::plain(4, SGD);
    let spec = crate::nn::zoo::find("dacnn").unwrap().build;
    let input = crate::nn::geometry::Chw { channels: 3, height: 28, width: 28 };
    let spec = spec(crate::nn::zoo::ArchSettings::new(input, 10));
    let model = Model::new(spec, &CpuOps::shared(), 0).unwrap();
    let x = (0..2 * input.len()).map(|at| (at % 11) as f32 / 11.0).collect();
    let x = CpuOps::shared().tensor(x, Dims::Rows(2, input.len())).unwrap();
    let tape = Tape::default();
    let key = DropoutKey { seed: 0, pass: "target", epoch: 0, step: 0 };
    let features = &Part::FEATURES;
    let as_ever = model.clone().forward(features, &x, Pass::train(&tape, key)).unwrap().host();
    let mut bench = Bench::alone(model, &settings).unwrap();
    bench.begin_step(Clock { epochs: 1, steps_per_epoch: 1, ..Clock::default() }, &[]);
    let mut pass = || bench.learn(features, &x, Domain::Target).unwrap().host();
    let (first, second) = (pass(), pass());
    assert_eq!(first, as_ever);
    assert_ne!(first, second);
}
