//! Advice about what a file says once: included files, variables, stages that are like others.

use std::fs;

use super::mistakes::GOOD;
use super::scene::{Scene, follow};

const CHECK: [&str; 2] = ["check", "p.toml"];

/// [`GOOD`] with a second network that is like the first, and `lines` in its table.
fn like(lines: &str) -> String {
    let second = format!("[stages.second]\nlike = \"net\"\n{lines}\n\n[stages.score]");
    GOOD.replace("[stages.score]", &second)
}

#[test]
fn advice_about_stages_that_are_like_others_helps_when_it_is_followed() {
    follow(
        GOOD,
        &[("kind = \"pretrain\"", "kind = \"pretrain\"\nwithout = [\"epochs\"]")],
        "add `{LIKE} = \"STAGE\"`, or leave `{WITHOUT}` out",
        &[("$1 = [\"epochs\"]\n", "")],
    );
    follow(
        &like("without = [\"optimizer.momentum\"]\nepochs = 2")
            .replace("lr = 0.1 }", "lr = 0.1, momentum = 0.9 }"),
        &[("without = [\"optimizer.momentum\"]", "without = 3")],
        "for example `{WITHOUT} = [\"optimizer.momentum\"]`",
        &[("without = 3", "$0")],
    );
    follow(
        &like(""),
        &[("kind = \"pretrain\"", "like = \"second\"")],
        "take one `{LIKE}` out, and write the keys of that stage",
        &[("$0 = \"second\"", "kind = \"pretrain\"")],
    );
    follow(
        &like("optimizer.lr = 0.2"),
        &[("{ kind = \"sgd\", lr = 0.1 }", "\"sgd\"")],
        "say what it is, too: `{key}.{tag} = \"{word}\"`",
        &[("optimizer.lr = 0.2", "optimizer.kind = \"sgd\"\noptimizer.lr = 0.2")],
    );
    let resized =
        "[stages.more]\nlike = \"images\"\nresize.shorter = 8\ncenter_crop = 8\n\n[stages.net]";
    follow(
        &GOOD.replace("std = 0.5", "std = 0.5\nresize = 12").replace("[stages.net]", resized),
        &[],
        "add `{WITHOUT} = [\"{key}\"]` to `[stages.{name}]`: then this table counts alone",
        &[("$1\nlike", "$1\n$0\nlike")],
    );
    follow(
        &like("without = [\"epochs.a\"]\nepochs = 2"),
        &[],
        "leave out all of it: `\"{way}\"`",
        &[("\"epochs.a\"", "$0")],
    );
    follow(
        &format!("{}\n[sweep.axes]\n\"stages.second.like\" = [\"net\"]\n", like("")),
        &[],
        "write both stages, and sweep the key that names one of them",
        &[(
            "\"stages.second.like\" = [\"net\"]",
            "\"stages.score.models.0\" = [\"net\", \"second\"]",
        )],
    );
}

#[test]
fn advice_about_included_files_helps_when_it_is_followed() {
    let including = |names: &str| format!("include = {names}\n{GOOD}");
    let followed = |scene: &mut Scene, advice: &str, edits: &[(&str, &str)]| {
        fs::write(scene.root().join("a.toml"), "[stages.net]\nbatch_size = 8\n").unwrap();
        fs::write(scene.root().join("b.toml"), "[stages.net]\nbatch_size = 16\n").unwrap();
        fs::write(scene.root().join("c.toml"), "[stages.images]\nstd = \"auto\"\n").unwrap();
        scene.follow(&CHECK, advice, edits);
    };
    let mut scene = Scene::new(including("[\"p.toml\", \"a.toml\"]"));
    followed(&mut scene, "leave this file out of `include`", &[("\"p.toml\", ", "")]);
    let mut scene = Scene::new(including("3"));
    let advice = "for example `{INCLUDE} = [\"office.toml\"]`";
    fs::write(scene.root().join("office.toml"), "[stages.net]\nbatch_size = 8\n").unwrap();
    scene.follow(&CHECK, advice, &[("include = 3", "$0")]);
    let mut scene = Scene::new(including("[\"a.toml\", \"b.toml\"]"));
    followed(
        &mut scene,
        "write `{key}` in `{file}`, which counts over both",
        &[("[stages.net]", "[stages.net]\nbatch_size = 4")],
    );
    let optimizer = "optimizer = { kind = \"sgd\", lr = 0.1 }\n";
    let file = including("[\"sgd.toml\", \"adam.toml\"]").replace(optimizer, "");
    let mut scene = Scene::new(file);
    for kind in ["sgd", "adam"] {
        let other = format!("[stages.net]\noptimizer = {{ kind = \"{kind}\", lr = 0.5 }}\n");
        fs::write(scene.root().join(format!("{kind}.toml")), other).unwrap();
    }
    followed(
        &mut scene,
        "write all keys of `{key}` in `{file}`: they alone count then",
        &[("[stages.net]", "[stages.net]\noptimizer = { kind = \"sgd\", lr = 0.2 }")],
    );
    let mut scene = Scene::new(including("[\"${a}.toml\"]"));
    fs::write(scene.root().join("a.toml"), "[stages.net]\nbatch_size = 8\n").unwrap();
    scene.advised(&CHECK, "write the path");
    scene.put(("${a}", "a"));
    scene.done(&CHECK, "write the path");
    let mut scene = Scene::new(including("[\"c.toml\"]").replace("std = 0.5", "std = { a = 1 }"));
    followed(
        &mut scene,
        "write `{key}` in the same form in both files",
        &[("std = { a = 1 }", "std = \"auto\"")],
    );
    let scene = Scene::new(including("[\"a.toml\"]"));
    fs::write(scene.root().join("a.toml"), "[stages.net]\nbatch_size = 8\n").unwrap();
    let set = |set| [&CHECK[..], &["--set", set]].concat();
    let advice = "write it in the file, and set the keys that differ";
    scene.advised(&set("include=[\"b.toml\"]"), advice);
    scene.done(&set("stages.net.batch_size=16"), advice);
}

