//! A step of DIRT-T gives the losses, gradients, and the parameters and running averages of the network and of
//! its average that PyTorch gives, on every backend (tests/golden/dirt_t_step.py).

use runner::nn::Part;
use runner::nn::ops::Backend;
use runner::train::{Batch, Bench, NetId, TargetBatch, TrainingSettings};

use crate::backends::backends;
use crate::reference::method_step::{Golden, reading};

#[test]
fn a_step_of_dirt_t_equals_pytorch() {
    for ops in backends() {
        compare(&ops);
    }
}

fn compare(ops: &Backend) {
    let golden = Golden::open("dirt_t");
    let method = golden.method();
    let adam = golden.adam([0.5, 0.999], 0.0);
    let rows = golden.count("target_rows");
    let settings = TrainingSettings::plain(rows, adam);
    let mut model = golden.model(ops, &*method);
    // Where a pass of perturbed images comes near a tie is not known beforehand.
    model.set_precise(true);
    let mut comparison = golden.compare(&model);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();
    let target = golden.images(ops, 0, rows, golden.number("target_bound"));
    let batch = Batch { source: None, target: Some(TargetBatch::plain(target.clone())) };
    let (readings, descents) = bench.step_alone(&mut *learner, &batch, (0, 1), true).unwrap();

    for loss in ["teacher_loss", "target_entropy_loss", "target_vat_loss"] {
        comparison.values(&format!("step 1/{loss}"), &[reading(&readings, loss)]);
    }
    let [gradients] = &descents[..] else { panic!("{} descents", descents.len()) };
    comparison.gradients("step 1", gradients);
    let average = learner.predictor();
    assert_ne!(average, NetId::MAIN, "the average is evaluated");
    let parts = [Part::FEATURES, Part::CLASSIFIER];
    comparison.state("step 1/after", bench.model(NetId::MAIN), &parts);
    comparison.state("step 1/average", bench.model(average), &parts);
    let logits = bench.model_mut(average).logits(&target).unwrap();
    comparison.values("end/predicted", &logits.host());
    comparison.assert_within();
}
