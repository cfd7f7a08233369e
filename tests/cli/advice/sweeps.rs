//! Advice about sweeps: their axes, how trials are drawn, what they are selected by and compared at.

use super::mistakes::GOOD;
use super::scene::{Scene, follow};

/// Edits that follow an advice.
pub(super) type Edits<'a> = &'a [(&'a str, &'a str)];

/// A mistake in `[sweep]`: its lines, the advice, how it is followed.
pub(super) type Mistake<'a> = (&'a str, &'a str, Edits<'a>);

pub(super) const LISTED: &str = r#"axes = { "stages.net.optimizer.lr" = [0.1, 0.2] }"#;

const DRAWN: &str = r#"axes = { "stages.net.optimizer.lr" = { uniform = [0.1, 0.2] } }"#;

/// [`GOOD`] with a validation split and a network that is adapted to gray images.
pub(super) fn adapting() -> String {
    let adapted = "[stages.gray]\nkind = \"normalize\"\ninput = \"digits\"\nchannels = 3\n\n\
        [stages.adapted]\nkind = \"finetune\"\nmodel = \"net\"\ntrain = \"images.train\"\n\
        validate = \"images.held\"\nmethod = { kind = \"dann\", target = \"gray.train\" }\nepochs = 4\n\n\
        [stages.score]";
    validating().replace("[stages.score]", adapted)
}

fn validating() -> String {
    GOOD.replace("train = \"images\"", "train = \"images.train\"\nvalidate = \"images.held\"")
}

pub(super) fn follow_all(base: &str, mistakes: &[Mistake]) {
    for (lines, advice, edits) in mistakes {
        follow(&format!("{base}\n{lines}\n"), &[], advice, edits);
    }
}

#[test]
fn advice_about_the_axes_of_a_sweep_helps_when_it_is_followed() {
    const EXAMPLE: &str = "for example `\"pipeline.seed\" = [0, 1, 2]`";
    const FORMS: &str = "an axis is `[a, b]`, `{ from, to, step }`, `{ choice = [a, b] }`, `{ int = [low, high] }`, \
         `{ uniform = [low, high] }` or `{ log_uniform = [low, high] }`";
    follow_all(
        GOOD,
        &[
            (
                "[sweep]",
                "add `axes = { \"pipeline.seed\" = [0, 1, 2] }`",
                &[("[sweep]", "[sweep]\n$0")],
            ),
            (
                "[sweep.axes]\n\"stages.net.epochs\" = 1",
                EXAMPLE,
                &[("\"stages.net.epochs\" = 1", "$0")],
            ),
            ("[sweep.axes]\n\"epochs\" = [1]", EXAMPLE, &[("\"epochs\" = [1]", "$0")]),
            (
                "[sweep.axes]\n\"stages.net.epochs\" = []",
                EXAMPLE,
                &[("\"stages.net.epochs\" = []", "$0")],
            ),
            (
                "[sweep.axes]\nstages.net.epochs = [1, 2]",
                "put the whole dotted key in quotes, {EXAMPLE}",
                &[("stages.net.epochs =", "\"stages.net.epochs\" =")],
            ),
            (
                "[sweep.axes]\n\"stages.net.epochs\" = { from = 1 }",
                FORMS,
                &[("{ from = 1 }", "[1, 2]")],
            ),
            (
                "[sweep.axes]\n\"stages.net.epochs\" = { from = 1 }",
                FORMS,
                &[("{ from = 1 }", "{ from = 1, to = 5, step = 2 }")],
            ),
            (
                "[sweep.axes]\n\"stages.net.epochs\" = [1, 2]\n\"stages.'net'.epochs\" = [1, 3]",
                "keep one of the two axes",
                &[("\"stages.net.epochs\" = [1, 2]\n", "")],
            ),
            (
                "[sweep.axes]\n\"stages.net.optimizer.lr\" = [1, 1.0]",
                "leave one of the two out",
                &[(", 1.0", "")],
            ),
            (
                "[sweep.axes]\n\"stages.net.optimizer.lr\" = [0.1, 0.2]\n\
                 \"stages.net.optimizer\" = [{ kind = \"sgd\", lr = 0.1 }]",
                "leave `{key}` out of the values of `{}`",
                &[(", $0 = 0.1 }]", " }]")],
            ),
            (
                "[sweep.axes]\n\"stages.score.on\" = [[\"images.test\"], [\"images.train\"]]\n\
                 \"stages.score.on.0\" = [\"images.test\"]",
                "sweep `{}` or `{}`, not both",
                &[("\"stages.score.on.0\" = [\"images.test\"]\n", "")],
            ),
        ],
    );
}

