//! Tables of scores that are written here.

use super::*;
use crate::config::sweep::PairKeys;
use crate::plan::column_label::ColumnLabel;
use crate::plan::table_spec::{self, Best, GapClosed, Test, Which};
use crate::report::record::StageRecord;
use crate::report::trial_score::{ScoredPair, TrialScore};
use crate::report::trials::{TrialResult, TrialState};

/// RunScores of models on splits over seeds, `None` where a trial failed: `(model, dataset, values)`.
fn scored(rows: &[(&str, &str, &[Option<f64>])]) -> RunScores<'static> {
    let seeds = rows.iter().map(|row| row.2.len()).max().unwrap_or(0);
    let pair = |row: &(&str, &str, &[Option<f64>])| ScoredPair {
        stage: "score".into(),
        model: row.0.into(),
        dataset: row.1.into(),
    };
    let mut all = RunScores {
        pairs: rows.iter().map(pair).collect(),
        axes: vec!["pipeline.seed".into()],
        sweep: true,
        ..RunScores::default()
    };
    for seed in 0..seeds {
        let whole = rows.iter().any(|row| row.2[seed].is_some());
        all.trials.to_mut().push(TrialResult {
            name: format!("{seed:03}"),
            labels: vec![("pipeline.seed".into(), seed.to_string())],
            state: if whole { TrialState::Done } else { TrialState::Failed },
            objective: None,
            selected: None,
            reason: String::new(),
            collapsed: None,
        });
        for (model, dataset, values) in rows {
            let Some(value) = values[seed] else { continue };
            all.scores.push(TrialScore {
                trial: seed,
                stage: "score".into(),
                model: (*model).into(),
                dataset: (*dataset).into(),
                metric: "accuracy".into(),
                value,
            });
        }
    }
    all
}

fn adaptation() -> RunScores<'static> {
    scored(&[
        ("source_only", "target.test", &[Some(0.4), Some(0.5), Some(0.6)]),
        ("dann", "target.test", &[Some(0.7), Some(0.8), Some(0.75)]),
        ("target_trained", "target.test", &[Some(0.9), Some(1.0), Some(0.95)]),
    ])
}

fn spec() -> TableSpec {
    TableSpec::default()
}

