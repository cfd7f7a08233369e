//! Trainings that validate on several splits: the first decides, the others are recorded, and labels of a target among
//! them are called what they are.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::binary::{contents, record, runner, text};
use crate::photos::folders;

const BLUE: [u8; 3] = [20, 30, 220];
const RED: [u8; 3] = [220, 30, 20];
const GREEN: [u8; 3] = [20, 220, 40];

/// Two domains and a third data set, a network for the first, and one that adapts to the second.
const PIPELINE: &str = r#"
[pipeline]
name = "p"

[stages.source]
kind = "download"
source = "file:source"
format = "image-folder"

[stages.target]
kind = "download"
source = "file:target"
format = "image-folder"

[stages.other]
kind = "download"
source = "file:other"
format = "image-folder"

[stages.net]
kind = "pretrain"
train = "source.train"
validate = "source.valid"
model = { layers = ["flatten"], head = [8, "relu"] }
epochs = 2
batch_size = 4

[stages.adapted]
kind = "finetune"
model = "net"
train = "source.train"
validate = ["source.valid", "target.test", "other.test"]
method = { kind = "dann", target = "target.train" }
epochs = 3
batch_size = 4
optimizer = { kind = "adam", lr = 0.01 }
keep_best = "accuracy"

[stages.score]
kind = "evaluate"
models = ["net", "adapted"]
on = ["target.test"]
"#;

fn data(root: &Path) {
    for (name, bike, mug) in [("source", BLUE, RED), ("target", GREEN, RED), ("other", RED, BLUE)] {
        for split in ["train", "valid", "test"] {
            folders(root, &format!("{name}/{split}"), &[("bike", bike), ("mug", mug)]);
        }
    }
    fs::write(root.join("p.toml"), PIPELINE).unwrap();
}

/// Exit code and standard error.
fn said(root: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = runner(root, arguments);
    (output.status.code(), text(&output.stderr))
}

/// The rows of the adapted model with this word for their split.
fn rows<'a>(csv: &'a str, split: &str) -> Vec<&'a str> {
    csv.lines().filter(|line| line.split(',').nth(2) == Some(split)).collect()
}

fn csv(root: &Path) -> String {
    fs::read_to_string(root.join("results/p/latest/adapted.csv")).unwrap()
}

const ALONE: [&str; 2] = ["--set", "stages.adapted.validate=\"source.valid\""];

#[test]
fn the_first_split_decides_and_further_ones_are_recorded_under_names_that_say_so() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    data(root);
    let (code, said_alone) = said(root, &[&["run", "p.toml"][..], &ALONE].concat());
    assert_eq!(code, Some(0), "{said_alone}");
    let (alone, model) = (csv(root), contents(&record(&root.join("results/p/latest")))[4].clone());
    let (code, said) = said(root, &["run", "p.toml"]);
    assert_eq!(code, Some(0), "{said}");
    let (all, run) = (csv(root), root.join("results/p/latest"));
    let split = |it: &str| it.split(',').nth(2).unwrap().to_owned();
    let mut words: Vec<String> = all.lines().skip(1).map(split).collect();
    words.sort();
    words.dedup();
    let expected = ["best", "oracle.target.test", "recorded.other.test", "train", "validate"];
    assert_eq!(words, expected, "{all}");
    for recorded in ["oracle.target.test", "recorded.other.test"] {
        assert_eq!(rows(&all, recorded).len(), 6, "accuracy and loss of three epochs: {all}");
    }
    // What is recorded moves nothing: neither the training nor which epoch is the best.
    for word in ["train", "validate", "best"] {
        assert_eq!(rows(&all, word), rows(&alone, word));
    }
    let stages = record(&run)["trials"][0].clone();
    let inputs = stages[4]["inputs"].as_array().unwrap();
    let oracles: Vec<&str> = inputs
        .iter()
        .filter(|input| input["oracle"] == true)
        .map(|input| input["key"].as_str().unwrap())
        .collect();
    assert_eq!(oracles, ["validate.1"]);
    // The artifact has other metrics, and so another digest; its weights are the same bytes.
    assert_ne!(contents(&record(&run))[4], model);
    let verified = runner(root, &["verify", "p"]);
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified.stderr));
}

/// The accuracies on the target that a training recorded do not reach a program that gets its model.
#[test]
fn what_was_recorded_of_the_target_is_not_handed_to_a_program() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    data(root);
    let peek = "