#[test]
fn advice_about_setting_an_axis_that_moves_with_others_helps_when_it_is_followed() {
    let advice = "set `{named}` too, or give a value that the axis lists";
    let mut scene = Scene::new(format!(
        "{GOOD}\n[sweep]\nzip = [[\"stages.net.optimizer.lr\", \"stages.net.epochs\"]]\n\
         axes = {{ \"stages.net.optimizer.lr\" = [0.1, 0.2], \"stages.net.epochs\" = [1, 2] }}\n"
    ));
    let check = ["check", "p.toml", "--set"];
    let one = [&check[..], &["stages.net.epochs=3"]].concat();
    let words = scene.advised(&one, advice);
    assert_eq!(words, ["stages.net.optimizer.lr"]);
    let other = format!("{}=0.5", words[0]);
    scene.done(&[&one[..], &["--set", other.as_str()]].concat(), advice);
    scene.done(&[&check[..], &["stages.net.epochs=2"]].concat(), advice);
    scene.edit(("[1, 2]", "[1, 3]"), &[]);
    scene.done(&one, advice);
}

#[test]
fn advice_about_how_trials_are_drawn_helps_when_it_is_followed() {
    const SEARCH: &str = "add `search = \"random\"`, `\"sobol\"` or `\"tpe\"`, or leave it out";
    const GROUPS: &str =
        "for example `zip = [[\"stages.net.optimizer.lr\", \"stages.net.epochs\"]]`";
    let two = "[sweep]\naxes = { \"stages.net.optimizer.lr\" = [0.1, 0.2], \"stages.net.epochs\" = [1, 2] }\n";
    follow_all(
        GOOD,
        &[
            (&format!("{two}zip = \"all\""), GROUPS, &[("zip = \"all\"", "$0")]),
            (&format!("{two}zip = [\"all\"]"), GROUPS, &[("zip = [\"all\"]", "$0")]),
            (
                &format!("{two}zip = [[\"stages.net.epochs\"]]"),
                GROUPS,
                &[("zip = [[\"stages.net.epochs\"]]", "$0")],
            ),
            (
                "[sweep]\nsearch = \"random\"\ntrials = 3\nzip = [[\"stages.net.epochs\", \"pipeline.seed\"]]\n\
                 axes = { \"stages.net.epochs\" = { int = [1, 9] }, \"pipeline.seed\" = [0, 1] }",
                "list them: `[a, b]`",
                &[("{ int = [1, 9] }", "[1, 2]")],
            ),
            (
                "[sweep]\nsearch = \"random\"\ntrials = 3\nrepeat = [\"pipeline.seed\"]\n\
                 axes = { \"stages.net.epochs\" = [1, 2], \"pipeline.seed\" = { int = [0, 9] } }",
                "list them: `[0, 1, 2]`",
                &[("{ int = [0, 9] }", "$0")],
            ),
            (
                "[sweep]\nwhere = 3\naxes = { \"stages.net.optimizer.lr\" = [0.01, 0.2], \"pipeline.seed\" = [0, 1] }",
                "for example `where = \"lr < 0.1 or seed == 0\"`",
                &[("where = 3", "$0")],
            ),
            (
                &format!("[sweep]\nsearch = \"random\"\n{LISTED}"),
                "add `trials = 20`, the number of configurations to draw",
                &[("[sweep]", "[sweep]\n$0")],
            ),
            (&format!("[sweep]\ntrials = 2\n{LISTED}"), SEARCH, &[("[sweep]", "[sweep]\n$0")]),
            (
                &format!("[sweep]\ntrials = 2\n{LISTED}"),
                SEARCH,
                &[("[sweep]", "[sweep]\nsearch = $1")],
            ),
            (&format!("[sweep]\ntrials = 2\n{LISTED}"), SEARCH, &[("trials = 2", "")]),
            (
                &format!("[sweep]\n{DRAWN}"),
                "add `search = \"random\"`, `\"sobol\"` or `\"tpe\"` with `trials`",
                &[("[sweep]", "[sweep]\n$0\n$3 = 4")],
            ),
            (
                &format!("[sweep]\n{DRAWN}"),
                "or list them: `[a, b]` or `{ from, to, step }`",
                &[("{ uniform = [0.1, 0.2] }", "{ from = 0.1, to = 0.2, step = 0.1 }")],
            ),
            (
                "[sweep]\nsearch = \"random\"\ntrials = 3\naxes = { \"pipeline.seed\" = [0, 1] }",
                "add an axis, or `repeat = []` to draw this one",
                &[("[sweep]", "[sweep]\n$0")],
            ),
            (
                &format!(
                    "{two}search = \"random\"\ntrials = 1\neach = [\"stages.net.optimizer.lr\", \"stages.net.epochs\"]"
                ),
                "add an axis, or leave out `each` to draw these",
                &[("each = [\"stages.net.optimizer.lr\", \"stages.net.epochs\"]", "")],
            ),
            (
                &format!(
                    "{two}search = \"random\"\ntrials = 1\nrepeat = [\"stages.net.epochs\"]\neach = [\"stages.net.epochs\"]"
                ),
                "leave it out here: configurations are repeated with each of its values",
                &[("each = [\"stages.net.epochs\"]", "")],
            ),
            (
                "[sweep]\nsearch = \"random\"\ntrials = 3\neach = [\"stages.net.epochs\"]\n\
                 axes = { \"stages.net.epochs\" = { uniform = [1, 9] }, \"stages.net.optimizer.lr\" = { uniform = [0.1, 0.2] } }",
                "list them: `[0, 1, 2]`",
                &[("{ uniform = [1, 9] }", "[1, 2]")],
            ),
        ],
    );
}

