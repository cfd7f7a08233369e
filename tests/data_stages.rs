//! The data stages as a pipeline runs them: settings in TOML, artifacts in folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use image::{GrayImage, Luma, Rgb, RgbImage};
use runner::config::Keys;
use runner::config::node::{KeyValue, Node, Table, Value};
use runner::config::source::{Sources, Span};
use runner::data::outside::Known;
use runner::data::{Dataset, Sizes};
use runner::device::Device;
use runner::progress::Silent;
use runner::stages::{
    Context, Defaults, Described, Environment, Failure, Halt, Input, KINDS, Outcome, Problem,
    Product, Stage,
};
use tempfile::TempDir;

/// A parsed stage, with every setting that counts.
struct Parsed {
    stage: Box<dyn Stage>,
    resolved: toml::Table,
}

/// Reads the settings of a stage; the messages when they are wrong.
fn parse(kind: &str, text: &str) -> Result<Parsed, Vec<String>> {
    let span = Span::new(Sources::default().add("test", text), 0..0);
    let table = table(text.parse().expect("valid TOML"), span);
    let kind = KINDS.iter().find(|known| known.name == kind).expect("a kind of stage");
    let mut keys = Keys::new(&table, span);
    let stage = (kind.parse)(&mut keys, &Defaults { seed: 0 });
    let gathered = keys.finish();
    match stage {
        Ok(stage) if gathered.problems.is_empty() => {
            Ok(Parsed { stage, resolved: gathered.resolved })
        }
        _ => Err(gathered.problems.into_iter().map(|problem| problem.message).collect()),
    }
}

fn table(table: toml::Table, span: Span) -> Table {
    let entry = |(key, value)| (key, KeyValue { key: span, node: node(value, span) });
    Table { entries: table.into_iter().map(entry).collect() }
}

fn node(value: toml::Value, span: Span) -> Node {
    let value = match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::Integer(number),
        toml::Value::Float(number) => Value::Float(number),
        toml::Value::Boolean(flag) => Value::Boolean(flag),
        toml::Value::Datetime(time) => Value::Datetime(time.to_string()),
        toml::Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| node(item, span)).collect())
        }
        toml::Value::Table(inner) => Value::Table(table(inner, span)),
    };
    Node { span, value }
}

/// Runs a stage on `inputs`; the artifact's folder and what it said.
fn run(kind: &str, text: &str, inputs: &[(&str, &Path)]) -> Result<(TempDir, Outcome), Failure> {
    let parsed = parse(kind, text).expect("right settings");
    run_stage(parsed.stage.as_ref(), inputs)
}

fn run_stage(stage: &dyn Stage, inputs: &[(&str, &Path)]) -> Result<(TempDir, Outcome), Failure> {
    let [out, downloads, scratch] = [(); 3].map(|()| TempDir::new().unwrap());
    let environment = Environment {
        offline: true,
        downloads: downloads.path().to_owned(),
        activations: None,
        home: ".".into(),
        save_every: Duration::from_secs(60),
    };
    let inputs: Vec<Input> = inputs
        .iter()
        .map(|(key, path)| Input { key: (*key).into(), path: (*path).into(), split: None })
        .collect();
    let cancel = AtomicBool::new(false);
    let context = Context {
        environment: &environment,
        scratch: scratch.path(),
        budget: None,
        inputs: &inputs,
        out: out.path(),
        external: None,
        device: Device::Cpu,
        progress: &Silent,
        cancel: &cancel,
    };
    let outcome = stage.run(&context).map_err(|halt| match halt {
        Halt::Failed(failure) => failure,
        other => panic!("nobody asked it to stop: {other}"),
    })?;
    Ok((out, outcome))
}

/// What a stage says it will make of one input at `input`.
fn describe(kind: &str, text: &str, input: Option<Product>) -> Result<Product, Vec<Problem>> {
    let inputs: BTreeMap<String, (Product, Option<String>)> =
        input.into_iter().map(|input| ("input".to_owned(), (input, None))).collect();
    parse(kind, text).expect("right settings").stage.describe(&Described { inputs })
}

fn mnist() -> Product {
    describe("download", "dataset = 'mnist-10k'", None).expect("nothing to misfit")
}

/// A folder of images: three classes of 4, 6 and 10 in `train`, 2 each in `test`, of size 6x5.
fn folder_of_images() -> TempDir {
    let folder = TempDir::new().unwrap();
    for (split, counts) in [("train", [4, 6, 10]), ("test", [2, 2, 2])] {
        for (class, count) in ["ant", "bee", "cat"].iter().zip(counts) {
            let path = folder.path().join(split).join(class);
            fs::create_dir_all(&path).unwrap();
            for at in 0..count {
                let image = GrayImage::from_pixel(5, 6, Luma([10 * at]));
                image.save(path.join(format!("{at}.png"))).unwrap();
            }
        }
    }
    folder
}