[stages.peek]
kind = \"command\"
command = \"(echo split,metric,value; ls {input.model} | sed 's/.*/all,&,1/') > {out}/metrics.csv\"
inputs = { model = \"adapted\" }
output = \"metrics\"
";
    fs::write(root.join("p.toml"), format!("{PIPELINE}{peek}")).unwrap();
    let (code, said) = said(root, &["run", "p.toml"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!rows(&csv(root), "oracle.target.test").is_empty());
    let seen = fs::read_to_string(root.join("results/p/latest/peek.csv")).unwrap();
    assert_eq!(seen, "split,metric,value\nall,model.json,1\nall,weights.safetensors,1\n");
}

#[test]
fn one_split_in_brackets_is_the_same_as_without_them() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    data(root);
    assert_eq!(said(root, &[&["run", "p.toml"][..], &ALONE].concat()).0, Some(0));
    let listed = ["run", "p.toml", "--set", "stages.adapted.validate=[\"source.valid\"]"];
    let (code, said) = said(root, &listed);
    assert!(code == Some(0) && said.contains("nothing to do"), "{said}");
}

#[test]
fn labels_of_the_target_are_marked_in_charts_and_both_losses_are_on_one() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    data(root);
    assert_eq!(said(root, &["run", "p.toml"]).0, Some(0));
    let page = fs::read_to_string(root.join("results/p/latest/report.html")).unwrap();
    for word in ["oracle.target.test", "recorded.other.test", "train class loss", "validate loss"] {
        assert!(page.contains(&format!(">{word}</text>")), "{word}");
    }
    let plotted = runner(root, &["plot", "p", "--out", "figures"]);
    assert_eq!(plotted.status.code(), Some(0), "{}", text(&plotted.stderr));
    let losses = fs::read_to_string(root.join("figures/net-loss.csv")).unwrap();
    assert!(
        losses.contains(",train class loss,1,") && losses.contains(",validate loss,2,"),
        "{losses}"
    );
    assert!(!root.join("figures/net-class_loss.csv").exists(), "they are in one picture");
    // The first of them may be of a target as well, where nothing goes by it.
    let target =
        ["--set", "stages.adapted.validate=\"target.test\"", "--set", "stages.adapted.epochs=2"];
    let without =
        fs::read_to_string(root.join("p.toml")).unwrap().replace("keep_best = \"accuracy\"", "");
    fs::write(root.join("p.toml"), without).unwrap();
    let (code, said) = said(root, &[&["run", "p.toml"][..], &target].concat());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(rows(&csv(root), "validate").len(), 4, "its name in the CSV stays");
    let page = fs::read_to_string(root.join("results/p/latest/report.html")).unwrap();
    assert!(page.contains(">validate (oracle)</text>"), "marked where it is shown");
}

#[test]
fn labels_of_the_target_never_decide() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    data(root);
    // Of another data set than what is adapted to, but made from it.
    let normalised = "\n[stages.shown]\nkind = \"normalize\"\ninput = \"target\"\n";
    let whole = fs::read_to_string(root.join("p.toml")).unwrap() + normalised;
    fs::write(root.join("p.toml"), whole).unwrap();
    let first = "stages.adapted.validate=[\"shown.test\", \"source.valid\"]";
    let (code, refused) = said(root, &["check", "p.toml", "--set", first]);
    assert_eq!(code, Some(2), "{refused}");
    assert!(refused.contains("`keep_best` would go by labels of the target domain"), "{refused}");
    let advised =
        "put labelled images of the source first, which decide, and `shown.test` behind them";
    assert!(refused.contains(advised), "{refused}");
    let behind = "stages.adapted.validate=[\"source.valid\", \"shown.test\"]";
    assert_eq!(said(root, &["check", "p.toml", "--set", behind]).0, Some(0));
    // A model that learns from them anyway is an upper bound.
    let bound = [
        "stages.net.train=\"target\"",
        "stages.net.validate=\"target.test\"",
        "stages.net.keep_best=\"accuracy\"",
    ];
    let bound: Vec<&str> = bound.iter().flat_map(|it| ["--set", *it]).collect();
    let (code, taken) = said(root, &[&["check", "p.toml"][..], &bound].concat());
    assert_eq!(code, Some(0), "{taken}");
    let other = [&bound[..], &["--set", "stages.net.train=\"source\""]].concat();
    let (code, refused) = said(root, &[&["check", "p.toml"][..], &other].concat());
    assert_eq!(code, Some(2), "{refused}");
    assert!(refused.contains("`keep_best` would go by labels of the target domain"), "{refused}");
    // Nor can a sweep select by them.
    let sweep = "\n[sweep]\naxes = { \"stages.adapted.optimizer.lr\" = [0.1, 0.01] }\n\n\
                 [sweep.select]\nstage = \"adapted\"\nby = \"oracle.target.test.accuracy\"\n";
    let whole = PIPELINE.to_owned() + sweep;
    fs::write(root.join("s.toml"), whole).unwrap();
    let (code, refused) = said(root, &["check", "s.toml"]);
    assert_eq!(code, Some(2), "{refused}");
    assert!(refused.contains("`oracle` is not a split of a training's metrics"), "{refused}");
}

