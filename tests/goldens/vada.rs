//! A step of VADA gives the losses, gradients, and the parameters and running averages of the network and of
//! its average that PyTorch gives, on every backend (tests/golden/vada_step.py).

use runner::nn::Part;
use runner::nn::ops::{Backend, Targets};
use runner::train::{Batch, Bench, NetId, SourceBatch, TargetBatch, TrainingSettings};

use crate::backends::backends;
use crate::reference::method_step::{Golden, labels, reading};

#[test]
fn a_step_of_vada_equals_pytorch() {
    for ops in backends() {
        compare(&ops);
    }
}

fn compare(ops: &Backend) {
    let golden = Golden::open("vada");
    let method = golden.method();
    let adam = golden.adam([0.5, 0.999], 0.0);
    let rows = golden.count("source_rows");
    let settings = TrainingSettings::plain(rows, adam);
    let mut model = golden.model(ops, &*method);
    // Where a pass of perturbed images comes near a tie is not known beforehand.
    model.set_precise(true);
    let mut comparison = golden.compare(&model);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();
    let labels = labels(rows);
    let [source, target] = golden.both(ops, 0);
    let batch = Batch {
        source: Some(SourceBatch::plain(source, Targets::plain(&labels))),
        target: Some(TargetBatch::plain(target.clone())),
    };
    let (readings, descents) = bench.step_alone(&mut *learner, &batch, (0, 1), true).unwrap();

    let losses = ["class", "adversarial", "source_vat", "target_vat", "target_entropy"];
    let of_main = losses.map(|loss| ("main", format!("{loss}_loss")));
    for (phase, loss) in of_main.into_iter().chain([("D", "domain_loss".to_owned())]) {
        comparison.values(&format!("step 1/{phase}/{loss}"), &[reading(&readings, &loss)]);
    }
    let [of_domain, of_main] = &descents[..] else { panic!("{} descents", descents.len()) };
    comparison.gradients("step 1/D", of_domain);
    comparison.gradients("step 1/main", of_main);
    let average = learner.predictor();
    assert_ne!(average, NetId::MAIN, "the average is evaluated");
    let parts = [Part::FEATURES, Part::CLASSIFIER, Part::DOMAIN];
    comparison.state("step 1/after", bench.model(NetId::MAIN), &parts);
    comparison.state("step 1/average", bench.model(average), &parts[..2]);
    let logits = bench.model_mut(average).logits(&target).unwrap();
    comparison.values("end/predicted", &logits.host());
    comparison.assert_within();
}
