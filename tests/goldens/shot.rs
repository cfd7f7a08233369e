//! The labelling and two steps of SHOT give the centroids, labels, losses, gradients, parameters and
//! running averages that PyTorch gives, on every backend (tests/golden/shot_step.py).

use runner::adapt::Shot;
use runner::adapt::pseudo_labels::PseudoLabels;
use runner::nn::ops::Backend;
use runner::nn::{Model, Part};
use runner::train::{Batch, Bench, Method, NetId, Optimizer, TargetBatch, TrainingSettings};

use crate::backends::backends;
use crate::reference::method_step::{Golden, PATTERNS, constant, reading, seen, target};

#[test]
fn the_labelling_and_two_steps_of_shot_equal_pytorch() {
    for ops in backends() {
        compare(&ops);
    }
}

/// Parameters and running averages of the classifier.
fn classifier(model: &Model) -> Vec<Vec<f32>> {
    let of_part = model.parameters().iter().filter(|it| it.part == Part::CLASSIFIER);
    let stats = model.stats().iter().filter(|it| it.layer.starts_with("classifier."));
    let stats = stats.flat_map(|it| [it.mean.host(), it.var.host()]);
    of_part.map(|it| it.value.host()).chain(stats).collect()
}

fn compare(ops: &Backend) {
    let golden = Golden::open("shot");
    let class_weight = constant(golden.number("class_weight"));
    let method = Shot { target: target(), class_weight, threshold: 0 };
    let sgd = Optimizer::Sgd {
        lr: golden.number("lr"),
        momentum: golden.number("momentum"),
        nesterov: true,
        weight_decay: golden.number("weight_decay"),
    };
    let settings = TrainingSettings::plain(PATTERNS, sgd);
    let model = golden.model(ops, &method);
    let hypothesis = classifier(&model);
    let mut comparison = golden.compare(&model);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();

    let all = golden.set(ops, 0);
    let seen = seen(bench.model_mut(NetId::MAIN), &all);
    comparison.values("labelling/features", &seen.features);
    comparison.values("labelling/probabilities", &seen.probabilities);
    let found = PseudoLabels::of(&seen, 0).unwrap();
    let candidates: Vec<f32> = found.candidates.iter().map(|it| f32::from(*it)).collect();
    assert_eq!(candidates, golden.tensor("labelling/candidates"));
    for (clusters, [centroids, labels]) in [
        (&found.first, ["first_centroids", "first_labels"]),
        (&found.second, ["centroids", "labels"]),
    ] {
        let ours: Vec<f32> = clusters.centroids.iter().map(|it| *it as f32).collect();
        comparison.values(&format!("labelling/{centroids}"), &ours);
        let ours: Vec<f32> = clusters.labels.iter().map(|it| *it as f32).collect();
        assert_eq!(ours, golden.tensor(&format!("labelling/{labels}")), "{labels}");
    }

    learner.refresh(&mut bench, &seen).unwrap();
    for step in 1..=2 {
        let rows = golden.settings()["rows"][step - 1].as_array().unwrap();
        let indices: Vec<usize> =
            rows.iter().map(|row| usize::try_from(row.as_u64().unwrap()).unwrap()).collect();
        let images = all.gather_rows(indices.clone()).unwrap();
        let target = Some(TargetBatch { images, indices: (&indices).into(), views: vec![] });
        let batch = Batch { source: None, target };
        let (readings, descents) =
            bench.step_alone(&mut *learner, &batch, (step - 1, 2), true).unwrap();

        let at = format!("step {step}");
        for name in ["class_loss", "diversity"] {
            comparison.values(&format!("{at}/{name}"), &[reading(&readings, name)]);
        }
        comparison.small(&format!("{at}/entropy"), reading(&readings, "entropy"));
        let [gradients] = &descents[..] else { panic!("{} descents", descents.len()) };
        comparison.gradients(&at, gradients);
        comparison.state(&at, bench.model(NetId::MAIN), &[Part::FEATURES]);
    }
    let logits = bench.model_mut(learner.predictor()).logits(&all).unwrap();
    comparison.values("end/predicted", &logits.host());
    comparison.assert_within();
    assert!(classifier(bench.model(NetId::MAIN)) == hypothesis, "the classifier moved");
}
