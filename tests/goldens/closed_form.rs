//! Methods in closed form give the classifiers that numpy, scipy and scikit-learn give of the same features
//! (tests/golden/closed_form.py).

use std::fs;

use runner::nn::geometry::Chw;
use runner::nn::ops::{Backend, Dims};
use runner::nn::spec::{Init, Layer, Named, two_heads};
use runner::nn::{Model, Part, Spec};
use runner::train::{Batch, Bench, Optimizer, TrainingSettings, WholeSet};
use serde_json::Value;

use crate::backends::backends;
use crate::reference::method_step::{method, reading};

const WIDTH: usize = 6;
const CLASSES: usize = 3;

fn numbers(value: &Value) -> Vec<f32> {
    let rows = value.as_array().unwrap().iter();
    rows.flat_map(|row| row.as_array().unwrap()).map(|it| it.as_f64().unwrap() as f32).collect()
}

/// A network whose features are its input, with a classifier of two layers.
fn model(ops: &Backend) -> Model {
    let linear = |outputs| Layer::Linear { outputs, bias: true };
    let classifier = vec![
        Named::new("classifier.0", linear(4)),
        Named::new("classifier.1", Layer::Relu),
        Named::new("classifier.2", linear(CLASSES)),
    ];
    let domain = vec![Named::new("domain_classifier.0", linear(2))];
    let spec = Spec {
        arch: "layers".to_owned(),
        input: Chw { channels: 1, height: 1, width: WIDTH },
        middle_of: None,
        classes: CLASSES,
        init: Init::Default,
        features: vec![Named::new("features.0", Layer::Flatten)],
        heads: two_heads(classifier, domain),
    };
    Model::new(spec, ops, 0).unwrap()
}

fn seen(features: &[f32]) -> WholeSet {
    let images = features.len() / WIDTH;
    let probabilities = vec![1.0 / CLASSES as f32; images * CLASSES];
    WholeSet { features: features.to_vec(), width: WIDTH, probabilities, classes: CLASSES }
}

/// How far logits and readings may be off: iterations that balance a plan end before it is exact.
fn bound(method: &str) -> f64 {
    if method.contains("class_weight") { 3e-4 } else { 3e-5 }
}

#[test]
fn every_closed_form_is_the_reference_s() {
    let golden: Value =
        serde_json::from_slice(&fs::read("tests/golden/closed_form.json").unwrap()).unwrap();
    let (source, target) = (numbers(&golden["source"]), numbers(&golden["target"]));
    let labels: Vec<u32> = (golden["labels"].as_array().unwrap().iter())
        .map(|it| u32::try_from(it.as_u64().unwrap()).unwrap())
        .collect();
    let methods = golden["methods"].as_array().unwrap();
    assert!(methods.len() >= 7);
    for ops in backends() {
        for expected in methods {
            let text = expected["method"].as_str().unwrap();
            let method = method(text);
            let mut model = model(&ops);
            for head in method.heads(&model.spec().clone()) {
                model.add_head(head, 0).unwrap();
            }
            let of_classifier = model.parameters().iter().filter(|it| it.part == Part::CLASSIFIER);
            assert_eq!(of_classifier.count(), 2, "one linear layer");
            let sgd = Optimizer::Sgd { lr: 0.0, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
            let settings = TrainingSettings::plain(2, sgd);
            let mut bench = Bench::alone(model, &settings).unwrap();
            let mut learner = method.begin(&mut bench).unwrap();
            learner.refresh_labelled(&mut bench, &seen(&source), &labels).unwrap();
            learner.refresh(&mut bench, &seen(&target)).unwrap();

            let dims = Dims::Rows(target.len() / WIDTH, WIDTH);
            let images = ops.tensor(target.clone(), dims).unwrap();
            let logits = bench.model_mut(learner.predictor()).logits(&images).unwrap().host();
            let golden = numbers(&expected["logits"]);
            assert_eq!(logits.len(), golden.len());
            for (found, golden) in logits.chunks(CLASSES).zip(golden.chunks(CLASSES)) {
                let mean = found.iter().sum::<f32>() / CLASSES as f32;
                for (found, golden) in found.iter().zip(golden) {
                    let off = f64::from((found - mean - golden).abs());
                    assert!(off < bound(text), "{text}: {} and {golden}", found - mean);
                }
            }
            let batch = Batch { source: None, target: None };
            let readings = bench.step_alone(&mut *learner, &batch, (0, 1), false).unwrap().0;
            for (name, golden) in expected["readings"].as_object().unwrap() {
                let found = f64::from(reading(&readings, name));
                let golden = golden.as_f64().unwrap();
                assert!((found - golden).abs() < bound(text), "{text}, {name}: {found}, {golden}");
            }
        }
    }
}
