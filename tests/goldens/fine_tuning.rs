//! Two steps of each method for one domain, and of stochastic normalisation, give the losses, gradients,
//! parameters and running averages that PyTorch gives, on every backend (tests/golden/bss_step.py,
//! co_tuning_step.py, delta_step.py, stochastic_norm_step.py).

use runner::nn::Part;
use runner::nn::ops::{Backend, Targets};
use runner::train::{Batch, Bench, Learner, NetId, SourceBatch, TrainingSettings, Visit};

use crate::backends::backends;
use crate::reference::method_step::{Comparison, Golden, labels, reading, seen};

const PARTS: &[Part] = &[Part::FEATURES, Part::CLASSIFIER];

#[test]
fn two_steps_of_batch_spectral_shrinkage_equal_pytorch() {
    for ops in backends() {
        let golden = Golden::open("bss");
        compare(&ops, &golden, (0, PARTS), &["class_loss", "shrinkage_loss"], |_, _, _| {});
    }
}

#[test]
fn two_steps_of_stochastic_normalisation_equal_pytorch() {
    for ops in backends() {
        let golden = Golden::open("stochastic_norm");
        compare(&ops, &golden, (0, PARTS), &["class_loss"], |_, _, _| {});
    }
}

#[test]
fn two_steps_of_delta_equal_pytorch() {
    for ops in backends() {
        let golden = Golden::open("delta");
        compare(&ops, &golden, (0, PARTS), &["class_loss", "feature_map_loss"], |_, _, _| {});
    }
}

#[test]
fn the_relation_and_two_steps_of_co_tuning_equal_pytorch() {
    let parts = [PARTS, &[Part::named("source_classifier")][..]].concat();
    for ops in backends() {
        let golden = Golden::open("co_tuning");
        let losses = ["class_loss", "source_classifier_loss"];
        compare(&ops, &golden, (2, &parts), &losses, |bench, learner, comparison| {
            let everything = golden.set(&ops, 0);
            let seen = seen(bench.model_mut(NetId::MAIN), &everything);
            learner.refresh_labelled(bench, &seen, &labels(everything.rows())).unwrap();
            let mut relation = Relation(Vec::new());
            learner.state(&mut relation);
            comparison.values("labelling/relation", &relation.0);
        });
    }
}

/// What Co-Tuning remembers.
struct Relation(Vec<f32>);

impl Visit for Relation {
    fn numbers(&mut self, name: &str, values: &mut Vec<f32>) {
        assert_eq!(name, "relation");
        self.0.clone_from(values);
    }

    fn integers(&mut self, name: &str, _: &mut Vec<u32>) {
        panic!("{name}");
    }
}

/// Compares two steps on the images of the script's salt plus `salt`, after what is done `first`.
fn compare(
    ops: &Backend,
    golden: &Golden,
    (salt, parts): (usize, &[Part]),
    losses: &[&str],
    first: impl Fn(&mut Bench, &mut dyn Learner, &mut Comparison),
) {
    let method = golden.method();
    let (rows, bound) = (golden.count("source_rows"), golden.number("source_bound"));
    let stochastic_norm = golden.settings()["stochastic_norm"].as_f64().map(|p| p as f32);
    let plain = TrainingSettings::plain(rows, golden.adam([0.9, 0.999], 0.0));
    let settings = TrainingSettings { stochastic_norm, ..plain };
    let model = golden.model(ops, &*method);
    let mut comparison = golden.compare(&model);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();
    first(&mut bench, &mut *learner, &mut comparison);
    let labels = labels(rows);
    for step in 1..=2 {
        let images = golden.images(ops, salt + step - 1, rows, bound);
        let source = SourceBatch::plain(images, Targets::plain(&labels));
        let batch = Batch { source: Some(source), target: None };
        let (readings, descents) =
            bench.step_alone(&mut *learner, &batch, (step - 1, 2), true).unwrap();

        let at = format!("step {step}");
        for name in losses {
            comparison.values(&format!("{at}/{name}"), &[reading(&readings, name)]);
        }
        let [gradients] = &descents[..] else { panic!("{} descents", descents.len()) };
        comparison.gradients(&at, gradients);
        comparison.state(&at, bench.model(NetId::MAIN), parts);
    }
    let last = golden.images(ops, salt + 1, rows, bound);
    let logits = bench.model_mut(learner.predictor()).logits(&last).unwrap();
    comparison.values("end/predicted", &logits.host());
    comparison.assert_within();
}