#[test]
fn advice_about_variables_helps_when_it_is_followed() {
    let with = |vars: &str| format!("{GOOD}\n[vars]\nepochs = 1\n{vars}\n");
    let used = GOOD.replace("epochs = 1", "epochs = \"${epochs}\"");
    let using = |vars: &str, head: &str| {
        let head = format!("name = \"good\"\n{head}");
        format!("{}\n[vars]\nepochs = 1\n{vars}\n", used.replace("name = \"good\"", &head))
    };
    // What is wrong, the advice, and how it is followed.
    let cases: [(String, &str, (&str, &str)); 8] = [
        (
            using("", "title = \"a ${ b\""),
            "write `$${` for a `${` that is no variable",
            ("a ${ b", "a $${ b"),
        ),
        (
            using("", "title = \"in ${HOME}\""),
            "a `${{` that is left to a shell is written `$${{`: `$${{{name}}}`; variables of the environment are not \
                 read",
            ("${HOME}", "$${HOME}"),
        ),
        (
            with(""),
            "write `\"${{{name}}}\"` where it counts, or leave it out",
            ("epochs = 1", "epochs = \"${epochs}\""),
        ),
        (
            with(""),
            "write `\"${{{name}}}\"` where it counts, or leave it out",
            ("[vars]\nepochs = 1", "[vars]"),
        ),
        (
            using("name = \"the ${epochs}\"", "title = \"${name}\""),
            "write the value, or both variables where this one is used",
            ("the ${epochs}", "the 1"),
        ),
        (
            using("name = \"the ${HOME}\"", "title = \"${name}\""),
            "a `${` that is left to a shell is written `$${`",
            ("${HOME}", "$${HOME}"),
        ),
        (
            using("on = [\"images.test\"]", "").replace("[\"images.test\"]\n\n", "\"${on} \"\n\n"),
            "let it stand alone, as `\"${{{name}}}\"`",
            ("\"${on} \"", "\"${on}\""),
        ),
        (
            using("", "")
                + "[sweep.axes]\n\"vars.epochs\" = [1, 2]\n[table]\nover = \"vars.epochs\"\ncaption = \"of ${epochs}\"\n",
            "write a value in its place",
            ("of ${epochs}", "of 1 or 2"),
        ),
    ];
    let missing = (
        used.clone(),
        "add `[vars]` with `{name} = ...`: without it `${{` means nothing",
        ("name = \"good\"", "name = \"good\"\n\n[vars]\nepochs = 1"),
    );
    for (file, advice, edit) in cases.into_iter().chain([missing]) {
        let mut scene = Scene::new(file);
        scene.advised(&CHECK, advice);
        scene.put(edit);
        scene.done(&CHECK, advice);
    }
}

#[test]
fn advice_about_the_epochs_that_halving_compares_helps_with_variables_too() {
    let base = GOOD
        .replace("train = \"images\"", "train = \"images.train\"\nvalidate = \"images.held\"")
        .replace("epochs = 1", "epochs = \"${epochs}\"");
    let sweep = "[vars]\nepochs = 4\n[sweep.axes]\n\"vars.epochs\" = [4, 8]\n\"stages.net.optimizer.lr\" = [0.1, 0.2]\n\
        [sweep.select]\nstage = \"net\"\nby = \"validate.accuracy\"\n[sweep.halving]\nmin_epochs = 1\nfactor = 2\n";
    let mut scene = Scene::new(format!("{base}\n{sweep}"));
    let advice = "give all of them the same `epochs`";
    scene.advised(&CHECK, advice);
    scene.put(("[4, 8]", "[4]"));
    scene.done(&CHECK, advice);
}
