//! Advice about pairs of domains, and about the columns that tables make of them.

use super::mistakes::GOOD;
use super::scene::Scene;
use super::sweeps::{Mistake, follow_all};

const KEYS: &str = "source = \"stages.net.epochs\"\ntarget = \"stages.net.batch_size\"\n";

/// A [`Mistake`] whose lines are put together here.
type OwnMistake = (String, &'static str, Vec<(&'static str, &'static str)>);

/// A sweep of pairs with `rest` in its table of pairs.
fn pairs(rest: &str) -> String {
    format!("[sweep.pairs]\n{KEYS}{rest}\n")
}

#[test]
fn advice_about_the_pairs_of_a_sweep_helps_when_it_is_followed() {
    const OF: &str = "for example `of = [\"amazon\", \"dslr\", \"webcam\"]`";
    const LIST: &str = "for example `list = [[\"amazon\", \"webcam\"], [\"dslr\", \"webcam\"]]`";
    // Their domains are numbers here, which these keys take.
    let numbers = |list: &'static str| match list {
        "of" => ("$0", "of = [8, 16, 32]"),
        _ => ("$0", "list = [[8, 16], [32, 16]]"),
    };
    let (of, list) = (numbers("of"), numbers("list"));
    let cases: Vec<OwnMistake> = vec![
        (pairs(""), OF, vec![("[sweep.pairs]", "[sweep.pairs]\n$0"), of]),
        (pairs("of = 8"), OF, vec![("of = 8", "$0"), of]),
        (pairs("of = [8]"), OF, vec![("of = [8]", "$0"), of]),
        (pairs("list = 8"), LIST, vec![("list = 8", "$0"), list]),
        (pairs("list = [[8]]"), LIST, vec![("list = [[8]]", "$0"), list]),
        (pairs("of = [8, 16, 8]"), "leave one of the two out", vec![(", 8]", "]")]),
        (pairs("list = [[8, 16], [8, 16]]"), "leave one of the two out", vec![(", [8, 16]]", "]")]),
        (pairs("list = [[8, 16], [8, 8]]"), "leave the pair out", vec![(", [8, 8]]", "]")]),
        (
            pairs("of = [8, 16]\nlist = [[8, 16]]"),
            "leave out `list` for all pairs, or `of` for these",
            vec![("$0 = [[8, 16]]", "")],
        ),
        (
            pairs("of = [8, 16]\nlist = [[8, 16]]"),
            "leave out `list` for all pairs, or `of` for these",
            vec![("$1 = [8, 16]", "")],
        ),
        (
            pairs("of = [8, 16]").replace("batch_size", "epochs"),
            "name the key of each domain, for example `\"stages.target.input\"`",
            vec![("target = \"stages.net.epochs\"", "target = \"stages.net.batch_size\"")],
        ),
        (
            pairs("of = [8, [16]]"),
            "name a stage of each domain, and sweep the key that takes its name",
            vec![("[16]]", "16]")],
        ),
        (
            format!(
                "{}[sweep]\nzip = [[\"stages.net.epochs\", \"stages.net.optimizer.lr\"]]\naxes = {{ \"stages.net.optimizer.lr\" = [1, 2] }}\n",
                pairs("of = [8, 16]")
            ),
            "write the two as axes in place of `[sweep.pairs]`: axes of `zip` may repeat values",
            vec![
                (
                    "$0\nsource = \"stages.net.epochs\"\ntarget = \"stages.net.batch_size\"\nof = [8, 16]\n",
                    "",
                ),
                (
                    "$1 = [[\"stages.net.epochs\",",
                    "$1 = [[\"stages.net.epochs\", \"stages.net.batch_size\",",
                ),
                (
                    "axes = {",
                    "axes = { \"stages.net.epochs\" = [8, 8], \"stages.net.batch_size\" = [16, 32],",
                ),
            ],
        ),
    ];
    let cases: Vec<Mistake> =
        cases.iter().map(|(lines, advice, edits)| (lines.as_str(), *advice, &edits[..])).collect();
    follow_all(GOOD, &cases);
}

