//! Every method that is registered trains: in every way that it allows, on every backend of this machine.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{MethodKind, TermKind};
use crate::config::Word;
use crate::config::testing::read_lines;
use crate::data::view::Domain;
use crate::data::{Dataset, Split};
use crate::device::Precision;
use crate::metrics::{TrainingRow, TrainingSplit};
use crate::nn::head::keep_classifier;
use crate::nn::ops::{Backend, CpuOps, DfdxOps, Dims, GpuOps, Targets, Tensor};
use crate::nn::{Model, Part};
use crate::progress::{Progress, Silent, Unit, Watch};
use crate::train::checkpoint::Slot;
use crate::train::{
    Batch, BatchNormFamily, Bench, Data, Ended, FitOptions, Gradient, Method, REPEATED, Reading,
    Repeats, SourceBatch, TargetBatch, TrainingSettings, fit, tiny,
};

/// The method of a line of TOML, unless the line lacks a key or has one too many.
pub(super) fn read(line: &str) -> Option<Box<dyn Method>> {
    read_lines(line, super::read).0.ok()
}

/// A tensor of rows of so many columns.
pub(super) fn rows(values: impl Into<Vec<f32>>, columns: usize) -> Tensor {
    let values = values.into();
    let dims = Dims::Rows(values.len() / columns, columns);
    CpuOps::shared().tensor(values, dims).unwrap()
}

/// The gradients of the descents of one step of a method that adapts, and the step's readings. `line` is
/// the method's in TOML; `change` is made to the tiny network with the method's heads before it begins.
pub(super) fn step(line: &str, change: impl Fn(&mut Model)) -> (Vec<Reading>, Vec<Gradient>) {
    let values = |salt: usize| move |at: usize| ((at * 37 + salt) % 101) as f32 / 50.0 - 1.0;
    step_on(line, change, [(4, &values(0)), (3, &values(53))])
}

/// The same of so many images of the source and of the target, with the value of each pixel.
fn step_on(
    line: &str,
    change: impl Fn(&mut Model),
    [source, target]: [(usize, &dyn Fn(usize) -> f32); 2],
) -> (Vec<Reading>, Vec<Gradient>) {
    let method = read(line).unwrap_or_else(|| panic!("{line}"));
    let mut model = tiny::model();
    for head in method.heads(&model.spec().clone()) {
        model.add_head(head, 0).unwrap();
    }
    change(&mut model);
    let settings = tiny::settings(1);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();
    let labels: Vec<u32> = [0, 1].into_iter().cycle().take(source.0).collect();
    let targets = Targets::plain(&labels);
    let indices: Vec<usize> = (0..target.0).collect();
    // Other images of the same kind stand for the views: black ones for black ones.
    let views = |domain: Domain, rows: usize, value: &dyn Fn(usize) -> f32| {
        let of_domain = method.needs().views.iter().filter(|it| it.domain == domain).count();
        let shifted = (1..=of_domain).map(|by| images(rows, |at| value(at + 7 * by)));
        shifted.collect::<Vec<Tensor>>()
    };
    let of_source = SourceBatch {
        views: views(Domain::Source, source.0, source.1),
        ..SourceBatch::plain(images(source.0, source.1), targets)
    };
    let of_target = TargetBatch {
        indices: (&indices).into(),
        views: views(Domain::Target, target.0, target.1),
        ..TargetBatch::plain(images(target.0, target.1))
    };
    let batch = Batch { source: Some(of_source), target: Some(of_target) };
    bench.step_alone(&mut *learner, &batch, (0, 1), true).unwrap()
}

/// So many tiny images with the value of each pixel.
fn images(rows: usize, value: impl Fn(usize) -> f32) -> Tensor {
    let values = (0..rows * 48).map(value).collect();
    CpuOps::shared().tensor(values, Dims::Rows(rows, 48)).unwrap()
}