fn own_images(folder: &Path) -> String {
    format!("source = 'file:{}'\nformat = 'image-folder'", folder.display())
}

fn made_of_own_images() -> (TempDir, Outcome) {
    run("download", &own_images(folder_of_images().path()), &[]).unwrap()
}

fn bytes_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().into(), fs::read(&path).unwrap())).collect()
}

#[test]
fn the_built_in_digits_need_no_network_and_say_what_they_are() {
    let (out, outcome) = run("download", "dataset = 'mnist-10k'", &[]).unwrap();
    let summary = "10,000 train, 1,000 valid, 10,000 test images 1x28x28, 10 classes";
    assert_eq!(outcome.summary, summary);
    let set = Dataset::open(out.path()).unwrap();
    assert_eq!(set.provenance[0].licence, "CC BY-SA 3.0");
    assert_eq!(outcome.metrics.csv().unwrap().lines().nth(1), Some("train,images,10000"));
    let Product::Dataset(shape) = mnist() else { panic!("a data set") };
    assert_eq!((shape.channels, shape.size, shape.classes), (Some(1), Some((28, 28)), Some(10)));
    assert_eq!(shape.splits.unwrap()["valid"], Some(set.splits["valid"].len()));
}

#[test]
fn other_data_sets_are_not_fetched_offline() {
    for name in ["mnist", "fashion-mnist", "mnist-m", "usps", "optdigits"] {
        let failure = run("download", &format!("dataset = '{name}'"), &[]).unwrap_err();
        assert!(failure.message.contains("--offline"), "{failure}");
        assert!(failure.help.join("\n").contains("source = \"file:"), "{:?}", failure.help);
    }
}

#[test]
fn a_folder_of_images_becomes_a_data_set_and_its_changes_are_noticed() {
    let folder = folder_of_images();
    let parsed = parse("download", &own_images(folder.path())).unwrap();
    let before =
        parsed.stage.external(&Known::default(), Path::new(".")).unwrap().expect("files outside");
    let (out, outcome) = run_stage(parsed.stage.as_ref(), &[]).unwrap();
    assert_eq!(outcome.summary, "20 train, 6 test images 1x6x5, 3 classes");
    let set = Dataset::open(out.path()).unwrap();
    assert_eq!(set.classes, ["ant", "bee", "cat"]);
    assert_eq!(set.splits["train"].class_counts(3), [4, 6, 10]);
    GrayImage::from_pixel(5, 6, Luma([1])).save(folder.path().join("test/ant/new.png")).unwrap();
    assert_ne!(parsed.stage.external(&Known::default(), Path::new(".")).unwrap().unwrap(), before);
}

#[test]
fn an_archive_is_unpacked_checked_and_leaves_nothing_behind() {
    let folder = folder_of_images();
    let archive = folder.path().join("images.tar");
    let mut builder = tar::Builder::new(fs::File::create(&archive).unwrap());
    for split in ["train", "test"] {
        builder.append_dir_all(format!("bugs/{split}"), folder.path().join(split)).unwrap();
    }
    builder.finish().unwrap();
    let settings = format!("source = 'file:{}'\nformat = 'image-folder'", archive.display());
    let (out, _) = run("download", &settings, &[]).unwrap();
    let (other, _) = run("download", &own_images(folder.path()), &[]).unwrap();
    let splits = |out: &TempDir| Dataset::open(out.path()).unwrap().splits;
    assert_eq!(splits(&out), splits(&other));
    let wrong = format!("{settings}\nsha256 = '{}'", "0".repeat(64));
    let failure = run("download", &wrong, &[]).unwrap_err();
    assert!(failure.message.contains("its sha256 is"), "{failure}");
    let parsed = parse("download", &wrong).unwrap();
    assert_eq!(
        parsed.stage.external(&Known::default(), Path::new(".")).unwrap(),
        None,
        "the settings say which content it is"
    );
}

#[test]
fn a_missing_path_is_shown_in_full() {
    let settings = "source = 'file:no/such/folder'\nformat = 'idx'";
    let failure = run("download", settings, &[]).unwrap_err();
    let absolute = std::env::current_dir().unwrap().join("no/such/folder");
    assert!(failure.message.contains(&absolute.display().to_string()), "{failure}");
    assert!(failure.help[0].contains("current directory"));
}

