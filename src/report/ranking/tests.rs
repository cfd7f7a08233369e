//! Tests of the ranking of scores that need no labels of the target.

use indexmap::IndexMap;

use super::*;
use crate::digest::Fingerprint;
use crate::metrics::label_free::LabelFreeScore;
use crate::report::trials::{TrialResult, TrialState};

const SND: RankedBy = RankedBy::LabelFree(LabelFreeScore::Snd);
const ENTROPY: RankedBy = RankedBy::LabelFree(LabelFreeScore::Entropy);

/// `target.test` with this task.
fn to_target(task: &[(&str, &str)]) -> IndexMap<String, Task> {
    let task = task.iter().map(|it| (it.0.to_owned(), it.1.to_owned())).collect();
    IndexMap::from([("target.test".to_owned(), task)])
}

/// Method, accuracy and scores.
type Given<'a> = (&'a str, f64, &'a [(RankedBy, f64)]);

/// A sweep of the model `adapted`: method, accuracy on `target.test`, and the values of each trial.
fn sweep(trials: &[Given]) -> RunScores<'static> {
    let mut all = RunScores { sweep: true, ..RunScores::default() };
    for (trial, (method, accuracy, values)) in trials.iter().enumerate() {
        all.trials.to_mut().push(TrialResult {
            name: format!("{trial:03}"),
            labels: Vec::new(),
            state: TrialState::Done,
            objective: None,
            selected: None,
            reason: String::new(),
            collapsed: None,
        });
        all.scores.push(TrialScore {
            trial,
            stage: "score".into(),
            model: "adapted".into(),
            dataset: "target.test".into(),
            metric: "accuracy".into(),
            value: *accuracy,
        });
        all.models.push(RankedModel {
            trial,
            model: "adapted".into(),
            method: (*method).into(),
            fingerprint: None,
            classes: Some(10),
            targets: to_target(&[]),
            values: values.to_vec(),
        });
    }
    all
}

#[test]
fn a_score_that_orders_models_by_accuracy_correlates_fully_whichever_way_is_better() {
    let values = |snd, entropy| vec![(SND, snd), (ENTROPY, entropy)];
    let [a, b, c, d] = [values(2.0, 0.4), values(3.0, 0.3), values(9.0, 0.1), values(8.0, 0.2)];
    let trials = [(0.2, &a), (0.5, &b), (0.9, &c), (0.7, &d)];
    let scores = sweep(&trials.map(|(accuracy, values)| ("dann", accuracy, &values[..])));
    let rankings = Ranking::all(&scores);
    assert_eq!(rankings.len(), 1);
    assert_eq!(rankings[0].scores(), [SND, ENTROPY]);
    let [group] = &rankings[0].groups[..] else { panic!("{rankings:?}") };
    assert_eq!((group.name.as_str(), group.models), ("adapted", 4));
    for by in [SND, ENTROPY] {
        let score = group.score(by).unwrap();
        assert!((score.correlation.unwrap() - 1.0).abs() < 1e-12, "{score:?}");
        assert_eq!(score.chosen.as_ref().unwrap(), &group.oracle);
    }
    assert_eq!((group.oracle.trial, group.oracle.accuracy), (2, 0.9));
}

#[test]
fn correlations_are_those_of_the_metric_for_each_method_and_over_all() {
    // The score misleads within each method, and yet tells the methods apart.
    let trials: [(&str, f64, f64); 6] = [
        ("dann", 0.9, 5.0),
        ("dann", 0.8, 6.0),
        ("dann", 0.7, 7.0),
        ("coral", 0.6, 1.0),
        ("coral", 0.5, 2.0),
        ("coral", 0.4, 3.0),
    ];
    let values = trials.map(|it| [(SND, it.2)]);
    let trials: Vec<Given> =
        trials.iter().zip(&values).map(|(it, values)| (it.0, it.1, &values[..])).collect();
    let rankings = Ranking::all(&sweep(&trials));
    let groups = &rankings[0].groups;
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["dann", "coral", "all"]);
    let of = |group: usize| groups[group].score(SND).unwrap().correlation.unwrap();
    assert_eq!(of(0), weighted_spearman(&[5.0, 6.0, 7.0], &[0.9, 0.8, 0.7]).unwrap());
    assert!(of(0) < -0.9 && of(1) < -0.9 && of(2) > 0.0, "{} {} {}", of(0), of(1), of(2));
    let chosen = groups[2].score(SND).unwrap().chosen.clone().unwrap();
    assert_eq!((chosen.trial, chosen.accuracy), (2, 0.7), "the highest score of all");
    assert_eq!((groups[2].oracle.trial, groups[2].models), (0, 6));
}

