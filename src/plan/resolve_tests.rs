//! What a user sees of a wrong file, with stage kinds of the tests' own.

use std::fs;
use std::path::PathBuf;

use indexmap::IndexMap;
use proptest::prelude::*;

use super::*;
use crate::config::{Keys, Wants, words};
use crate::plan::kept::KeptPipeline;
use crate::plan::pipeline::PlannedStage;
use crate::plan::print;
use crate::plan::table_spec::TableSpec;
use crate::plan::trial::Trial;
use crate::stages::{
    Context, DatasetShape, Described, Failure, Halt, Measures, ModelShape, Outcome, Problem,
    Product, Stage,
};

const TEST_KINDS: &[Kind] = &[
    Kind { name: "images", about: "a data set", measures: Measures::Nothing, parse: images },
    Kind { name: "train", about: "a model", measures: Measures::Training, parse: train },
    Kind { name: "score", about: "scores", measures: Measures::Nothing, parse: score },
];

#[derive(Debug)]
enum TestStage {
    Images { channels: usize },
    Train { channels: usize },
    Score,
}

impl Stage for TestStage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Images { .. } => "images",
            Self::Train { .. } => "train",
            Self::Score => "score",
        }
    }

    fn revision(&self) -> u32 {
        1
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        match self {
            Self::Images { channels } => {
                let mut shape = DatasetShape::unknown();
                let splits = [("train", 100), ("test", 10)];
                shape.splits = Some(IndexMap::from(splits.map(|(n, c)| (n.to_owned(), Some(c)))));
                shape.channels = Some(*channels);
                Ok(Product::Dataset(shape))
            }
            Self::Train { channels } => match inputs.dataset("train").channels {
                Some(given) if given != *channels => {
                    let message = format!("the model takes {channels} channels, its data {given}");
                    Err(vec![Problem::at("model.channels", message).help("set it to the same")])
                }
                _ => Ok(Product::Model(ModelShape::unknown())),
            },
            Self::Score => Ok(Product::Scores),
        }
    }

    fn run(&self, _: &Context) -> Result<Outcome, Halt> {
        Err(Failure::new("the stages of this test do not run").into())
    }
}

words! {
    /// Kinds of a nested table, one of which names a stage.
    enum FakeMethod {
        /// Without keys.
        Supervised = "supervised",
        /// With a reference.
        Dann = "dann",
    }
}

words! {
    /// A word that is required.
    enum FakeOptimizer {
        /// One.
        Adam = "adam",
        /// Another.
        Sgd = "sgd",
    }
}

fn images(keys: &mut Keys, defaults: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    let channels = keys.count("channels", 1..=3).or(1_usize);
    let seed = defaults.seed(keys);
    let input = keys.optional_reference("input", Wants::Dataset);
    seed?;
    input?;
    Ok(Box::new(TestStage::Images { channels: channels? }))
}

fn train(keys: &mut Keys, _: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    let train = keys.reference("train", Wants::Split("train"));
    let start = keys.optional_reference("start", Wants::Model);
    let channels = keys.nested("model", |keys| keys.count("channels", 1..=3).or(1_usize));
    let epochs = keys.count("epochs", 1..=usize::MAX).or(10_usize);
    let held_out = keys.float("hold_out").fraction().or(0.1);
    let method =
        keys.kinded("method", "kind", Some(FakeMethod::Supervised), |kind, keys| match kind {
            FakeMethod::Supervised => Ok(None),
            FakeMethod::Dann => keys.reference("target", Wants::Split("train")).map(Some),
        });
    let optimizer = keys.nested("optimizer", |keys| {
        let kind = keys.choice::<FakeOptimizer>("kind").required();
        let lr = keys.float("lr").positive().or(1e-3);
        kind?;
        lr
    });
    train?;
    start?;
    epochs?;
    held_out?;
    method?;
    optimizer?;
    Ok(Box::new(TestStage::Train { channels: channels? }))
}

fn score(keys: &mut Keys, _: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    let models = keys.references("models", Wants::Model);
    let on = keys.references("on", Wants::Split("test"));
    models?;
    on?;
    Ok(Box::new(TestStage::Score))
}

const GOOD: &str = r#"[pipeline]
name = "small"

