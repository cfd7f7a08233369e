//! Two steps of self-ensembling give the losses, gradients, and the parameters and running averages of
//! student and teacher that PyTorch gives, for two thresholds and on every backend
//! (tests/golden/self_ensembling_step.py).

use runner::adapt::SelfEnsembling;
use runner::data::view::{Domain, ViewKind, ViewRequest};
use runner::nn::Part;
use runner::nn::ops::{Backend, Targets};
use runner::train::{Batch, Bench, Method, NetId, SourceBatch, TargetBatch, TrainingSettings};

use crate::backends::backends;
use crate::reference::method_step::{Golden, constant, labels, reading, target};

#[test]
fn two_steps_of_self_ensembling_equal_pytorch() {
    for ops in backends() {
        for threshold in ["usual", "low"] {
            compare(&ops, threshold);
        }
    }
}

fn compare(ops: &Backend, name: &str) {
    let golden = Golden::open("self_ensembling");
    let threshold = golden.settings()["thresholds"][name].as_f64().unwrap();
    let view = |name| ViewRequest { domain: Domain::Target, name, kind: ViewKind::Plain };
    let method = SelfEnsembling {
        target: target(),
        consistency: constant(golden.number("consistency_weight")),
        threshold: threshold as f32,
        balance: golden.number("balance_weight") as f32,
        keep: golden.number("decay") as f32,
        views: [view("student"), view("teacher")],
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
        let targets = Targets::plain(&labels);
        // A network that looked at the images beside the views would be found out.
        let (views, unused) = (vec![view(step, 1), view(step, 2)], view(step, 3));
        let batch = Batch {
            source: Some(SourceBatch::plain(source, targets)),
            target: Some(TargetBatch { views, ..TargetBatch::plain(unused) }),
        };
        let (readings, descents) =
            bench.step_alone(&mut *learner, &batch, (step - 1, 2), true).unwrap();

        let at = format!("{name}/step {step}");
        for loss in ["class_loss", "balance_loss", "mask_rate"] {
            comparison.values(&format!("{at}/{loss}"), &[reading(&readings, loss)]);
        }
        let consistency = reading(&readings, "consistency_loss");
        comparison.small(&format!("{at}/consistency_loss"), consistency);
        let [gradients] = &descents[..] else { panic!("{} descents", descents.len()) };
        comparison.gradients(&at, gradients);
        let parts = [Part::FEATURES, Part::CLASSIFIER];
        let teacher = learner.predictor();
        assert_ne!(teacher, NetId::MAIN, "the teacher is evaluated");
        for (who, network) in [("student", NetId::MAIN), ("teacher", teacher)] {
            comparison.state(&format!("{at}/{who}"), bench.model(network), &parts);
        }
    }
    let logits = bench.model_mut(learner.predictor()).logits(&view(2, 1)).unwrap();
    comparison.values(&format!("{name}/end/predicted"), &logits.host());
    comparison.assert_within();
}