#[test]
fn what_is_not_a_number_is_never_chosen_ties_are_counted_and_constants_have_no_correlation() {
    let trials: [Given; 4] = [
        ("dann", 0.2, &[(SND, f64::NAN), (ENTROPY, 0.5)]),
        ("dann", 0.5, &[(SND, 4.0), (ENTROPY, 0.5)]),
        ("dann", 0.9, &[(SND, 4.0), (ENTROPY, 0.5)]),
        ("dann", 0.7, &[(SND, f64::INFINITY)]),
    ];
    let scores = sweep(&trials);
    let group = Ranking::all(&scores).remove(0).groups.remove(0);
    let snd = group.score(SND).unwrap();
    assert_eq!((snd.chosen.as_ref().unwrap().trial, snd.tied, snd.models), (1, 2, 4));
    let entropy = group.score(ENTROPY).unwrap();
    assert_eq!((entropy.correlation, entropy.tied, entropy.models), (None, 3, 3));
    let text = file::text(&Ranking::all(&scores), &scores).unwrap();
    let line = text.lines().nth(2).unwrap();
    assert_eq!(
        line,
        "target.test,,adapted,target.entropy,lower,3,,000,adapted,0.2,3,,002,adapted,0.9"
    );
}

#[test]
fn a_model_that_trials_share_counts_once_and_fewer_than_three_are_not_ranked() {
    let values: &[(RankedBy, f64)] = &[(SND, 1.0)];
    let three = || sweep(&[0.2, 0.3, 0.4].map(|accuracy| ("dann", accuracy, values)));
    let mut scores = three();
    assert_eq!(Ranking::all(&scores).len(), 1);
    let shared = Some("0".repeat(64).parse().map(Fingerprint).unwrap());
    for model in &mut scores.models[..2] {
        model.fingerprint = shared;
    }
    assert_eq!(Ranking::all(&scores), []);
    let mut scores = three();
    scores.sweep = false;
    assert_eq!(Ranking::all(&scores), [], "a plain run");
    scores.sweep = true;
    scores.models[0].targets.clear();
    assert_eq!(Ranking::all(&scores), [], "two on the target");
}

#[test]
fn models_of_different_tasks_are_not_ranked_among_each_other() {
    // The score orders the models of each direction rightly, and those of both wrongly.
    let trials: [(f64, f64); 6] =
        [(0.9, 3.0), (0.8, 2.0), (0.7, 1.0), (0.4, 6.0), (0.3, 5.0), (0.2, 4.0)];
    let values = trials.map(|it| [(SND, it.1)]);
    let given: Vec<Given> =
        trials.iter().zip(&values).map(|(it, values)| ("dann", it.0, &values[..])).collect();
    let mut scores = sweep(&given);
    let correlation = |ranking: &Ranking| ranking.groups[0].score(SND).unwrap().correlation;
    let pooled = Ranking::all(&scores);
    assert_eq!((pooled.len(), pooled[0].on().as_str()), (1, "target.test"));
    assert!(correlation(&pooled[0]).unwrap() < 0.0, "{pooled:?}");
    // A model that the directions share is one of each.
    let shared = Some("0".repeat(64).parse().map(Fingerprint).unwrap());
    for (at, model) in scores.models.iter_mut().enumerate() {
        let source = if at < 3 { "mnist" } else { "usps" };
        model.targets = to_target(&[("stages.source.input", source)]);
        model.fingerprint = shared.filter(|_| at == 0 || at == 3);
    }
    let both = Ranking::all(&scores);
    assert_eq!(both.len(), 2);
    for (ranking, source) in both.iter().zip(["mnist", "usps"]) {
        assert!((correlation(ranking).unwrap() - 1.0).abs() < 1e-12, "{ranking:?}");
        assert_eq!(ranking.groups[0].models, 3);
        assert_eq!(ranking.on(), format!("target.test with stages.source.input = {source}"));
    }
    let text = file::text(&both, &scores).unwrap();
    assert_eq!(text.matches("target.test,stages.source.input = usps,adapted,").count(), 1);
}

#[test]
fn all_models_have_a_name_of_their_own() {
    let values: &[(RankedBy, f64)] = &[(SND, 1.0)];
    let trials = ["all", "all", "all", "dann", "dann", "dann"];
    let rankings = Ranking::all(&sweep(&trials.map(|method| (method, 0.5, values))));
    let names: Vec<&str> = rankings[0].groups.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["all", "dann", "all models"]);
}

#[test]
fn groups_are_named_by_what_tells_them_apart() {
    let name = |all: &[(&str, &str)]| {
        all.iter().map(|kind| group_name(*kind, all)).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(name(&[("a", "dann")]), "a");
    assert_eq!(name(&[("a", "dann"), ("a", "coral")]), "dann; coral");
    assert_eq!(name(&[("a", "dann"), ("b", "dann")]), "a; b");
    let both = [("a", "dann"), ("a", "coral"), ("b", "dann")];
    assert_eq!(name(&both), "a, dann; a, coral; b");
}
