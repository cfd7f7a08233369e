//! One step of each term that a method adds to the cross-entropy of the source gives the losses and
//! gradients that PyTorch gives, on every backend (tests/golden/terms.py).

use std::fs;
use std::path::{Path, PathBuf};

use runner::nn::ops::{Backend, Targets};
use runner::train::{
    Batch, Bench, NetId, Optimizer, SourceBatch, TargetBatch, TrainingSettings, WholeSet,
};

use crate::backends::backends;
use crate::reference::method_step::{Golden, labels, reading};

/// The gradients are compared, not what an optimizer makes of them.
const STILL: Optimizer =
    Optimizer::Sgd { lr: 0.0, momentum: 0.0, nesterov: false, weight_decay: 0.0 };

#[test]
fn a_step_of_every_term_equals_pytorch() {
    let entries = fs::read_dir("tests/golden/terms").unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it == "safetensors"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        for ops in backends() {
            compare(&file, &ops);
        }
    }
}

fn compare(file: &Path, ops: &Backend) {
    let golden = Golden::read(file);
    let method = golden.method();
    let (rows, target_rows) = (golden.count("source_rows"), golden.count("target_rows"));
    let settings = TrainingSettings::plain(rows, STILL);
    let model = golden.model(ops, &*method);
    let mut comparison = golden.compare(&model);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();
    let labels = labels(rows);
    let [source, target] = golden.both(ops, 0);
    let indices: Vec<usize> = (0..target_rows).collect();
    let batch = Batch {
        source: Some(SourceBatch::plain(source, Targets::plain(&labels))),
        target: Some(TargetBatch { indices: (&indices).into(), ..TargetBatch::plain(target) }),
    };
    if method.needs().whole_set.is_some() {
        // The images of the batch are the first ones of the set.
        let [features, probabilities] =
            ["features", "probabilities"].map(|it| golden.tensor(&format!("labelling/{it}")));
        let classes = bench.model(NetId::MAIN).spec().classes;
        let width = features.len() / (probabilities.len() / classes);
        let seen = WholeSet { features, width, probabilities, classes };
        learner.refresh(&mut bench, &seen).unwrap();
    }
    let (readings, descents) = bench.step_alone(&mut *learner, &batch, (0, 1), true).unwrap();
    for name in golden.names_after("step/").filter(|name| !name.starts_with("gradient ")) {
        comparison.values(&format!("step/{name}"), &[reading(&readings, name)]);
    }
    let [gradients] = &descents[..] else { panic!("one descent in {}", file.display()) };
    comparison.gradients("step", gradients);
    comparison.assert_within();
}