#[test]
fn wrong_download_settings_are_found_before_anything_runs() {
    let messages = |text: &str| parse("download", text).err().expect("a problem");
    assert_eq!(messages(""), ["missing key `dataset`, `source` or `weights`"]);
    let both = "dataset = 'mnist'\nsource = 'file:x'\nformat = 'idx'";
    assert_eq!(messages(both), ["`dataset`, `source` and `weights` exclude each other"]);
    assert_eq!(messages("dataset = 'mnits'"), ["`mnits` is not a value of `dataset`"]);
    assert_eq!(messages("source = 'file:x'"), ["missing key `format`"]);
    assert!(messages("source = 'ftp://x'\nformat = 'idx'")[0].contains("must be \"file:PATH\""));
    let unchecked = "source = 'https://example.org/x.zip'\nformat = 'idx'";
    assert_eq!(messages(unchecked), ["missing key `sha256`"]);
    assert!(messages(&format!("{unchecked}\nsha256 = 'abc'"))[0].contains("64 hexadecimal"));
    let extra = "dataset = 'mnist'\nformat = 'idx'";
    assert_eq!(messages(extra), ["`format` has no meaning with `dataset`"]);
    assert!(messages("source = 'file:x'\nformat = 'parquet'")[0].contains("`parquet`"));
    let turned = "source = 'file:x'\nformat = 'idx'\norientation = 'apply'";
    assert_eq!(messages(turned), ["`orientation` has no meaning with `format = \"idx\"`"]);
}

const LEAVES: &str = "recipe = 'blend'\ninput = 'digits'\n\
     background = { recipe = 'dead-leaves', images = 5, size = 32 }";

#[test]
fn blending_gives_coloured_images_with_the_same_labels_at_any_number_of_threads() {
    let (digits, _) = made_of_own_images();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run("synthesize", LEAVES, &[("input", digits.path())]).unwrap())
    };
    let (one, outcome) = with(1);
    assert_eq!(outcome.summary, "20 train, 6 test images 3x6x5, 3 classes");
    assert_eq!(bytes_of(one.path()), bytes_of(with(4).0.path()));
    let (before, after) =
        (Dataset::open(digits.path()).unwrap(), Dataset::open(one.path()).unwrap());
    for (name, split) in &before.splits {
        assert_eq!(split.labels, after.splits[name].labels);
    }
    assert_eq!(after.provenance.len(), 2);
    let (other, _) =
        run("synthesize", &format!("seed = 1\n{LEAVES}"), &[("input", digits.path())]).unwrap();
    assert_ne!(bytes_of(one.path()), bytes_of(other.path()));
}

#[test]
fn photographs_of_another_stage_serve_as_backgrounds() {
    let (digits, _) = made_of_own_images();
    let folder = TempDir::new().unwrap();
    for split in ["train", "test"] {
        fs::create_dir_all(folder.path().join(split).join("all")).unwrap();
        for at in 0..3 {
            let image = RgbImage::from_pixel(20 + at, 30, Rgb([200, 100, 0]));
            image.save(folder.path().join(split).join(format!("all/{at}.png"))).unwrap();
        }
    }
    let settings = own_images(folder.path()) + "\nsingle_class = true";
    let (photos, _) = run("download", &settings, &[]).unwrap();
    let text = "recipe = 'blend'\ninput = 'digits'\nbackground = 'photos'";
    let inputs = [("input", digits.path()), ("background", photos.path())];
    let (out, _) = run("synthesize", text, &inputs).unwrap();
    let set = Dataset::open(out.path()).unwrap();
    assert_eq!(set.splits["train"].images.pixels[..3], [200, 100, 0], "the first image is black");
    let last = set.splits["train"].images.pixels.last_chunk::<3>().unwrap();
    assert_eq!(*last, [110, 10, 90], "the last is of value 90");
}

#[test]
fn every_default_of_the_backgrounds_is_in_the_resolved_settings() {
    let parsed = parse("synthesize", "recipe = 'blend'\ninput = 'digits'").unwrap();
    let background = parsed.resolved["background"].as_table().unwrap();
    assert_eq!(background["recipe"].as_str(), Some("dead-leaves"));
    assert_eq!(background["chroma_sd"].as_float(), Some(15.0));
    assert_eq!(background["exponent"].as_float(), Some(3.0));
    assert_eq!(background.len(), 10);
    let wrong = "recipe = 'blend'\ninput = 'x'\nbackground = { radius_min = 9, radius_max = 3 }";
    assert!(parse("synthesize", wrong).err().unwrap()[0].contains("`radius_max` (3) is below"));
}

const NOISE: &str = "recipe = 'corrupt'\ninput = 'x'\ncorruption = 'gaussian_noise'\nseverity = 3";

