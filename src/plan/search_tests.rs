//! Searches over a real pipeline file whose trials are given values by hand.

use std::collections::HashSet;
use std::fs;

use super::*;
use crate::metrics::{Metrics, TrainingRow, TrainingSplit};
use crate::plan::goal::AutoCheck;
use crate::plan::trials::{self, Trials};

const FILE: &str = r#"
[pipeline]
name = "x"
[stages.mnist]
kind = "download"
dataset = "mnist-10k"
[stages.net]
kind = "pretrain"
train = "mnist"
validate = "mnist.valid"
model = "lenet"
epochs = 9
optimizer = { kind = "adam", lr = 1e-3 }
[stages.score]
kind = "evaluate"
models = ["net"]
on = ["mnist.test"]
[sweep]
"#;

const SELECT: &str = "[sweep.select]\nstage = 'net'\nby = 'validate.accuracy'\n";

fn load(sweep: &str) -> Result<Trials, String> {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("x.toml");
    fs::write(&path, format!("{FILE}{sweep}")).unwrap();
    trials::load(&path, &[]).map_err(|report| report.render(false))
}

fn number(trial: &Trial, key: &str) -> f64 {
    let found = trial.labels.iter().find(|(name, _)| name == key);
    let value = &found.unwrap().1;
    value.as_float().unwrap_or_else(|| value.as_integer().unwrap() as f64)
}

const LR: &str = "stages.net.optimizer.lr";

/// Runs a search over trials whose value is `value`; every decision as `trial@epoch`, by round.
fn run(sweep: &str, value: impl Fn(&Trial, usize) -> Option<f64>) -> (Vec<String>, Trials) {
    let mut all = load(sweep).unwrap_or_else(|report| panic!("{report}"));
    let mut rounds = Vec::new();
    let mut search = all.search.take().unwrap();
    while let Some(reach) = search.next(&mut all.trials).unwrap() {
        let epochs = |reach: &Reach| match reach {
            Reach::End => Some(9),
            Reach::Epoch(epoch) => Some(*epoch),
            Reach::Stay => None,
        };
        let jobs = reach.iter().enumerate().filter_map(|(at, it)| Some((at, epochs(it)?)));
        let jobs: Vec<String> = jobs.map(|(at, epoch)| format!("{at}@{epoch}")).collect();
        rounds.push(jobs.join(" "));
        let trials = all.trials.clone();
        search.learn(|trial, epoch| value(&trials[trial], epoch.unwrap_or(9)));
        assert!(rounds.len() < 200, "{rounds:?}");
    }
    all.search = Some(search);
    (rounds, all)
}

fn reason(verdict: &Verdict) -> Option<&str> {
    verdict.pruned.as_ref().map(|it| it.reason.as_str())
}

fn verdicts(trials: &Trials) -> Vec<Verdict> {
    trials.search.as_ref().unwrap().verdicts()
}

#[test]
fn a_grid_runs_all_its_trials_at_once_and_selects_the_configuration_that_is_best_over_seeds() {
    let sweep =
        format!("axes = {{ 'pipeline.seed' = [0, 1], '{LR}' = [0.1, 0.2, 0.3] }}\n{SELECT}");
    // The best single trial is of 0.3, the best mean that of 0.2.
    let (rounds, trials) = run(&sweep, |trial, _| {
        Some(match (number(trial, LR), number(trial, "pipeline.seed")) {
            (0.2, _) => 0.8,
            (0.3, 0.0) => 0.95,
            _ => 0.1,
        })
    });
    assert_eq!(rounds, ["0@9 1@9 2@9 3@9 4@9 5@9"]);
    let selected: Vec<usize> = verdicts(&trials)
        .iter()
        .enumerate()
        .filter(|it| it.1.selected == Some(true))
        .map(|it| it.0)
        .collect();
    assert_eq!(selected, [1, 4]);
    assert_eq!(verdicts(&trials)[2].objective, Some(0.95));
}

#[test]
fn the_first_of_configurations_is_selected_whose_means_only_rounding_tells_apart() {
    let sweep = format!("axes = {{ '{LR}' = [0.1, 0.2], 'pipeline.seed' = [0, 1, 2] }}\n{SELECT}");
    // 0.6 and 0.1 + 0.2 + 0.3, which is more by one bit.
    let (_, trials) = run(&sweep, |trial, _| {
        let seed = number(trial, "pipeline.seed");
        Some(
            if number(trial, LR) < 0.15 { [0.3, 0.2, 0.1] } else { [0.1, 0.2, 0.3] }[seed as usize],
        )
    });
    let selected: Vec<Option<bool>> = verdicts(&trials).iter().map(|it| it.selected).collect();
    assert_eq!(selected, [true, true, true, false, false, false].map(Some));
}

