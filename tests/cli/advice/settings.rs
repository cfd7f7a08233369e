//! Advice about tables, the settings of stages, the pipeline file as a whole and `--set`.

use super::mistakes::GOOD;
use super::scene::{Scene, follow};
use super::sweeps::{Edits, LISTED, adapting, follow_all};
use crate::photos::folders;

#[test]
fn advice_about_tables_helps_when_it_is_followed() {
    follow_all(
        GOOD,
        &[
            (
                &format!("[sweep]\n{LISTED}\n[table]\n"),
                "name each of these axes in `rows`, `columns` or `over`, or hold it at one value with `only`",
                &[("[table]\n", "[table]\n$2 = \"stages.net.optimizer.lr\"\n")],
            ),
            (
                &format!(
                    "[sweep]\n{LISTED}\n[table]\nover = \"stages.net.optimizer.lr\"\ntrials = \"selected\""
                ),
                "add `[sweep.select]`, or write `trials = \"all\"`",
                &[("trials = \"selected\"", "$1")],
            ),
            (
                &format!(
                    "[sweep]\n{LISTED}\n[table]\nover = []\nrows = \"stages.net.optimizer.lr\""
                ),
                "leave it out to aggregate over `pipeline.seed` alone, where that is swept",
                &[("over = []\n", "")],
            ),
            (
                "[table]\ntest = \"t\"",
                "add `baseline = \"source_only\"`, a row of the table",
                &[("test = \"t\"", "test = \"t\"\n$0"), ("source_only", "net")],
            ),
        ],
    );
    follow_all(
        GOOD,
        &[(
            "[table]\nrows = \"stages.net.epochs\"",
            "the file sweeps no key: add `[sweep]` with `axes`",
            &[("[table]", "$0\n$1 = { \"stages.net.epochs\" = [1, 2] }\n\n[table]")],
        )],
    );
    let two_files = "[table]\nname = \"x\"";
    let score = GOOD.replace("stages.score", "stages.table-x");
    follow_all(&score, &[(two_files, "choose another name", &[("name = \"x\"", "name = \"y\"")])]);
    let published = "published = [{ row = \"dann\", column = \"target.test\", value = 0.7666, \
        cite = \"Ganin et al. 2016, Table 2\" }]";
    for wrong in ["published = 3", "published = [3]"] {
        let names = [("\"dann\"", "\"net\""), ("\"target.test\"", "\"images.test\"")];
        let edits = [&[(wrong, published)][..], &names].concat();
        follow_all(GOOD, &[(&format!("[table]\n{wrong}"), published, &edits)]);
    }
}