#[test]
fn a_corrupted_data_set_differs_in_its_pixels_alone_at_any_number_of_threads() {
    let (clean, _) = made_of_own_images();
    let inputs = [("input", clean.path())];
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run("synthesize", NOISE, &inputs).unwrap())
    };
    let (one, outcome) = with(1);
    assert_eq!(outcome.summary, "20 train, 6 test images 1x6x5, 3 classes");
    assert_eq!(bytes_of(one.path()), bytes_of(with(4).0.path()));
    let before = Dataset::open(clean.path()).unwrap();
    let mut after = Dataset::open(one.path()).unwrap();
    for (name, split) in &mut after.splits {
        let pixels = &before.splits[name].images.pixels;
        assert_ne!(split.images.pixels, *pixels, "{name}");
        split.images.pixels = pixels.clone();
    }
    assert_eq!(before, after);
    let (other, _) = run("synthesize", &format!("seed = 1\n{NOISE}"), &inputs).unwrap();
    assert_ne!(bytes_of(one.path()), bytes_of(other.path()));
    let Ok(Product::Dataset(shape)) = describe("synthesize", NOISE, Some(mnist())) else {
        panic!("this fits")
    };
    assert_eq!((shape.channels, shape.size), (Some(1), Some((28, 28))));
}

#[test]
fn a_corruption_takes_what_means_something_for_it() {
    let settings = |rest: &str| format!("recipe = 'corrupt'\ninput = 'x'\n{rest}");
    let messages = |rest: &str| parse("synthesize", &settings(rest)).err().expect("a problem");
    assert_eq!(messages("corruption = 'blur'"), ["missing key `severity`"]);
    let high = "corruption = 'blur'\nseverity = 6";
    assert_eq!(messages(high), ["`severity` must be an integer from 1 to 5"]);
    let graded = "corruption = 'invert'\nseverity = 2";
    assert_eq!(messages(graded), ["`severity` has no meaning with `corruption = \"invert\"`"]);
    let blended = "corruption = 'invert'\nbackground = 'photos'";
    assert_eq!(messages(blended), ["unknown key `background`"]);
    let blend = parse("synthesize", "recipe = 'blend'\ninput = 'x'\nseverity = 2");
    assert_eq!(blend.err().unwrap(), ["unknown key `severity`"]);
    let resolved = |rest: &str| parse("synthesize", &settings(rest)).unwrap().resolved;
    let blur = resolved("corruption = 'blur'\nseverity = 2");
    assert!(!blur.contains_key("seed"), "it stays the same under every seed: {blur}");
    assert_eq!(resolved("corruption = 'shot_noise'\nseverity = 2")["seed"].as_integer(), Some(0));
}

#[test]
fn backgrounds_too_small_for_the_images_are_found_before_anything_runs() {
    let text = "recipe = 'blend'\ninput = 'digits'\nbackground = { size = 27 }";
    let problems = describe("synthesize", text, Some(mnist())).unwrap_err();
    assert_eq!(problems[0].key, "background.size");
    let Ok(Product::Dataset(shape)) = describe("synthesize", LEAVES, Some(mnist())) else {
        panic!("32 is enough")
    };
    assert_eq!((shape.channels, shape.size), (Some(3), Some((28, 28))));
}

#[test]
fn a_split_holds_out_then_keeps_a_few_of_the_chosen_classes() {
    let (images, _) = made_of_own_images();
    let text = "input = 'x'\nclasses = ['cat', 1]\nholdout = 4\nper_class = 3";
    let (out, outcome) = run("split", text, &[("input", images.path())]).unwrap();
    assert_eq!(outcome.summary, "6 train, 4 valid, 4 test images 1x6x5, 2 classes");
    let set = Dataset::open(out.path()).unwrap();
    assert_eq!(set.classes, ["cat", "bee"]);
    // 10 cats and 6 bees give 4 in proportion 2.5 to 1.5: the first of equal remainders gets it.
    assert_eq!(set.splits["valid"].class_counts(2), [3, 1]);
    assert_eq!(set.splits["train"].class_counts(2), [3, 3]);
}

#[test]
fn a_split_pools_then_holds_out_then_keeps_proportions() {
    let (images, _) = made_of_own_images();
    let text = "input = 'x'\npool = ['train', 'test']\nholdout = 6\nname = 'test'\n\
                proportions = { bee = 0.5 }";
    let (out, outcome) = run("split", text, &[("input", images.path())]).unwrap();
    // Of 6, 8 and 12 images 6 are held out: 1.38, 1.85 and 2.77, so 1, 2 and 3.
    let set = Dataset::open(out.path()).unwrap();
    assert_eq!(set.splits["test"].class_counts(3), [1, 2, 3]);
    // 5, 6 and 9 are left; 5 ants allow floor(5 * 2.5 / 1) = 12 images: 4.8, 2.4 and 4.8.
    assert_eq!(set.splits["train"].class_counts(3), [5, 2, 5]);
    assert_eq!(outcome.summary, "12 train, 6 test images 1x6x5, 3 classes");
}

