//! Two steps of PADA, with weights of the classes between them, give the losses, gradients, parameters and
//! running averages that PyTorch gives, on every backend (tests/golden/pada_step.py).

use runner::adapt::Pada;
use runner::nn::Part;
use runner::nn::ops::{Backend, Targets};
use runner::train::{
    Batch, Bench, Method, NetId, SourceBatch, TargetBatch, TrainingSettings, Visit,
};

use crate::backends::backends;
use crate::reference::method_step::{Golden, constant, labels, reading, seen, target};

#[test]
fn two_steps_of_pada_equal_pytorch() {
    for ops in backends() {
        compare(&ops);
    }
}

/// The numbers that a learner remembers.
struct Remembered(Vec<f32>);

impl Visit for Remembered {
    fn numbers(&mut self, name: &str, values: &mut Vec<f32>) {
        assert_eq!(name, "class_weights");
        self.0.clone_from(values);
    }

    fn integers(&mut self, name: &str, _: &mut Vec<u32>) {
        panic!("{name}");
    }
}

fn compare(ops: &Backend) {
    let golden = Golden::open("pada");
    let method = Pada {
        target: target(),
        lambda: constant(golden.number("lambda_max")),
        temperature: golden.number("temperature"),
        every: 1,
        domain_head: None,
    };
    let adam = golden.adam([0.9, 0.999], 0.0);
    let rows = golden.count("source_rows");
    let settings = TrainingSettings::plain(rows, adam);
    let model = golden.model(ops, &method);
    let mut comparison = golden.compare(&model);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();
    let everything = golden.set(ops, 4);
    let labels = labels(rows);
    for step in 1..=2 {
        // The first of these passes comes before the network has learned anything, and changes nothing.
        let seen = seen(bench.model_mut(NetId::MAIN), &everything);
        learner.refresh(&mut bench, &seen).unwrap();
        if step == 2 {
            let mut weights = Remembered(Vec::new());
            learner.state(&mut weights);
            let means = golden.tensor("labelling/class_weights");
            let largest = means.iter().copied().fold(0.0, f32::max);
            let expected: Vec<f32> = means.iter().map(|mean| mean / largest).collect();
            comparison.near("labelling/class_weights", &weights.0, &expected);
        }
        let [source, target] = golden.both(ops, 2 * (step - 1));
        let batch = Batch {
            source: Some(SourceBatch::plain(source, Targets::plain(&labels))),
            target: Some(TargetBatch::plain(target)),
        };
        let (readings, descents) =
            bench.step_alone(&mut *learner, &batch, (step - 1, 2), true).unwrap();

        let at = format!("step {step}");
        for name in ["class_loss", "source_domain_loss", "target_domain_loss", "effective_classes"]
        {
            comparison.values(&format!("{at}/{name}"), &[reading(&readings, name)]);
        }
        let [gradients] = &descents[..] else { panic!("{} descents", descents.len()) };
        comparison.gradients(&at, gradients);
        let parts = [Part::FEATURES, Part::CLASSIFIER, Part::DOMAIN];
        comparison.state(&at, bench.model(NetId::MAIN), &parts);
    }
    let logits = bench.model_mut(learner.predictor()).logits(&everything).unwrap();
    comparison.values("end/predicted", &logits.host());
    comparison.assert_within();
}