/// The method called `word` with its default settings, and with a target domain where it takes one.
fn method(word: &str) -> Box<dyn Method> {
    if let Some((_, settings)) = FITTED.iter().find(|(of, _)| *of == word) {
        let line = format!("method = {{ kind = \"{word}\", {settings} }}");
        return read(&line).unwrap_or_else(|| panic!("{line}"));
    }
    let plain = format!("method = {{ kind = \"{word}\" }}");
    let adapting = format!("method = {{ kind = \"{word}\", target = \"other.train\" }}");
    let found = read(&plain).or_else(|| read(&adapting));
    found.unwrap_or_else(|| panic!("`{word}` wants more settings than a target"))
}

/// Methods once more, with settings by which all parts of them count on images as few as these.
const FURTHER: &[(&str, &str)] = &[
    (
        "can of all images",
        "method = { kind = 'can', target = 'other.train', max_distance = 1.0, min_images = 1 }",
    ),
    (
        "delta with attention",
        "method = { kind = 'delta', weight = 0.1, layers = ['features.2'], attention_batches = 4 }",
    ),
    (
        "adda of a shared encoder",
        "method = { kind = 'adda', target = 'other.train', encoder = 'shared', loss = 'confusion', on = ['features', 'logits'] }",
    ),
    (
        "adda of features and logits",
        "method = { kind = 'adda', target = 'other.train', on = ['features', 'logits'] }",
    ),
    (
        "optimal_transport of Gaussians",
        "method = { kind = 'optimal_transport', target = 'other.train', form = 'linear' }",
    ),
];

/// Methods whose defaults are for another network than the tiny one, with what they need there.
const FITTED: &[(&str, &str)] = &[
    ("delta", "layers = ['features.2']"),
    // Six images vary along few axes, and components of the last of these are rounding scaled up.
    ("tca", "target = 'other.train', dimensions = 2"),
];

/// Every method, with every way that it may treat batch norm.
fn all() -> impl Iterator<Item = (String, Box<dyn Method>, BatchNormFamily)> {
    let usual = MethodKind::all().map(|kind| (kind.word(), None));
    let further = FURTHER.iter().map(|(name, line)| (*name, Some(*line)));
    usual.chain(further).flat_map(|(name, line)| {
        let make = move || match line {
            Some(line) => read(line).unwrap_or_else(|| panic!("{line}")),
            None => method(name),
        };
        let families = make().needs().batch_norm;
        families.iter().map(move |family| (format!("{name} ({})", family.word()), make(), *family))
    })
}

/// The backends of this machine.
fn backends() -> [(&'static str, Backend); 2] {
    let dfdx = DfdxOps::shared(dfdx::prelude::Cpu::default());
    [("cpu", CpuOps::shared()), ("dfdx", dfdx)]
}

/// A training of three steps in one epoch and three in another.
struct Training<'a> {
    method: &'a dyn Method,
    settings: TrainingSettings,
    backend: Backend,
    dataset: Dataset,
    source: Split,
    target: Split,
    /// Whether the features are frozen when it begins.
    is_frozen: bool,
    repeats: Repeats,
}

/// What a training left: the bytes of its network, and its rows.
type Left = (Vec<(String, Vec<u32>)>, Vec<TrainingRow>);

impl<'a> Training<'a> {
    fn new(method: &'a dyn Method, family: BatchNormFamily, backend: &Backend) -> Self {
        let settings =
            TrainingSettings { batch_norm: family, log_every: Some(1), ..tiny::settings(2) };
        let (dataset, source, target) = (tiny::dataset(), tiny::split(), tiny::split());
        let (backend, is_frozen) = (backend.clone(), false);
        let repeats = Repeats::default();
        Self { method, settings, backend, dataset, source, target, is_frozen, repeats }
    }

    /// The network that it begins with.
    fn model(&self) -> Model {
        let mut model = tiny::model_on(&self.backend);
        for head in self.method.heads(&model.spec().clone()) {
            model.add_head(head, 0).unwrap();
        }
        if let Some(part) = self.method.needs().keeps_classifier_as {
            let old = model.clone();
            keep_classifier(&mut model, &old, part).unwrap();
        }
        let features = model.parameters_mut().iter_mut().filter(|it| it.part == Part::FEATURES);
        features.for_each(|it| it.trainable = !self.is_frozen);
        model
    }