#[test]
fn a_split_gathers_the_classes_that_do_not_stay_in_one_that_comes_last() {
    let (images, _) = made_of_own_images();
    let text = "input = 'x'\nclasses = ['cat']\nothers = 'unknown'\nholdout = 4";
    let (out, outcome) = run("split", text, &[("input", images.path())]).unwrap();
    assert_eq!(outcome.summary, "16 train, 4 valid, 6 test images 1x6x5, 2 classes");
    let set = Dataset::open(out.path()).unwrap();
    assert_eq!(set.classes, ["cat", "unknown"]);
    assert_eq!(set.splits["valid"].class_counts(2), [2, 2]);
    assert_eq!(set.splits["test"].class_counts(2), [2, 4]);

    let shape = |text: &str, input: Product| match describe("split", text, Some(input)) {
        Ok(Product::Dataset(shape)) => shape,
        other => panic!("{other:?}"),
    };
    let gathered = shape("input = 'x'\nclasses = [7, 1]\nothers = 'unknown'", mnist());
    let names = ["7", "1", "unknown"].map(str::to_owned).to_vec();
    assert_eq!((gathered.classes, gathered.names, gathered.empty), (Some(3), Some(names), vec![]));
    assert_eq!(gathered.splits.unwrap()["train"], Some(10_000), "every image stays");
    // Behind a stage that leaves the others out, no image is of the new class.
    let some = shape("input = 'x'\nclasses = [7, 1]", mnist());
    let with_none = shape("input = 'x'\nothers = 'unknown'", Product::Dataset(some));
    assert_eq!((with_none.classes, with_none.empty), (Some(3), vec![2]));

    let renamed = parse("split", "input = 'x'\nothers = 'b'\nclasses = { a = 'c' }");
    let message = "`others` goes with a list of the classes that stay, not with new names";
    assert_eq!(renamed.err().unwrap(), [message]);
    let text = "input = 'x'\nclasses = [0, 1]\nothers = '1'";
    let problems = describe("split", text, Some(mnist())).unwrap_err();
    assert_eq!(problems[0].key, "others");
    assert_eq!(problems[0].message, "a class that stays is called `1`, too");
}

