//! Advice that stages give while they run: what they find only in the data, in weights or in numbers.

use std::path::{Path, PathBuf};

use super::scene::Scene;

const CHECK: &[&str] = &["check", "p.toml"];
const RUN: &[&str] = &["run", "p.toml", "--offline"];

/// Four pictures of two classes.
const FOUR: [(&str, u32); 4] = [("cat/1", 4), ("cat/2", 4), ("dog/1", 4), ("dog/2", 4)];

/// A picture `name` of `size` x `size` pixels, like no other.
fn picture(folder: &Path, (name, size): (&str, u32)) {
    let path = folder.join(format!("{name}.png"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let seed = blake3::hash(name.as_bytes()).as_bytes()[0];
    let pixel = |x: u32, y: u32| {
        let shade = u8::try_from((x * 7 + y * 13) % 60).unwrap();
        image::Rgb([seed / 2 + shade, shade, seed / 3])
    };
    image::RgbImage::from_fn(size, size, pixel).save(path).unwrap();
}

/// Reads pictures of these names and sizes, and has these stages besides.
fn scene(pictures: &[(&str, u32)], stages: &str) -> Scene {
    let scene = Scene::new(format!(
        "[pipeline]\nname = \"p\"\n\n[stages.d]\nkind = \"download\"\nsource = \"file:photos\"\n\
         format = \"image-folder\"\n\n{stages}\n"
    ));
    pictures.iter().for_each(|it| picture(&scene.root().join("photos"), *it));
    scene
}

/// Pictures in the split `split`.
fn of_split(split: &str) -> Vec<(String, u32)> {
    FOUR.iter().map(|(name, size)| (format!("{split}/{name}"), *size)).collect()
}

fn with_splits(splits: &[&str], stages: &str) -> Scene {
    let all: Vec<(String, u32)> = splits.iter().flat_map(|it| of_split(it)).collect();
    let all: Vec<(&str, u32)> = all.iter().map(|(name, size)| (name.as_str(), *size)).collect();
    scene(&all, stages)
}

fn normalize(lines: &str) -> String {
    format!("[stages.n]\nkind = \"normalize\"\ninput = \"d\"\n{lines}\n")
}

fn split(lines: &str) -> String {
    format!("[stages.s]\nkind = \"split\"\ninput = \"d\"\n{lines}\n")
}

/// A small training on `train`.
fn net(train: &str, lr: &str) -> String {
    format!(
        "[stages.net]\nkind = \"pretrain\"\ntrain = \"{train}\"\nepochs = 4\n\
         model = {{ layers = [\"flatten\"], head = [8, \"relu\"] }}\n\
         optimizer = {{ kind = \"sgd\", lr = {lr} }}\n"
    )
}

#[test]
fn advice_of_a_normalization_helps_when_it_is_followed() {
    let fitting = "write `{each}`, a number for each channel, or `0.5` for all of them";
    for word in ["$0", "$1"] {
        let mean = format!("mean = {word}");
        scene(&FOUR, &normalize("mean = [0.5]")).follow(RUN, fitting, &[("mean = [0.5]", &mean)]);
    }
    let sizes = [("cat/1", 4), ("dog/1", 5)];
    scene(&sizes, &normalize("")).follow(
        RUN,
        "add `resize = [height, width]` to make them alike",
        &[("input = \"d\"", "input = \"d\"\n$0"), ("[height, width]", "[4, 4]")],
    );
    let wide = [("cat/1", 4), ("dog/1", 5)];
    let shorter = "resize = { shorter = 4 }";
    let mut of_shapes = scene(&wide, &normalize(shorter));
    let tall = of_shapes.root().join("photos/cat/1.png");
    image::RgbImage::from_pixel(4, 9, image::Rgb([7; 3])).save(tall).unwrap();
    of_shapes.follow(
        RUN,
        "add `center_crop = {side}` to take the middle of each",
        &[("input = \"d\"", "input = \"d\"\n$0")],
    );
    let larger = "make the images larger before, as `resize = { shorter = 256 }` does";
    // Found while it runs, where the sizes are those of files, or before.
    let before = ("center_crop = 9", "$0\ncenter_crop = 9");
    scene(&FOUR, &normalize("center_crop = 9")).follow(RUN, larger, &[before, ("256", "16")]);
    let twice = normalize("resize = 8\ncenter_crop = 9");
    let edits = [("resize = 8\n", ""), before, ("256", "16")];
    scene(&FOUR, &twice).follow(CHECK, larger, &edits);
    scene(&FOUR, &normalize("center_crop = 0")).follow(
        CHECK,
        "write `{key} = [224, 224]`, or `{key} = 224` for the same",
        &[("center_crop = 0", "$1"), ("224", "4")],
    );
    scene(&FOUR, &normalize("resize = { longer = 9 }")).follow(
        CHECK,
        "write `resize = [32, 32]`, or `resize = 32` for the same; `resize = { shorter = 256 }` keeps the \
                 shape of each image",
        &[("resize = { longer = 9 }", "$2"), ("256", "4")],
    );
    with_splits(&["test"], &normalize("mean = \"auto\"")).follow(
        RUN,
        "name the split that is measured: `statistics = \"{first}\"`; there are {}",
        &[("mean = \"auto\"", "mean = \"auto\"\n$0")],
    );
    let unused = normalize("mean = 0.5\nstatistics = \"train\"");
    let unused_advice = "add `mean = \"auto\"` and `std = \"auto\"`, or leave `statistics` out";
    scene(&FOUR, &unused).follow(CHECK, unused_advice, &[("mean = 0.5", "$0\n$1")]);
    scene(&FOUR, &unused).follow(CHECK, unused_advice, &[("statistics = \"train\"\n", "")]);
    let gray = scene(&[], &normalize("std = \"auto\""));
    for class in ["cat", "dog"] {
        let folder = gray.root().join("photos").join(class);
        std::fs::create_dir_all(&folder).unwrap();
        image::RgbImage::from_pixel(4, 4, image::Rgb([7; 3])).save(folder.join("1.png")).unwrap();
    }
    let mut gray = gray;
    gray.follow(RUN, "give a number for all channels: `std = 0.5`", &[("std = \"auto\"", "$0")]);
    // Before anything runs, where the splits are known.
    let mut known = with_splits(&["train"], &normalize("std = \"auto\""));
    known.edit(
        ("source = \"file:photos\"\nformat = \"image-folder\"", "dataset = \"mnist-10k\""),
        &[],
    );
    known.edit(("input = \"d\"", "input = \"s\""), &[]);
    known.edit(
        ("[stages.n]", "[stages.s]\nkind = \"split\"\ninput = \"d\"\nper_class = 2\n\n[stages.n]"),
        &[],
    );
    known.done(
        &["check", "p.toml"],
        "name the split that is measured: `statistics = \"{first}\"`; there are {}",
    );
}

#[test]
fn advice_of_a_split_helps_when_it_is_followed() {
    let classes = "its classes are {}";
    scene(&FOUR, &split("classes = [\"mouse\"]")).follow(RUN, classes, &[("mouse", "$1")]);
    // Names that are numbers.
    let place =
        "where classes are called by numbers, a number is a name; the class at this place is {}";
    scene(&[("1/1", 4), ("2/1", 4)], &split("classes = [0]")).follow(
        RUN,
        place,
        &[("[0]", "[\"1\"]")],
    );
    let one = "leave at least one image to train on";
    scene(&FOUR, &split("holdout = 4")).follow(RUN, one, &[("holdout = 4", "holdout = 2")]);
    let fewer = "hold out fewer, or write `stratified = false`";
    scene(&FOUR, &split("holdout = 3")).follow(RUN, fewer, &[("holdout = 3", "holdout = 3\n$0")]);
    scene(&FOUR, &split("holdout = 3")).follow(RUN, fewer, &[("holdout = 3", "holdout = 2")]);
    let less = "keep fewer a class, or leave that class out with `classes`";
    let more = [&FOUR[..], &[("cow/1", 4), ("cow/2", 4), ("cow/3", 4), ("cat/3", 4)]].concat();
    scene(&more, &split("per_class = 3")).follow(RUN, less, &[("per_class = 3", "per_class = 2")]);
    scene(&more, &split("per_class = 3")).follow(
        RUN,
        less,
        &[("per_class = 3", "per_class = 3\n$0 = [\"cat\", \"cow\"]")],
    );
    let both = ["train", "test"];
    with_splits(&both, &split("holdout = 2\nname = \"test\"")).follow(
        RUN,
        "give the held-out images another `name`",
        &[("name = \"test\"", "$0 = \"held\"")],
    );
    with_splits(&both, &split("holdout = 2\nfrom = \"valid\"")).follow(
        RUN,
        "expected one of {}",
        &[("\"valid\"", "\"$0\"")],
    );
}

#[test]
fn advice_of_a_training_helps_when_it_is_followed() {
    let both = ["train", "test"];
    let has = "its splits are {}";
    with_splits(&both, &net("d.valid", "0.1")).follow(RUN, has, &[("d.valid", "d.$0")]);
    let smaller = "try a smaller `optimizer.lr`";
    scene(&FOUR, &net("d", "1e38")).follow(RUN, smaller, &[("lr = 1e38", "lr = 0.1")]);
    // Which classes there are is only known once the images were read.
    let aware = |classes: usize| {
        format!("sampler = {{ kind = \"class_aware\", classes = {classes}, images = 1 }}\n")
    };
    scene(&FOUR, &format!("{}{}", net("d", "0.1"), aware(3))).follow(
        RUN,
        "write `classes = {found}`, or fewer",
        &[("classes = 3", "$0")],
    );
    let alike = "a `normalize` stage with `resize = [height, width]` makes them alike";
    let stage = format!("{}$1\n\n[stages.net]", normalize("").replace("normalize", "$0"));
    scene(&[("cat/1", 4), ("dog/1", 5)], &net("d", "0.1")).follow(
        RUN,
        alike,
        &[("[stages.net]", &stage), ("train = \"d\"", "train = \"n\""), ("[height, width]", "4")],
    );
    let frozen = "[stages.f]\nkind = \"freeze\"\nmodel = \"net\"\nfreeze = [\"*\"]\n\n[stages.t]\n\
                  kind = \"finetune\"\nmodel = \"f\"\ntrain = \"d\"\nepochs = 1\n";
    scene(&FOUR, &format!("{}\n{frozen}", net("d", "0.1"))).follow(
        RUN,
        "thaw some of it with a `freeze` stage: `thaw = [\"{learns}.*\"]`",
        &[("freeze = [\"*\"]", "freeze = [\"*\"]\n$1")],
    );
}

#[test]
fn advice_about_the_length_of_an_epoch_helps_when_it_is_followed() {
    let adapted = "[stages.adapted]\nkind = \"finetune\"\nmodel = \"net\"\ntrain = \"d.train\"\nepochs = 1\n\
        batch_size = 2\nmethod = { kind = \"dann\", target = \"few.test\" }\n";
    let few =
        "[stages.few]\nkind = \"split\"\ninput = \"d\"\nfrom = \"test\"\nclasses = [\"cat\"]\n";
    let advice = "; `epoch = \"longer\"` sees all, and those of the smaller domain again";
    let stages = [&net("d.train", "0.1"), few, adapted].join("\n");
    with_splits(&["train", "test"], &stages).follow(
        RUN,
        advice,
        &[("batch_size = 2", "batch_size = 2\n$0")],
    );
}

#[test]
fn advice_of_a_blend_helps_when_it_is_followed() {
    let blend = "[stages.b]\nkind = \"download\"\nsource = \"file:back\"\nformat = \"image-folder\"\n\
        single_class = true\n\n[stages.s]\nkind = \"synthesize\"\nrecipe = \"blend\"\ninput = \"d\"\n\
        background = \"b\"\n";
    let few = "use more photographs, or give the background a split `{lacking}`";
    let many = || with_splits(&["train", "test"], blend);
    let scene = many();
    picture(&scene.root().join("back"), ("x/1", 9));
    scene.advised(RUN, few);
    (2..9).for_each(|at| picture(&scene.root().join("back"), (&format!("x/{at}"), 9)));
    scene.done(RUN, few);
    // A split of its own for the one that has none.
    let scene = many();
    picture(&scene.root().join("back"), ("train/x/1", 9));
    let split = scene.advised(RUN, few).remove(0);
    picture(&scene.root().join("back"), (&format!("{split}/x/2"), 9));
    scene.done(RUN, few);

    let small = "leave out small photographs, or enlarge them with a `normalize` stage's `resize`";
    let mut scene = many();
    (0..8).for_each(|at| picture(&scene.root().join("back"), (&format!("x/{at}"), 3)));
    scene.follow(
        RUN,
        small,
        &[
            ("background = \"b\"", "background = \"large\""),
            ("[stages.s]", "[stages.large]\nkind = \"$0\"\ninput = \"b\"\n$1 = 8\n\n[stages.s]"),
        ],
    );
    let scene = many();
    (0..8).for_each(|at| picture(&scene.root().join("back"), (&format!("x/{at}"), 9)));
    picture(&scene.root().join("back"), ("x/small", 3));
    scene.advised(RUN, small);
    std::fs::remove_file(scene.root().join("back/x/small.png")).unwrap();
    scene.done(RUN, small);
}

/// Takes weights that PyTorch wrote for a network of one linear layer.
fn weights(file: &str, more: &str) -> Scene {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torch_files");
    let scene = Scene::new(format!(
        "[pipeline]\nname = \"w\"\n[stages.net]\nkind = \"download\"\nsource = \"file:w.pth\"\n\
         format = \"weights\"\nmodel = {{ layers = [], classes = 2 }}\ninput = [3, 1, 1]\n{more}\n"
    ));
    std::fs::copy(folder.join(file), scene.root().join("w.pth")).unwrap();
    scene
}

#[test]
fn advice_about_files_of_weights_helps_when_it_is_followed() {
    let under = "tensors are under {}";
    for entry in ["$0", "$1"] {
        let edits = [("input = [3, 1, 1]", &*format!("input = [3, 1, 1]\n{entry}"))];
        weights("network-teacher.pth", "").follow(RUN, under, &edits);
    }
    let wrong = "entry = \"nothing\"";
    weights("network-teacher.pth", wrong).follow(RUN, under, &[(wrong, "$1")]);
    let entry = "entry = \"x\"";
    let flat = "its tensors are not in an entry: leave `entry` out";
    let mut scene = weights("network-nan.pth", entry);
    scene.advised(RUN, flat);
    scene.edit((entry, ""), &[]);
    // The file has another fault, which comes up now.
    let (_, said) = scene.run(RUN);
    assert!(said.contains("is not finite") && !said.contains(flat), "{said}");

    let whole = "look whether it was downloaded or copied whole: its size and checksum";
    let scene = weights("network.pth.tar", "");
    let path = scene.root().join("w.pth");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    scene.advised(RUN, whole);
    std::fs::write(&path, bytes).unwrap();
    scene.done(RUN, whole);

    let gzip = "unpack it: `gunzip < FILE > weights.pth`, then `source = \"file:weights.pth\"`";
    let mut scene = weights("network.pth.tar", "");
    let path = scene.root().join("w.pth");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &std::fs::read(&path).unwrap()).unwrap();
    std::fs::write(&path, gz.finish().unwrap()).unwrap();
    let words = scene.advised(RUN, gzip);
    let command = words[0].replace("FILE", "w.pth");
    let mut shell = std::process::Command::new("sh");
    let status = shell.current_dir(scene.root()).args(["-c", &command]).status().unwrap();
    assert!(status.success(), "{command}");
    scene.edit(("source = \"file:w.pth\"", "$1"), &words);
    scene.done(RUN, gzip);
}

/// A file of safetensors with the network once below each prefix.
fn prefixed(prefixes: &[&str], more: &str) -> Scene {
    let values = |count: usize| vec![0_u8; count * 4];
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = prefixes
        .iter()
        .flat_map(|prefix| {
            [
                (format!("{prefix}classifier.0.weight"), vec![2, 3], values(6)),
                (format!("{prefix}classifier.0.bias"), vec![2], values(2)),
            ]
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let dtype = safetensors::Dtype::F32;
        (name, safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes).unwrap())
    });
    let scene = weights("network.pth.tar", more);
    std::fs::write(scene.root().join("w.pth"), safetensors::serialize(views, None).unwrap())
        .unwrap();
    scene
}