#[test]
fn advice_about_the_settings_of_a_stage_helps_when_it_is_followed() {
    let stage = |lines: &str| format!("[stages.other]\n{lines}\n\n[stages.score]");
    let freeze = stage("kind = \"freeze\"\nmodel = \"net\"\nfreeze = [\"nothing\"]");
    let blend =
        stage("kind = \"synthesize\"\nrecipe = \"blend\"\ninput = \"digits\"\nbackground = 3");
    let on = "on = [\"images.test\"]";
    let on_and = |more: &str| format!("{on}\n{more}");
    let mistakes: &[(&str, &str, &str, Edits)] = &[
        (
            "dataset = \"mnist-10k\"",
            "",
            "`dataset` is one of {}",
            &[("kind = \"download\"\n", "kind = \"download\"\n$0 = \"mnist-10k\"\n")],
        ),
        (
            "dataset = \"mnist-10k\"",
            "source = \"https://example.org/x\"\nformat = \"idx\"",
            "a download must be checked: add `sha256 = \"...\"`, from `sha256sum FILE`",
            &[
                ("format = \"idx\"", "format = \"idx\"\n$0"),
                ("...", "0000000000000000000000000000000000000000000000000000000000000000"),
            ],
        ),
        (
            "kind = \"split\"\n",
            "",
            "add `kind = ...`, one of {}",
            &[("[stages.part]\n", "[stages.part]\n$0\n"), ("...", "\"split\"")],
        ),
        (
            "models = [\"net\"]",
            "models = [\"part\"]",
            "name a stage that makes {wanted}",
            &[("[\"part\"]", "[\"net\"]")],
        ),
        (
            on,
            &on_and("proxy_a_distance = true"),
            "name source and target in `on`",
            &[(on, "$0 = [\"images.held\", \"images.test\"]")],
        ),
        (
            on,
            &on_and("layer = \"features\""),
            "add `embedding = {}` or `proxy_a_distance = true`, or leave it out",
            &[(on, "on = [\"images.test\"]\n$0")],
        ),
        (
            on,
            &on_and("embedding = { points = 3 }"),
            "leave t-SNE out: `methods = [\"pca\"]`",
            &[("points = 3", "points = 3, $0")],
        ),
        (
            "[stages.score]",
            &freeze,
            "`*` matches any characters, dots included",
            &[("nothing", "classifier$0")],
        ),
        (
            "channels = 3",
            "channels = 3\nresize = \"big\"",
            "write `resize = [32, 32]`, or `resize = 32` for the same",
            &[("resize = \"big\"", "$0")],
        ),
        (
            "channels = 3",
            "channels = 3\nresize = \"big\"",
            "write `resize = [32, 32]`, or `resize = 32` for the same",
            &[("resize = \"big\"", "$1")],
        ),
        (
            "std = 0.5",
            "std = -1",
            "write `{key} = 0.5` for all channels, or one for each: `[0.5, 0.5, 0.5]`",
            &[("std = -1", "$0")],
        ),
        (
            "std = 0.5",
            "std = -1",
            "write `{key} = 0.5` for all channels, or one for each: `[0.5, 0.5, 0.5]`",
            &[("std = -1", "std = $1")],
        ),
        (
            "holdout = 0.1\nname = \"held\"",
            "",
            "add `holdout = 0.1`, `per_class = 10` or `classes = [0, 1]`",
            &[("input = \"digits\"\n", "input = \"digits\"\n$2\n")],
        ),
        (
            "holdout = 0.1",
            "holdout = 0.1\nclasses = 3",
            "`[0, 1]` or `[\"cat\", \"dog\"]` keeps classes, `{ old = \"new\" }` renames them",
            &[("classes = 3", "classes = $0")],
        ),
        (
            "holdout = 0.1",
            "holdout = 0.1\nclasses = [\"cat\"]",
            "its classes are {}",
            &[("[\"cat\"]", "[0, 9]")],
        ),
        (
            "holdout = 0.1\n",
            "",
            "add `holdout = 0.1`",
            &[("input = \"digits\"\n", "input = \"digits\"\n$0\n")],
        ),
        (
            "name = \"held\"",
            "name = \"test\"",
            "give the held-out images another `name`",
            &[("name = \"test\"", "$0 = \"held\"")],
        ),
        (
            "[stages.score]",
            &blend,
            "write `background = { recipe = \"dead-leaves\" }`",
            &[("background = 3", "$0")],
        ),
        (
            "epochs = 1",
            "epochs = 1\naugment = [\"mixup\", \"flip\"]",
            "it mixes whole batches: put it last",
            &[("[\"mixup\", \"flip\"]", "[\"flip\", \"mixup\"]")],
        ),
    ];
    for (from, to, advice, edits) in mistakes {
        follow(GOOD, &[(from, to)], advice, edits);
    }
    follow(
        "[pipeline]\nname = \"p\"\n\n[stages.net]\nkind = \"download\"\n",
        &[],
        "`weights` is one of {}",
        &[("kind = \"download\"", "kind = \"download\"\n$0 = \"resnet18\"")],
    );
    follow(
        &adapting(),
        &[("epochs = 4", "epochs = 4\nepoch = \"long\"")],
        "write `epoch = \"longer\"`; how many epochs there are is `epochs`",
        &[("epoch = \"long\"", "$0")],
    );
    follow(
        &adapting(),
        &[("epochs = 4", "epochs = 4\nepoch = \"longer\"\nsteps_per_epoch = 5")],
        "leave one of them out: `steps_per_epoch` is `epoch` with a number",
        &[("epoch = \"longer\"\n$0 = 5", "$1 = 5")],
    );
    let sampler = "epochs = 4\nbatch_size = 64\nsampler = { kind = \"class_aware\", classes = 5, images = 2 }";
    for size in ["", "$0\n"] {
        follow(
            &adapting(),
            &[("epochs = 4", sampler)],
            "leave it out, or write `batch_size = {fixed}`",
            &[("batch_size = 64\n", size)],
        );
    }
    follow(
        &adapting(),
        &[(
            "epochs = 4\n",
            &format!("{}\n", sampler.replace("batch_size = 64\n", "").replace("5", "12")),
        )],
        "write `classes = {found}`, or fewer",
        &[("classes = 12", "$0")],
    );
    follow(
        &adapting(),
        &[("epochs = 4", "epochs = 4\nthaw_at = { x = 3 }")],
        "for example `thaw_at = { 3 = [\"layer4.*\"] }`",
        &[("thaw_at = { x = 3 }", "$0"), ("layer4", "classifier")],
    );
}