#[test]
fn halving_promotes_the_best_third_of_each_rung_and_ends_the_others_there() {
    let sweep = format!(
        "axes = {{ '{LR}' = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] }}\n\
         {SELECT}[sweep.halving]\nbatch = 9\n"
    )
    .replace("[sweep.halving]\nbatch = 9\n", "[sweep.halving]\nfactor = 3\n");
    let sweep = format!("batch = 9\n{sweep}");
    let (rounds, trials) = run(&sweep, |trial, _| Some(number(trial, LR)));
    assert_eq!(rounds, ["0@1 1@1 2@1 3@1 4@1 5@1 6@1 7@1 8@1", "6@3 7@3 8@3", "8@9"]);
    let verdicts = verdicts(&trials);
    let best =
        Verdict { objective: Some(0.9), selected: Some(true), pruned: None, collapsed: None };
    assert_eq!(verdicts[8], best);
    assert_eq!(reason(&verdicts[7]), Some("after epoch 3 of 9: place 2 of 3"));
    assert_eq!(reason(&verdicts[0]), Some("after epoch 1 of 9: place 9 of 9"));
}

#[test]
fn halving_goes_by_what_is_known_when_a_batch_is_over_and_never_by_which_trial_ended_first() {
    let sweep = format!(
        "batch = 2\naxes = {{ '{LR}' = [0.1, 0.4, 0.2, 0.3, 0.6, 0.5] }}\n{SELECT}[sweep.halving]\n"
    );
    let (rounds, trials) = run(&sweep, |trial, _| Some(number(trial, LR)));
    // ASHA promotes as soon as a third of those that reached a rung may go on.
    assert_eq!(rounds[..3], ["0@1 1@1", "2@1 3@1", "1@3 4@1"], "{rounds:?}");
    assert_eq!(rounds.last().unwrap(), "4@9", "the best comes to its end: {rounds:?}");
    let complete = verdicts(&trials).iter().filter(|it| it.pruned.is_none()).count();
    assert_eq!(complete, 1);
}

#[test]
fn each_group_has_a_best_trial_of_its_own_that_comes_to_its_end() {
    let sweep = format!(
        "axes = {{ 'stages.net.batch_size' = [32, 64], '{LR}' = [0.1, 0.2] }}\n\
         {SELECT}per = ['stages.net.batch_size']\n[sweep.halving]\n"
    );
    let (_, trials) = run(&sweep, |trial, _| Some(number(trial, LR)));
    let verdicts = verdicts(&trials);
    let selected: Vec<bool> = verdicts.iter().map(|it| it.selected == Some(true)).collect();
    assert_eq!(selected, [false, true, false, true]);
    assert!(verdicts[1].pruned.is_none() && verdicts[3].pruned.is_none());
}

#[test]
fn a_configuration_that_fails_is_neither_promoted_nor_selected() {
    let sweep = format!("axes = {{ '{LR}' = [0.1, 0.2, 0.3] }}\n{SELECT}[sweep.halving]\n");
    let failing = |trial: &Trial, _| Some(number(trial, LR)).filter(|lr| *lr < 0.3);
    let (rounds, trials) = run(&sweep, failing);
    assert_eq!(rounds, ["0@1 1@1 2@1", "1@3", "1@9"]);
    assert_eq!(verdicts(&trials)[2].selected, Some(false));
    assert_eq!(verdicts(&trials)[2].pruned, None, "it failed, which is something else");
}

#[test]
fn more_trials_keep_those_that_were_there_for_every_sampler() {
    for search in ["random", "sobol", "tpe"] {
        let draw = |trials: usize| {
            let sweep = format!(
                "search = '{search}'\ntrials = {trials}\n\
                 axes = {{ '{LR}' = {{ log_uniform = [1e-4, 1e-1] }}, 'pipeline.seed' = [0, 1], \
                 'stages.net.batch_size' = {{ int = [8, 512] }} }}\n{SELECT}"
            );
            let (_, trials) = run(&sweep, |trial, _| Some(-(number(trial, LR).ln() + 5.0).powi(2)));
            trials.trials.into_iter().map(|trial| trial.labels).collect::<Vec<_>>()
        };
        let (few, many) = (draw(12), draw(20));
        assert_eq!((few.len(), many.len()), (24, 40), "{search}: two seeds each");
        assert_eq!(few[..], many[..24], "{search}");
        let different: HashSet<String> = many.iter().map(|it| format!("{it:?}")).collect();
        assert_eq!(different.len(), 40, "{search}");
    }
}

