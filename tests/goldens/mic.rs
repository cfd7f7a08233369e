//! Two steps of masked image consistency give the losses, gradients, and the parameters and running averages
//! of network and teacher that PyTorch gives, on every backend (tests/golden/mic_step.py).

use runner::nn::Part;
use runner::nn::ops::{Backend, Targets};
use runner::train::{Batch, Bench, NetId, SourceBatch, TargetBatch, TrainingSettings};

use crate::backends::backends;
use crate::reference::method_step::{Golden, labels, reading};

#[test]
fn two_steps_of_masked_image_consistency_equal_pytorch() {
    for ops in backends() {
        compare(&ops);
    }
}

fn compare(ops: &Backend) {
    let golden = Golden::open("mic");
    let method = golden.method();
    let adam = golden.adam([0.9, 0.999], 0.0);
    let (rows, target_rows) = (golden.count("source_rows"), golden.count("target_rows"));
    let settings = TrainingSettings::plain(rows, adam);
    let model = golden.model(ops, &*method);
    let mut comparison = golden.compare(&model);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();
    let labels = labels(rows);
    for step in 1..=2 {
        let salt = 3 * (step - 1);
        let [source, target] = golden.both(ops, salt);
        let masked = golden.images(ops, salt + 2, target_rows, golden.number("target_bound"));
        let batch = Batch {
            source: Some(SourceBatch::plain(source, Targets::plain(&labels))),
            target: Some(TargetBatch { views: vec![masked], ..TargetBatch::plain(target) }),
        };
        let (readings, descents) =
            bench.step_alone(&mut *learner, &batch, (step - 1, 2), true).unwrap();

        let at = format!("step {step}");
        for name in ["class_loss", "masked_loss", "teacher_confidence"] {
            comparison.values(&format!("{at}/{name}"), &[reading(&readings, name)]);
        }
        let [gradients] = &descents[..] else { panic!("{} descents", descents.len()) };
        comparison.gradients(&at, gradients);
        let parts = [Part::FEATURES, Part::CLASSIFIER];
        comparison.state(&at, bench.model(NetId::MAIN), &parts);
        let teacher = bench.model(NetId::named("mic_teacher"));
        comparison.state(&format!("{at}/teacher"), teacher, &parts);
    }
    assert_eq!(learner.predictor(), NetId::MAIN, "the teacher is not evaluated");
    let [_, target] = golden.both(ops, 3);
    let logits = bench.model_mut(NetId::MAIN).logits(&target).unwrap();
    comparison.values("end/predicted", &logits.host());
    comparison.assert_within();
}