#[test]
fn a_list_to_validate_on_has_names_and_each_of_them_once() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    data(root);
    for (list, why) in [
        ("[]", "`validate` is empty"),
        ("[\"source.valid\", \"source.valid\"]", "`validate` names `source.valid` twice"),
        ("[\"source.valid\", \"source.w\"]", "has no split `w`"),
        ("[\"source.valid\", 3]", "`validate.1` must be the name of a stage"),
    ] {
        let set = format!("stages.adapted.validate={list}");
        let (code, said) = said(root, &["check", "p.toml", "--set", &set]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
    let (_, emptied) = said(root, &["check", "p.toml", "--set", "stages.net.validate=[]"]);
    assert!(emptied.contains("leave `validate` out to do without it"), "{emptied}");
    let without = PIPELINE.replacen("validate = \"source.valid\"\n", "", 1);
    fs::write(root.join("p.toml"), without).unwrap();
    assert_eq!(said(root, &["check", "p.toml"]).0, Some(0));
}

#[test]
fn trials_that_a_search_ends_early_have_the_names_too_and_each_epoch_once() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    data(root);
    let sweep = "\n[sweep]\naxes = { \"stages.adapted.optimizer.lr\" = [1e-5, 0.01] }\n\n\
                 [sweep.select]\nstage = \"adapted\"\nby = \"validate.loss\"\n\n\
                 [sweep.halving]\nmin_epochs = 1\nfactor = 2\n";
    fs::write(root.join("p.toml"), PIPELINE.to_owned() + sweep).unwrap();
    let (code, said) = said(root, &["sweep", "p.toml"]);
    assert_eq!(code, Some(0), "{said}");
    let trials = root.join("results/p/latest/trials");
    let mut lengths: Vec<usize> = ["000", "001"]
        .iter()
        .map(|trial| {
            let csv = fs::read_to_string(trials.join(trial).join("adapted.csv")).unwrap();
            assert!(!csv.contains('@'), "{csv}");
            let recorded = rows(&csv, "oracle.target.test").len();
            assert_eq!(recorded, rows(&csv, "validate").len(), "{csv}");
            recorded
        })
        .collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [2, 6], "one trial ended after an epoch, the other went on: {said}");
}