#[test]
fn every_draw_is_tried_with_each_value_of_an_axis_that_sets_configurations_apart() {
    for search in ["random", "sobol"] {
        let sweep = |trials: usize, more: &str| {
            format!(
                "search = '{search}'\ntrials = {trials}\neach = ['stages.net.epochs']\n{more}\
                 axes = {{ '{LR}' = {{ log_uniform = [1e-4, 1e-1] }}, 'pipeline.seed' = [0, 1], \
                 'stages.net.epochs' = [3, 5] }}\n{SELECT}per = ['stages.net.epochs']\n"
            )
        };
        let draw = |trials: usize, more: &str| load(&sweep(trials, more)).unwrap().trials;
        let rates = |trials: &[Trial], epochs: f64, seed: f64| -> Vec<f64> {
            let is = |it: &&Trial| {
                (number(it, "stages.net.epochs") - epochs).abs() < 0.5
                    && (number(it, "pipeline.seed") - seed).abs() < 0.5
            };
            trials.iter().filter(is).map(|it| number(it, LR)).collect()
        };
        let (few, many) = (draw(3, ""), draw(5, ""));
        assert_eq!((few.len(), many.len()), (12, 20), "{search}: 2 values, 2 seeds each");
        assert!(few.iter().zip(&many).all(|it| it.0.labels == it.1.labels), "{search}");
        // The same draws for both, so that they can be compared in pairs.
        let drawn = rates(&many, 3.0, 0.0);
        assert_eq!(drawn.len(), 5);
        assert_eq!(drawn, rates(&many, 5.0, 1.0), "{search}");
        // One that `where` drops is replaced for the value that it was dropped of alone.
        let middle = (drawn[1] + drawn[0]) / 2.0;
        let sign = if drawn[0] < middle { '<' } else { '>' };
        let kept = draw(5, &format!("where = 'epochs == 5 or lr {sign} {middle}'\n"));
        assert_eq!(rates(&kept, 5.0, 0.0), drawn);
        let replaced = rates(&kept, 3.0, 0.0);
        assert_eq!((replaced.len(), replaced[0]), (5, drawn[0]));
        assert_ne!(replaced, drawn);
        // Each value has a best configuration of its own.
        let (_, done) = run(&sweep(3, ""), |trial, _| Some(-number(trial, LR)));
        let selected = verdicts(&done).iter().filter(|it| it.selected == Some(true)).count();
        assert_eq!(selected, 4, "{search}: one a value, two seeds each");
    }
}

#[test]
fn tpe_finds_better_values_than_drawing_at_random() {
    let best = |search: &str, seed: usize| {
        let sweep = format!(
            "search = '{search}'\ntrials = 40\nseed = {seed}\n\
             axes = {{ '{LR}' = {{ log_uniform = [1e-6, 1.0] }}, \
             'stages.net.batch_size' = {{ int = [8, 512] }} }}\n{SELECT}"
        );
        let value = |trial: &Trial| {
            let size = number(trial, "stages.net.batch_size");
            -((number(trial, LR).log10() + 3.0).powi(2) + ((size - 200.0) / 100.0).powi(2))
        };
        let (_, trials) = run(&sweep, |trial, _| Some(value(trial)));
        trials.trials.iter().map(value).fold(f64::NEG_INFINITY, f64::max)
    };
    let wins = (0..8).filter(|seed| best("tpe", *seed) > best("random", *seed)).count();
    assert!(wins >= 6, "better in {wins} of 8 searches");
}

#[test]
fn tpe_comes_to_all_of_a_few_values_though_it_has_its_favourites() {
    let sweep = format!(
        "search = 'tpe'\ntrials = 30\nstartup = 4\naxes = {{ '{LR}' = {{ choice = [0.1, 0.2, 0.3, 0.4, 0.5] }}, \
         'stages.net.batch_size' = {{ int = [8, 13] }} }}\n{SELECT}"
    );
    let (_, trials) = run(&sweep, |trial, _| Some(number(trial, LR)));
    assert_eq!(trials.trials.len(), 30);
    assert_eq!(trials.search.unwrap().notes(), [""; 0]);
    let (_, trials) = run(&sweep.replace("= 30", "= 31"), |trial, _| Some(number(trial, LR)));
    let notes = trials.search.unwrap().notes().join("");
    assert!(notes.starts_with("only 30 of 31 configurations"), "{notes}");
}

#[test]
fn a_split_that_a_method_adapts_to_is_hidden_from_selection() {
    let adapted = |target: &str| {
        let stage = format!(
            "axes = {{ '{LR}' = [0.1, 0.2] }}\n[sweep.select]\nstage = 'adapted'\nby = 'validate.loss'\n\
             [stages.adapted]\nkind = 'finetune'\nmodel = 'net'\ntrain = 'mnist'\n\
             validate = 'mnist.valid'\nepochs = 1\n\
             method = {{ kind = 'dann', target = '{target}' }}\n"
        );
        load(&stage)
    };
    let report = adapted("mnist.valid").expect_err("refused");
    assert!(report.contains("labels that selection must not see"), "{report}");
    adapted("mnist.test").unwrap();
}