#[test]
fn advice_about_prefixes_of_names_helps_when_it_is_followed() {
    let input = "input = [3, 1, 1]";
    let with = |words: &str| format!("{input}\n{words}");
    let several = "say which one to take: {}";
    for word in ["$0", "$1"] {
        prefixed(&["model.", "net."], "").follow(RUN, several, &[(input, &with(word))]);
    }
    let wrong = "prefix = \"three\"";
    let under = "names of the network are under {}";
    prefixed(&["one.", "two."], wrong).follow(RUN, under, &[(wrong, "$1")]);
    // The error that comes then has the names.
    let leave = "leave `prefix` out: the error then lists the names";
    let mut scene = prefixed(&[], wrong);
    let tensor =
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4]).unwrap();
    let bytes = safetensors::serialize([("strange", tensor)], None).unwrap();
    std::fs::write(scene.root().join("w.pth"), bytes).unwrap();
    scene.advised(RUN, leave);
    scene.edit((wrong, ""), &[]);
    let (_, said) = scene.run(RUN);
    assert!(said.contains("`strange`") && !said.contains(leave), "{said}");
}

#[test]
fn advice_about_the_instruction_set_helps_when_it_is_followed() {
    let advice = "`{VARIABLE}={0}` is not an instruction set; expected avx512, avx2 or portable";
    let scene = Scene::new(super::mistakes::GOOD);
    scene.run(&["check", "p.toml"]);
    let check = |isa: &str| {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("runner"));
        command.current_dir(scene.root()).args(["check", "p.toml"]).env("RUNNER_ISA", isa);
        let output = command.output().unwrap();
        (output.status.code(), crate::binary::text(&output.stderr))
    };
    let (code, said) = check("sse9");
    assert_eq!(code, Some(2), "{said}");
    let words =
        super::scene::found(&said, advice).expect(&said).rsplit("expected ").next().unwrap();
    let last = words.rsplit(" or ").next().unwrap();
    assert_eq!(check(last), (Some(0), String::new()));
}