[stages.digits]
kind = "images"

[stages.net]
kind = "train"
train = "digits"
optimizer = { kind = "adam", lr = 0.1 }

[stages.dann]
kind = "train"
train = "digits"
start = "net"
method = { kind = "dann", target = "digits.test" }
optimizer = { kind = "sgd" }
after = ["net"]

[stages.score]
kind = "score"
models = ["net", "dann"]
on = ["digits", "digits.train"]
"#;

struct WrittenFile {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn held(text: impl AsRef<[u8]>) -> WrittenFile {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("x.toml");
    std::fs::write(&path, text).expect("a temporary file");
    WrittenFile { _folder: folder, path }
}

fn good(text: &str, sets: &[&str]) -> Pipeline {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    match load_with(&held(text).path, &sets, TEST_KINDS) {
        Ok(pipeline) => pipeline,
        Err(report) => panic!("{report}"),
    }
}

fn wrong(text: impl AsRef<[u8]>, sets: &[&str]) -> String {
    let held = held(text);
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let report =
        crate::plan::trials::load_with(&held.path, &sets, TEST_KINDS).expect_err("a wrong file");
    let folder = format!("{}/", held.path.parent().expect("a folder").display());
    report.to_string().replace(&folder, "")
}

fn changed(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "`{from}` is not in the file");
    wrong(GOOD.replacen(from, to, 1), &[])
}

#[test]
fn a_good_file_is_resolved_with_every_default_and_its_settings_are_without_references() {
    let pipeline = good(GOOD, &[]);
    insta::assert_snapshot!("resolved", print::to_toml(&pipeline.resolved));
    let names: Vec<&str> = pipeline.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["digits", "net", "dann", "score"]);
    assert_eq!(pipeline.stages[2].after, ["net"]);
    let keys: Vec<&str> = pipeline.stages[2].inputs.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["train", "start", "method.target"]);
    insta::assert_snapshot!("settings", toml::to_string(&pipeline.stages[2].settings).unwrap());
    assert!(pipeline.stages[3].settings.is_empty(), "{:?}", pipeline.stages[3].settings);
}

#[test]
fn wrong_files_are_explained() {
    let lr = "lr = 0.1";
    let cases = [
        ("unknown_key", changed("lr = 0.1", "learning_rate = 0.1")),
        ("unknown_stage_key", changed("start = \"net\"", "start = \"net\"\nepoch = 3")),
        ("unknown_table", changed("[stages.digits]", "[stage.digits]")),
        ("unknown_kind", changed("kind = \"images\"", "kind = \"image\"")),
        ("missing_kind", changed("kind = \"images\"", "channels = 1")),
        ("unknown_stage", changed("start = \"net\"", "start = \"nett\"")),
        ("missing_key", changed("train = \"digits\"\nopt", "opt")),
        ("wrong_type", changed(lr, "lr = \"fast\"")),
        ("negative_lr", changed(lr, "lr = -0.1")),
        ("zero_epochs", changed("start = \"net\"", "epochs = 0")),
        ("fraction_over_one", changed("start = \"net\"", "hold_out = 1.5")),
        ("cycle", changed("train = \"digits\"\nopt", "train = \"digits\"\nstart = \"dann\"\nopt")),
        ("own_cycle", changed("start = \"net\"", "start = \"dann\"")),
        ("unknown_split", changed("\"digits.train\"", "\"digits.tset\"")),
        ("model_wanted", changed("start = \"net\"", "start = \"digits\"")),
        ("data_wanted", changed("on = [\"digits\"", "on = [\"net\"")),
        ("misfit", changed("kind = \"images\"", "kind = \"images\"\nchannels = 3")),
        ("misfit_at_its_key", changed(lr, "lr = 0.1 }\nmodel = { channels = 2")),
        ("duplicate_table", wrong(format!("{GOOD}\n[stages.net]\nkind = \"train\"\n"), &[])),
        ("duplicate_key", changed("kind = \"images\"", "kind = \"images\"\nkind = \"train\"")),
        ("duplicate_inline_key", changed(lr, "lr = 0.1, lr = 0.2")),
        ("half_a_number", changed("lr = 0.1", "lr = .5")),
        ("python_word", changed("kind = \"images\"", "kind = \"images\"\nshuffle = True")),
        ("invalid_toml", changed("name = \"small\"", "name = small\ntitle = \"open")),
        ("no_stages", wrong("[pipeline]\nname = \"small\"\n[stages]\n", &[])),
        ("no_pipeline", wrong("[stages.a]\nkind = \"images\"\n", &[])),
        ("bad_head", changed("name = \"small\"", "name = \"My Net\"\nseed = -1\ndevice = \"gpu\"")),
        ("bad_stage_name", changed("[stages.net]", "[stages.\"net 1\"]")),
        ("empty", wrong("# nothing\n", &[])),
        ("not_utf8", wrong(b"[pipeline]\nname = \"caf\xe9\"\n", &[])),
        (
            "several",
            wrong(
                GOOD.replace("lr = 0.1", "lr = 0")
                    .replace("\"digits.test\"", "\"digts.test\"")
                    .replace("\"images\"", "\"imgs\"")
                    .replace("name =", "nmae ="),
                &[],
            ),
        ),
    ];
    for (name, report) in cases {
        insta::assert_snapshot!(name, report);
    }
}