#[test]
fn the_best_epoch_counts_where_its_weights_were_kept() {
    let rates = load(&format!("axes = {{ '{LR}' = [0.1, 0.2] }}\n{SELECT}")).unwrap();
    let goal = rates.search.unwrap().goal().unwrap().clone();
    let row = |epoch, split, value| {
        let metric = "accuracy".to_owned();
        TrainingRow { epoch, step: 1, split, metric, value }
    };
    let validated =
        vec![row(1, TrainingSplit::Validate, 0.9), row(2, TrainingSplit::Validate, 0.4)];
    let kept = [&validated[..], &[row(1, TrainingSplit::Best, 0.9)]].concat();
    let (validated, kept) = (Metrics::Training(validated), Metrics::Training(kept));
    assert_eq!(goal.value(&validated, None), Some(0.4));
    assert_eq!(goal.value(&kept, None), Some(0.9));
    assert_eq!(goal.value(&kept, Some(2)), Some(0.4), "at a rung it is not known yet");
}

/// A sweep of a network that is adapted, selected by `auto`, with these lines in its stage and in `[sweep.select]`.
fn auto(stage: &str, select: &str) -> String {
    format!(
        "axes = {{ 'pipeline.seed' = [0, 1], 'stages.adapted.optimizer.lr' = [0.1, 0.2, 0.3] }}\n\
         [sweep.select]\nstage = 'adapted'\nby = 'auto'\n{select}\n\
         [stages.adapted]\nkind = 'finetune'\nmodel = 'net'\ntrain = 'mnist'\nepochs = 9\n\
         method = {{ kind = 'dann', target = 'mnist.test' }}\n{stage}\n"
    )
}

const MEASURED: &str = "validate = 'mnist.valid'\n\
    target_scores = { on = 'mnist.test', metrics = ['diversity', 'class_ami', 'entropy'] }";

#[test]
fn auto_selects_the_most_accurate_of_what_does_not_collapse_and_says_where_everything_does() {
    let merit = |value, collapsed, class_ami| {
        Some(Merit { value, check: Some(AutoCheck { collapsed, class_ami }) })
    };
    let select = |show: &dyn Fn(f64, f64) -> Option<Merit>| {
        let mut all = load(&auto(MEASURED, "")).unwrap_or_else(|report| panic!("{report}"));
        let mut search = all.search.take().unwrap();
        search.next(&mut all.trials).unwrap().unwrap();
        let trials = all.trials.clone();
        search.learn(|trial, _| {
            let of = |key| number(&trials[trial], key);
            show(of("stages.adapted.optimizer.lr"), of("pipeline.seed"))
        });
        let verdicts = search.verdicts().into_iter().enumerate();
        let selected = verdicts.filter(|it| it.1.selected == Some(true)).map(|it| it.0);
        (selected.collect::<Vec<_>>(), search.notes_on_selection())
    };
    // The most accurate one collapses with one of its seeds; of the others, equally good, ClassAMI decides.
    let (selected, notes) = select(&|lr, seed| match lr {
        0.1 => merit(0.99, seed == 1.0, 0.9),
        0.2 => merit(0.9, false, 0.4),
        _ => merit(0.9, false, 0.5),
    });
    assert_eq!((selected, notes), (vec![2, 5], Vec::new()));
    let (selected, notes) = select(&|lr, _| merit(lr, true, 0.5));
    assert_eq!(selected, [2, 5]);
    assert_eq!(notes.len(), 1);
    let said = "every configuration that came to its end collapse on the target";
    assert!(notes[0].contains(said), "{notes:?}");
}

#[test]
fn auto_reads_accuracy_diversity_and_class_ami_of_the_same_epoch() {
    let goal = load(&auto(MEASURED, "")).unwrap().search.unwrap().goal().unwrap().clone();
    assert_eq!((goal.text().as_str(), goal.rises), ("adapted: auto", true));
    let row = |epoch, split, metric: &str, value| {
        let metric = metric.to_owned();
        TrainingRow { epoch, step: 1, split, metric, value }
    };
    let measured = |epoch, accuracy, diversity| {
        [
            row(epoch, TrainingSplit::Target, "diversity", diversity),
            row(epoch, TrainingSplit::Target, "class_ami", accuracy / 2.0),
            row(epoch, TrainingSplit::Validate, "accuracy", accuracy),
        ]
    };
    let rows = [measured(1, 0.75, 2.3), measured(2, 0.5, 1.8)].concat();
    let kept = [&rows[..], &[row(1, TrainingSplit::Best, "accuracy", 0.75)]].concat();
    // Four fifths of ln 10 are 1.84.
    for (rows, epoch, accuracy, collapsed) in
        [(&rows, None, 0.5, true), (&rows, Some(1), 0.75, false), (&kept, None, 0.75, false)]
    {
        let metrics = Metrics::Training(rows.clone());
        assert_eq!(goal.value(&metrics, epoch), Some(accuracy));
        let check = AutoCheck { collapsed, class_ami: accuracy / 2.0 };
        assert_eq!(AutoCheck::of(&metrics, epoch, 10), Some(check));
    }
    let without = Metrics::Training(vec![row(1, TrainingSplit::Validate, "accuracy", 0.5)]);
    assert_eq!(AutoCheck::of(&without, None, 10), None);
}

