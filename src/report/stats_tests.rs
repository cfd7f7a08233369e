//! Against scipy and statsmodels: `tests/golden/stats.py` wrote the values.

use serde_json::Value;

use super::*;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/golden/stats.json")).expect("golden JSON")
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|it| it.as_f64().expect("a number")).collect()
}

fn near(what: &str, found: f64, wanted: &Value) {
    let wanted = wanted.as_f64().expect("a number");
    let off = (found - wanted).abs();
    assert!(off <= 1e-9 * wanted.abs().max(1e-3), "{what}: {found} is not {wanted}");
}

#[test]
fn means_intervals_and_paired_tests_are_those_of_scipy() {
    let golden = golden();
    let samples = golden["samples"].as_array().unwrap();
    assert!(samples.len() > 20);
    for sample in samples {
        let (a, b) = (floats(&sample["a"]), floats(&sample["b"]));
        let (mean, sd) = mean_and_deviation(&b).unwrap();
        let sd = sd.unwrap();
        near("mean", mean, &sample["mean"]);
        near("sd", sd, &sample["sd"]);
        let half = half_interval(sd, b.len()).unwrap();
        near("low", mean - half, &sample["low"]);
        near("high", mean + half, &sample["high"]);
        let differences: Vec<f64> = b.iter().zip(&a).map(|(b, a)| b - a).collect();
        near("t", paired_t(&differences).p.unwrap(), &sample["t_p"]);
        let flips = sign_flips(&differences, 0);
        near("permutation", flips.p.unwrap(), &sample["permutation_p"]);
        assert!(flips.p >= flips.least && !flips.drawn);
    }
}

#[test]
fn quantiles_of_t_are_those_of_scipy() {
    for one in golden()["quantiles"].as_array().unwrap() {
        let n = usize::try_from(one["n"].as_u64().unwrap()).unwrap();
        near("t", student(n).unwrap().inverse_cdf(0.975), &one["t"]);
    }
}

#[test]
fn holm_is_that_of_statsmodels() {
    for one in golden()["corrections"].as_array().unwrap() {
        let found = holm(&floats(&one["p"]));
        for (found, wanted) in found.into_iter().zip(one["holm"].as_array().unwrap()) {
            near("holm", found, wanted);
        }
    }
}

#[test]
fn drawn_signs_come_near_the_exact_value_and_are_the_same_each_time() {
    let golden = golden();
    let differences = floats(&golden["many"]["differences"]);
    let found = sign_flips(&differences, 0);
    assert!(found.drawn);
    let (p, exact) = (found.p.unwrap(), golden["many"]["permutation_p"].as_f64().unwrap());
    // Four standard errors of 100,000 drawn choices.
    let error = (exact * (1.0 - exact) / 1e5).sqrt();
    assert!((p - exact).abs() < 4.0 * error, "{p} is not near {exact}");
    assert_eq!(found, sign_flips(&differences, 0));
    assert_ne!(found.p, sign_flips(&differences, 1).p);
}

#[test]
fn too_little_to_test_is_said() {
    assert_eq!(paired_t(&[0.1]).p, None);
    assert_eq!(paired_t(&[0.1, 0.1, 0.1]).p, None, "no deviation, no t");
    assert_eq!(paired_t(&[0.0, 0.0]).p, Some(1.0));
    assert_eq!(sign_flips(&[], 0).p, None);
    assert_eq!(sign_flips(&[0.3, 0.2, 0.4], 0).p, Some(0.25));
    assert_eq!(sign_flips(&[0.3, 0.2, 0.4], 0).least, Some(0.25));
    assert_eq!(half_interval(0.1, 1), None);
    assert_eq!(mean_and_deviation(&[]), None);
}

#[test]
fn equal_values_deviate_by_nothing_at_all() {
    assert_ne!([0.1; 3].iter().sum::<f64>() / 3.0, 0.1, "rounding");
    for n in 2..20 {
        assert_eq!(mean_and_deviation(&vec![0.1; n]), Some((0.1, Some(0.0))));
    }
    assert_eq!(mean_and_deviation(&[0.1]), Some((0.1, None)));
    let infinite = mean_and_deviation(&[f64::INFINITY; 2]).unwrap();
    assert!(infinite.0.is_infinite() && infinite.1.unwrap().is_nan());
}
