//! Metrics are what numpy, scipy and scikit-learn make of the same numbers (tests/golden/metrics.py).

use std::fs;

use crate::reference::hashed;
use runner::config::Word;
use runner::metrics::calibration::Calibration;
use runner::metrics::confusion::Confusion;
use runner::metrics::embedding::{pca, tsne};
use runner::metrics::label_free::class_ami::adjusted_mutual_information;
use runner::metrics::label_free::{LabelFreeScore, Outputs, SourceSample, iwv, values};
use runner::metrics::macro_f1::macro_f1;
use runner::metrics::proxy_a_distance::proxy_a_distance;
use serde_json::Value;

const COUNT: usize = 300;
const CLASSES: usize = 5;
const WIDTH: usize = 12;
const TRAIN: usize = 260;
const HELD: usize = 120;

fn golden() -> Value {
    serde_json::from_slice(&fs::read("tests/golden/metrics.json").unwrap()).unwrap()
}

#[track_caller]
fn near(name: &str, ours: f64, golden: &Value, bound: f64) {
    let golden = golden.as_f64().unwrap();
    assert!((ours - golden).abs() <= bound, "{name}: {ours}, not {golden}");
}

fn clouds(salt: usize, count: usize, shift: f32) -> Vec<f32> {
    let mut rows = hashed(salt, count * WIDTH, 1.0);
    for (at, row) in rows.chunks_exact_mut(WIDTH).enumerate() {
        row[at % CLASSES] += 2.0;
        row[WIDTH - 1] += shift;
    }
    rows
}

fn target() -> Outputs {
    let mut probabilities = Vec::new();
    for (at, row) in hashed(2, COUNT * CLASSES, 3.0).chunks_exact(CLASSES).enumerate() {
        let boost = |class| if class == at % CLASSES { 2.0 } else { 0.0 };
        let powers = row.iter().enumerate().map(|(class, x)| (f64::from(*x) + boost(class)).exp());
        let powers: Vec<f64> = powers.collect();
        let sum: f64 = powers.iter().sum();
        probabilities.extend(powers.iter().map(|power| power / sum));
    }
    Outputs { probabilities, classes: CLASSES, features: clouds(1, COUNT, 0.5), width: WIDTH }
}

fn source() -> SourceSample {
    let losses = hashed(5, HELD, 2.0).iter().map(|loss| f64::from(loss.abs())).collect();
    SourceSample { train: clouds(3, TRAIN, -0.5), held: clouds(4, HELD, -0.5), losses }
}

/// Class and probability of each row's answer.
fn answers(outputs: &Outputs) -> Vec<(u32, f64)> {
    let rows = outputs.probabilities.chunks_exact(CLASSES);
    let best = |row: &[f64]| {
        let largest = row.iter().copied().fold(0.0, f64::max);
        let class = row.iter().position(|p| *p == largest).unwrap();
        (u32::try_from(class).unwrap(), largest)
    };
    rows.map(best).collect()
}

fn labels(classes: u32) -> Vec<u32> {
    (0..u32::try_from(COUNT).unwrap()).map(|at| at % classes).collect()
}

#[test]
fn every_label_free_score_is_the_reference_s() {
    let (golden, bounds) = (golden(), [1e-12, 1e-12, 1e-12, 1e-9, 1e-9, 1e-5, 1e-5]);
    let scores: Vec<LabelFreeScore> = LabelFreeScore::all().collect();
    let found = values(&scores, &target(), Some(&source()));
    for ((score, value), bound) in scores.into_iter().zip(found).zip(bounds) {
        near(score.word(), value, &golden[score.word()], bound);
    }
    let weights = iwv::weights(&source().train, &target().features, &source().held, WIDTH);
    for (at, golden) in golden["weights"].as_array().unwrap().iter().enumerate() {
        near("weights", weights[at], golden, 1e-4);
    }
}

#[test]
fn cluster_agreement_is_adjusted_for_chance_as_the_reference_does_it() {
    let golden = &golden()["ami"];
    let predicted: Vec<u32> = answers(&target()).iter().map(|it| it.0).collect();
    let pairs = [predicted, labels(5), labels(7), vec![3; COUNT]];
    for (at, other) in pairs.iter().enumerate() {
        let ours = adjusted_mutual_information(&labels(5), other);
        near(&format!("pair {at}"), ours, &golden[at], 1e-10);
    }
}

#[test]
fn macro_f1_and_calibration_error_are_the_reference_s() {
    let golden = golden();
    let mut confusion = Confusion::new(CLASSES);
    let mut calibration = Calibration::default();
    for ((class, confidence), label) in answers(&target()).into_iter().zip(labels(5)) {
        confusion.add(label, class);
        calibration.add(confidence, class == label);
    }
    near("macro_f1", macro_f1(&confusion), &golden["macro_f1"], 1e-12);
    near("ece", calibration.error(), &golden["ece"], 1e-12);
}

#[test]
fn the_domains_are_told_apart_as_by_the_reference() {
    let distance = proxy_a_distance(&source().train, &target().features, WIDTH);
    near("proxy A-distance", distance, &golden()["proxy_a_distance"], 1e-12);
}

#[test]
fn principal_components_are_the_reference_s_with_its_signs() {
    let plane = pca(&target().features, WIDTH);
    let golden = golden();
    for (ours, golden) in plane.iter().zip(golden["pca"].as_array().unwrap()) {
        near("x", ours[0], &golden[0], 1e-6);
        near("y", ours[1], &golden[1], 1e-6);
    }
}

/// The share of near points that were near before (Venna & Kaski 2001), with ten neighbours.
fn trustworthiness(rows: &[f32], plane: &[[f64; 2]]) -> f64 {
    let n = plane.len();
    let order = |far: &dyn Fn(usize) -> f64, at: usize| {
        let mut others: Vec<usize> = (0..n).filter(|other| *other != at).collect();
        others.sort_by(|a, b| far(*a).total_cmp(&far(*b)));
        others
    };
    let row = |at: usize| &rows[at * WIDTH..(at + 1) * WIDTH];
    let mut lost = 0;
    for at in 0..n {
        let before = order(
            &|other| row(at).iter().zip(row(other)).map(|(a, b)| f64::from(a - b).powi(2)).sum(),
            at,
        );
        let [x, y] = plane[at];
        let after = order(&|other| (plane[other][0] - x).hypot(plane[other][1] - y), at);
        for other in &after[..10] {
            let rank = before.iter().position(|it| it == other).unwrap() + 1;
            lost += rank.saturating_sub(10);
        }
    }
    1.0 - 2.0 * lost as f64 / (n * 10 * (2 * n - 31)) as f64
}

#[test]
fn t_sne_keeps_neighbours_as_well_as_the_reference() {
    let rows = target().features;
    let plane = tsne(&rows, WIDTH, &pca(&rows, WIDTH), 30.0).unwrap();
    let ours = trustworthiness(&rows, &plane);
    let golden = golden()["tsne"]["trustworthiness"].as_f64().unwrap();
    assert!(ours > golden - 0.01, "{ours}, the reference has {golden}");
}
