//! Two steps of maximum classifier discrepancy give the losses, gradients, parameters and running averages
//! that PyTorch gives, on every backend (tests/golden/mcd_step.py and swd_step.py).

use runner::nn::Part;
use runner::nn::ops::{Backend, Targets};
use runner::train::{Batch, Bench, Method, SourceBatch, TargetBatch, TrainingSettings};

use crate::backends::backends;
use crate::reference::method_step::{Golden, labels, method, reading};

#[test]
fn two_steps_of_maximum_classifier_discrepancy_equal_pytorch() {
    let golden = Golden::open("mcd");
    let repeats = golden.count("repeat");
    let written = format!("{{ kind = 'mcd', target = 'target.train', repeats = {repeats} }}");
    for ops in backends() {
        compare(&golden, &*method(&written), &ops);
    }
}

#[test]
fn two_steps_with_the_sliced_wasserstein_discrepancy_equal_pytorch() {
    let golden = Golden::open("swd");
    let method = golden.method();
    for ops in backends() {
        compare(&golden, &*method, &ops);
    }
}

fn compare(golden: &Golden, method: &dyn Method, ops: &Backend) {
    let repeats = golden.count("repeat");
    let adam = golden.adam([0.9, 0.999], golden.number("weight_decay"));
    let settings = TrainingSettings::plain(golden.count("source_rows"), adam);
    let model = golden.model(ops, method);
    let mut comparison = golden.compare(&model);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();
    let rows = golden.count("source_rows");
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
        for name in ["class_loss", "class_loss_2"] {
            comparison.values(&format!("{at}/A/{name}"), &[reading(&readings, name)]);
        }
        let phases: Vec<String> = (1..=repeats).map(|turn| format!("{at}/C{turn}")).collect();
        // A step reports the mean over the passes in which it looks at the discrepancy.
        let looks = [format!("{at}/B")].into_iter().chain(phases.iter().cloned());
        let looks: Vec<f32> =
            looks.map(|at| golden.tensor(&format!("{at}/discrepancy"))[0]).collect();
        let mean = looks.iter().sum::<f32>() / looks.len() as f32;
        comparison.near("mean discrepancy", &[reading(&readings, "discrepancy")], &[mean]);
        let phases = [format!("{at}/A"), format!("{at}/B")].into_iter().chain(phases);
        assert_eq!(descents.len(), 2 + repeats);
        for (phase, gradients) in phases.zip(&descents) {
            comparison.gradients(&phase, gradients);
        }
        let parts = [Part::FEATURES, Part::CLASSIFIER, Part::CLASSIFIER2];
        comparison.state(&format!("{at}/after"), bench.model(learner.predictor()), &parts);
    }
    comparison.assert_within();
}
