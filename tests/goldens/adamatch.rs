//! Two steps of AdaMatch give the losses, gradients, and the parameters and running averages of the network and of
//! its average that PyTorch gives, on every backend (tests/golden/adamatch_step.py).

use runner::nn::Part;
use runner::nn::ops::{Backend, Targets};
use runner::train::{
    Batch, BatchNormFamily, Bench, NetId, SourceBatch, TargetBatch, TrainingSettings, Visit,
};

use crate::backends::backends;
use crate::reference::method_step::{Golden, labels, reading};

#[test]
fn two_steps_of_adamatch_equal_pytorch() {
    for ops in backends() {
        compare(&ops);
    }
}

/// Gives a learner the numbers of the script that it is to begin with.
struct Beginning<'g>(&'g Golden);

impl Visit for Beginning<'_> {
    fn numbers(&mut self, name: &str, values: &mut Vec<f32>) {
        let stored = self.0.tensor(&format!("start/{name}"));
        assert_eq!(values.len(), stored.len(), "{name}");
        *values = stored;
    }

    fn integers(&mut self, name: &str, _: &mut Vec<u32>) {
        panic!("{name}");
    }
}

/// The numbers that a learner remembers, with their names.
struct Remembered(Vec<(String, Vec<f32>)>);

impl Visit for Remembered {
    fn numbers(&mut self, name: &str, values: &mut Vec<f32>) {
        self.0.push((name.to_owned(), values.clone()));
    }

    fn integers(&mut self, name: &str, _: &mut Vec<u32>) {
        panic!("{name}");
    }
}

fn compare(ops: &Backend) {
    let golden = Golden::open("adamatch");
    let method = golden.method();
    let adam = golden.adam([0.9, 0.999], 0.0);
    let (rows, target_rows) = (golden.count("source_rows"), golden.count("target_rows"));
    let settings = TrainingSettings {
        batch_norm: BatchNormFamily::Joint,
        ..TrainingSettings::plain(rows, adam)
    };
    let model = golden.model(ops, &*method);
    let mut comparison = golden.compare(&model);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();
    learner.state(&mut Beginning(&golden));
    let labels = labels(rows);
    let of_source = |salt| golden.images(ops, salt, rows, golden.number("source_bound"));
    let of_target = |salt| golden.images(ops, salt, target_rows, golden.number("target_bound"));
    for step in 1..=2 {
        let salt = 4 * (step - 1);
        let batch = Batch {
            source: Some(SourceBatch {
                views: vec![of_source(salt + 1)],
                ..SourceBatch::plain(of_source(salt), Targets::plain(&labels))
            }),
            target: Some(TargetBatch {
                views: vec![of_target(salt + 3)],
                ..TargetBatch::plain(of_target(salt + 2))
            }),
        };
        let (readings, descents) =
            bench.step_alone(&mut *learner, &batch, (step - 1, 2), true).unwrap();

        let at = format!("step {step}");
        for name in ["class_loss", "pseudo_label_loss", "confidence_threshold", "mask_rate"] {
            comparison.values(&format!("{at}/{name}"), &[reading(&readings, name)]);
        }
        let [gradients] = &descents[..] else { panic!("{} descents", descents.len()) };
        comparison.gradients(&at, gradients);
        let parts = [Part::FEATURES, Part::CLASSIFIER];
        comparison.state(&at, bench.model(NetId::MAIN), &parts);
        let average = learner.predictor();
        assert_ne!(average, NetId::MAIN, "the average is evaluated");
        comparison.state(&format!("{at}/average"), bench.model(average), &parts);
    }
    let mut remembered = Remembered(Vec::new());
    learner.state(&mut remembered);
    let names: Vec<&str> = remembered.0.iter().map(|it| &*it.0).collect();
    assert_eq!(names, ["source_classes", "target_classes"]);
    for (name, values) in &remembered.0 {
        comparison.values(&format!("step 2/{name}"), values);
    }
    let logits = bench.model_mut(learner.predictor()).logits(&of_target(6)).unwrap();
    comparison.values("end/predicted", &logits.host());
    comparison.assert_within();
}
