//! Two steps of FixMatch give the losses, gradients, parameters and running averages that PyTorch gives, on
//! every backend (tests/golden/fixmatch_step.py).

use runner::adapt::FixMatch;
use runner::data::view::{Domain, ViewKind, ViewRequest};
use runner::nn::Part;
use runner::nn::ops::{Backend, Targets};
use runner::train::{Batch, Bench, Method, NetId, SourceBatch, TargetBatch, TrainingSettings};

use crate::backends::backends;
use crate::reference::method_step::{Golden, constant, labels, reading, target};

#[test]
fn two_steps_of_fixmatch_equal_pytorch() {
    for ops in backends() {
        compare(&ops);
    }
}

fn compare(ops: &Backend) {
    let golden = Golden::open("fixmatch");
    let view = |name| ViewRequest { domain: Domain::Target, name, kind: ViewKind::Plain };
    let method = FixMatch {
        target: target(),
        lambda: constant(golden.number("lambda_max")),
        threshold: golden.number("threshold") as f32,
        views: [view("weak"), view("strong")],
    };
    let adam = golden.adam([0.9, 0.999], 0.0);
    let (rows, target_rows) = (golden.count("source_rows"), golden.count("target_rows"));
    let settings = TrainingSettings::plain(rows, adam);
    let model = golden.model(ops, &method);
    let mut comparison = golden.compare(&model);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();
    let labels = labels(rows);
    let view = |step: usize, at: usize| {
        golden.images(ops, 3 * (step - 1) + at, target_rows, golden.number("target_bound"))
    };
    for step in 1..=2 {
        let source = golden.images(ops, 3 * (step - 1), rows, golden.number("source_bound"));
        // A network that looked at the images beside the views would be found out.
        let (views, unused) = (vec![view(step, 1), view(step, 2)], view(step, 3));
        let batch = Batch {
            source: Some(SourceBatch::plain(source, Targets::plain(&labels))),
            target: Some(TargetBatch { views, ..TargetBatch::plain(unused) }),
        };
        let (readings, descents) =
            bench.step_alone(&mut *learner, &batch, (step - 1, 2), true).unwrap();

        let at = format!("step {step}");
        for name in ["class_loss", "pseudo_label_loss", "mask_rate"] {
            comparison.values(&format!("{at}/{name}"), &[reading(&readings, name)]);
        }
        let [gradients] = &descents[..] else { panic!("{} descents", descents.len()) };
        comparison.gradients(&at, gradients);
        let parts = [Part::FEATURES, Part::CLASSIFIER];
        comparison.state(&at, bench.model(NetId::MAIN), &parts);
    }
    let logits = bench.model_mut(learner.predictor()).logits(&view(2, 1)).unwrap();
    comparison.values("end/predicted", &logits.host());
    comparison.assert_within();
}