#[test]
fn wrong_overrides_point_into_their_argument() {
    let cases = [
        ("set_bare_word", wrong(GOOD, &["pipeline.device=cpu"])),
        ("set_no_equals", wrong(GOOD, &["pipeline.device"])),
        ("set_unknown_stage", wrong(GOOD, &["stages.dan.epochs=3"])),
        ("set_unknown_table", wrong(GOOD, &["stage.dann.epochs=3"])),
        ("set_into_a_string", wrong(GOOD, &["stages.dann.start.lr=0.1"])),
        ("set_no_element", wrong(GOOD, &["stages.score.models.2=\"net\""])),
        ("set_other_spelling", wrong(GOOD, &["stages.score.models.00=\"net\""])),
        ("set_out_of_range", wrong(GOOD, &["stages.net.optimizer.lr=-1"])),
        ("set_unknown_key", wrong(GOOD, &["stages.net.epoch=3", "pipeline.sed=1"])),
        ("set_empty_value", wrong(GOOD, &["pipeline.seed="])),
        ("set_half_a_number", wrong(GOOD, &["stages.net.hold_out=.5"])),
        ("set_beyond_floats", wrong(GOOD, &["stages.net.optimizer.lr=1e400"])),
        ("set_beyond_integers", wrong(GOOD, &["pipeline.seed=99999999999999999999"])),
        ("set_nothing", wrong(GOOD, &["stages.net.epochs=None"])),
        ("set_in_a_table", wrong(GOOD, &["stages.net.optimizer={ kind = \"adam\", lr = .5 }"])),
        ("set_many_zeros", wrong(GOOD, &["stages.net.hold_out=1e30"])),
    ];
    for (name, report) in cases {
        insta::assert_snapshot!(name, report);
    }
}

#[test]
fn overrides_reach_tables_arrays_and_quoted_keys() {
    let pipeline = good(
        GOOD,
        &[
            "stages.net.epochs=3",
            "stages.net.model.channels = 1",
            "stages.score.models.0=\"dann\"",
            "pipeline.\"title\"='a = b'",
        ],
    );
    assert_eq!(pipeline.title.as_deref(), Some("a = b"));
    assert_eq!(pipeline.stages[1].settings["epochs"].as_integer(), Some(3));
    assert_eq!(pipeline.stages[3].inputs[0].stage, "dann");
}