#[test]
fn what_pools_and_proportions_will_give_is_known_as_far_as_it_can_be() {
    let splits = |text: &str| match describe("split", text, Some(mnist())) {
        Ok(Product::Dataset(shape)) => shape.splits.unwrap().into_iter().collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let named = |name: &str, count: Option<usize>| (name.to_owned(), count);
    let pooled = splits("input = 'x'\npool = ['train', 'test']\nholdout = 4000\nname = 'test'");
    let expected =
        [named("train", Some(16_000)), named("test", Some(4_000)), named("valid", Some(1_000))];
    assert_eq!(pooled, expected);
    let shifted = splits("input = 'x'\nproportions = { '3' = 0.1 }");
    assert_eq!(shifted[0], named("train", None));
    assert_eq!(shifted[2], named("test", Some(10_000)));
}

#[test]
fn wrong_pools_and_proportions_are_found_before_anything_runs() {
    let messages = |text: &str| parse("split", &format!("input = 'x'\n{text}")).err().unwrap();
    let two = "`pool` must be the names of two or more splits, each once";
    assert_eq!(messages("pool = ['train']"), [two]);
    assert_eq!(messages("pool = ['train', 'train']"), [two]);
    let outside = "`from` must be one of the splits in `pool`";
    assert_eq!(messages("pool = ['valid', 'test']"), [outside]);
    assert_eq!(messages("pool = ['valid', 'test']\nfrom = 'train'"), [outside]);
    for wrong in ["[]", "[0, 0.0]", "[1, -1]", "{}", "{ a = 'b' }", "[2e9]", "0.5"] {
        let messages = messages(&format!("proportions = {wrong}"));
        assert!(messages[0].starts_with("`proportions` must be numbers from 0"), "{messages:?}");
    }
    let both = messages("proportions = [1, 2]\nper_class = 3");
    assert_eq!(both, ["`proportions` and `per_class` exclude each other"]);
    let keys = |text: &str| -> Vec<String> {
        let text = format!("input = 'x'\n{text}");
        let problems = describe("split", &text, Some(mnist())).unwrap_err();
        problems.into_iter().map(|problem| problem.key).collect()
    };
    assert_eq!(keys("pool = ['train', 'tets']"), ["pool.1"]);
    assert_eq!(keys("proportions = [1, 2]"), ["proportions"]);
    assert_eq!(keys("proportions = { ten = 2 }"), ["proportions"]);
    assert_eq!(keys("classes = [1, 2]\nproportions = { '3' = 2 }"), ["proportions"]);
}

#[test]
fn what_a_split_will_give_is_known_as_far_as_it_can_be() {
    let shape = |text: &str| match describe("split", text, Some(mnist())) {
        Ok(Product::Dataset(shape)) => shape,
        other => panic!("{other:?}"),
    };
    let held = shape("input = 'x'\nholdout = 0.2\nname = 'held'");
    let splits: Vec<_> = held.splits.unwrap().into_iter().collect();
    assert_eq!(splits[0], ("train".to_owned(), Some(8000)));
    assert_eq!(splits[1], ("held".to_owned(), Some(2000)));
    let few = shape("input = 'x'\nper_class = 10\nclasses = [0, 1, 2]");
    assert_eq!(few.classes, Some(3));
    let splits = few.splits.unwrap();
    assert_eq!((splits["train"], splits["test"]), (Some(30), None));
}

#[test]
fn wrong_splits_are_found_before_anything_runs() {
    let messages = |text: &str| parse("split", text).err().expect("a problem");
    assert_eq!(messages("input = 'x'"), ["this stage would change nothing"]);
    assert!(messages("input = 'x'\nholdout = 1.5")[0].contains("`holdout` must be"));
    assert!(messages("input = 'x'\nholdout = 0")[0].contains("`holdout` must be"));
    assert!(messages("input = 'x'\nclasses = []")[0].contains("`classes` must be"));
    let alone = messages("input = 'x'\nper_class = 1\nstratified = true");
    assert_eq!(alone, ["`stratified` has no meaning without `holdout`"]);
    let keys = |text: &str| -> Vec<String> {
        let problems = describe("split", text, Some(mnist())).unwrap_err();
        problems.into_iter().map(|problem| problem.key).collect()
    };
    assert_eq!(keys("input = 'x'\nholdout = 10"), ["name"], "`valid` is there already");
    assert_eq!(keys("input = 'x'\nholdout = 10000\nname = 'held'"), ["holdout"]);
    assert_eq!(keys("input = 'x'\nfrom = 'tran'\nper_class = 1"), ["from"]);
    assert_eq!(keys("input = 'x'\nclasses = [0, 10]"), ["classes.1"]);
    assert_eq!(keys("input = 'x'\nper_class = 1001"), ["per_class"]);
}

#[test]
fn normalizing_resizes_repeats_gray_and_keeps_bytes_on_disk() {
    let (images, _) = made_of_own_images();
    let text = "input = 'x'\nresize = [12, 7]\nchannels = 3\nmean = [0.5, 0.4, 0.3]\nstd = 0.25";
    let (out, outcome) = run("normalize", text, &[("input", images.path())]).unwrap();
    assert_eq!(outcome.summary, "20 train, 6 test images 3x12x7, 3 classes");
    let set = Dataset::open(out.path()).unwrap();
    assert_eq!((set.mean, set.std), (vec![0.5, 0.4, 0.3], vec![0.25; 3]));
    assert_eq!(set.splits["train"].images.pixels[12 * 7 * 3..][..3], [10, 10, 10]);
    let batch = runner::data::loader::batch(
        &Dataset::open(out.path()).unwrap(),
        &set.splits["train"].images,
        &[1],
    );
    assert!((batch[0] - (10.0 / 255.0 - 0.5) / 0.25).abs() < 1e-6);
}

#[test]
fn padding_comes_after_the_resize_and_counts_for_the_mean() {
    let (images, _) = made_of_own_images();
    let text = "input = 'x'\nresize = [4, 4]\npad = [1, 2]\nmean = 'auto'\nstd = 1";
    let (out, outcome) = run("normalize", text, &[("input", images.path())]).unwrap();
    assert_eq!(outcome.summary, "20 train, 6 test images 1x6x8, 3 classes");
    let set = Dataset::open(out.path()).unwrap();
    // The second image of the train split is of value 10 throughout.
    let rows: Vec<&[u8]> = set.splits["train"].images.pixels[48..96].chunks(8).collect();
    assert_eq!((rows[0], rows[5]), (&[0; 8][..], &[0; 8][..]));
    assert!(rows[1..5].iter().all(|row| *row == [0, 0, 10, 10, 10, 10, 0, 0]));
    let sum: i32 = [4, 6, 10].iter().flat_map(|n| (0..*n).map(|at| at * 10)).sum();
    // A third of the 48 pixels of an image are its own.
    let mean = f64::from(sum) / 255.0 / 20.0 / 3.0;
    assert!((f64::from(set.mean[0]) - mean).abs() < 1e-7);
    let Ok(Product::Dataset(shape)) = describe("normalize", "input = 'x'\npad = 2", Some(mnist()))
    else {
        panic!("this fits")
    };
    assert_eq!(shape.size, Some((32, 32)));
    for wrong in ["-1", "[1]", "[1, 2, 3]", "1.5", "'6'", "16385"] {
        let messages = parse("normalize", &format!("input = 'x'\npad = {wrong}")).err().unwrap();
        assert!(messages[0].starts_with("`pad` must be pixels from 0 to 16384"), "{messages:?}");
    }
    let absent = parse("normalize", "input = 'x'").unwrap().resolved;
    assert!(!absent.contains_key("pad"), "fingerprints of older pipelines stay");
}

#[test]
fn auto_takes_mean_and_deviation_of_the_train_split() {
    let (images, _) = made_of_own_images();
    let text = "input = 'x'\nmean = 'auto'\nstd = 'auto'";
    let (out, _) = run("normalize", text, &[("input", images.path())]).unwrap();
    let set = Dataset::open(out.path()).unwrap();
    let values: Vec<f64> =
        [4, 6, 10].iter().flat_map(|n| (0..*n).map(|at| f64::from(at) * 10.0 / 255.0)).collect();
    let mean = values.iter().sum::<f64>() / 20.0;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 20.0;
    assert!((f64::from(set.mean[0]) - mean).abs() < 1e-7);
    assert!((f64::from(set.std[0]) - variance.sqrt()).abs() < 1e-7);
}

#[test]
fn auto_may_be_taken_from_another_split_that_is_there() {
    let (images, _) = made_of_own_images();
    let inputs = [("input", images.path())];
    let text = "input = 'x'\nmean = 'auto'\nstd = 'auto'\nstatistics = ";
    let (out, _) = run("normalize", &format!("{text}'test'"), &inputs).unwrap();
    // Two images each of three classes: half of them black, half of value 10.
    let set = Dataset::open(out.path()).unwrap();
    let half = 5.0 / 255.0;
    assert!((f64::from(set.mean[0]) - half).abs() < 1e-7, "{:?}", set.mean);
    assert!((f64::from(set.std[0]) - half).abs() < 1e-7, "{:?}", set.std);
    let usual = run("normalize", &format!("{text}'train'"), &inputs).unwrap();
    let plain = run("normalize", text.split("\nstatistics").next().unwrap(), &inputs).unwrap();
    assert_eq!(bytes_of(usual.0.path()), bytes_of(plain.0.path()));
    let failure = run("normalize", &format!("{text}'tests'"), &inputs).unwrap_err();
    assert_eq!(failure.message, "the data set has no split `tests`");
    assert!(failure.help[0].contains("`test`"), "{failure}");
    // Without it nothing changes in the settings, and so in the fingerprints of older pipelines.
    let absent = parse("normalize", "input = 'x'\nmean = 'auto'").unwrap().resolved;
    assert!(!absent.contains_key("statistics"));
    let unused = parse("normalize", "input = 'x'\nmean = 0.5\nstatistics = 'test'").err().unwrap();
    assert!(unused[0].contains("`statistics` has no meaning"), "{unused:?}");
}

#[test]
fn the_mean_and_deviation_of_networks_have_names() {
    let (images, _) = made_of_own_images();
    let text = "input = 'x'\nchannels = 3\nmean = 'imagenet'\nstd = 'imagenet'";
    let (out, _) = run("normalize", text, &[("input", images.path())]).unwrap();
    let set = Dataset::open(out.path()).unwrap();
    assert_eq!((set.mean, set.std), (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]));
}