#[test]
fn auto_says_what_it_needs() {
    let wrong = |stage: &str, select: &str| load(&auto(stage, select)).expect_err("refused");
    let report = wrong("validate = 'mnist.valid'", "");
    assert!(report.contains("also goes by `diversity` and `class_ami` of the target"), "{report}");
    let one = MEASURED.replace("'class_ami', ", "");
    let report = wrong(&one, "");
    assert!(report.contains("add `\"class_ami\"` to the `metrics` of `target_scores`"), "{report}");
    let report = wrong(&MEASURED.replace("validate = 'mnist.valid'", ""), "");
    assert!(report.contains("does not validate"), "{report}");
    let report = wrong(MEASURED, "mode = 'max'");
    assert!(report.contains("`mode` does not go with"), "{report}");
    let report = wrong(&MEASURED.replace("mnist.valid", "mnist.test"), "");
    assert!(report.contains("labels that selection must not see"), "{report}");
    let report = wrong(&MEASURED.replace("on = 'mnist.test'", "on = 'mnist.valid'"), "");
    assert!(report.contains("collapsed classes on the source"), "{report}");
    // Without a method, what is scored is the target.
    let plain = |validate: &str| {
        let sweep = auto(MEASURED, "")
            .replace("method = { kind = 'dann', target = 'mnist.test' }", "")
            .replace("on = 'mnist.test'", "on = 'gray.train'")
            .replace("validate = 'mnist.valid'", validate);
        load(&format!("{sweep}\n[stages.gray]\nkind = 'normalize'\ninput = 'mnist'\n"))
    };
    assert!(plain("validate = 'mnist.valid'").is_ok());
    let report = plain("validate = 'gray.valid'").expect_err("refused");
    assert!(report.contains("labels that selection must not see"), "{report}");
    let scores = auto(MEASURED, "").replace("stage = 'adapted'", "stage = 'score'");
    let report = load(&scores).expect_err("refused");
    assert!(report.contains("`score` evaluates"), "{report}");
}

#[test]
fn a_sobol_sequence_fills_a_square_more_evenly_than_chance() {
    let corners = |search: &str| {
        let sweep = format!(
            "search = '{search}'\ntrials = 64\naxes = {{ '{LR}' = {{ uniform = [0.0001, 1.0] }}, \
             'stages.net.label_smoothing' = {{ uniform = [0.0, 0.8] }} }}\n{SELECT}"
        );
        let (_, trials) = run(&sweep, |_, _| Some(0.0));
        let mut counts = [[0_usize; 8]; 8];
        for trial in &trials.trials {
            let place = |share: f64| ((share * 8.0) as usize).min(7);
            let smoothing = number(trial, "stages.net.label_smoothing") / 0.8;
            counts[place(number(trial, LR))][place(smoothing)] += 1;
        }
        counts.iter().flatten().filter(|count| **count == 0).count()
    };
    // 64 points of the sequence are one in each of 8 x 8 squares, but for rounding to four digits.
    assert!(corners("sobol") <= 2, "{} empty", corners("sobol"));
    assert!(corners("random") >= 12, "{} empty", corners("random"));
}