#[test]
fn advice_about_what_trials_are_selected_by_helps_when_it_is_followed() {
    let select = |lines: &str| format!("[sweep]\n{LISTED}\n[sweep.select]\n{lines}");
    let of_training = |by: &str| select(&format!("stage = \"net\"\nby = \"{by}\""));
    let oracle = select("stage = \"score\"\nby = \"accuracy\"\n");
    let honest = "go by `validate.accuracy` of the source, or by a label-free score of the target: \
        `by = \"target.snd\"` with `target_scores` in the stage";
    let more = "[stages.more]\nkind = \"evaluate\"\nmodels = [\"net\"]\n\
        on = [\"images.held\", \"images.test\"]\n\n[stages.score]";
    follow_all(
        &validating().replace("[stages.score]", more),
        &[
            (
                &format!("[sweep]\n{LISTED}\nsearch = \"tpe\"\ntrials = 3"),
                "add `[sweep.select]` with `stage = \"...\"` and `by = \"validate.accuracy\"`",
                &[("trials = 3", "trials = 3\n$0\n$1\n$2"), ("stage = \"...\"", "stage = \"net\"")],
            ),
            (
                &select("stage = \"part\"\nby = \"validate.loss\""),
                "name a stage that trains or evaluates",
                &[("stage = \"part\"", "stage = \"net\"")],
            ),
            (
                &oracle,
                "`oracle = true` allows it; every table and page then says so",
                &[("by = ", "$0\nby = ")],
            ),
            (
                &oracle,
                honest,
                &[("stage = \"score\"\nby = \"accuracy\"", "stage = \"net\"\nby = \"$0\"")],
            ),
            (
                &select("stage = \"net\"\nby = \"validate.accuracy\"\noracle = true"),
                "leave `oracle` out: every table would carry a note that is not true",
                &[("$0 = true", "")],
            ),
            (
                &of_training("train.lr"),
                "add `mode = \"max\"` or `mode = \"min\"`",
                &[("by = ", "$1\nby = ")],
            ),
            (
                &of_training("accuracy"),
                "for example `\"validate.accuracy\"`, `\"validate.loss\"` or `\"target.info_max\"`",
                &[("by = \"accuracy\"", "by = $1")],
            ),
            (
                &format!("{}\noracle = true", select("stage = \"more\"\nby = \"accuracy\"")),
                "stage `{}` has {}",
                &[("by = \"accuracy\"", "on = \"images.test\"\nby = \"accuracy\"")],
            ),
            (
                &of_training("validate.f1"),
                "it has `accuracy` and `loss`",
                &[("validate.f1", "validate.$0")],
            ),
        ],
    );
    // Trials that score different things have nothing in common to go by.
    let scored = "[sweep]\naxes = { \"stages.score.on\" = [[\"images.test\"], [\"images.valid\"]] }\n\
        [sweep.select]\nstage = \"score\"\nby = \"accuracy\"\noracle = true";
    follow_all(
        &adapting(),
        &[(
            &scored.replace("images.valid", "gray.test"),
            "name `model` and `on` of a score that every trial has",
            &[
                ("by = ", "$0 = \"net\"\n$1 = \"images.test\"\nby = "),
                ("[\"gray.test\"]", "[\"gray.test\", \"images.test\"]"),
            ],
        )],
    );
    follow_all(
        GOOD,
        &[(
            &of_training("validate.accuracy"),
            "add `validate = \"...\"` to `[stages.{name}]`",
            &[("$1\n", "$1\n$0\n"), ("validate = \"...\"", "validate = \"images.held\"")],
        )],
    );
    follow_all(
        &adapting(),
        &[
            (
                &oracle,
                honest,
                &[
                    ("stage = \"score\"\nby = \"accuracy\"", "stage = \"adapted\"\n$1"),
                    ("epochs = 4", "epochs = 4\n$2 = { on = \"gray.train\", metrics = [\"snd\"] }"),
                ],
            ),
            (
                &select("stage = \"adapted\"\nby = \"target.info_max\""),
                "add `target_scores = {{ on = \"...\", metrics = [\"{metric}\"] }}` to `[stages.{name}]`",
                &[("$1\n", "$1\n$0\n"), ("on = \"...\"", "on = \"gray.train\"")],
            ),
        ],
    );
}