#[test]
fn images_of_many_sizes_need_a_resize() {
    let folder = TempDir::new().unwrap();
    fs::create_dir_all(folder.path().join("cat")).unwrap();
    for (name, width) in [("a.png", 4), ("b.png", 9)] {
        GrayImage::new(width, 5).save(folder.path().join("cat").join(name)).unwrap();
    }
    let settings = own_images(folder.path()) + "\nsingle_class = true";
    let (images, outcome) = run("download", &settings, &[]).unwrap();
    assert!(outcome.summary.contains("of several sizes"), "{}", outcome.summary);
    let set = Dataset::open(images.path()).unwrap();
    assert_eq!(set.splits["train"].images.sizes, Sizes::Each(vec![(5, 4), (5, 9)]));
    let inputs = [("input", images.path())];
    let failure = run("normalize", "input = 'x'", &inputs).unwrap_err();
    assert_eq!(failure.message, "the images of `train` differ in size");
    assert!(failure.help[0].contains("resize"));
    let (_, outcome) = run("normalize", "input = 'x'\nresize = 8", &inputs).unwrap();
    assert_eq!(outcome.summary, "2 train images 1x8x8, 1 class");
    let shorter = "input = 'x'\nresize = { shorter = 8 }";
    let failure = run("normalize", shorter, &inputs).unwrap_err();
    assert_eq!(failure.message, "the images of `train` differ in size");
    assert!(failure.help[0].contains("`center_crop = 8`"), "{failure}");
    let (middles, outcome) =
        run("normalize", &format!("{shorter}\ncenter_crop = [8, 7]\npad = 1"), &inputs).unwrap();
    assert_eq!(outcome.summary, "2 train images 1x10x9, 1 class");
    drop(middles);
    let failure = run("normalize", &format!("{shorter}\ncenter_crop = 9"), &inputs).unwrap_err();
    let message =
        "image 0 has 10x8 pixels, fewer than the 9x9 of its middle that `center_crop` takes";
    assert_eq!(failure.message, message);
    let failure = run("normalize", "input = 'x'\nresize = 8\nstd = 'auto'", &inputs).unwrap_err();
    assert!(failure.message.contains("all its pixels in `train` are alike"), "{failure}");
}

