//! Advice about programs of the user's.

use super::scene::{Scene, follow};

const BASE: &str = "[pipeline]\nname = \"p\"\n\n[stages.digits]\nkind = \"download\"\ndataset = \"mnist-10k\"\n\n\
    [stages.own]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"exit\", \"{input.source}\", \"{out}\"]\n\
    inputs = { source = \"digits\" }\n\
    output = { kind = \"predictions\", of = [\"source.test\"], scores = \"logits\" }\n";

const SCORE: &str =
    "[stages.score]\nkind = \"evaluate\"\nmodels = [\"own\"]\non = [\"digits.test\"]\n";

fn with(more: &str) -> String {
    format!("{BASE}{more}")
}

#[test]
fn advice_about_placeholders_helps_when_it_is_followed() {
    let out = "\"{out}\"]";
    follow(
        BASE,
        &[(out, "\"{out}\", \"{lr}\"]")],
        "write `{{ {word} }}` for braces that are no placeholder",
        &[("{lr}", "$0")],
    );
    follow(
        BASE,
        &[(out, "\"{out}\", \"{params.lr}\"]")],
        "or give it a value: `{name} = ...` in `params`",
        &[("inputs =", "$1 = { $0 }\ninputs ="), ("...", "0.1")],
    );
    let line = (
        "[\"sh\", \"-c\", \"exit\", \"{input.source}\", \"{out}\"]",
        "\"cp {input.source} '{out}'\"",
    );
    follow(BASE, &[line], "write `{{{word}}}` outside of the quotes", &[("'{out}'", "$0")]);
    for (keys, advice) in [
        (
            "params = { lr = 1 }",
            "write `{{params.{name}}}` in `command` or `environment`, or leave it out",
        ),
        (
            "inputs = { source = \"digits\", lr = \"digits\" }",
            "write `{{input.{name}}}` in `command` or `environment`, or leave it out",
        ),
    ] {
        let wrong = format!("{keys}\noutput =");
        let base = BASE.replace("inputs = { source = \"digits\" }\n", "");
        let keys = if keys.starts_with("inputs") {
            wrong
        } else {
            format!("inputs = {{ source = \"digits\" }}\n{wrong}")
        };
        follow(&base, &[("output =", &keys)], advice, &[(out, "\"{out}\", \"$0\"]")]);
    }
    follow(
        BASE,
        &[(", \"{out}\"]", "]")],
        "hand it the folder as an argument: `\"--out\", \"{out}\"`",
        &[("\"{input.source}\"]", "\"{input.source}\", $0]")],
    );
    let number = "write `\"{}\"`";
    follow(BASE, &[(out, "\"{out}\", 5]")], number, &[("5]", "$0]")]);
    follow(
        BASE,
        &[("[\"sh\", ", "[\"{out}\", ")],
        "write the program first: `[\"python3\", ...]`",
        &[("[\"{out}\", ", "[\"sh\", ")],
    );
}

#[test]
fn advice_about_inputs_and_outputs_helps_when_it_is_followed() {
    let of = "of = [\"source.test\"]";
    follow(
        BASE,
        &[(of, "of = [\"test.test\"]")],
        "or add it: `{name} = \"STAGE\"` in `inputs`",
        &[("source = \"digits\"", "source = \"digits\", $0"), ("STAGE", "digits")],
    );
    follow(
        BASE,
        &[("source = \"digits\"", "source = \"digits.test\""), (of, "of = [\"source.train\"]")],
        "write `{input}.{only}`",
        &[("source.train", "$0")],
    );
    let two = "inputs = { a = \"digits\", b = \"digits\" }";
    follow(
        BASE,
        &[
            ("inputs = { source = \"digits\" }", two),
            ("{input.source}", "{input}"),
            ("source.test", "a.test"),
        ],
        "add `classes = \"INPUT\"` with the input whose classes they are",
        &[("scores =", "$0, scores ="), ("INPUT", "a")],
    );
    // Features have neither splits nor classes.
    let far = "[stages.far]\nkind = \"command\"\ncommand = [\"sh\", \"{input.features}\", \"{input.digits}\", \"{out}\"]\n\
        inputs = { features = \"own\", digits = \"digits\" }\noutput = ";
    let features = BASE.replace("predictions", "features").replace(", scores = \"logits\"", "");
    follow(
        &format!("{features}{far}{{ kind = \"features\", of = [\"features.test\"] }}\n"),
        &[],
        "name a split of an input that is a data set",
        &[("features.test", "digits.test")],
    );
    follow(
        &format!(
            "{features}{far}{{ kind = \"dataset\", splits = [\"train\"], classes = \"features\" }}\n"
        ),
        &[],
        "add `classes = \"INPUT\"` with an input that is a data set or a model",
        &[(", classes = \"features\"", ", $0"), ("INPUT", "digits")],
    );
    follow(
        &with(SCORE),
        &[("digits.test\"]", "digits.train\"]")],
        "add the split `{split}` to `output.of` of the stage that predicts",
        &[("of = [\"source.test\"]", "of = [\"source.test\", \"source.$0\"]")],
    );
}