    fn run(&self, watch: &Watch, checkpoints: Option<&Slot>) -> Ended {
        let needs = self.method.needs();
        let data = Data {
            source: needs.source.then_some((&self.dataset, &self.source)),
            target: needs.target.map(|_| self.target.unlabelled(&self.dataset)),
            validate: None,
            recorded: Vec::new(),
            scored: None,
        };
        let options = FitOptions { checkpoints, repeats: self.repeats, ..FitOptions::default() };
        fit(self.model(), &[], self.method, &data, &self.settings, options, watch).unwrap()
    }

    fn whole(&self) -> Left {
        let watch = Watch { progress: &Silent, cancel: &AtomicBool::new(false) };
        left(self.run(&watch, None)).expect("nobody stopped it")
    }
}

/// Names and bits of the parameters of a network, and of its running averages.
fn bits(model: &Model) -> [Vec<(String, Vec<u32>)>; 2] {
    let of = |values: Vec<f32>| values.iter().map(|it| it.to_bits()).collect();
    let parameters = model.parameters().iter().map(|it| (it.name.clone(), of(it.value.host())));
    let stats = model.stats().iter();
    let stats = stats.map(|it| (it.layer.clone(), of([it.mean.host(), it.var.host()].concat())));
    [parameters.collect(), stats.collect()]
}

fn left(ended: Ended) -> Option<Left> {
    let Ended::Finished { model, rows, .. } = ended else { return None };
    Some((bits(&model).concat(), rows))
}

#[test]
fn every_method_trains_on_every_backend_with_finite_losses_and_moves_its_network() {
    for (name, method, family) in all() {
        for (backend, ops) in backends() {
            let training = Training::new(&*method, family, &ops);
            let (network, rows) = training.whole();
            let train: Vec<&TrainingRow> =
                rows.iter().filter(|row| row.split == TrainingSplit::Train).collect();
            // AdaBN goes down no loss: it moves running averages alone.
            let descends = !name.starts_with("adabn ");
            let has_loss = train.iter().any(|row| row.metric.ends_with("loss"));
            assert_eq!(has_loss, descends, "{name}, {backend}");
            let finite = train.iter().all(|row| row.value.is_finite());
            assert!(finite, "{name}, {backend}: {train:?}");
            let steps: Vec<usize> = train.iter().map(|row| row.step).collect();
            assert!((1..=6).all(|step| steps.contains(&step)), "{name}, {backend}: {steps:?}");
            let [parameters, averages] = bits(&training.model());
            let before = if descends { parameters } else { averages };
            let moved = before.iter().any(|(name, before)| {
                network.iter().any(|(of, after)| of == name && after != before)
            });
            assert!(moved, "{name}, {backend} moved nothing");
        }
    }
}

/// All six images in a step: with two, batch norm divides by differences that are nothing but rounding.
#[test]
fn both_backends_take_the_same_steps_up_to_rounding() {
    for (name, method, family) in all() {
        let [one, other] = backends().map(|(_, ops)| {
            let mut training = Training::new(&*method, family, &ops);
            training.settings.batch_size = 6;
            training.whole()
        });
        for ((of, one), (_, other)) in one.0.iter().zip(&other.0) {
            for (one, other) in one.iter().zip(other) {
                let (one, other) = (f32::from_bits(*one), f32::from_bits(*other));
                let near = (one - other).abs() <= 1e-3 * (1.0 + one.abs());
                assert!(near, "{name}, {of}: {one} and {other}");
            }
        }
    }
}

#[test]
fn every_method_gives_the_same_bytes_at_one_two_and_three_threads() {
    for (name, method, family) in all() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            // A training's tensors stay on the thread that it runs on.
            let method = &*method;
            pool.install(|| Training::new(method, family, &CpuOps::shared()).whole())
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3), "{name}");
    }
}

#[test]
fn the_target_s_labels_move_no_byte_of_a_training() {
    for (name, method, family) in all() {
        let mut training = Training::new(&*method, family, &CpuOps::shared());
        let before = training.whole();
        training.target.labels.rotate_left(1);
        training.target.labels.swap(0, 3);
        assert_ne!(training.target.labels, training.source.labels);
        assert!(training.whole() == before, "{name}");
    }
}

