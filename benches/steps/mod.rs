//! The pieces of work that are timed against PyTorch, this project's side, on any backend.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use runner::adapt::{self, Supervised};
use runner::config::node::Value;
use runner::config::source::Sources;
use runner::config::{Keys, document};
use runner::data::{Images, Normalisation};
use runner::nn::geometry::Chw;
use runner::nn::ops::{Backend, Dims, Targets, Tensor};
use runner::nn::{
    Model, freeze,
    zoo::{self, ArchSettings},
};
use runner::progress::{Silent, Watch};
use runner::train::activations::{Activations, Cache, Caching};
use runner::train::{
    Batch, Bench, Learner, Method, NetId, Optimizer, Repeats, SourceBatch, TargetBatch,
    TrainingSettings,
};

/// Answers each line `WORK TIMES` of the standard input with that many times in milliseconds.
pub fn answer(ops: &Backend) {
    let mut benches: HashMap<String, Work> = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line of text");
        let (work, times) = line.split_once(' ').expect("WORK TIMES");
        let bench = benches.entry(work.to_owned()).or_insert_with(|| Work::new(ops, work));
        let times: Vec<String> = (0..times.parse().expect("a number"))
            .map(|_| {
                let start = Instant::now();
                bench.run();
                bench.wait();
                format!("{:.3}", start.elapsed().as_secs_f64() * 1e3)
            })
            .collect();
        println!("{}", times.join(" "));
        std::io::stdout().flush().expect("somebody listens");
    }
}

/// Prints what a step takes the host, for each of some pieces of work: microseconds, the median of rounds of steps that nobody waits
/// for and the fastest round, of steps that the device repeats without their code and of steps whose code runs. Only a device
/// that does nothing says what the host takes.
pub fn print_host_times(ops: &Backend) {
    println!("{:18} {:>15} {:>15}", "", "without code", "with code");
    for work in ["dacnn-dann", "dacnn-supervised", "lenet-dann", "lenet-supervised"] {
        let [without, with] =
            [Repeats::Always, Repeats::Never].map(|repeats| host_times(ops, work, repeats));
        println!("{work:18} {:7.1} {:7.1} {:7.1} {:7.1}", without.0, without.1, with.0, with.1);
    }
}

/// The median of rounds of a step in microseconds, and the fastest one.
fn host_times(ops: &Backend, work: &str, repeats: Repeats) -> (f64, f64) {
    const ROUNDS: usize = 21;
    const STEPS: u32 = 20;
    let mut bench = Work::unused(ops, work);
    bench.bench.set_repeats(repeats);
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..STEPS).for_each(|_| bench.step_unread());
            start.elapsed().as_secs_f64() * 1e6 / f64::from(STEPS)
        })
        .collect();
    // The first rounds are those in which steps are recorded.
    times.drain(..3);
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}

/// One piece of work.
struct Work {
    bench: Bench<'static>,
    /// What takes the steps; `None` where there are none.
    learner: Option<Box<dyn Learner>>,
    source: Tensor,
    target: Option<Tensor>,
    labels: Vec<u32>,
    /// Passes over the batch.
    passes: usize,
    /// What frozen layers make of a data set, for an epoch from there.
    frozen: Option<Arc<Activations>>,
}

impl Work {
    /// One that is warmed up.
    fn new(ops: &Backend, work: &str) -> Self {
        let mut bench = Self::unused(ops, work);
        for _ in 0..3 {
            bench.run();
        }
        bench
    }