#[test]
fn a_second_stage_that_builds_the_target_is_the_target() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    data(root);
    let download = |name: &str| {
        format!(
            "\n[stages.{name}]\nkind = \"download\"\nsource = \"file:target\"\nformat = \"image-folder\"\n"
        )
    };
    let shown = |name: &str, input: &str| {
        format!("\n[stages.{name}]\nkind = \"normalize\"\ninput = \"{input}\"\n")
    };
    let twins = [
        download("again"),
        shown("seen", "target"),
        shown("seen_again", "again"),
        "\n[stages.third]\nlike = \"seen_again\"\n".to_owned(),
    ];
    let target = "target = \"target.train\"";
    let whole = PIPELINE.replace(target, "target = \"seen.train\"") + &twins.concat();
    fs::write(root.join("p.toml"), &whole).unwrap();
    for images in ["again.test", "seen_again.test", "third.valid"] {
        let first = format!("stages.adapted.validate=[\"{images}\", \"source.valid\"]");
        let (code, refused) = said(root, &["check", "p.toml", "--set", &first]);
        assert_eq!(code, Some(2), "{images}: {refused}");
        assert!(
            refused.contains("`keep_best` would go by labels of the target domain"),
            "{images}: {refused}"
        );
    }
    let behind = "stages.adapted.validate=[\"source.valid\", \"third.valid\"]";
    let (code, said_behind) = said(root, &["run", "p.toml", "--set", behind]);
    assert_eq!(code, Some(0), "{said_behind}");
    let all = csv(root);
    assert_eq!(rows(&all, "oracle.third.valid").len(), 6, "{all}");
    // Nor does a sweep select by them.
    let sweep = "\n[sweep]\naxes = { \"stages.adapted.optimizer.lr\" = [0.1, 0.01] }\n\n\
                 [sweep.select]\nstage = \"adapted\"\nby = \"validate.accuracy\"\n";
    let by = |images: &str| {
        let validate = "[\"source.valid\", \"target.test\", \"other.test\"]";
        let text = whole.replace(validate, images).replace("keep_best = \"accuracy\"\n", "");
        fs::write(root.join("s.toml"), text + sweep).unwrap();
        said(root, &["check", "s.toml"])
    };
    let (code, refused) = by("\"seen_again.valid\"");
    assert!(code == Some(2) && refused.contains("labels that selection must not see"), "{refused}");
    assert_eq!(by("\"source.valid\"").0, Some(0), "the source is another one");
}

/// Two moons and two targets that are turned, with what `more` adds.
fn moons(more: &str) -> String {
    let set = |name: &str, angle: u32, seed: u32| {
        format!(
            "[stages.{name}]\nkind = \"synthesize\"\nrecipe = \"two-moons\"\nsamples = 40\nangle = {angle}.0\nseed = {seed}\n\n"
        )
    };
    let shown = "[stages.shown]\nkind = \"normalize\"\ninput = \"target\"\n\n";
    let net = "[stages.net]\nkind = \"pretrain\"\ntrain = \"source\"\nmodel = { layers = [8, \"relu\"] }\nepochs = 1\n\n";
    let head = "[pipeline]\nname = \"p\"\n\n";
    [head, &set("source", 0, 0), &set("target", 30, 1), &set("second", 60, 2), shown, net, more]
        .concat()
}

/// What `check` says of a stage `tuned` with these lines, after `more`.
fn checked(root: &Path, more: &str, lines: &str) -> String {
    let stage = format!(
        "{more}\n[stages.tuned]\nkind = \"finetune\"\nmodel = \"net\"\nepochs = 2\n{lines}\n"
    );
    fs::write(root.join("p.toml"), moons(&stage)).unwrap();
    let (code, said) = said(root, &["check", "p.toml"]);
    assert_eq!(code, Some(if said.is_empty() { 0 } else { 2 }), "{said}");
    said
}

#[test]
fn labels_of_a_target_do_not_decide_by_way_of_pseudo_labels_or_of_an_earlier_adaptation() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    let labels = "[stages.labels]\nkind = \"pseudo_label\"\nmodel = \"net\"\ntarget = \"target\"\n\n\
                  [stages.resized]\nkind = \"normalize\"\ninput = \"labels\"\n";
    let dann = "method = { kind = \"dann\", target = \"target\" }\n";
    for train in ["labels", "resized"] {
        for method in ["", dann] {
            let decides = |validate: &str| {
                let lines = format!(
                    "train = \"{train}\"\nvalidate = \"{validate}\"\nkeep_best = \"loss\"\n{method}"
                );
                checked(root, labels, &lines)
            };
            let refused = decides("shown.test");
            let why = "`keep_best` would go by labels of the target domain";
            assert!(refused.contains(why), "{train} {method}: {refused}");
            assert_eq!(decides("source.test"), "", "{train} {method}");
        }
    }
    let first = "[stages.first]\nkind = \"finetune\"\nmodel = \"net\"\ntrain = \"source\"\nepochs = 1\n\
                 method = { kind = \"dann\", target = \"target\" }\n";
    let lines = "train = \"source\"\nvalidate = \"target.test\"\nkeep_best = \"loss\"\n\
                 method = { kind = \"dann\", target = \"second\" }\n";
    // Beside another adaptation its target is nothing to this one, which goes on from `net`.
    assert_eq!(checked(root, first, lines), "");
    let behind = moons(&format!(
        "{first}\n[stages.tuned]\nlike = \"first\"\nmodel = \"first\"\nvalidate = \"target.test\"\n\
         keep_best = \"loss\"\nmethod = {{ kind = \"dann\", target = \"second\" }}\n"
    ));
    fs::write(root.join("p.toml"), behind).unwrap();
    let (code, refused) = said(root, &["check", "p.toml"]);
    assert_eq!(code, Some(2), "{refused}");
    assert!(refused.contains("`keep_best` would go by labels of the target domain"), "{refused}");
}