/// Asks a training to stop before its `at`-th step.
struct Stops<'a> {
    at: usize,
    steps: AtomicUsize,
    cancel: &'a AtomicBool,
    heard: Mutex<Vec<String>>,
}

impl Progress for Stops<'_> {
    fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}

    fn advance(&self, by: u64) {
        let by = usize::try_from(by).unwrap();
        let before = self.steps.fetch_add(by, Ordering::SeqCst);
        if before < self.at && before + by >= self.at {
            self.cancel.store(true, Ordering::SeqCst);
        }
    }

    fn status(&self, _: &str) {}

    fn note(&self, text: &str) {
        self.heard.lock().unwrap().push(text.to_owned());
    }
}

#[test]
fn every_method_that_is_stopped_at_any_step_goes_on_to_the_same_bytes() {
    for (name, method, family) in all() {
        goes_on(&name, &Training::new(&*method, family, &CpuOps::shared()));
    }
}

/// A training in which batch norm is thawed also for the network that follows the one that learns.
#[test]
fn a_network_that_follows_a_thawed_one_goes_on_to_the_same_bytes() {
    for name in ["self_ensembling", "mic", "adamatch"] {
        let method = method(name);
        let family = method.needs().batch_norm[0];
        let mut training = Training::new(&*method, family, &CpuOps::shared());
        training.is_frozen = true;
        training.settings.groups.thaw_at = vec![(2, vec!["features.*".to_owned()])];
        goes_on(name, &training);
    }
}

/// Stops a training at each step and lets it go on, to the bytes of one that nobody stopped.
fn goes_on(name: &str, training: &Training) {
    let whole = training.whole();
    for at in 1..3 * training.settings.epochs {
        let folder = tempfile::tempdir().unwrap();
        let slot = Slot::new(folder.path().join("slot"), Duration::from_secs(3600));
        let cancel = AtomicBool::new(false);
        let (steps, heard) = (AtomicUsize::new(0), Mutex::default());
        let stops = Stops { at, steps, cancel: &cancel, heard };
        let stopped = training.run(&Watch { progress: &stops, cancel: &cancel }, Some(&slot));
        assert!(matches!(stopped, Ended::Interrupted), "{name}, step {at}");
        cancel.store(false, Ordering::SeqCst);
        let (steps, heard) = (AtomicUsize::new(0), Mutex::default());
        let hears = Stops { at: usize::MAX, steps, cancel: &cancel, heard };
        let ended = training.run(&Watch { progress: &hears, cancel: &cancel }, Some(&slot));
        let heard = hears.heard.into_inner().unwrap();
        assert!(heard.iter().any(|it| it.contains("goes on from a checkpoint")), "{name}");
        assert!(left(ended).expect("nobody stopped it") == whole, "{name}, step {at}");
    }
}

/// A GPU's stand-in as a backend; nothing where there is no compiler for it.
fn gpu() -> Option<Backend> {
    crate::stand_in::here()?;
    let gpu = crate::nn::gpu::Gpu::open(0).unwrap();
    Some(GpuOps::shared(gpu, Precision::Tf32).unwrap())
}

/// How many steps of a training had no code, and what it left.
fn repeated(training: &Training) -> (usize, Left) {
    REPEATED.set(0);
    let left = training.whole();
    (REPEATED.get(), left)
}

/// Methods no step of which is repeated: their code looks at something that changes from step to step, such as labels, random
/// numbers or values on the GPU, or they remember something between steps.
const NEVER_REPEATED: &[&str] = &[
    "bss",
    "co_tuning",
    "delta",
    "shot",
    "wdgrl",
    "vada",
    "dirt_t",
    "adamatch",
    "subspace_alignment",
    "feature_coral",
    "tca",
    "optimal_transport",
    "adabn",
    "pada",
    "can",
    "mdd",
    "nwd",
    "bsp",
    "toalign",
    "mic",
    "bnm",
    "associative",
    "deepjdot",
    "atdoc",
    "can of all images",
    "delta with attention",
    "adda of a shared encoder",
    "adda of features and logits",
    "optimal_transport of Gaussians",
];