#[test]
fn advice_that_leaves_a_choice_helps_when_the_choice_is_made() {
    let pipeline = "[pipeline]\nname = \"good\"\n";
    let stage = "kind = \"download\"\ndataset = \"mnist-10k\"\n";
    follow(
        GOOD,
        &[(pipeline, "")],
        "add `[{header}]` with `{example}`",
        &[("[stages.digits]", "$0\n$1\n\n[stages.digits]"), ("...", "new")],
    );
    follow(
        pipeline,
        &[],
        "add `[{header}]` with `{example}`",
        &[
            (pipeline, &format!("{pipeline}\n$0\n$1\ndataset = \"mnist-10k\"\n")),
            ("NAME", "d"),
            ("...", "download"),
        ],
    );
    follow(
        &format!("{pipeline}[stages]\n"),
        &[],
        "add `[stages.NAME]`",
        &[("[stages]\n", &format!("$0\n{stage}")), ("NAME", "d")],
    );
    let required = "add `{key} = ...`, {expected}";
    let kind = "kind = \"pretrain\"\n";
    for (key, value) in [("train", "\"images\""), ("epochs", "1")] {
        let (line, set) = (format!("{key} = {value}\n"), format!("{kind}$0\n"));
        follow(GOOD, &[(&line, "")], required, &[(kind, &set), ("...", value)]);
    }
    let on = "on = [\"images.test\"]";
    follow(
        GOOD,
        &[(on, "on = [\"images.tset\"]")],
        "its splits are {}",
        &[("images.tset", "images.$2")],
    );
    let two = "\n[[table]]\nspread = \"sd\"\n\n[[table]]\nspread = \"none\"\n";
    follow(
        &format!("{GOOD}{two}"),
        &[],
        "give each its own `name`; one may go without",
        &[("spread = \"none\"", "spread = \"none\"\n$0 = \"second\"")],
    );
    let mut scene = Scene::new(format!("{pipeline}\n[stages.d]\nkind = \"download\"\n"));
    folders(scene.root(), "PATH", &[("bike", [20, 30, 220]), ("mug", [220, 30, 20])]);
    scene.follow(
        &["check", "p.toml"],
        "`source = \"file:PATH\"` with `format` takes your own images or weights",
        &[("kind = \"download\"\n", "kind = \"download\"\n$0\n$1 = \"image-folder\"\n")],
    );
    let mut scene = Scene::new(GOOD);
    let without = "leave `{key}` out of the file to do without it";
    scene.advised(&["check", "p.toml", "--set", "stages.images.std=None"], without);
    scene.edit(("std = 0.5\n", ""), &[]);
    scene.done(&["check", "p.toml"], without);
    // Validation on the source, where the source has no images held out yet.
    let part =
        "[stages.part]\nkind = \"split\"\ninput = \"digits\"\nholdout = 0.1\nname = \"held\"\n";
    let mut scene = Scene::new(GOOD.replace("mnist-10k", "mnist"));
    scene.edit((part, ""), &[]);
    scene.edit(("input = \"part\"", "input = \"digits\""), &[]);
    scene.edit(("epochs = 1", "epochs = 1\nkeep_best = \"loss\""), &[]);
    let check: &[&str] = &["check", "p.toml"];
    let validate = scene.advised(check, "{words} `validate = \"{}.valid\"`").remove(0);
    let splits = "where there is no such split, a `split` stage makes it: `holdout = 0.1`";
    let words = scene.advised(check, splits);
    scene.edit(("epochs = 1", "epochs = 1\n$0"), &[validate]);
    scene.edit(
        (
            "[stages.images]",
            "[stages.part]\nkind = \"$0\"\ninput = \"digits\"\n$1\n\n[stages.images]",
        ),
        &words,
    );
    scene.edit(("input = \"digits\"\nchannels", "input = \"part\"\nchannels"), &[]);
    scene.done(check, splits);
}

