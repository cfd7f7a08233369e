//! The clusters and two steps of CAN give the classes, losses, gradients, parameters and running averages
//! that PyTorch gives, on every backend (tests/golden/can_step.py).

use runner::adapt::Can;
use runner::nn::Part;
use runner::nn::ops::{Backend, Dims, Targets, Tensor};
use runner::train::{Batch, Bench, Method, NetId, SourceBatch, TargetBatch, TrainingSettings};

use crate::backends::backends;
use crate::reference::method_step::{Golden, PATTERNS, constant, labels, reading, seen, target};

#[test]
fn the_clusters_and_two_steps_of_can_equal_pytorch() {
    for ops in backends() {
        compare(&ops);
    }
}

/// The places in a set that a step of the script takes.
fn places(golden: &Golden, key: &str, step: usize) -> Vec<usize> {
    let places = golden.settings()[key][step - 1].as_array().unwrap();
    places.iter().map(|at| usize::try_from(at.as_u64().unwrap()).unwrap()).collect()
}

/// The target's images: each on the way from one of the source's patterns to the next one, with more or less
/// of something else of its own.
fn target_set(golden: &Golden, ops: &Backend, count: usize) -> Tensor {
    let patterns = golden.images(ops, 0, PATTERNS, 1.0).host();
    let own = golden.images(ops, 2, count, golden.number("noise")).host();
    let len = own.len() / count;
    let pattern = |at: usize| &patterns[at % PATTERNS * len..][..len];
    let mut values = Vec::with_capacity(own.len());
    for (at, own) in own.chunks(len).enumerate() {
        let (way, share) = ((5 * at % 19) as f32 / 32.0, (4 + 7 * at % 24) as f32 / 32.0);
        for ((own, here), there) in own.iter().zip(pattern(at)).zip(pattern(at + 1)) {
            values.push(here + way * (there - here) + share * own);
        }
    }
    ops.tensor(values, Dims::Rows(count, len)).unwrap()
}

fn compare(ops: &Backend) {
    let golden = Golden::open("can");
    let method = Can {
        target: target(),
        lambda: constant(golden.number("lambda_max")),
        max_distance: golden.number("max_distance"),
        min_images: golden.count("min_images"),
    };
    let adam = golden.adam([0.9, 0.999], 0.0);
    let settings = TrainingSettings::plain(PATTERNS, adam);
    let model = golden.model(ops, &method);
    let mut comparison = golden.compare(&model);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();

    let source = golden.set(ops, 0);
    let target = target_set(&golden, ops, source.rows());
    let all_labels: Vec<u32> = labels(PATTERNS).into_iter().cycle().take(source.rows()).collect();
    let of_source = seen(bench.model_mut(NetId::MAIN), &source);
    learner.refresh_labelled(&mut bench, &of_source, &all_labels).unwrap();
    let of_target = seen(bench.model_mut(NetId::MAIN), &target);
    learner.refresh(&mut bench, &of_target).unwrap();
    let classes = learner.target_classes().iter().map(|it| it.map_or(-1.0, |it| it as f32));
    let classes: Vec<f32> = classes.collect();
    assert_eq!(classes, golden.tensor("labelling/classes"));

    for step in 1..=2 {
        let [of_source, of_target] =
            ["source_at", "target_at"].map(|key| places(&golden, key, step));
        let labels: Vec<u32> = of_source.iter().map(|at| all_labels[*at]).collect();
        let images = source.gather_rows(of_source).unwrap();
        let target_images = target.gather_rows(of_target.clone()).unwrap();
        let batch = Batch {
            source: Some(SourceBatch::plain(images, Targets::plain(&labels))),
            target: Some(TargetBatch {
                indices: (&of_target).into(),
                ..TargetBatch::plain(target_images)
            }),
        };
        let (readings, descents) =
            bench.step_alone(&mut *learner, &batch, (step - 1, 2), true).unwrap();

        let at = format!("step {step}");
        let losses =
            ["class_loss", "cdd_loss", "intra_class_discrepancy", "inter_class_discrepancy"];
        for name in losses {
            comparison.values(&format!("{at}/{name}"), &[reading(&readings, name)]);
        }
        let [gradients] = &descents[..] else { panic!("{} descents", descents.len()) };
        comparison.gradients(&at, gradients);
        let parts = [Part::FEATURES, Part::CLASSIFIER];
        comparison.state(&at, bench.model(NetId::MAIN), &parts);
    }
    let logits = bench.model_mut(learner.predictor()).logits(&target).unwrap();
    comparison.values("end/predicted", &logits.host());
    comparison.assert_within();
}