#[test]
fn axes_that_move_together_and_conditions_leave_the_combinations_that_were_meant() {
    let sweep = format!(
        "zip = [['{LR}', 'stages.net.batch_size']]\nwhere = 'lr < 0.3 or seed == 0'\n\
         axes = {{ 'pipeline.seed' = {{ from = 0, to = 2, step = 2 }}, '{LR}' = [0.1, 0.3], \
         'stages.net.batch_size' = [16, 32] }}"
    );
    let trials = load(&sweep).unwrap().trials;
    let texts: Vec<String> = trials
        .iter()
        .map(|trial| trial.label_texts().into_iter().map(|it| it.1).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(texts, ["0 0.1 16", "0 0.3 32", "2 0.1 16"]);
}

#[test]
fn a_drawn_sweep_is_as_large_as_what_where_leaves_of_it() {
    let axes = format!(
        "axes = {{ '{LR}' = {{ uniform = [0.1, 0.9] }}, 'stages.net.epochs' = {{ from = 1, to = 1100, step = 1 }} }}"
    );
    let drawn = format!("search = 'random'\ntrials = 10\neach = ['stages.net.epochs']\n{axes}\n");
    let found = load(&format!("where = 'epochs <= 2'\n{drawn}")).unwrap();
    assert_eq!(found.trials.len(), 20);
    let error = load(&drawn).err().unwrap();
    assert!(error.contains("the sweep has more than 10000 trials"), "{error}");
}

#[test]
fn sweeps_that_contradict_themselves_are_explained() {
    let wrong = |sweep: &str| load(sweep).err().unwrap_or_else(|| panic!("accepted: {sweep}"));
    let drawn = format!("axes = {{ '{LR}' = {{ log_uniform = [1e-4, 1e-1] }} }}\n");
    let listed = format!("axes = {{ '{LR}' = [0.1, 0.2], 'stages.net.epochs' = [1, 2, 3] }}\n");
    for (sweep, expected) in [
        (drawn.clone(), "a grid cannot have every value"),
        (format!("search = 'random'\n{drawn}"), "needs `sweep.trials`"),
        (format!("trials = 3\n{listed}"), "does not go with a grid"),
        (format!("search = 'tpe'\ntrials = 3\n{drawn}"), "needs `[sweep.select]`"),
        (format!("seed = 3\n{listed}"), "unknown key `sweep.seed`"),
        (format!("batch = 3\n{listed}"), "unknown key `sweep.batch`"),
        (format!("zip = [['{LR}', 'stages.net.epochs']]\n{listed}"), "need as many values"),
        (format!("zip = ['{LR}']\n{listed}"), "must be an array of arrays"),
        (format!("where = 'lr > 7'\n{listed}"), "leaves no trial"),
        (format!("where = 'rl > 7'\n{listed}"), "`rl` is not swept"),
        (format!("{listed}{SELECT}[sweep.halving]\n"), "cannot compare trials of other"),
        (format!("repeat = ['nothing']\n{listed}"), "`sweep.repeat` names `nothing`"),
        (format!("each = ['{LR}']\n{listed}"), "unknown key `sweep.each`"),
        (
            format!("search = 'random'\ntrials = 3\neach = ['nothing']\n{listed}"),
            "`sweep.each` names `nothing`",
        ),
        (
            format!("search = 'random'\ntrials = 3\neach = ['{LR}']\n{drawn}"),
            "its values have no end",
        ),
        (
            format!("search = 'random'\ntrials = 3\nrepeat = ['{LR}']\neach = ['{LR}']\n{listed}"),
            "an axis that repeats",
        ),
        (
            format!(
                "search = 'random'\ntrials = 3\neach = ['{LR}', 'stages.net.epochs']\n{listed}"
            ),
            "there is nothing to draw",
        ),
        (
            format!(
                "search = 'random'\ntrials = 1\neach = ['stages.net.epochs', 'stages.net.batch_size']\naxes = {{ '{LR}' = [0.1, 0.2], 'stages.net.epochs' = {{ from = 1, to = 101, step = 1 }}, 'stages.net.batch_size' = {{ from = 1, to = 101, step = 1 }} }}\n"
            ),
            "a draw of this sweep has more than 10000 trials",
        ),
        (
            "search = 'random'\ntrials = 3\naxes = { 'pipeline.seed' = [0, 1] }\n".into(),
            "there is nothing to draw",
        ),
        (format!("{listed}[sweep.select]\nstage = 'nett'\nby = 'x'\n"), "did you mean `net`"),
        (
            format!("{listed}[sweep.select]\nstage = 'mnist'\nby = 'x'\n"),
            "neither trains nor evaluates",
        ),
        (format!("{listed}[sweep.select]\nstage = 'net'\nby = 'x'\n"), "expected `split.metric`"),
        (
            format!("{listed}[sweep.select]\nstage = 'net'\nby = 'target.snd'\n"),
            "does not score the target by `snd`",
        ),
        (
            format!("{listed}[sweep.select]\nstage = 'score'\nby = 'accuracy'\n"),
            "labels that selection must not see",
        ),
        (format!("{listed}{SELECT}oracle = true\n"), "sees no label that it should not"),
        (
            format!("{listed}[sweep.select]\nstage = 'score'\nby = 'ensv'\n"),
            "says nothing of other trials",
        ),
        (
            format!(
                "axes = {{ '{LR}' = [0.1] }}\n[sweep.select]\nstage = 'net'\nby = 'target.snd'\n"
            ),
            "does not score the target",
        ),
        (
            format!(
                "axes = {{ '{LR}' = [0.1], 'stages.net.validate' = ['mnist.test'] }}\n{SELECT}"
            ),
            "labels that selection must not see",
        ),
        (
            format!("axes = {{ '{LR}' = [0.1] }}\n{SELECT}[sweep.halving]\nmin_epochs = 9\n"),
            "has nothing to halve",
        ),
        (
            format!(
                "axes = {{ '{LR}' = [0.1] }}\nwhere = '{}lr < 1{}'\n",
                "(".repeat(5000),
                ")".repeat(5000)
            ),
            "too many `(`",
        ),
        (
            format!(
                "search = 'tpe'\ntrials = 3\naxes = {{ '{LR}' = {{ log_uniform = [0.01, 0.010000000000000002] }} }}\n{SELECT}"
            ),
            "further apart",
        ),
        (
            format!(
                "search = 'tpe'\ntrials = 3\naxes = {{ '{LR}' = {{ uniform = [-1.0, 1.0] }} }}\n{SELECT}"
            ),
            "must be a number above 0",
        ),
    ] {
        let report = wrong(&sweep);
        assert!(report.contains(expected), "{expected}\n{report}");
    }
    load(&format!("{listed}[sweep.select]\nstage = 'score'\nby = 'accuracy'\noracle = true\n"))
        .unwrap();
}

const PAIRS: &str = "pairs = { source = 'stages.net.epochs', target = 'stages.net.batch_size', of = [8, 16, 32] }\n";

#[test]
fn pairs_are_all_ordered_pairs_of_different_domains_each_with_every_value_of_the_axes() {
    let all = load(&format!("{PAIRS}axes = {{ 'pipeline.seed' = [0, 1] }}\n")).unwrap();
    let pairs: Vec<String> = all.trials.iter().map(|it| it.pair().unwrap()).collect();
    let wanted = ["8 → 16", "8 → 32", "16 → 8", "16 → 32", "32 → 8", "32 → 16"];
    assert_eq!(pairs, wanted.map(|pair| [pair, pair]).concat());
    let first = &all.trials[1];
    let labels = |labels: Vec<(String, String)>| {
        labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
    };
    let wanted = ["stages.net.epochs=8", "stages.net.batch_size=16", "pipeline.seed=1"];
    assert_eq!(labels(first.label_texts()), wanted);
    assert_eq!(labels(first.shown_labels()), ["pair=8 → 16", "pipeline.seed=1"]);
    // Alone, and beside axes that move together.
    assert_eq!(load(PAIRS).unwrap().trials.len(), 6);
    let zip = format!("zip = [['{LR}', 'stages.net.log_every']]\n");
    let axes = format!("axes = {{ '{LR}' = [0.1, 0.2], 'stages.net.log_every' = [5, 5] }}\n");
    assert_eq!(load(&format!("{PAIRS}{zip}{axes}")).unwrap().trials.len(), 12);
}

#[test]
fn a_search_takes_pairs_for_repeats_or_draws_for_each_and_never_for_settings() {
    let axes =
        format!("axes = {{ '{LR}' = {{ log_uniform = [0.01, 1] }}, 'pipeline.seed' = [0, 1] }}\n");
    let wrong = |sweep: String| load(&sweep).map(|all| all.trials.len()).unwrap_err();
    let search = |word: &str| format!("search = '{word}'\ntrials = 3\n");
    for word in ["random", "sobol", "tpe"] {
        let select = if word == "tpe" { SELECT } else { "" };
        let said = wrong(format!("{}{PAIRS}{axes}{select}", search(word)));
        assert!(said.contains("would draw pairs of domains as if they were settings"), "{said}");
        assert!(said.contains("`repeat = [\"pair\", \"pipeline.seed\"]`"), "{said}");
        let repeat = "repeat = ['pair', 'pipeline.seed']\n";
        let all = load(&format!("{}{repeat}{PAIRS}{axes}{select}", search(word))).unwrap();
        assert_eq!(all.trials.len(), 3 * 6 * 2, "{word}");
    }
    let each = load(&format!("{}each = ['pair']\n{PAIRS}{axes}", search("random"))).unwrap();
    assert_eq!(each.trials.len(), 3 * 6 * 2);
    // The same draws for every pair.
    let drawn: HashSet<String> = each.trials.iter().map(|it| number(it, LR).to_string()).collect();
    assert_eq!(drawn.len(), 3);
}

#[test]
fn a_selection_never_compares_pairs_with_each_other() {
    let axes = format!("axes = {{ '{LR}' = [0.1, 0.2] }}\n");
    let said = load(&format!("{PAIRS}{axes}{SELECT}")).map(|_| ()).unwrap_err();
    assert!(said.contains("would compare trials of different pairs of domains"), "{said}");
    // For each pair one is selected.
    let (_, all) = run(&format!("{PAIRS}{axes}{SELECT}per = ['pair']\n"), |trial, _| {
        Some(number(trial, LR) * number(trial, "stages.net.epochs"))
    });
    let chosen = all.search.unwrap().verdicts();
    let chosen: Vec<f64> = (all.trials.iter().zip(chosen))
        .filter(|(_, verdict)| verdict.selected == Some(true))
        .map(|(trial, _)| number(trial, LR))
        .collect();
    assert_eq!(chosen, [0.2; 6]);
    // Or one setting for all of them, by its mean.
    let (_, all) = run(&format!("repeat = ['pair']\n{PAIRS}{axes}{SELECT}"), |trial, _| {
        Some(number(trial, LR))
    });
    let chosen = all.search.unwrap().verdicts();
    assert_eq!(chosen.iter().filter(|it| it.selected == Some(true)).count(), 6);
}

#[test]
fn pairs_that_cannot_be_are_explained() {
    let keys = "source = 'stages.net.epochs', target = 'stages.net.batch_size'";
    let pairs = |rest: &str| format!("pairs = {{ {keys}, {rest} }}\n");
    let one = "axes = { 'stages.net.epochs' = [1, 2] }\n";
    let zip = format!(
        "zip = [['stages.net.epochs', '{LR}']]\naxes = {{ '{LR}' = [1, 2, 3, 4, 5, 6] }}\n"
    );
    for (sweep, expected) in [
        (pairs("of = [8]"), "a pair needs two, and it has 1"),
        (pairs("of = [8, 16, 8]"), "`sweep.pairs.of` has the domain 8 twice"),
        (pairs("of = 8"), "must be an array of domains"),
        (pairs("of = [8, [1]]"), "must be a string or a number"),
        (pairs("of = [8, 16], list = [[8, 16]]"), "exclude each other"),
        (format!("pairs = {{ {keys} }}\n"), "`[sweep.pairs]` has no domains"),
        (pairs("list = []"), "it is empty"),
        (pairs("list = [[8]]"), "it has 1 domains"),
        (pairs("list = [[8, 8]]"), "8 is paired with itself"),
        (pairs("list = [[8, 16], [16, 8], [8, 16]]"), "has the pair [8, 16] twice"),
        (pairs("of = [8, 16], off = 3"), "unknown key"),
        (
            "pairs = { source = 'stages.net.epochs', target = 'stages.net.epochs', of = [1, 2] }\n"
                .into(),
            "gives source and target the same key",
        ),
        (
            "pairs = { source = 'epochs', target = 'stages.net.batch_size', of = [1, 2] }\n".into(),
            "`epochs` is not a dotted key",
        ),
        (format!("{PAIRS}{one}"), "`stages.net.epochs` is swept twice"),
        (format!("{PAIRS}{zip}"), "moves in pairs, and with no other axis"),
        (format!("{PAIRS}repeat = ['pairs']\n"), "`sweep.repeat` names `pairs`"),
        (format!("{one}repeat = ['pair']\n"), "`sweep.repeat` names `pair`"),
    ] {
        let said = load(&sweep).map(|_| ()).expect_err(&sweep);
        assert!(said.contains(expected), "{sweep}\n{said}");
    }
}

#[test]
fn a_set_key_of_pairs_leaves_the_pairs_that_have_its_value() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("x.toml");
    fs::write(&path, format!("{FILE}{PAIRS}")).unwrap();
    let load = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|it| (*it).to_owned()).collect();
        trials::load(&path, &sets).map_err(|report| report.render(false))
    };
    let pairs = |all: &Trials| all.trials.iter().map(|it| it.pair().unwrap()).collect::<Vec<_>>();
    let all = load(&["stages.net.batch_size=8"]).unwrap();
    assert_eq!(pairs(&all), ["16 → 8", "32 → 8"]);
    let notes = all.search.as_ref().unwrap().notes();
    assert!(notes[0].contains("leaves the pairs 16 → 8, 32 → 8"), "{notes:?}");
    // The record says which, and so makes the same trials again.
    let text = crate::plan::print::to_toml(&all.resolved);
    fs::write(root.path().join("again.toml"), text).unwrap();
    let again = trials::load(&root.path().join("again.toml"), &[]).unwrap();
    assert_eq!(pairs(&again), pairs(&all));
    let one = load(&["stages.net.epochs=16", "stages.net.batch_size=32"]).unwrap();
    assert_eq!(pairs(&one), ["16 → 32"]);
    // Of both it may be any pair.
    let other = load(&["stages.net.epochs=5", "stages.net.batch_size=6"]).unwrap();
    assert_eq!(pairs(&other), ["5 → 6"]);
    let said = load(&["stages.net.epochs=5"]).map(|_| ()).unwrap_err();
    assert!(
        said.contains("no pair of `[sweep.pairs]` gives `stages.net.epochs` this value"),
        "{said}"
    );
}
