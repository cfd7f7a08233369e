//! Two steps of adversarial discriminative domain adaptation give the losses, gradients, parameters and
//! running averages that PyTorch gives, on every backend (tests/golden/adda_step.py, and for other settings
//! adda_options_step.py).

use runner::nn::Part;
use runner::nn::ops::{Backend, Targets};
use runner::train::{Batch, Bench, NetId, SourceBatch, TargetBatch, TrainingSettings};

use crate::backends::backends;
use crate::reference::method_step::{Golden, labels, method, reading};

#[test]
fn two_steps_of_adversarial_discriminative_domain_adaptation_equal_pytorch() {
    for ops in backends() {
        compare(&ops);
    }
}

#[test]
fn two_steps_with_logits_confusion_and_a_shared_encoder_equal_pytorch() {
    for ops in backends() {
        for name in ["adda_confusion", "adda_shared"] {
            compare_options(&ops, name);
        }
    }
}

fn compare_options(ops: &Backend, name: &str) {
    let golden = Golden::open(name);
    let method = golden.method();
    let rows = golden.count("source_rows");
    let settings = TrainingSettings::plain(rows, golden.adam([0.5, 0.999], 0.0));
    let model = golden.model(ops, &*method);
    let parts: Vec<Part> = golden.settings()["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| Part::from(part.as_str().unwrap().to_owned()))
        .collect();
    let mut comparison = golden.compare(&model);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();
    let labels = labels(rows);
    for step in 1..=2 {
        let [source, target] = golden.both(ops, 2 * (step - 1));
        let targets = Targets::plain(&labels);
        let batch = Batch {
            source: Some(SourceBatch::plain(source, targets)),
            target: Some(TargetBatch::plain(target)),
        };
        let (readings, descents) =
            bench.step_alone(&mut *learner, &batch, (step - 1, 2), true).unwrap();
        let [of_domain, of_encoder] = &descents[..] else { panic!("{} descents", descents.len()) };
        for (phase, gradient) in [("D", of_domain), ("T", of_encoder)] {
            let at = format!("step {step}/{phase}");
            let prefix = format!("{at}/");
            let losses = golden.names_after(&prefix).filter(|it| it.ends_with("loss"));
            for loss in losses {
                comparison.values(&format!("{prefix}{loss}"), &[reading(&readings, loss)]);
            }
            comparison.gradients(&at, gradient);
        }
        let model = bench.model(learner.predictor());
        comparison.state(&format!("step {step}/after"), model, &parts);
    }
    let [_, target] = golden.both(ops, 2);
    let logits = bench.model_mut(learner.predictor()).logits(&target).unwrap();
    comparison.values("end/predicted", &logits.host());
    comparison.assert_within();
}

fn compare(ops: &Backend) {
    let golden = Golden::open("adda");
    let method = method("{ kind = \"adda\", target = \"target.train\" }");
    let adam = golden.adam([0.5, 0.999], 0.0);
    let (rows, target_rows) = (golden.count("source_rows"), golden.count("target_rows"));
    let settings = TrainingSettings::plain(rows, adam);
    let model = golden.model(ops, &*method);
    let mut comparison = golden.compare(&model);
    // What came in: the source encoder and the classifier keep every bit of it.
    let frozen = |model: &runner::nn::Model, part: Part| -> Vec<Vec<f32>> {
        let of_part = model.parameters().iter().filter(|it| it.part == part);
        let stats = model.stats().iter().filter(|it| it.layer.starts_with(part.name()));
        let stats = stats.flat_map(|it| [it.mean.host(), it.var.host()]);
        of_part.map(|it| it.value.host()).chain(stats).collect()
    };
    let (encoder, classifier) = (frozen(&model, Part::FEATURES), frozen(&model, Part::CLASSIFIER));
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();
    let labels = labels(rows);
    let target = |step: usize| {
        golden.images(ops, 2 * (step - 1) + 1, target_rows, golden.number("target_bound"))
    };
    for step in 1..=2 {
        let source = golden.images(ops, 2 * (step - 1), rows, golden.number("source_bound"));
        let targets = Targets::plain(&labels);
        let batch = Batch {
            source: Some(SourceBatch::plain(source, targets)),
            target: Some(TargetBatch::plain(target(step))),
        };
        let (readings, descents) =
            bench.step_alone(&mut *learner, &batch, (step - 1, 2), true).unwrap();

        let at = format!("step {step}");
        for (phase, loss) in [("D", "domain_loss"), ("T", "mapping_loss")] {
            comparison.values(&format!("{at}/{phase}/{loss}"), &[reading(&readings, loss)]);
        }
        let told = golden.tensor(&format!("{at}/D/logits"));
        let hits = told.chunks(2).enumerate().filter(|(row, of)| (*row >= rows) == (of[1] > of[0]));
        let accuracy = hits.count() as f32 / (rows + target_rows) as f32;
        comparison.near("domain accuracy", &[reading(&readings, "domain_accuracy")], &[accuracy]);
        let [of_domain, of_encoder] = &descents[..] else { panic!("{} descents", descents.len()) };
        comparison.gradients(&format!("{at}/D"), of_domain);
        comparison.gradients(&format!("{at}/T"), of_encoder);
        let model = bench.model(learner.predictor());
        comparison.state(&format!("{at}/after"), model, &[Part::FEATURES, Part::DOMAIN]);
    }
    let logits = bench.model_mut(learner.predictor()).logits(&target(2)).unwrap();
    comparison.values("end/predicted", &logits.host());
    comparison.assert_within();
    let source = bench.model(NetId::named("source"));
    assert!(frozen(source, Part::FEATURES) == encoder, "the source encoder moved");
    assert!(frozen(bench.model(NetId::MAIN), Part::CLASSIFIER) == classifier, "it moved");
}