#[test]
fn wrong_normalisations_are_found_before_anything_runs() {
    let messages = |text: &str| parse("normalize", text).err().expect("a problem");
    assert!(messages("input = 'x'\nstd = [0.5, 0.0, 0.5]")[0].contains("`std` must be"));
    assert!(messages("input = 'x'\nmean = 'automatic'")[0].contains("`mean` must be"));
    for wrong in ["[0, 3]", "{ shorter = 0 }", "{ longer = 9 }", "{ shorter = 9, longer = 9 }"] {
        let messages = messages(&format!("input = 'x'\nresize = {wrong}"));
        assert!(messages[0].contains("`resize` must be"), "{wrong}");
    }
    assert!(messages("input = 'x'\ncenter_crop = 0")[0].contains("`center_crop` must be"));
    let small = describe("normalize", "input = 'x'\ncenter_crop = 29", Some(mnist()));
    let message = &small.unwrap_err()[0].message;
    assert!(
        message.starts_with("the images have 28x28 pixels there, fewer than the 29x29"),
        "{message}"
    );
    let gray = describe("normalize", "input = 'x'\nmean = 'imagenet'", Some(mnist()));
    assert_eq!(gray.unwrap_err()[0].message, "3 numbers for images of 1 channels");
    assert!(messages("input = 'x'\nchannels = 2")[0].contains("`channels` must be 1 or 3"));
    let problems = describe("normalize", "input = 'x'\nmean = [0.1, 0.2, 0.3]", Some(mnist()));
    assert_eq!(problems.unwrap_err()[0].key, "mean");
    let Ok(Product::Dataset(shape)) =
        describe("normalize", "input = 'x'\nchannels = 3\nresize = 32", Some(mnist()))
    else {
        panic!("this fits")
    };
    assert_eq!((shape.channels, shape.size), (Some(3), Some((32, 32))));
    let text = "input = 'x'\nresize = { shorter = 256 }\ncenter_crop = 224";
    let Ok(Product::Dataset(shape)) = describe("normalize", text, Some(mnist())) else {
        panic!("this fits")
    };
    assert_eq!(shape.size, Some((224, 224)));
}

#[test]
fn the_same_settings_give_the_same_bytes() {
    let (images, _) = made_of_own_images();
    let inputs = [("input", images.path())];
    for (kind, text) in [
        ("synthesize", LEAVES),
        ("synthesize", NOISE),
        ("split", "input = 'x'\nholdout = 0.25"),
        ("split", "input = 'x'\npool = ['train', 'test']\nproportions = [1, 0.5, 0.2]"),
        ("normalize", "input = 'x'\nchannels = 3\nmean = 'auto'\nstd = 'auto'"),
    ] {
        let (first, second) =
            (run(kind, text, &inputs).unwrap(), run(kind, text, &inputs).unwrap());
        assert_eq!(bytes_of(first.0.path()), bytes_of(second.0.path()), "{kind}");
        assert_eq!(first.1.metrics, second.1.metrics, "{kind}");
    }
}