#[test]
fn advice_about_a_set_key_of_pairs_helps_when_it_is_followed() {
    let advice = "set `{other}` too, or give a value that a pair has";
    let scene = Scene::new(format!("{GOOD}\n{}", pairs("of = [8, 16]")));
    let check = ["check", "p.toml", "--set"];
    let one = [&check[..], &["stages.net.epochs=3"]].concat();
    let words = scene.advised(&one, advice);
    assert_eq!(words, ["stages.net.batch_size"]);
    let other = format!("{}=4", words[0]);
    scene.done(&[&one[..], &["--set", other.as_str()]].concat(), advice);
    scene.done(&[&check[..], &["stages.net.epochs=16"]].concat(), advice);
}

#[test]
fn advice_about_searching_among_pairs_helps_when_it_is_followed() {
    let drawn = "\"stages.net.optimizer.lr\" = { uniform = [0.1, 0.2] }";
    let search = |axes: &str| {
        format!(
            "{}[sweep]\nsearch = \"random\"\ntrials = 2\naxes = {{ {axes} }}\n",
            pairs("of = [8, 16]")
        )
    };
    let seeded = search(&format!("{drawn}, \"pipeline.seed\" = [0, 1]"));
    let alone = search(drawn);
    const SEEDED: &str = "add `repeat = [\"pair\", \"pipeline.seed\"]` to `[sweep]`: every configuration runs on all pairs";
    const ALONE: &str =
        "add `repeat = [\"pair\"]` to `[sweep]`: every configuration runs on all pairs";
    const EACH: &str = "or add `each = [\"pair\"]`: every pair gets as many configurations";
    const PER: &str = "add \"pair\" to its axes: `per = [\"pair\"]` selects for each pair";
    let put = [("search =", "$0\nsearch =")];
    let held =
        GOOD.replace("train = \"images\"", "train = \"images.train\"\nvalidate = \"images.held\"");
    follow_all(&held, &[(&seeded, SEEDED, &put), (&alone, ALONE, &put), (&alone, EACH, &put)]);
    let select = format!(
        "{}[sweep]\naxes = {{ \"stages.net.optimizer.lr\" = [0.1, 0.2] }}\n[sweep.select]\nstage = \"net\"\n\
         by = \"validate.accuracy\"\n",
        pairs("of = [8, 16]")
    );
    follow_all(
        &held,
        &[
            (&select, PER, &[("by = ", "$0\nby = ")]),
            (&select, "or {repeat}", &[("[sweep]\n", "[sweep]\nrepeat = [\"pair\"]\n")]),
        ],
    );
}

#[test]
fn advice_about_columns_helps_when_it_is_followed() {
    let two = GOOD.replace("on = [\"images.test\"]", "on = [\"images.test\", \"images.train\"]");
    let table = |lines: &str| format!("{}[table]\n{lines}\n", pairs("of = [8, 16]"));
    const LABEL: &str = "for example `column_label = \"{source|initial}→{target|initial}\"`, with `columns = \"pair\"`";
    let only = "only = { dataset = \"images.test\" }\n";
    follow_all(
        &two,
        &[
            (
                &table(&format!("{only}column_label = \"{{source\"")),
                LABEL,
                &[("column_label = \"{source\"", "$0\n$1")],
            ),
            (
                &table("columns = []\nover = \"pair\""),
                "leave it out for a column of each data set",
                &[("columns = []\n", "")],
            ),
            (
                &table("columns = [\"pair\", \"dataset\"]\nover = \"stages.net.epochs\""),
                "leave it out of `over`",
                &[("$0 = \"stages.net.epochs\"", "")],
            ),
            (
                &table(
                    "columns = [\"pair\", \"dataset\"]\npublished = [{ row = \"net\", column = \"8 → 16\", \
                        value = 0.5, cite = \"A\" }]",
                ),
                "write its values in this order, with ` / ` between them",
                &[("column = \"8 → 16\"", "column = \"8 → 16$0images.test\"")],
            ),
            (
                &table(
                    "columns = [\"pair\", \"dataset\"]\ncolumn_label = \"{source} to {target}\"",
                ),
                "write more of their values, or leave `column_label` out",
                &[("{target}", "{target} {dataset}")],
            ),
            (
                &table("over = \"pair\"\ncolumn_label = \"{dataset|initial}\""),
                "write more of their values, or leave `column_label` out",
                &[("$0 = \"{dataset|initial}\"", "")],
            ),
        ],
    );
}