#[test]
fn advice_about_what_a_program_needs_helps_when_it_is_followed() {
    follow(
        BASE,
        &[("[\"sh\", ", "[\"no-such-shell\", ")],
        "install it, or name one that is there, such as `/bin/sh`",
        &[("no-such-shell", "$0")],
    );
    let check = &["check", "p.toml"];
    let mut scene = Scene::new(with("files = []\n"));
    std::fs::create_dir(scene.root().join("lib")).unwrap();
    for name in ["train.sh", "lib/train.sh", "../outside.sh"] {
        // The last one lies beside the folder of the pipeline.
        if !name.starts_with("..") {
            std::fs::write(scene.root().join(name), "").unwrap();
        }
    }
    scene.edit(("[\"sh\", \"-c\", \"exit\"", "[\"./train.sh\""), &[]);
    scene.follow(check, "add it: `files = [\"{below}\"]`", &[("files = []", "$0")]);
    scene.edit(("[\"train.sh\"]", "[\"train.sh\", \"p/train.sh\"]"), &[]);
    scene.follow(
        check,
        "files are named from the folder of the pipeline file",
        &[("p/train.sh", "lib/train.sh")],
    );
    scene.edit(("\"lib/train.sh\"]", "\"../train.sh\"]"), &[]);
    scene.follow(
        check,
        "put the file there, and name it from there: `\"train.py\"`, `\"lib/\"`",
        &[("\"../train.sh\"", "$1")],
    );
}

#[test]
fn advice_about_labels_of_the_target_helps_when_it_is_followed() {
    let adapts = "[stages.far]\nkind = \"synthesize\"\nrecipe = \"blend\"\ninput = \"digits\"\n\
        background = { recipe = \"dead-leaves\" }\n";
    let base = BASE.replace("\"{input.source}\"", "\"{input}\"").replace(
        "{ source = \"digits\" }",
        "{ source = \"digits\", target = \"far\", more = \"far.test\" }",
    );
    let base = format!("{base}{adapts}");
    let target = "call the input `target`, or `target_` and more: its labels are then left out";
    follow(&base, &[], target, &[("more =", "$1more =")]);
    follow(
        &base,
        &[],
        "or say `labels = \"target\"`: every table then says so",
        &[("inputs =", "$0\ninputs =")],
    );
    // Without a source, everything that the target is made from seems to be of the target.
    let unnamed =
        base.replace("{ source = ", "{ labelled = ").replace("source.test", "labelled.test");
    let unnamed = unnamed
        .replace(", more = \"far.test\"", "")
        .replace("scores =", "classes = \"labelled\", scores =");
    follow(
        &unnamed,
        &[],
        "if it is the labelled source, call it `source`",
        &[("labelled =", "$0 ="), ("labelled.test", "$0.test"), ("\"labelled\"", "\"$0\"")],
    );
    let of_scores = format!(
        "{SCORE}[stages.late]\nkind = \"command\"\ncommand = \"cp {{input.scores}}/metrics.csv {{out}}\"\n\
         inputs = {{ scores = \"score\" }}\noutput = \"metrics\"\n"
    );
    follow(
        &with(&of_scores),
        &[],
        "`labels = \"target\"` hands it over; every table then says so",
        &[("inputs = { scores", "$0\ninputs = { scores")],
    );
    follow(
        &with("labels = \"target\"\n"),
        &[],
        "leave `labels` out: every table would carry a note that is not true",
        &[("labels = \"target\"\n", "")],
    );
}

/// A program that writes what is worth nothing, for a few gray images.
fn written(more: &str) -> Scene {
    let scene = Scene::new(
        "[pipeline]\nname = \"p\"\n\n[stages.photos]\nkind = \"download\"\nsource = \"file:photos\"\n\
         format = \"image-folder\"\n\n[stages.gray]\nkind = \"normalize\"\ninput = \"photos\"\nresize = 5\n\n\
         [stages.own]\nkind = \"command\"\ninputs = { source = \"photos\" }\n\
         output = { kind = \"predictions\", of = [\"source.test\"], scores = \"probabilities\" }\n\
         command = \"echo cat,dog > {out}/source.test.csv; for i in 1 2; do echo 1,0 >> {out}/source.test.csv; done"
            .to_owned()
            + more
            + "\"\n[stages.score]\nkind = \"evaluate\"\nmodels = [\"own\"]\non = [\"photos.test\"]\nsamples = 0\nmistakes = 0\n",
    );
    for (split, class, gray) in
        [("train", "cat", 1), ("train", "dog", 2), ("test", "cat", 3), ("test", "dog", 4)]
    {
        let folder = scene.root().join("photos").join(split).join(class);
        std::fs::create_dir_all(&folder).unwrap();
        image::GrayImage::from_pixel(4, 4, image::Luma([gray])).save(folder.join("1.png")).unwrap();
    }
    scene
}

const RUN: &[&str] = &["run", "p.toml", "--offline"];

#[test]
fn advice_about_what_a_program_wrote_helps_when_it_is_followed() {
    let more = "; date > {out}/notes";
    written(more).follow(RUN, "what it may write there is {}", &[(more, "")]);
    written(more).follow(
        RUN,
        "what it needs for itself alone it can write to the folder that it runs in, or to `{state}`",
        &[("{out}/notes", "$0/notes")],
    );
    let other = ("on = [\"photos.test\"]", "on = [\"gray.test\"]");
    for (advice, edit) in [
        (
            "hand the program the same data set that is named here, changed by nothing in between",
            ("source = \"photos\"", "source = \"gray\""),
        ),
        ("the predictions are of {}, by the names of their inputs", ("gray.test", "photos.test")),
    ] {
        let mut scene = written("");
        scene.edit(other, &[]);
        scene.follow(RUN, advice, &[edit]);
    }
}