#[test]
fn advice_about_images_that_a_network_does_not_take_helps_when_it_is_followed() {
    let gray = GOOD.replace("channels = 3\nmean = [0.5, 0.5, 0.5]", "channels = 1\nmean = 0.5");
    let layers = "model = { layers = [\"flatten\"] }";
    let normalized = "kind = \"normalize\"\ninput = \"part\"\n";
    follow(
        &gray,
        &[(layers, "model = \"dacnn\"")],
        "a `normalize` stage with `channels = 3` repeats gray images to RGB",
        &[("channels = 1", "$1")],
    );
    let kernel = "model = { layers = [{ kind = \"conv2d\", filters = 4, kernel = 40 }] }";
    let resize = "a `normalize` stage with `resize = [{h}, {w}]` changes the size";
    let resized = format!("{normalized}$1\n");
    for base in [GOOD, &gray] {
        follow(base, &[(layers, kernel)], resize, &[(normalized, &resized)]);
        // No size of images helps here, and none is advised.
        let mut scene = Scene::new(base);
        scene.edit((layers, "model = { layers = [], head = [4294967295] }"), &[]);
        let (code, said) = scene.run(&["check", "p.toml"]);
        assert!(code == 2 && !said.contains("help"), "{said}");
    }
    // Images of another kind than those that the network was trained on.
    for (other, advice) in [
        ("channels = 1", "a `normalize` stage with `channels = {}` converts them"),
        ("channels = 3\nresize = 32", resize),
    ] {
        let stage = format!(
            "[stages.other]\nkind = \"normalize\"\ninput = \"digits\"\n{other}\n\n[stages.score]"
        );
        let fitted = "[stages.fitted]\nkind = \"$0\"\ninput = \"other\"\n$1\n\n[stages.score]";
        follow(
            GOOD,
            &[("[stages.score]", &stage), ("on = [\"images.test\"]", "on = [\"other.test\"]")],
            advice,
            &[("[stages.score]", fitted), ("on = [\"other.test\"]", "on = [\"fitted.test\"]")],
        );
    }
}

#[test]
fn advice_about_the_file_as_a_whole_helps_when_it_is_followed() {
    let check: &[&str] = &["check", "p.toml"];
    let mut scene = Scene::new("");
    let minimal = "a pipeline has a name and at least one stage:\n\n[pipeline]\nname = \"digits\"\n\n\
        [stages.mnist]\nkind = \"download\"\ndataset = \"mnist-10k\"";
    let (_, said) = scene.run(check);
    let mut lines = said.lines().skip_while(|line| !line.contains("a pipeline has a name")).skip(1);
    let file: Vec<&str> = lines.by_ref().take(8).map(str::trim_start).collect();
    assert!(minimal.contains(file[1]), "{said}");
    scene.edit(("", &file.join("\n")), &[]);
    scene.done(check, "a pipeline has a name");

    let twice = "keep one, or rename this {what}";
    follow(GOOD, &[("epochs = 1", "epochs = 1\nepochs = 2")], twice, &[("epochs = 2\n", "")]);
    let header = "[stages.part]\nkind = \"split\"\ninput = \"digits\"\nper_class = 3\n";
    follow(
        &format!("{GOOD}\n{header}"),
        &[],
        twice,
        &[("[stages.part]", "[stages.renamed]"), ("name = \"held\"", "name = \"held\"")],
    );

    let utf8 = "save the file as UTF-8";
    let scene = Scene::new(GOOD);
    let latin = scene.root().join("latin.toml");
    std::fs::write(&latin, b"[pipeline]\nname = \"p\"\ntitle = \"caf\xe9\"\n").unwrap();
    scene.advised(&["check", "latin.toml"], utf8);
    std::fs::write(&latin, GOOD.replace("name = \"good\"", "name = \"p\"\ntitle = \"caf\u{e9}\""))
        .unwrap();
    scene.done(&["check", "latin.toml"], utf8);

    let named = "name a TOML file in it";
    std::fs::create_dir(scene.root().join("folder")).unwrap();
    std::fs::rename(latin, scene.root().join("folder/p.toml")).unwrap();
    scene.advised(&["check", "folder"], named);
    scene.done(&["check", "folder/p.toml"], named);
}

