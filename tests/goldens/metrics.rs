//! Metrics are what numpy, scipy and scikit-learn make of the same numbers (tests/golden/metrics.py and, for
//! what needs no scikit-learn, tests/golden/scores.py).

use std::fs;

use crate::reference::hashed;
use runner::config::Word;
use runner::metrics::calibration::Calibration;
use runner::metrics::confusion::Confusion;
use runner::metrics::embedding::{pca, tsne};
use runner::metrics::label_free::class_ami::adjusted_mutual_information;
use runner::metrics::label_free::ensv::{Ensemble, ensv};
use runner::metrics::label_free::fbnm::fbnm;
use runner::metrics::label_free::mixval::{Mixes, SHARE};
use runner::metrics::label_free::rankme::rankme;
use runner::metrics::label_free::{HeldOut, LabelFreeScore, Outputs, SourceSample, iwv, values};
use runner::metrics::macro_f1::macro_f1;
use runner::metrics::proxy_a_distance::proxy_a_distance;
use runner::metrics::weighted_spearman::weighted_spearman;
use serde_json::Value;

const COUNT: usize = 300;
const CLASSES: usize = 5;
const WIDTH: usize = 12;
const TRAIN: usize = 260;
const HELD: usize = 120;
const MODELS: usize = 40;

fn golden() -> Value {
    serde_json::from_slice(&fs::read("tests/golden/metrics.json").unwrap()).unwrap()
}