#[test]
fn steps_of_every_method_give_the_same_bytes_without_their_code() {
    let Some(gpu) = gpu() else { return };
    let mut never = Vec::new();
    for (name, method, family) in all() {
        let mut training = Training::new(&*method, family, &gpu);
        training.settings.epochs = 4;
        let mut of = |repeats: Repeats| {
            training.repeats = repeats;
            repeated(&training)
        };
        let (none, expected) = of(Repeats::Never);
        let (some, found) = of(Repeats::Always);
        assert!(none == 0 && found == expected, "{name}: {some} steps had no code");
        let (fewer, found) = of(Repeats::Checked(2));
        assert!(found == expected, "{name}: {fewer} steps had no code");
        if some == 0 {
            let (method, _) = name.rsplit_once(" (").unwrap();
            never.push(method.to_owned());
        } else {
            assert!(some >= 5 && (1..some).contains(&fewer), "{name}: {some}, {fewer}");
        }
    }
    // Each way to treat batch norm is one.
    never.dedup();
    assert_eq!(never, NEVER_REPEATED);
}

#[test]
fn a_training_that_is_stopped_among_steps_without_code_goes_on_to_the_same_bytes() {
    let Some(gpu) = gpu() else { return };
    for name in ["supervised", "dann", "self_ensembling"] {
        let method = method(name);
        let mut training = Training::new(&*method, method.needs().batch_norm[0], &gpu);
        training.settings.epochs = 4;
        training.repeats = Repeats::Always;
        let (some, _) = repeated(&training);
        assert!(some >= 5, "{name}: {some}");
        goes_on(name, &training);
    }
}

/// A method of the term of `kind` with these further settings, in TOML.
fn with_term(kind: TermKind, more: &str) -> String {
    format!("method = {{ kind = '{}', target = 'other.train'{more} }}", kind.word())
}

#[test]
fn a_term_without_weight_leaves_the_gradients_of_the_source_alone() {
    let alone = step("method = 'supervised'", |_| {}).1.remove(0);
    for kind in TermKind::all() {
        let descents = step(&with_term(kind, ", lambda = 0"), |_| {}).1;
        for (name, expected) in &alone {
            let found = descents[0].iter().find(|it| it.0 == *name);
            assert_eq!(found.map(|it| &it.1), Some(expected), "{}: {name}", kind.word());
        }
    }
}

#[test]
fn a_term_that_is_added_counts_beside_the_first_one() {
    for kind in TermKind::all().filter(|kind| *kind != TermKind::Mcc) {
        let alone = with_term(kind, "");
        let with = |lambda: f64| {
            let plus = format!(", plus = [{{ kind = 'mcc', lambda = {lambda} }}]");
            step(&with_term(kind, &plus), |_| {})
        };
        let (readings, both) = with(1.0);
        let word = kind.word();
        assert_eq!(with(0.0).1, step(&alone, |_| {}).1, "{word}");
        assert_ne!(both, with(0.0).1, "{word}");
        for name in ["lambda", "mcc_lambda", "confusion_loss"] {
            assert!(readings.iter().any(|it| it.name == name), "{word}: {readings:?}");
        }
    }
}

/// Two images of each domain, all of them black: no differences between rows, and no class that is
/// likelier in one than in another.
#[test]
fn a_term_of_images_that_are_all_alike_is_finite() {
    let black = |_: usize| 0.0;
    for kind in TermKind::all() {
        let (readings, descents) =
            step_on(&with_term(kind, ""), |_| {}, [(2, &black), (2, &black)]);
        assert!(readings.iter().all(|it| it.value.is_finite()), "{}: {readings:?}", kind.word());
        let mut values = descents.iter().flatten().flat_map(|(_, values)| values);
        assert!(values.all(|value| value.is_finite()), "{}: {descents:?}", kind.word());
    }
}

#[test]
fn pytorch_took_a_step_of_every_term() {
    for kind in TermKind::all() {
        let word = kind.word();
        let files = [format!("terms/{word}.safetensors"), format!("{word}_step.safetensors")];
        let found = files.iter().any(|it| std::path::Path::new("tests/golden").join(it).exists());
        assert!(found, "tests/golden has no {}", files[0]);
    }
}
