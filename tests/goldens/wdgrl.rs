//! Two steps of Wasserstein distance guided representation learning give the losses, gradients, parameters
//! and running averages that PyTorch gives, on every backend (tests/golden/wdgrl_step.py).

use runner::nn::Part;
use runner::nn::ops::{Backend, Targets};
use runner::train::{Batch, Bench, SourceBatch, TargetBatch, TrainingSettings};

use crate::backends::backends;
use crate::reference::method_step::{Golden, labels, reading};

#[test]
fn two_steps_of_wasserstein_guided_learning_equal_pytorch() {
    for ops in backends() {
        compare(&ops);
    }
}

fn compare(ops: &Backend) {
    let golden = Golden::open("wdgrl");
    let method = golden.method();
    let adam = golden.adam([0.9, 0.999], 0.0);
    let rows = golden.count("source_rows");
    let settings = TrainingSettings::plain(rows, adam);
    let model = golden.model(ops, &*method);
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

        let at = format!("step {step}");
        for name in ["class_loss", "critic_distance"] {
            comparison.values(&format!("{at}/main/{name}"), &[reading(&readings, name)]);
        }
        let turns = 1..=golden.count("critic_steps");
        let turns: Vec<String> = turns.map(|turn| format!("{at}/critic {turn}")).collect();
        // A step reports the mean over its critic steps.
        for name in ["critic_loss", "gradient_penalty"] {
            let values = turns.iter().map(|turn| golden.tensor(&format!("{turn}/{name}"))[0]);
            let mean = values.sum::<f32>() / turns.len() as f32;
            comparison.near(name, &[reading(&readings, name)], &[mean]);
        }
        assert_eq!(descents.len(), turns.len() + 1);
        for (phase, gradients) in turns.into_iter().chain([format!("{at}/main")]).zip(&descents) {
            comparison.gradients(&phase, gradients);
        }
        let parts = [Part::FEATURES, Part::CLASSIFIER, Part::named("critic")];
        comparison.state(&format!("{at}/after"), bench.model(learner.predictor()), &parts);
    }
    comparison.assert_within();
}