#[test]
fn advice_about_a_score_that_compares_models_of_one_trial_helps_when_it_is_followed() {
    let held = GOOD.replace("on = [\"images.test\"]", "on = [\"images.held\"]\nmixval = true");
    let select = format!("[sweep]\n{LISTED}\n[sweep.select]\nstage = \"score\"\nby = \"ensv\"");
    let advice = "go by a score of each model alone, such as `mixval`";
    follow_all(&held, &[(&select, advice, &[("by = \"ensv\"", "by = \"$0\"")])]);
}

#[test]
fn advice_about_selecting_by_auto_helps_when_it_is_followed() {
    let select = |lines: &str| format!("[sweep]\n{LISTED}\n[sweep.select]\n{lines}\nby = \"auto\"");
    let adapted = select("stage = \"adapted\"");
    follow_all(
        &adapting(),
        &[
            (
                &adapted,
                "add `target_scores = {{ on = \"...\", metrics = [{quoted}] }}` to `[stages.{name}]`",
                &[("$1\n", "$1\n$0\n"), ("on = \"...\"", "on = \"gray.train\"")],
            ),
            (
                &select("stage = \"score\""),
                "name a training stage with `validate` and `target_scores`",
                &[
                    ("stage = \"score\"", "stage = \"adapted\""),
                    (
                        "epochs = 4",
                        "epochs = 4\n$1 = { on = \"gray.train\", metrics = [\"diversity\", \"class_ami\"] }",
                    ),
                ],
            ),
        ],
    );
    let scored = |metrics: &str| {
        let scores =
            format!("epochs = 4\ntarget_scores = {{ on = \"gray.train\", metrics = [{metrics}] }}");
        adapting().replace("epochs = 4", &scores)
    };
    follow_all(
        &scored("\"snd\""),
        &[(
            &adapted,
            "add `{quoted}` to the `metrics` of `target_scores` in `[stages.{name}]`",
            &[("$1 = [", "$1 = [$0, ")],
        )],
    );
    follow_all(
        &scored("\"diversity\", \"class_ami\""),
        &[(
            &select("stage = \"adapted\"\nmode = \"max\""),
            "leave `mode` out: the rule says which values are better",
            &[("$0 = \"max\"\n", "")],
        )],
    );
    let of_source = scored("\"diversity\", \"class_ami\"")
        .replace("target_scores = { on = \"gray.train\"", "target_scores = { on = \"images.held\"");
    follow_all(
        &of_source,
        &[(
            &adapted,
            "let `target_scores.on` name images of the target",
            &[("on = \"images.held\", metrics", "on = \"gray.train\", metrics")],
        )],
    );
}

#[test]
fn advice_about_what_halving_compares_helps_when_it_is_followed() {
    let select =
        |lines: &str| format!("[sweep]\n{LISTED}\n[sweep.select]\n{lines}\n[sweep.halving]");
    let oracle = select("stage = \"score\"\nby = \"accuracy\"\noracle = true");
    let nothing = "name a training stage, or leave `[sweep.halving]` out";
    let adapting = adapting();
    follow(&format!("{adapting}\n{oracle}\n"), &[], nothing, &[("$0", "")]);
    follow(
        &format!("{adapting}\n{oracle}\n"),
        &[],
        nothing,
        &[(
            "stage = \"score\"\nby = \"accuracy\"\noracle = true",
            "stage = \"adapted\"\nby = \"validate.accuracy\"",
        )],
    );
    let net = |epochs: u32| {
        format!(
            "{{ kind = \"pretrain\", train = \"images.train\", validate = \"images.held\", epochs = {epochs}, \
             model = {{ layers = [\"flatten\"] }}, optimizer = {{ kind = \"sgd\", lr = 0.1 }} }}"
        )
    };
    let sweep = format!(
        "[sweep]\naxes = {{ \"stages.net\" = [{}, {}] }}\n[sweep.select]\nstage = \"net\"\n\
         by = \"validate.loss\"\n[sweep.halving]",
        net(4),
        net(5)
    );
    let seeds = ("epochs = 5", "seed = 3, epochs = 4");
    follow(
        &format!("{}\n{sweep}\n", validating()),
        &[],
        "give all of them the same `epochs`",
        &[seeds],
    );
}