#[test]
fn the_formats_show_mean_deviation_and_why_a_cell_is_empty() {
    let scores = scored(&[
        ("source_only", "target.test", &[Some(0.4), Some(0.5)]),
        ("dann", "target.test", &[Some(0.9), None]),
        ("dann", "source.test", &[Some(0.99), None]),
    ]);
    let table = ResultTable::new(&spec(), &scores).unwrap();
    insta::assert_snapshot!(table.render(TableFormat::Text, false), @r"
    model             target.test   source.test
    source_only  45.0 ± 7.1 (n=2)  no such pair
    dann                     90.0          99.0
    ");
    insta::assert_snapshot!(table.render(TableFormat::Markdown, false), @r"
    | model | target.test | source.test |
    | --- | --- | --- |
    | source_only | 45.0 ± 7.1 (n=2) | no such pair |
    | dann | 90.0 | 99.0 |
    ");
    insta::assert_snapshot!(table.render(TableFormat::Latex, false), @r"
    % \usepackage{booktabs}
    \begin{tabular}{lrr}
    \toprule
    model & target.test & source.test \\
    \midrule
    source\_only & 45.0 $\pm$ 7.1 (n=2) & \emph{no such pair} \\
    dann & \textbf{90.0} & 99.0 \\
    \bottomrule
    \end{tabular}
    ");
    let csv = table.render(TableFormat::Csv, false);
    assert!(csv.starts_with("model,column,mean,sd,n,missing\n"), "{csv}");
    assert!(csv.contains("\ndann,target.test,0.9,,1,\n"), "{csv}");
    assert!(csv.contains("\nsource_only,source.test,,,0,no such pair\n"), "{csv}");
}

#[test]
fn a_table_without_gaps_that_asks_for_nothing_is_the_bare_one() {
    let table = ResultTable::new(&spec(), &adaptation()).unwrap();
    let csv = table.render(TableFormat::Csv, false);
    assert!(csv.starts_with("model,column,mean,sd,n\nsource_only,target.test,0.5,0.0"), "{csv}");
    assert!(!table.render(TableFormat::Markdown, false).contains("**"));
    assert_eq!(table.notes, []);
}

#[test]
fn an_axis_that_is_not_accounted_for_is_named() {
    let mut scores = adaptation();
    for (at, trial) in scores.trials.to_mut().iter_mut().enumerate() {
        trial.labels.push(("stages.dann.lr".into(), at.to_string()));
    }
    scores.axes.push("stages.dann.lr".into());
    let error = ResultTable::new(&spec(), &scores).unwrap_err();
    assert!(error.to_string().ends_with("does not account for `stages.dann.lr`"), "{error}");
    let over = vec!["pipeline.seed".into(), "stages.dann.lr".into()];
    let table = ResultTable::new(&TableSpec { over, ..spec() }, &scores).unwrap();
    assert_eq!(table.rows[0].cells[0].values[2].over, ["2", "2"]);
}

#[test]
fn equal_scores_of_a_model_by_two_stages_are_one_and_others_are_a_conflict() {
    let mut scores = adaptation();
    let again: Vec<TrialScore> = scores
        .scores
        .iter()
        .filter(|score| score.model == "dann")
        .map(|score| TrialScore { stage: "other".into(), ..score.clone() })
        .collect();
    scores.scores.extend(again);
    let table = ResultTable::new(&spec(), &scores).unwrap();
    assert_eq!(table, ResultTable::new(&spec(), &adaptation()).unwrap());
    scores.scores.last_mut().unwrap().value += 0.1;
    let error = ResultTable::new(&spec(), &scores).unwrap_err().to_string();
    assert!(error.contains("does not account for `stage`"), "{error}");
}

#[test]
fn the_best_is_the_highest_accuracy_or_what_the_table_says() {
    let best = |best| {
        let table = ResultTable::new(&TableSpec { best, ..spec() }, &adaptation()).unwrap();
        let best = table.rows.iter().filter(|row| row.cells[0].best);
        let names: Vec<String> = best.map(|row| row.name.clone()).collect();
        (names.join(","), table.render(TableFormat::Markdown, false).matches("**").count())
    };
    assert_eq!(best(None), ("target_trained".into(), 0));
    assert_eq!(best(Some(Best::Auto)), ("target_trained".into(), 2));
    assert_eq!(best(Some(Best::Min)), ("source_only".into(), 2));
    assert_eq!(best(Some(Best::None)), (String::new(), 0));
    let mut scores = adaptation();
    scores.scores.iter_mut().for_each(|score| score.metric = "loss".into());
    let table = ResultTable::new(&TableSpec { value: "loss".into(), ..spec() }, &scores).unwrap();
    assert!(table.rows[0].cells[0].best, "a lower loss is better");
    assert!(table.render(TableFormat::Text, true).contains("\u{1b}[1m"));
    assert!(!table.render(TableFormat::Text, false).contains('\u{1b}'));
}

#[test]
fn differences_are_paired_and_corrected_and_too_few_pairs_are_said_to_be() {
    let baseline = Some("source_only".to_owned());
    let table = ResultTable::new(&TableSpec { baseline, ..spec() }, &adaptation()).unwrap();
    let dann = table.cell("dann", "target.test").unwrap().difference.clone().unwrap();
    assert!((dann.mean - 0.25).abs() < 1e-12);
    // All three differences are of one sign: 2 of 8 choices; twice that after Holm's correction.
    assert_eq!((dann.n, dann.p, dann.p_holm), (3, Some(0.25), Some(0.5)));
    assert!(!dann.significant);
    insta::assert_snapshot!(table.render(TableFormat::Text, false), @r"
    model                                   target.test
    source_only                       50.0 ± 10.0 (n=3)
    dann            75.0 ± 5.0 (n=3)  Δ +25.0 (p=0.500)
    target_trained  95.0 ± 5.0 (n=3)  Δ +45.0 (p=0.500)
    Δ: mean difference to source_only in the same column, paired over pipeline.seed (n = 3 pairs).
    p: paired permutation test (every choice of signs), two-sided, n = 3, after Holm's correction over 2 comparisons; * p < 0.05.
    With 3 pairs the smallest p of this test is 0.25, before Holm's correction over 2: no difference can reach 0.05, however large; it takes 7 pairs.
    ");
}

#[test]
fn a_t_test_marks_what_is_below_the_level() {
    let spec = TableSpec { baseline: Some("source_only".into()), test: Test::T, ..spec() };
    let scores = scored(&[
        ("source_only", "a", &[Some(0.4), Some(0.5), Some(0.6), Some(0.5)]),
        ("dann", "a", &[Some(0.7), Some(0.81), Some(0.9), Some(0.79)]),
    ]);
    let table = ResultTable::new(&spec, &scores).unwrap();
    let dann = table.cell("dann", "a").unwrap().difference.clone().unwrap();
    assert!(dann.significant && dann.p == dann.p_holm, "{dann:?}");
    assert!(table.render(TableFormat::Latex, false).contains(r"$\Delta$ +30.0$^{*}$"));
    assert!(table.render(TableFormat::Csv, false).contains("difference,pairs,p,p_holm\n"));
}

#[test]
fn a_mean_over_trials_that_share_models_says_so_whatever_stands_beside_it() {
    let stages = |prints: [char; 3]| -> Vec<Vec<StageRecord>> {
        let stage = |print: char| {
            serde_json::from_value(serde_json::json!({
                "name": "dann", "kind": "finetune", "state": "ran", "seconds": 1.0,
                "fingerprint": print.to_string().repeat(64), "content": null, "settings": {},
            }))
        };
        prints.map(|print| vec![stage(print).unwrap()]).into()
    };
    let notes = |stages: &[Vec<StageRecord>], spec: &TableSpec| -> Vec<String> {
        let table = ResultTable::new(spec, &RunScores { stages, ..adaptation() }).unwrap();
        let notes = table.notes.iter().map(|note| note.text.clone());
        notes.filter(|text| text.contains("share models")).collect()
    };
    assert_eq!(notes(&stages(['a', 'b', 'c']), &spec()), [""; 0]);
    let shared = stages(['a', 'a', 'b']);
    let wanted = "Trials of dann share models: mean, ± and n count every trial, and there are fewer \
        models than that.";
    assert_eq!(notes(&shared, &spec()), [wanted]);
    let interval = TableSpec { spread: table_spec::Spread::Ci95, ..spec() };
    let wanted = "Trials of dann share models: n counts trials, so intervals and p values are too \
        small there.";
    assert_eq!(notes(&shared, &interval), [wanted]);
}

#[test]
fn a_closed_gap_is_a_ratio_of_means() {
    let gap_closed = Some(GapClosed {
        source_only: "source_only".into(),
        target_trained: "target_trained".into(),
        on: "target.test".into(),
    });
    let table = ResultTable::new(&TableSpec { gap_closed, ..spec() }, &adaptation()).unwrap();
    let closed = |row| table.cell(row, "gap closed").unwrap().mean.unwrap();
    assert!((closed("dann") - 0.25 / 0.45).abs() < 1e-12);
    assert_eq!((closed("source_only"), closed("target_trained")), (0.0, 1.0));
    assert!(table.render(TableFormat::Text, false).contains("gap closed (%)"));
}

#[test]
fn what_only_rounding_tells_apart_is_equal() {
    let (up, down) = ([0.1, 0.2, 0.3].map(Some), [0.3, 0.2, 0.1].map(Some));
    let scores = scored(&[("up", "a", &up), ("down", "a", &down), ("low", "a", &[Some(0.1); 3])]);
    let mean = |table: &ResultTable, row| table.cell(row, "a").unwrap().mean.unwrap();
    let gap = |from: &str, to: &str| GapClosed {
        source_only: from.into(),
        target_trained: to.into(),
        on: "a".into(),
    };
    let of = |spec: TableSpec| ResultTable::new(&spec, &scores).unwrap();
    let table = of(TableSpec {
        baseline: Some("up".into()),
        gap_closed: Some(gap("up", "down")),
        ..spec()
    });
    assert_ne!(mean(&table, "up").to_bits(), mean(&table, "down").to_bits());
    // Nothing has a share of a gap that is no more than rounding.
    for row in ["up", "down", "low"] {
        let closed = table.cell(row, "gap closed").unwrap();
        assert_eq!((closed.mean, closed.missing), (None, Some(Missing::Undefined)), "{row}");
    }
    // Both are the best, and no difference is between them.
    let best = |row| table.cell(row, "a").unwrap().best;
    assert_eq!((best("up"), best("down"), best("low")), (true, true, false));
    let difference = table.cell("down", "a").unwrap().difference.as_ref().unwrap();
    assert_eq!((difference.mean.to_bits(), difference.p), (0, Some(1.0)));
    let table = of(TableSpec { gap_closed: Some(gap("up", "low")), ..spec() });
    assert_eq!(table.cell("down", "gap closed").unwrap().mean, Some(0.0));
    // The means of several columns may differ so for each seed, and always by the same sign.
    let seeds = |value: f64| [Some(value); 3];
    let scores = scored(&[
        ("up", "a", &seeds(0.1)),
        ("up", "b", &seeds(0.2)),
        ("up", "c", &seeds(0.3)),
        ("down", "a", &seeds(0.3)),
        ("down", "b", &seeds(0.2)),
        ("down", "c", &seeds(0.1)),
    ]);
    let spec = TableSpec { average: true, baseline: Some("down".into()), ..spec() };
    let table = ResultTable::new(&spec, &scores).unwrap();
    let difference = table.cell("up", "average").unwrap().difference.as_ref().unwrap();
    assert_eq!((difference.mean.to_bits(), difference.p), (0, Some(1.0)));
    let best = table.rows.iter().filter(|row| row.cells.last().is_some_and(|cell| cell.best));
    assert_eq!(best.count(), 0, "nothing is best among equals");
}

fn published_of_seed() -> table_spec::Published {
    let (row, column) = ("1".into(), "dann".into());
    table_spec::Published { row, column, value: 0.5, cite: "A".into(), key: None }
}

#[test]
fn published_numbers_stand_beside_the_measured_with_their_citation() {
    let published = table_spec::Published {
        row: "dann".into(),
        column: "target.test".into(),
        value: 0.7666,
        cite: "Ganin et al. 2016, ResultTable 1 & <2>".into(),
        key: None,
    };
    let wrong = table_spec::Published { row: "dan".into(), ..published.clone() };
    let of = |one| ResultTable::new(&TableSpec { published: vec![one], ..spec() }, &adaptation());
    let table = of(published).unwrap();
    assert!(table.render(TableFormat::Text, false).contains("76.7 [1]"));
    let html = table.render(TableFormat::Html, false);
    assert!(html.contains("[1] Ganin et al. 2016, ResultTable 1 &amp; &lt;2&gt;"), "{html}");
    assert!(html.contains("<th scope=\"row\">dann</th>"), "{html}");
    let latex = table.render(TableFormat::Latex, false);
    assert!(
        latex.contains(r"{[}1] Ganin et al. 2016, ResultTable 1 \& \textless{}2\textgreater{}")
    );
    assert!(
        table
            .render(TableFormat::Csv, false)
            .contains(",0.7666,\"Ganin et al. 2016, ResultTable 1")
    );
    // A row of an axis that `--set` narrowed is no mistake.
    let elsewhere = table_spec::Published { row: "7".into(), ..published_of_seed() };
    let narrowed = TableSpec {
        rows: "pipeline.seed".into(),
        columns: table_spec::Columns(vec!["model".into()]),
        published: vec![elsewhere, published_of_seed()],
        ..spec()
    };
    let table = ResultTable::new(&narrowed, &adaptation()).unwrap();
    assert_eq!(table.cell("1", "dann").unwrap().published.as_ref().unwrap().note, 1);
    let notes: Vec<&str> = table.notes.iter().map(|note| note.text.as_str()).collect();
    let left_out = "Left out: 1 published numbers of settings that this sweep did not go through.";
    assert_eq!(notes, [left_out, "A"]);
    let error = of(wrong).unwrap_err().to_string();
    assert!(error.contains("`table.published.0.row` names the row `dan`"), "{error}");
    assert!(error.ends_with("did you mean `dann`?"), "{error}");
}

#[test]
fn a_published_number_with_a_key_is_cited_in_latex_and_stands_in_a_bibliography() {
    let one = table_spec::Published {
        row: "dann".into(),
        column: "target.test".into(),
        value: 0.7666,
        cite: "Ganin et al. 2016, Table 1 & 2".into(),
        key: Some("ganin2016".into()),
    };
    let plain = table_spec::Published {
        row: "source_only".into(),
        value: 0.5225,
        cite: "Somebody else".into(),
        key: None,
        ..one.clone()
    };
    let spec = TableSpec { published: vec![one, plain], ..spec() };
    let table = ResultTable::new(&spec, &adaptation()).unwrap();
    let latex = table.render(TableFormat::Latex, false);
    assert!(latex.contains(r"76.7~\cite{ganin2016}") && !latex.contains("Ganin et al."), "{latex}");
    assert!(latex.contains("52.2 [2]") && latex.contains("{[}2] Somebody else"), "{latex}");
    let wanted = "@misc{ganin2016,\n  note = {Ganin et al. 2016, Table 1 \\& 2},\n}\n";
    assert_eq!(table.bibliography().unwrap(), wanted);
    let mut lone = spec.clone();
    lone.published[0].cite = "Lone { and }, \\ too".into();
    let bibliography = ResultTable::new(&lone, &adaptation()).unwrap().bibliography().unwrap();
    let note = r"Lone \textbraceleft{} and \textbraceright{}, \textbackslash{} too";
    assert_eq!(bibliography, format!("@misc{{ganin2016,\n  note = {{{note}}},\n}}\n"));
    let count = |brace| bibliography.matches(brace).count();
    assert_eq!(count('{'), count('}'), "those behind a backslash count for BibTeX, too");
    let without = ResultTable::new(&TableSpec { published: Vec::new(), ..spec }, &adaptation());
    assert_eq!(without.unwrap().bibliography(), None);
}

#[test]
fn every_format_says_that_labels_of_the_target_chose_the_trials() {
    let scores = RunScores { oracle: true, ..adaptation() };
    let table = ResultTable::new(&spec(), &scores).unwrap();
    for format in [
        TableFormat::Text,
        TableFormat::Csv,
        TableFormat::Markdown,
        TableFormat::Latex,
        TableFormat::Html,
        TableFormat::Json,
    ] {
        let text = table.render(format, false);
        assert!(text.contains(ORACLE), "{format:?}\n{text}");
    }
}

#[test]
fn only_selected_trials_count_where_the_table_says_so() {
    let selected = |chosen: &[bool]| {
        let mut scores = adaptation();
        for (trial, chosen) in scores.trials.to_mut().iter_mut().zip(chosen) {
            trial.selected = Some(*chosen);
        }
        ResultTable::new(&TableSpec { trials: Which::Selected, ..spec() }, &scores)
    };
    let table = selected(&[false, true, true]).unwrap();
    let cell = table.cell("dann", "target.test").unwrap();
    assert_eq!((cell.n, cell.without[0].reason), (2, Missing::NotSelected));
    assert_eq!(selected(&[false; 3]).unwrap_err(), TableError::Selected);
}

#[test]
fn a_metric_that_nobody_reported_is_explained_with_what_there_is() {
    let error = ResultTable::new(&TableSpec { value: "acuracy".into(), ..spec() }, &adaptation());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("`acuracy`, which no stage of the run reported"), "{error}");
    assert!(error.ends_with("did you mean `accuracy`?"), "{error}");
}

#[test]
fn wide_letters_do_not_break_the_columns() {
    let scores = scored(&[("模型", "a", &[Some(0.5)]), ("net", "a", &[Some(0.25)])]);
    let text = ResultTable::new(&spec(), &scores).unwrap().render(TableFormat::Text, false);
    assert_eq!(text, "model     a\n模型   50.0\nnet    25.0\n");
}

#[test]
fn nothing_is_best_among_equals_seeds_or_splits() {
    let best = |scores: &RunScores, spec: &TableSpec| {
        ResultTable::new(spec, scores).unwrap().cells().filter(|cell| cell.best).count()
    };
    let same = scored(&[("a", "x", &[Some(0.5)]), ("b", "x", &[Some(0.5)])]);
    assert_eq!(best(&same, &spec()), 0);
    let columns = table_spec::Columns(vec!["model".into()]);
    let seeds = TableSpec { rows: "pipeline.seed".into(), columns, ..spec() };
    assert_eq!(best(&adaptation(), &seeds), 0);
    assert_eq!(best(&adaptation(), &TableSpec { best: Some(Best::Max), ..seeds }), 3);
}

/// Scores of two models over the pairs of `a` and `b` and two seeds: `(model, pair, seed)` to a score.
fn of_pairs(score: impl Fn(&str, &str, usize) -> Option<f64>) -> RunScores<'static> {
    let pair = |model: &str| ScoredPair {
        stage: "score".into(),
        model: model.into(),
        dataset: "target.train".into(),
    };
    let (source, target) = ("stages.s.input".to_owned(), "stages.t.input".to_owned());
    let mut all = RunScores {
        pairs: ["source_only", "dann"].map(pair).into_iter().collect(),
        axes: vec![source.clone(), target.clone(), "pipeline.seed".into()],
        domains: Some(PairKeys { source: source.clone(), target: target.clone() }),
        sweep: true,
        ..RunScores::default()
    };
    for [from, to] in [["amazon", "webcam"], ["webcam", "amazon"]] {
        for seed in 0..2 {
            let at = all.trials.len();
            let text = format!("{from} → {to}");
            let labels = [
                (source.clone(), from.to_owned()),
                (target.clone(), to.to_owned()),
                ("pipeline.seed".into(), seed.to_string()),
                ("pair".into(), text.clone()),
            ];
            all.trials.to_mut().push(TrialResult {
                name: format!("{at:03}"),
                labels: labels.to_vec(),
                state: TrialState::Done,
                objective: None,
                selected: None,
                reason: String::new(),
                collapsed: None,
            });
            for model in ["source_only", "dann"] {
                let Some(value) = score(model, &text, seed) else { continue };
                let ScoredPair { stage, model, dataset } = pair(model);
                let metric = "accuracy".into();
                all.scores.push(TrialScore { trial: at, stage, model, dataset, metric, value });
            }
        }
    }
    all
}

/// Of each seed, one pair goes up where the other goes down, by half as much.
fn seesaw(model: &str, pair: &str, seed: usize) -> Option<f64> {
    let by = if pair == "amazon → webcam" { 0.125 } else { -0.0625 };
    let base = if model == "dann" { 0.75 } else { 0.5 };
    Some(if seed == 0 { base + by } else { base - by })
}

fn pair_spec() -> TableSpec {
    TableSpec {
        columns: table_spec::Columns(vec!["pair".into()]),
        column_label: Some(ColumnLabel::read("{source|initial}→{target|initial}").unwrap()),
        average: true,
        ..spec()
    }
}

#[test]
fn the_average_is_over_the_columns_of_each_seed_and_its_deviation_over_these_averages() {
    let scores = of_pairs(seesaw);
    let table = ResultTable::new(&pair_spec(), &scores).unwrap();
    let over = "before it for each pipeline.seed; mean and ± are over these means.";
    insta::assert_snapshot!(table.render(TableFormat::Text, false).replace(over, "..."), @r"
    model                      A→W               W→A           average
    source_only  50.0 ± 17.7 (n=2)  50.0 ± 8.8 (n=2)  50.0 ± 4.4 (n=2)
    dann         75.0 ± 17.7 (n=2)  75.0 ± 8.8 (n=2)  75.0 ± 4.4 (n=2)
    Average: the mean of the 2 columns ...
    ");
    let csv = table.render(TableFormat::Csv, false);
    assert!(csv.contains("\ndann,amazon → webcam,0.75,0.17"), "{csv}");
    assert!(csv.contains("\ndann,average,0.75,0.044194"), "{csv}");
    let latex = table.render(TableFormat::Latex, false);
    assert!(latex.contains(r"model & A$\rightarrow$W & W$\rightarrow$A & average \\"), "{latex}");
    let html = table.render(TableFormat::Html, false);
    assert!(html.contains("<th scope=\"col\">A→W</th>"), "{html}");
    let json: serde_json::Value =
        serde_json::from_str(&table.render(TableFormat::Json, false)).unwrap();
    assert_eq!(json["columns"][0]["name"], "amazon → webcam");
    assert_eq!(json["columns"][0]["label"], "A→W");
    assert_eq!(json["columns"][2]["kind"], "average");
    let explain = |column: &str| table.explain("dann", column, &scores, "run".as_ref()).unwrap();
    let average = explain("average");
    for part in [
        "dann / average: accuracy\nmean       0.75 = (0.78125 + 0.71875) / 2\nsd         0.04419",
        "\npipeline.seed = 0, trials 000 002\n  value    0.78125 = (0.875 + 0.6875) / 2\n",
        "\npipeline.seed = 1, trials 001 003\n  value    0.71875 = (0.625 + 0.8125) / 2\n",
        "\nof the columns amazon → webcam, webcam → amazon\nAverage: the mean of the 2 columns",
    ] {
        assert!(average.contains(part), "{part:?} is not in {average}");
    }
    assert_eq!(explain("A→W"), explain("amazon → webcam"));
}

#[test]
fn averages_are_compared_in_pairs_and_close_gaps_like_other_columns() {
    let spec = TableSpec {
        baseline: Some("source_only".into()),
        gap_closed: Some(GapClosed {
            source_only: "source_only".into(),
            target_trained: "dann".into(),
            on: "average".into(),
        }),
        ..pair_spec()
    };
    let table = ResultTable::new(&spec, &of_pairs(seesaw)).unwrap();
    let difference = table.cell("dann", "average").unwrap().difference.clone().unwrap();
    assert!((difference.mean - 0.25).abs() < 1e-12 && difference.n == 2, "{difference:?}");
    assert_eq!(table.comparison.as_ref().unwrap().comparisons, 3);
    assert!((table.cell("dann", "gap closed").unwrap().mean.unwrap() - 1.0).abs() < 1e-12);
}

#[test]
fn an_average_never_stands_for_columns_that_a_row_does_not_have() {
    let scores = of_pairs(|model, pair, seed| {
        let to_webcam = pair == "amazon → webcam";
        let is_missing = match model {
            "dann" => to_webcam && seed == 1,
            _ => to_webcam,
        };
        seesaw(model, pair, seed).filter(|_| !is_missing)
    });
    let table = ResultTable::new(&pair_spec(), &scores).unwrap();
    let average = |row: &str| table.cell(row, "average").unwrap();
    assert_eq!((average("source_only").n, average("source_only").mean), (0, None));
    assert_eq!(average("source_only").missing, Some(Missing::Incomplete));
    assert_eq!(average("dann").n, 1);
    assert!((average("dann").mean.unwrap() - 0.78125).abs() < 1e-12);
    let notes: Vec<&str> = table.notes.iter().map(|note| note.text.as_str()).collect();
    assert!(
        notes.contains(&"No average of a row that has not all columns: source_only (no A→W)."),
        "{notes:?}"
    );
    let fewer =
        "The average leaves out each pipeline.seed that not all columns have: dann (1 of 2).";
    assert!(notes.contains(&fewer), "{notes:?}");
}

#[test]
fn a_published_average_of_other_columns_than_those_of_the_table_is_left_out() {
    let published = |column: &str| table_spec::Published {
        row: "dann".into(),
        column: column.into(),
        value: 0.8,
        cite: "A".into(),
        key: None,
    };
    let of = |columns: &[&str]| {
        let published = columns.iter().map(|it| published(it)).collect();
        let spec = TableSpec { published, ..pair_spec() };
        let table = ResultTable::new(&spec, &of_pairs(seesaw)).unwrap();
        let shown = table.cell("dann", "average").unwrap().published.is_some();
        (shown, table.notes.iter().any(|it| it.text.starts_with("Left out: ")))
    };
    assert_eq!(of(&["amazon → webcam", "webcam → amazon", "average"]), (true, false));
    assert_eq!(of(&["amazon → webcam", "dslr → amazon", "average"]), (false, true));
    // The file names more pairs than the trials are of.
    let spec = TableSpec { published: vec![published("average")], ..pair_spec() };
    for (all_pairs, shown) in [(Some(6), false), (Some(2), true), (None, true)] {
        let scores = RunScores { all_pairs, ..of_pairs(seesaw) };
        let table = ResultTable::new(&spec, &scores).unwrap();
        let cell = table.cell("dann", "average").unwrap();
        assert_eq!(cell.published.is_some(), shown, "{all_pairs:?}");
    }
}

#[test]
fn a_pair_accounts_for_both_of_its_keys_and_both_keys_for_the_pair() {
    let scores = of_pairs(seesaw);
    let over = |over: &[&str]| {
        let over = over.iter().map(|it| (*it).to_owned()).collect();
        ResultTable::new(&TableSpec { over, ..spec() }, &scores)
    };
    assert_eq!(over(&["pair", "pipeline.seed"]).unwrap().rows[0].cells[0].n, 4);
    let keys = ["stages.s.input", "stages.t.input", "pipeline.seed"];
    assert_eq!(over(&keys).unwrap().rows[0].cells[0].n, 4);
    let error = over(&["stages.s.input", "pipeline.seed"]).unwrap_err().to_string();
    assert!(error.ends_with("does not account for `stages.t.input`"), "{error}");
}

#[test]
fn several_words_make_a_column_of_every_combination() {
    let scores = of_pairs(seesaw);
    let columns = table_spec::Columns(vec!["stages.t.input".into(), "model".into()]);
    let spec = TableSpec { rows: "stages.s.input".into(), columns, ..spec() };
    let table = ResultTable::new(&spec, &scores).unwrap();
    let names: Vec<&str> = table.columns.iter().map(|it| it.name.as_str()).collect();
    let wanted = ["webcam / source_only", "webcam / dann", "amazon / source_only", "amazon / dann"];
    assert_eq!(names, wanted);
    assert_eq!(table.columns_by, "stages.t.input / model");
    assert!(table.cell("amazon", "webcam / dann").unwrap().mean.is_some());
    assert_eq!(table.cell("webcam", "webcam / dann").unwrap().missing, Some(Missing::NotRun));
    // Of facts, a combination that no stage scores is none of the sweep's.
    let columns = table_spec::Columns(vec!["stage".into(), "dataset".into()]);
    let mut scores = scores;
    let other = |score: &TrialScore| TrialScore {
        stage: "other".into(),
        model: "dann".into(),
        dataset: "source.train".into(),
        ..score.clone()
    };
    let others: Vec<TrialScore> =
        scores.scores.iter().filter(|it| it.model == "dann").map(other).collect();
    scores.scores.extend(others);
    let over = vec!["pair".into(), "pipeline.seed".into()];
    let table =
        ResultTable::new(&TableSpec { columns, over, rows: "model".into(), ..spec }, &scores);
    let table = table.unwrap();
    let cell = table.cell("source_only", "other / source.train").unwrap();
    assert_eq!(cell.missing, Some(Missing::NoSuchPair));
}

#[test]
fn columns_that_look_alike_are_an_error() {
    let scores = of_pairs(seesaw);
    let label = Some(ColumnLabel::read("{source|initial}").unwrap());
    assert!(ResultTable::new(&TableSpec { column_label: label, ..pair_spec() }, &scores).is_ok());
    let label = Some(ColumnLabel::read("average").unwrap());
    let error = ResultTable::new(&TableSpec { column_label: label, ..pair_spec() }, &scores);
    let error = error.unwrap_err();
    assert_eq!(error.to_string(), "two columns of the table are called `average`");
    assert_eq!(error.help(), Some("change `column_label`, or leave it or `average` out"));
    assert!(ResultTable::new(&TableSpec { column_label: None, ..pair_spec() }, &scores).is_ok());
}