const SWEEP: &str = "
[sweep]
axes = { \"pipeline.seed\" = [0, 1], \"stages.net.optimizer.lr\" = [0.1, 0.2, 0.3] }

[table]
over = [\"pipeline.seed\", \"stages.net.optimizer.lr\"]
";

#[test]
fn a_sweep_gives_every_trial_with_the_last_axis_fastest() {
    let held = held(format!("{GOOD}{SWEEP}"));
    let trials =
        crate::plan::trials::load_with(&held.path, &[], TEST_KINDS).expect("a good sweep").trials;
    let name = |trial: &Trial| {
        let labels = trial.labels.iter().map(|(key, value)| format!("{key}={value}"));
        labels.collect::<Vec<_>>().join(", ")
    };
    let names: Vec<String> = trials.iter().map(name).collect();
    assert_eq!(names.len(), 6);
    assert_eq!(names[1], "pipeline.seed=0, stages.net.optimizer.lr=0.2");
    assert_eq!(names[3], "pipeline.seed=1, stages.net.optimizer.lr=0.1");
    assert_eq!(trials[3].pipeline.seed, 1);
    // The default of a stage's seed follows the trial's.
    assert_eq!(trials[3].pipeline.stages[0].settings["seed"].as_integer(), Some(1));
    for trial in &trials {
        let text = print::to_toml(&trial.pipeline.resolved);
        assert_eq!(good(&text, &[]).resolved, trial.pipeline.resolved);
    }
}

/// The settings and inputs of every stage of every trial in the file at `path`.
fn of_trials(path: &Path) -> Vec<Vec<String>> {
    let all = crate::plan::trials::load(path, &[]).unwrap_or_else(|report| panic!("{report}"));
    let stage = |it: &PlannedStage| format!("{} {:?} {:?}", it.name, it.settings, texts(it));
    let trial = |it: &Trial| it.pipeline.stages.iter().map(stage).collect();
    all.trials.iter().map(trial).collect()
}

fn texts(stage: &PlannedStage) -> Vec<String> {
    stage.inputs.iter().map(crate::config::Reference::text).collect()
}

#[test]
fn what_is_shown_of_a_sweep_is_a_file_of_the_same_trials() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let files = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let shipped: Vec<PathBuf> =
        files.filter(|it| it.extension().is_some_and(|it| it == "toml")).collect();
    assert!(shipped.len() > 10);
    let own = |axes: &str| {
        held(format!(
            "[pipeline]\nname = \"p\"\n\n[stages.digits]\nkind = \"download\"\ndataset = \"mnist-10k\"\n\n\
             [stages.net]\nkind = \"pretrain\"\ntrain = \"digits\"\nmodel = \"lenet\"\nepochs = 1\n\
             optimizer = {{ lr = 0.01 }}\n\n[sweep]\naxes = {{ {axes} }}\n"
        ))
    };
    let kinds = own("\"stages.net.optimizer.kind\" = [\"adam\", \"adamw\", \"sgd\"]");
    let seeds = own("\"pipeline.seed\" = [0, 1, 2]");
    for path in shipped.iter().chain([&kinds.path, &seeds.path]) {
        let shown = print::to_toml(&shown(path, &[]).unwrap_or_else(|report| panic!("{report}")));
        let again = held(shown);
        assert_eq!(of_trials(&again.path), of_trials(path), "{}", path.display());
    }
    let trials = of_trials(&kinds.path);
    assert!(trials[0] != trials[1] && trials[1] != trials[2], "the defaults differ");
}

#[test]
fn wrong_sweeps_are_explained() {
    let sweep = |from: &str, to: &str| wrong(format!("{GOOD}{}", SWEEP.replacen(from, to, 1)), &[]);
    let cases = [
        ("sweep_value", sweep("0.2,", "-0.2,")),
        ("sweep_unknown_stage", sweep("stages.net.", "stages.nett.")),
        ("sweep_unknown_key", sweep("optimizer.lr", "optimizer.rate")),
        ("sweep_not_an_array", sweep("[0, 1]", "0")),
        ("sweep_empty_axis", sweep("[0, 1]", "[]")),
        ("sweep_twice", sweep("[0, 1]", "[0, 0]")),
        ("sweep_unquoted", sweep("\"pipeline.seed\" =", "pipeline.seed =")),
        ("table_over_what_is_not_swept", sweep("over = [\"pipeline", "over = [\"pipelin")),
        ("table_of_several_values", sweep(", \"stages.net.optimizer.lr\"]", "]")),
        (
            "table_published_elsewhere",
            sweep(
                "over = [\"pipeline.seed\", \"stages.net.optimizer.lr\"]",
                "columns = \"stages.net.optimizer.lr\"\npublished = [\n  \
                 { row = \"net\", column = \"0.2\", value = 0.5, cite = \"A\" },\n  \
                 { row = \"net\", column = \"0.25\", value = 0.5, cite = \"A\" },\n]",
            ),
        ),
        ("table_same_twice", sweep("[table]\n", "[table]\ncolumns = \"model\"\n")),
    ];
    for (name, report) in cases {
        insta::assert_snapshot!(name, report);
    }
}

/// The trials of `GOOD` with `sweep`, and what is to be known of them.
fn swept(sweep: &str, sets: &[&str]) -> (Vec<Trial>, Vec<String>) {
    let held = held(format!("{GOOD}\n{sweep}"));
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    match crate::plan::trials::load_with(&held.path, &sets, TEST_KINDS) {
        Ok(found) => {
            let notes = found.search.expect("a sweep").notes().to_vec();
            (found.trials, notes)
        }
        Err(report) => panic!("{report}"),
    }
}

/// What the optimizer of `net` is in a trial.
fn optimizer(trial: &Trial) -> String {
    trial.pipeline.stages[1].settings["optimizer"].to_string()
}

const LR: &str = "\"stages.net.optimizer.lr\" = [0.1, 0.2]\n";
const KINDS_OF_OPTIMIZER: &str =
    "\"stages.net.optimizer\" = [{ kind = \"sgd\" }, { kind = \"adam\" }]\n";

#[test]
fn an_axis_inside_another_counts_whatever_their_order_in_the_file() {
    for axes in [format!("{LR}{KINDS_OF_OPTIMIZER}"), format!("{KINDS_OF_OPTIMIZER}{LR}")] {
        let (trials, notes) = swept(&format!("[sweep.axes]\n{axes}"), &[]);
        assert_eq!((trials.len(), notes.len()), (4, 0), "{notes:?}");
        for trial in &trials {
            let label = |key: &str| trial.labels.iter().find(|it| it.0 == key).unwrap().1.clone();
            let kind = label("stages.net.optimizer")["kind"].clone();
            let lr = label("stages.net.optimizer.lr");
            assert_eq!(optimizer(trial), format!("{{ kind = {kind}, lr = {lr} }}"));
        }
    }
}

#[test]
fn an_axis_inside_an_array_counts_too() {
    let axes = "\"stages.score.models.0\" = [\"net\", \"dann\"]\n\"stages.score\" = [{ kind = \
        \"score\", models = [\"net\"], on = [\"digits\"] }]\n";
    let said = wrong(format!("{GOOD}\n[sweep.axes]\n{axes}"), &[]);
    assert!(said.contains("`stages.score.models.0` is swept, and set by the values of"), "{said}");
    assert!(said.contains("sweep `stages.score` or `stages.score.models.0`, not both"), "{said}");
}

#[test]
fn a_stage_that_is_an_axis_as_a_whole_is_not_frozen_to_its_first_value() {
    let axes = "\"stages.digits\" = [{ kind = \"images\" }, { kind = \"images\", seed = 7 }]\n\
        \"stages.'net'.epochs\" = [1, 2]\n";
    let held = held(format!("{GOOD}\n[sweep.axes]\n{axes}"));
    let trials = crate::plan::trials::load_with(&held.path, &[], TEST_KINDS).expect("a sweep");
    let stages = trials.resolved["stages"].as_table().unwrap();
    assert_eq!(stages["digits"].to_string(), "{ kind = \"images\" }");
    assert!(stages["net"].get("hold_out").is_none(), "{}", stages["net"]);
    assert!(stages["dann"].get("hold_out").is_some(), "{}", stages["dann"]);
}

#[test]
fn axes_that_would_make_trials_other_than_their_labels_are_explained() {
    let outer = "\"stages.net.optimizer\" = [{ kind = \"sgd\", lr = 0.1 }, { kind = \"adam\" }]\n";
    let sweep = |axes: &str| wrong(format!("{GOOD}\n[sweep.axes]\n{axes}"), &[]);
    let cases = [
        ("sweep_set_by_outer", sweep(&format!("{LR}{outer}"))),
        ("sweep_same_key_twice", sweep(&format!("{LR}\"stages.net.'optimizer'.lr\" = [0.3]\n"))),
        ("sweep_one_value_written_twice", sweep("\"stages.net.optimizer.lr\" = [1, 1.0]\n")),
        (
            "sweep_one_table_written_twice",
            sweep(
                "\"stages.net.optimizer\" = [{ kind = \"sgd\", lr = 1 }, { lr = 1.0, kind = \"sgd\" }]\n",
            ),
        ),
        (
            "sweep_places_written_twice",
            sweep(
                "\"stages.net.epochs\" = [5, 6, 5]\n\"stages.net.optimizer.lr\" = [1, 0.5, 1.0]\n\
                 [sweep]\nzip = [[\"stages.net.epochs\", \"stages.net.optimizer.lr\"]]\n",
            ),
        ),
        (
            "sweep_step_too_small",
            sweep(
                "\"stages.net.optimizer.lr\" = { from = 1e6, to = 1000000.000001, step = 1e-7 }\n",
            ),
        ),
        (
            "sweep_inner_of_a_word",
            sweep(
                "\"stages.dann.method\" = [\"supervised\"]\n\"stages.dann.method.kind\" = [\"supervised\"]\n",
            ),
        ),
    ];
    for (name, report) in cases {
        insta::assert_snapshot!(name, report);
    }
}

#[test]
fn halving_does_not_compare_trials_of_other_epochs_wherever_they_are_set() {
    let stage = |epochs: usize| {
        format!(
            "{{ kind = \"train\", train = \"digits\", epochs = {epochs}, optimizer = \"adam\" }}"
        )
    };
    let sweep = |a: usize, b: usize| {
        let axis = format!("\"stages.net\" = [{}, {}]", stage(a), stage(b).replace("adam", "sgd"));
        let halving = "[sweep.select]\nstage = \"net\"\nby = \"validate.accuracy\"\n\
            [sweep.halving]\nmin_epochs = 1\nfactor = 2\n";
        wrong(format!("{GOOD}\n[sweep.axes]\n{axis}\n{halving}"), &[])
    };
    let problem = "`[sweep.halving]` cannot compare trials of other `stages.net.epochs`";
    assert!(sweep(2, 4).contains(problem), "{}", sweep(2, 4));
    // Wrong in another way: this stage does not validate, and its optimizer is no word.
    assert!(!sweep(4, 4).contains(problem), "{}", sweep(4, 4));
}

#[test]
fn set_takes_the_place_of_an_axis_and_says_so() {
    let sweep = format!("[sweep.axes]\n{LR}\"pipeline.seed\" = [0, 1]\n");
    let (trials, notes) = swept(&sweep, &["stages.net.optimizer.lr=0.5"]);
    assert_eq!(trials.len(), 2);
    for trial in &trials {
        assert_eq!(trial.labels[0], ("stages.net.optimizer.lr".into(), 0.5.into()));
        assert!(optimizer(trial).contains("lr = 0.5"), "{}", optimizer(trial));
    }
    let expected = "`--set stages.net.optimizer.lr` takes the place of the axis \
        `stages.net.optimizer.lr`: all trials have 0.5";
    assert_eq!(notes, [expected]);
    // A table that holds the key sets it as well; one that does not leaves the axis alone.
    let (trials, notes) = swept(&sweep, &["stages.net.optimizer={ kind = \"sgd\", lr = 0.7 }"]);
    assert_eq!((trials.len(), notes.len()), (2, 1));
    assert_eq!(optimizer(&trials[0]), "{ kind = \"sgd\", lr = 0.7 }");
    let (trials, notes) = swept(&sweep, &["stages.net.optimizer={ kind = \"sgd\" }"]);
    assert_eq!((trials.len(), notes.len()), (4, 0));
    assert_eq!(optimizer(&trials[2]), "{ kind = \"sgd\", lr = 0.2 }");
}

#[test]
fn set_inside_an_axis_is_set_in_each_of_its_values() {
    let axis =
        "\"stages.net.optimizer\" = [{ kind = \"sgd\", lr = 0.1 }, { kind = \"adam\", lr = 0.2 }]";
    for axes in [axis.to_owned(), axis.replace("= [{", "= { choice = [{") + " }"] {
        let search = if axes.contains("choice") { "search = \"random\"\ntrials = 2\n" } else { "" };
        let sweep = format!("[sweep]\n{search}[sweep.axes]\n{axes}\n");
        let (trials, notes) = swept(&sweep, &["stages.net.optimizer.lr=0.5"]);
        let mut found: Vec<String> = trials.iter().map(optimizer).collect();
        found.sort();
        let expected = ["adam", "sgd"].map(|kind| format!("{{ kind = \"{kind}\", lr = 0.5 }}"));
        assert_eq!(found, expected);
        for trial in &trials {
            assert_eq!(trial.labels[0].1.to_string(), optimizer(trial), "labels say what ran");
        }
        assert!(notes[0].contains("is set in every value of the axis"), "{notes:?}");
    }
    let (trials, notes) = swept(
        &format!("[sweep.axes]\n{axis}\n"),
        &["stages.net.optimizer.lr=0.5", "stages.net.optimizer.kind=\"sgd\""],
    );
    assert_eq!(trials.len(), 1);
    assert!(notes[1].contains("1 of them became the same as another"), "{notes:?}");
}

#[test]
fn an_axis_that_set_took_the_place_of_takes_its_group_to_the_place_of_the_value() {
    let sweep = "[sweep]\nzip = [[\"stages.net.optimizer.lr\", \"stages.net.epochs\"]]\n\
        [sweep.axes]\n\"stages.net.optimizer.lr\" = [0.1, 0.2, 0.3]\n\"stages.net.epochs\" = [3, 4, 4]\n";
    let found = |sets: &[&str]| -> Vec<(f64, i64)> {
        let (trials, _) = swept(sweep, sets);
        let labels = trials.iter().map(|trial| &trial.labels);
        labels.map(|it| (it[0].1.as_float().unwrap(), it[1].1.as_integer().unwrap())).collect()
    };
    assert_eq!(found(&[]), [(0.1, 3), (0.2, 4), (0.3, 4)]);
    assert_eq!(found(&["stages.net.epochs=3"]), [(0.1, 3)]);
    assert_eq!(found(&["stages.net.epochs=4"]), [(0.2, 4), (0.3, 4)]);
    assert_eq!(found(&["stages.net.optimizer.lr=0.3"]), [(0.3, 4)]);
    // Where every axis of the group is set, nothing is left that could move.
    assert_eq!(found(&["stages.net.epochs=9", "stages.net.optimizer.lr=0.7"]), [(0.7, 9)]);
}

#[test]
fn no_set_is_lost_to_another() {
    let said =
        wrong(GOOD, &["stages.net.optimizer.lr=0.5", "stages.net.optimizer={ kind = \"sgd\" }"]);
    assert!(
        said.contains("throws away what `--set stages.net.optimizer.lr` set before it"),
        "{said}"
    );
    let pipeline =
        good(GOOD, &["stages.net.optimizer={ kind = \"sgd\" }", "stages.net.optimizer.lr=0.5"]);
    let settings = &pipeline.stages[1].settings;
    assert_eq!(settings["optimizer"].to_string(), "{ kind = \"sgd\", lr = 0.5 }");
}

#[test]
fn trials_that_are_one_in_other_words_are_said_to_be() {
    let axes = "\"stages.dann.method\" = [\"supervised\", { kind = \"supervised\" }]\n";
    let (trials, notes) = swept(&format!("[sweep.axes]\n{axes}"), &[]);
    assert_eq!(trials.len(), 2);
    assert_eq!(notes, ["trials 000 and 001 are the same settings, written differently"]);
}

#[test]
fn records_of_sweeps_that_would_be_refused_today_can_be_read() {
    let axes = format!("{LR}\"stages.net.optimizer\" = [{{ kind = \"sgd\", lr = 0.9 }}]\n");
    let held = held(format!("{GOOD}\n[sweep.axes]\n{axes}"));
    let read = load_trial(&held.path, &["stages.net.optimizer.lr=0.1".into()], TEST_KINDS);
    assert!(read.is_ok());
}

const TABLES: &str = "
[[table]]
name = \"all\"
caption = \"Everything\"
rows = \"stages.net.optimizer.lr\"
columns = \"stage\"
value = \"class_accuracy.3\"
over = [\"pipeline.seed\"]
only = { \"pipeline.seed\" = [0, 1], model = \"net\" }
spread = \"ci95\"
best = \"min\"
baseline = \"0.1\"
test = \"t\"
gap_closed = { source_only = \"0.1\", target_trained = \"0.3\", on = \"score\" }
published = [{ row = \"0.2\", column = \"score\", value = 0.5, cite = \"A 2020\" }]

[[table]]
rows = \"dataset\"
columns = \"model\"
over = [\"pipeline.seed\", \"stages.net.optimizer.lr\"]
";

#[test]
fn tables_resolve_to_themselves_and_a_trial_keeps_those_that_need_no_sweep() {
    let sweep = SWEEP.split("[table]").next().unwrap();
    let held = held(format!("{GOOD}{sweep}{TABLES}"));
    let trials = crate::plan::trials::load_with(&held.path, &[], TEST_KINDS).expect("good tables");
    let text = print::to_toml(&trials.resolved);
    let whole = good(&text, &[]);
    assert_eq!(whole.resolved["table"], trials.resolved["table"]);
    assert_eq!(whole.tables.len(), 2);
    assert_eq!(whole.tables[0].only["pipeline.seed"], ["0", "1"]);
    assert_eq!(whole.tables[1].over, ["pipeline.seed", "stages.net.optimizer.lr"]);
    // What a resolved file says is what was read.
    let tables = |text: &str| KeptPipeline::read("kept.toml", text).unwrap().tables().unwrap();
    assert_eq!(tables(&text), whole.tables);
    let trial = &trials.trials[0].pipeline.resolved;
    assert_eq!(tables(&print::to_toml(trial)), [TableSpec::default()]);
}

#[test]
fn a_narrowed_sweep_keeps_the_tables_of_the_whole_one() {
    let table = "columns = \"stages.net.optimizer.lr\"\n\
                 published = [{ row = \"net\", column = \"0.1\", value = 0.5, cite = \"A\" }]";
    let text = format!(
        "{GOOD}{}",
        SWEEP.replace("over = [\"pipeline.seed\", \"stages.net.optimizer.lr\"]", table)
    );
    let held = held(text);
    for set in [None, Some("stages.net.optimizer.lr=0.2"), Some("pipeline.seed=1")] {
        let sets: Vec<String> = set.map(str::to_owned).into_iter().collect();
        crate::plan::trials::load_with(&held.path, &sets, TEST_KINDS).expect("good tables");
    }
}

const REUSE: &str = "
[vars]
lr = 0.1

[stages.twin]
like = \"net\"
without = [\"optimizer.lr\"]
epochs = 3
";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_resolved_file_resolves_to_itself(
        seed in 0..i64::MAX,
        lr in 1e-300_f64..1e300,
        epochs in 1..i64::MAX,
        title in "\\PC{0,12}",
        swept in any::<bool>(),
    ) {
        let quoted = toml::Value::String(title.clone());
        let text = if swept { format!("{GOOD}{SWEEP}") } else { GOOD.to_owned() };
        let sets = [
            format!("pipeline.seed={seed}"),
            format!("pipeline.title={quoted}"),
            format!("stages.net.optimizer.lr={}", toml::Value::Float(lr)),
            format!("stages.dann.epochs={epochs}"),
        ];
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let once = good(&text, &sets);
        prop_assert_eq!(once.title.as_deref(), Some(title.as_str()));
        let shown = print::to_toml(&once.resolved);
        let twice = good(&shown, &[]);
        prop_assert_eq!(&once.resolved, &twice.resolved);
        prop_assert_eq!(shown, print::to_toml(&twice.resolved));
    }

    #[test]
    fn no_text_and_no_override_makes_it_panic(
        at in 0..GOOD.len(),
        cut in 0..40_usize,
        put in "[\\[\\]{}\"'=.,#$\na-cé0]{0,6}",
        set in "[\\[\\]{}\"'=.,#\na-cé0]{0,8}",
    ) {
        let mut text = format!("{}{SWEEP}{REUSE}", GOOD.replace("lr = 0.1", "lr = \"${lr}\""));
        text.replace_range(at..(at + cut).min(GOOD.len()), &put);
        let held = held(text);
        for sets in [vec![], vec![set.clone()], vec![format!("stages.net.{set}")]] {
            if let Err(report) = crate::plan::trials::load_with(&held.path, &sets, TEST_KINDS) {
                prop_assert!(report.render(true).contains("problem"));
            }
        }
    }
}