/// Of numpy alone.
fn golden_scores() -> Value {
    serde_json::from_slice(&fs::read("tests/golden/scores.json").unwrap()).unwrap()
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

/// Numbers without order, the class of [`in_turn`] likelier than others.
fn logits() -> Vec<f64> {
    let boost = |at: usize| if at % CLASSES == at / CLASSES % CLASSES { 2.0 } else { 0.0 };
    let numbers = hashed(2, COUNT * CLASSES, 3.0);
    numbers.iter().enumerate().map(|(at, x)| f64::from(*x) + boost(at)).collect()
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let mut probabilities = Vec::new();
    for row in logits.chunks_exact(CLASSES) {
        let powers: Vec<f64> = row.iter().map(|x| x.exp()).collect();
        let sum: f64 = powers.iter().sum();
        probabilities.extend(powers.iter().map(|power| power / sum));
    }
    probabilities
}

fn target() -> Outputs {
    let (probabilities, features) = (softmax(&logits()), clouds(1, COUNT, 0.5));
    Outputs { probabilities, classes: CLASSES, features, width: WIDTH }
}

/// What a network makes of mixes whose logits are not those of their images.
fn mixes() -> Mixes {
    let (logits, noise) = (logits(), hashed(9, COUNT * CLASSES, 3.0));
    let partners: Vec<usize> = (0..COUNT).map(|at| (7 * at + 3) % COUNT).collect();
    let share = f64::from(SHARE);
    let row = |(at, partner): (usize, &usize)| -> Vec<f64> {
        let mixed = |class: usize| {
            let own = share * logits[at * CLASSES + class];
            let other = (1.0 - share) * logits[partner * CLASSES + class];
            own + other + f64::from(noise[at * CLASSES + class])
        };
        (0..CLASSES).map(mixed).collect()
    };
    let rows: Vec<f64> = partners.iter().enumerate().flat_map(row).collect();
    let answers = Outputs { probabilities: rows, classes: CLASSES, ..Outputs::default() };
    Mixes { answers: answers.predicted(), partners }
}

fn source() -> SourceSample {
    SourceSample { train: clouds(3, TRAIN, -0.5), labels: in_turn(TRAIN), held: Some(held()) }
}

/// Images whose losses are numbers without order, as are their other probabilities.
fn held() -> HeldOut {
    let mut probabilities = Vec::new();
    let losses = hashed(5, HELD, 2.0);
    for (at, row) in hashed(6, HELD * CLASSES, 3.0).chunks_exact(CLASSES).enumerate() {
        let label = at % CLASSES;
        let right = (-f64::from(losses[at].abs())).exp();
        let mut powers: Vec<f64> = row.iter().map(|x| f64::from(*x).exp()).collect();
        powers[label] = 0.0;
        let left = (1.0 - right) / powers.iter().sum::<f64>();
        powers.iter_mut().for_each(|power| *power *= left);
        powers[label] = right;
        probabilities.extend(powers);
    }
    let features = clouds(4, HELD, -0.5);
    let outputs = Outputs { probabilities, classes: CLASSES, features, width: WIDTH };
    HeldOut { outputs, labels: in_turn(HELD) }
}

/// The classes of rows that [`clouds`] makes.
fn in_turn(count: usize) -> Vec<u32> {
    (0..count).map(|at| u32::try_from(at % CLASSES).unwrap()).collect()
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

/// How far a score may be from its reference: more where it sums in single precision, or trains.
fn bound(score: LabelFreeScore) -> f64 {
    match score {
        LabelFreeScore::Entropy
        | LabelFreeScore::InfoMax
        | LabelFreeScore::Snd
        | LabelFreeScore::Diversity
        | LabelFreeScore::Fbnm
        | LabelFreeScore::Mano
        | LabelFreeScore::CorrC
        | LabelFreeScore::Mcc
        | LabelFreeScore::Atc
        | LabelFreeScore::MixVal
        | LabelFreeScore::MixValIntra
        | LabelFreeScore::MixValInter => 1e-12,
        LabelFreeScore::Bnm
        | LabelFreeScore::ClassAmi
        | LabelFreeScore::RankMe
        | LabelFreeScore::CentroidDistance => 1e-9,
        LabelFreeScore::ClassSs | LabelFreeScore::Mmd => 1e-6,
        LabelFreeScore::Dev | LabelFreeScore::Iwv => 1e-5,
    }
}

#[test]
fn every_label_free_score_is_the_reference_s() {
    let (golden, others) = (golden(), golden_scores());
    let scores: Vec<LabelFreeScore> = LabelFreeScore::all().collect();
    let found = values(&scores, &target(), Some(&source()), Some(&mixes()));
    assert_eq!(found.len(), scores.len());
    for (score, value) in scores.into_iter().zip(found) {
        let word = score.word();
        let golden = golden.get(word).unwrap_or(&others[word]);
        near(word, value, golden, bound(score));
    }
    let held = held().outputs.features;
    let weights = iwv::weights(&source().train, &target().features, &held, WIDTH);
    for (at, golden) in golden["weights"].as_array().unwrap().iter().enumerate() {
        near("weights", weights[at], golden, 1e-4);
    }
}

#[test]
fn candidates_agree_with_the_mean_of_all_as_in_the_reference() {
    let candidate = |at: u8| {
        let noise = hashed(10 + usize::from(at), COUNT * CLASSES, 2.0 + f32::from(at));
        let logits: Vec<f64> =
            logits().iter().zip(noise).map(|(logit, more)| logit + f64::from(more)).collect();
        Outputs { probabilities: softmax(&logits), classes: CLASSES, ..Outputs::default() }
    };
    let candidates: Vec<Outputs> = (0..4).map(candidate).collect();
    let mut ensemble = Ensemble::new(COUNT, CLASSES);
    for candidate in &candidates {
        for (batch, rows) in candidate.probabilities.chunks(64 * CLASSES).enumerate() {
            ensemble.add(64 * batch, rows.iter().copied());
        }
    }
    let golden = &golden_scores()["ensv"];
    for (at, candidate) in candidates.iter().enumerate() {
        let agreement = ensv(&ensemble.predicted(), &candidate.predicted());
        near(&format!("candidate {at}"), agreement, &golden[at], 1e-12);
    }
}

#[test]
fn fewer_rows_than_columns_are_scored_as_by_the_reference() {
    let (golden, target) = (golden_scores(), target());
    near(
        "fbnm",
        fbnm(&target.probabilities[..3 * CLASSES], CLASSES),
        &golden["fbnm_of_3_rows"],
        1e-12,
    );
    near("rankme", rankme(&target.features[..7 * WIDTH], WIDTH), &golden["rankme_of_7_rows"], 1e-9);
}

#[test]
fn the_weighted_rank_correlation_is_the_reference_s() {
    let accuracies: Vec<f32> = hashed(7, MODELS, 1.0).iter().map(|x| (x + 1.0) / 2.0).collect();
    let noise = hashed(8, MODELS, 1.0);
    let noisy: Vec<f32> = accuracies.iter().zip(&noise).map(|(a, b)| a + b).collect();
    let exactly = |all: &[f32]| -> Vec<f64> { all.iter().map(|x| f64::from(*x)).collect() };
    // Ties in both, from rounding to eighths.
    let eighths =
        |all: &[f32]| -> Vec<f64> { all.iter().map(|x| f64::from((x * 8.0).floor())).collect() };
    let mut odd = exactly(&noisy);
    (odd[3], odd[11], odd[20]) = (f64::NAN, f64::INFINITY, f64::NEG_INFINITY);
    let against = exactly(&noisy).iter().map(|x| -x).collect();
    let golden = &golden_scores()["weighted_spearman"];
    for (name, scores, accuracies) in [
        ("noisy", exactly(&noisy), exactly(&accuracies)),
        ("ties", eighths(&noisy), eighths(&accuracies)),
        ("odd", odd, exactly(&accuracies)),
        ("against", against, exactly(&accuracies)),
    ] {
        near(name, weighted_spearman(&scores, &accuracies).unwrap(), &golden[name], 1e-12);
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