#[test]
fn advice_about_arguments_helps_when_it_is_followed() {
    let mono = "[stages.mono]\nkind = \"pretrain\"\ntrain = \"images\"\nmodel = \"dacnn\"\nepochs = 1\n\
        optimizer = { kind = \"sgd\", lr = 0.1 }\n\n[stages.score]";
    let scene = Scene::new(GOOD.replace("[stages.score]", mono));
    let lr = "stages.net.optimizer.lr=0.2";
    for (wrong, advice, right) in [
        (
            &["--set", "stages.net.epochs"][..],
            "write `--set KEY=VALUE`, for example `--set pipeline.seed=1`",
            &["--set", "pipeline.seed=1"][..],
        ),
        (&["--set", "=1"], "for example `--set pipeline.seed=1`", &["--set", "pipeline.seed=1"]),
        (
            &["--set", "pipeline.title=\"a"],
            "write `--set KEY=VALUE` with VALUE as in TOML",
            &["--set", "pipeline.title=\"a\""],
        ),
        (
            &["--set", "pipeline.seed=1\npipeline.title=\"x\""],
            "repeat `--set` for each key",
            &["--set", "pipeline.seed=1", "--set", "pipeline.title=\"x\""],
        ),
        (
            &["--set", "stages.score.on.7=\"images.test\""],
            "elements are counted from 0",
            &["--set", "stages.score.on.0=\"images.test\""],
        ),
        (
            &["--set", "stages.mono.model.width=3"],
            "where it may be a table, write one in place of the word",
            &["--set", "stages.mono.model={ arch = \"dacnn\" }"],
        ),
        (
            &["--set", lr, "--set", "stages.net.optimizer={ kind = \"sgd\", lr = 0.1 }"],
            "give `--set {inner}` after it, or leave it out",
            &["--set", "stages.net.optimizer={ kind = \"sgd\", lr = 0.1 }", "--set", lr],
        ),
    ] {
        scene.advised(&[&["check", "p.toml"], wrong].concat(), advice);
        scene.done(&[&["check", "p.toml"], right].concat(), advice);
    }
}

#[test]
fn advice_about_the_mean_of_several_models_helps_when_it_is_followed() {
    let on = "on = [\"images.test\"]";
    follow(
        &adapting(),
        &[(on, "on = [\"images.test\"]\nensv = true")],
        "name all candidates in `models`",
        &[("models = [\"net\"]", "$0 = [\"net\", \"adapted\"]")],
    );
    let fewer = "[stages.two]\nkind = \"split\"\ninput = \"images\"\nclasses = [0, 1]\n\n[stages.other]\n\
        kind = \"pretrain\"\ntrain = \"two\"\nmodel = { layers = [\"flatten\"] }\nepochs = 1\n\n[stages.score]";
    follow(
        GOOD,
        &[
            (on, "on = [\"two.test\"]\nensv = true"),
            ("models = [\"net\"]", "models = [\"net\", \"other\"]"),
            ("[stages.score]", fewer),
        ],
        "leave `ensv` out, or score such models in an `evaluate` stage of their own",
        &[("\n$0 = true", "")],
    );
}