#[test]
fn scores_without_labels_do_not_go_by_a_validation_of_the_target() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    let scored = |validate: &str, metric: &str, method: &str| {
        let lines = format!(
            "train = \"source\"\nvalidate = \"{validate}\"\n{method}\n\
             target_scores = {{ on = \"target\", metrics = [\"{metric}\"] }}\n"
        );
        checked(root, "", &lines)
    };
    for method in ["method = { kind = \"dann\", target = \"target\" }", ""] {
        for metric in ["atc", "dev", "iwv"] {
            let refused = scored("shown.test", metric, method);
            let why = "`target_scores` would go by labels of the target domain";
            assert!(refused.contains(why), "{metric} {method}: {refused}");
            assert_eq!(scored("source.test", metric, method), "", "{metric} {method}");
        }
        assert_eq!(scored("shown.test", "entropy", method), "", "it looks at no label");
    }
}

#[test]
fn domains_that_are_splits_of_one_data_set_are_followed_through_its_stages() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    let rows: String = (0..24)
        .map(|row| {
            let group = ["amazon", "webcam", "dslr"][row % 3];
            format!("{row},{},{group},{}\n", row % 5, row % 2)
        })
        .collect();
    fs::write(root.join("office.csv"), format!("a,b,domain,label\n{rows}")).unwrap();
    let decides = |train: &str, target: &str, validate: &str| {
        let text = format!(
            "[pipeline]\nname = \"p\"\n\n\
             [stages.office]\nkind = \"download\"\nsource = \"file:office.csv\"\nformat = \"csv\"\ngroups = \"domain\"\n\n\
             [stages.a]\nkind = \"normalize\"\ninput = \"office\"\n\n\
             [stages.b]\nkind = \"normalize\"\ninput = \"office\"\nmean = 1.0\nstd = 2.0\n\n\
             [stages.held]\nkind = \"split\"\ninput = \"a\"\nfrom = \"webcam\"\nholdout = 0.5\nname = \"webcam_test\"\n\n\
             [stages.own]\nkind = \"split\"\ninput = \"a\"\nfrom = \"amazon\"\nholdout = 0.5\nname = \"amazon_test\"\n\n\
             [stages.pooled]\nkind = \"split\"\ninput = \"office\"\nfrom = \"dslr\"\npool = [\"dslr\", \"webcam\"]\n\n\
             [stages.adapted]\nkind = \"finetune\"\nmodel = {{ layers = [4, \"relu\"] }}\ntrain = \"{train}\"\n\
             validate = \"{validate}\"\nepochs = 1\nkeep_best = \"loss\"\n\
             method = {{ kind = \"dann\", target = \"{target}\" }}\n"
        );
        fs::write(root.join("p.toml"), text).unwrap();
        said(root, &["check", "p.toml"])
    };
    let hidden = [
        ["a.amazon", "a.webcam", "b.webcam"],
        ["a.amazon", "a.webcam", "held.webcam_test"],
        ["a.amazon", "held.webcam", "held.webcam_test"],
        ["a.amazon", "held.webcam_test", "office.webcam"],
        ["a.amazon", "b.webcam", "a.webcam"],
        ["a.amazon", "b.webcam", "pooled.dslr"],
        ["a.amazon", "pooled.dslr", "a.webcam"],
    ];
    for [train, target, validate] in hidden {
        let (code, said) = decides(train, target, validate);
        assert_eq!(code, Some(2), "{train} {target} {validate}: {said}");
        assert!(said.contains("would go by labels of the target domain"), "{said}");
    }
    let open = [
        ["a.amazon", "a.webcam", "own.amazon_test"],
        ["own.amazon", "held.webcam", "own.amazon_test"],
        ["a.amazon", "a.webcam", "a.dslr"],
        ["a.amazon", "b.webcam", "office.amazon"],
    ];
    for [train, target, validate] in open {
        let (code, said) = decides(train, target, validate);
        assert_eq!(code, Some(0), "{train} {target} {validate}: {said}");
    }
}