    fn unused(ops: &Backend, work: &str) -> Self {
        let digits = |channels| Chw { channels, height: 28, width: 28 };
        let photographs = Chw { channels: 3, height: 224, width: 224 };
        let supervised = || Some(Box::new(Supervised) as Box<dyn Method>);
        let (arch, input, images, passes, method) = match work {
            "dacnn-dann" => ("dacnn", digits(3), 256, 1, Some(dann())),
            "dacnn-supervised" => ("dacnn", digits(3), 256, 1, supervised()),
            // 10,000 images: 39 batches of 256 and the rest.
            "dacnn-evaluate" => ("dacnn", digits(3), 256, 39, None),
            "lenet-dann" => ("lenet", digits(1), 64, 1, Some(dann())),
            "lenet-supervised" => ("lenet", digits(1), 128, 1, supervised()),
            "resnet18-forward" => ("resnet18", photographs, 32, 1, None),
            "resnet18-frozen-epoch" => ("resnet18", photographs, 32, 8, supervised()),
            "resnet18-layer4" => ("resnet18", photographs, 32, 1, supervised()),
            "resnet18-layer4-64" => ("resnet18", photographs, 64, 1, supervised()),
            "resnet18-all-256" => ("resnet18", photographs, 256, 1, supervised()),
            "resnet50-all-32" => ("resnet50", photographs, 32, 1, supervised()),
            _ => panic!("there is no work `{work}`"),
        };
        let build = zoo::find(arch).expect("a network of the zoo").build;
        let mut model =
            Model::new(build(ArchSettings::new(input, 10)), ops, 0).expect("the network fits");
        for head in method.iter().flat_map(|method| method.heads(model.spec())).collect::<Vec<_>>()
        {
            model.add_head(head, 0).expect("the head fits");
        }
        let mut optimizer = Optimizer::Adam(runner::train::Adam {
            lr: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
        });
        if arch.starts_with("resnet") {
            let thaw = ["fc.*", "layer4.*"].map(str::to_owned);
            let thaw = if work.contains("layer4") { &thaw[..] } else { &thaw[..1] };
            if !work.contains("-all-") {
                freeze::apply(&mut model, &["*".to_owned()], thaw).expect("names of the network");
            }
            optimizer =
                Optimizer::Sgd { lr: 1e-3, momentum: 0.9, nesterov: false, weight_decay: 0.0 };
        }
        let batch = |salt| {
            let values = (0..images * input.len()).map(|at| noise(at + salt)).collect::<Vec<_>>();
            ops.tensor(values, Dims::Rows(images, input.len())).expect("memory")
        };
        let source = batch(0);
        let adapts = method.as_ref().is_some_and(|method| method.needs().target.is_some());
        let target = adapts.then(|| batch(1 << 24));
        let labels = (0..10).cycle().take(images).collect();
        let frozen = (work == "resnet18-frozen-epoch").then(|| {
            let count = images * passes;
            let pixels =
                (0..count * input.len()).map(|at| (noise(at) * 127.0) as u8).collect::<Vec<u8>>();
            let set = Images::same(input.channels, (input.height, input.width), pixels);
            let cache = Cache::new(std::env::temp_dir(), 1 << 30);
            let caching = Caching { cache: &cache, backend: "bench", uses: passes };
            let normalisation = Normalisation { mean: &[0.5; 3], std: &[0.5; 3] };
            let cancel = AtomicBool::new(false);
            let watch = Watch { progress: &Silent, cancel: &cancel };
            let kept = caching.of(&mut model, &set, normalisation, &watch).expect("memory");
            kept.expect("the network is worth it")
        });
        // They live as long as the program.
        let settings = Box::leak(Box::new(TrainingSettings::plain(images, optimizer)));
        let mut bench = Bench::alone(model, settings).expect("memory");
        let learner = method.map(|method| {
            let method: &'static dyn Method = Box::leak(method);
            method.begin(&mut bench).expect("memory")
        });
        Self { bench, learner, source, target, labels, passes, frozen }
    }

    /// Waits for the device, whose work may be asynchronous: reads the fewest values that there are.
    fn wait(&self) {
        let smallest =
            self.bench.model(NetId::MAIN).parameters().iter().min_by_key(|p| p.value.len());
        smallest.expect("a network has parameters").value.host();
    }

    fn run(&mut self) {
        if self.learner.is_none() {
            let model = self.bench.model_mut(NetId::MAIN);
            for _ in 0..self.passes {
                model.logits(&self.source).expect("memory");
            }
            if self.passes == 1 {
                return;
            }
            let rest = 10_000 - self.passes * self.labels.len();
            let width = self.source.columns();
            let values = vec![0.1; rest * width];
            let rest = self.source.constant(values, Dims::Rows(rest, width)).expect("memory");
            model.logits(&rest).expect("memory");
            return;
        }
        for pass in 0..self.passes {
            let size = self.labels.len();
            let source = match &self.frozen {
                None => self.source.clone(),
                Some(activations) => {
                    let indices: Vec<usize> = (pass * size..(pass + 1) * size).collect();
                    let values = activations.batch(&indices);
                    let dims = Dims::Rows(size, values.len() / size);
                    self.bench.enter_at(activations.entry);
                    self.source.constant(values, dims).expect("memory")
                }
            };
            self.step(source);
        }
    }

    fn step(&mut self, images: Tensor) {
        let batch = batch(images, self.target.clone(), &self.labels);
        let learner = self.learner.as_deref_mut().expect("it takes steps");
        // In the middle of a training.
        self.bench.step_alone(learner, &batch, (500, 1000), false).expect("memory");
    }

    /// The same without a look at what it gives.
    fn step_unread(&mut self) {
        let batch = batch(self.source.clone(), self.target.clone(), &self.labels);
        let learner = self.learner.as_deref_mut().expect("it takes steps");
        self.bench.step_unread(learner, &batch, (500, 1000)).expect("memory");
    }
}

fn batch(source: Tensor, target: Option<Tensor>, labels: &[u32]) -> Batch<'_> {
    let source = SourceBatch::plain(source, Targets::plain(labels));
    Batch { source: Some(source), target: target.map(TargetBatch::plain) }
}

fn dann() -> Box<dyn Method> {
    let text = "method = { kind = 'dann', target = 'target' }";
    let root = document::parse(Sources::default().add("bench", text), text).expect("TOML");
    let Value::Table(table) = &root.value else { unreachable!("a document is a table") };
    adapt::read(&mut Keys::new(table, root.span)).expect("a method")
}

/// Numbers between -1 and 1 without order.
fn noise(at: usize) -> f32 {
    (at.wrapping_mul(0x9E37_79B9) >> 8 & 0xFFFF) as f32 / 32768.0 - 1.0
}
