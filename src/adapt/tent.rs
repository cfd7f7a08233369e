//! Tent (Wang, Shelhamer, Liu, Olshausen and Darrell 2021, "Tent: Fully Test-Time Adaptation by Entropy
//! Minimization"): adapts the batch norm layers of a trained network to the target by making it surer.
//!
//! loss = mean_i H(p_i),    H(p) = -sum_k p_k ln p_k
//!
//! with the class probabilities p of the target images of a batch, through both factors of which the gradient
//! goes. Only the weights and biases of batch norm layers move, by the optimizer of the stage; every other
//! gradient is dropped. Batch norm goes by the moments of the batch, and dropout is on, as in the authors' code.
//!
//! The paper adapts online: it predicts each batch by the batch's own moments before it learns from it, sees
//! no image twice, and the network has no running averages. Here the target's images are trained on for so many
//! epochs, and what is evaluated afterwards is one network, which goes by running averages. The passes of the
//! steps move these with the momentum of the layers, so that they forget the source within some tens of steps.

use super::vat::entropy;
use crate::config::{Keys, Noted, Reference, Wants};
use crate::data::view::Domain;
use crate::nn::Model;
use crate::train::{Batch, Bench, FitError, Group, Learner, Method, Mode, Needs, NetId};

/// Settings of Tent.
#[derive(Debug, Clone)]
pub struct Tent {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
}

impl Tent {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[("target", "unlabelled images of the target domain")]);
        Ok(Self { target: keys.reference("target", Wants::Split("train"))? })
    }
}

impl Method for Tent {
    fn needs(&self) -> Needs<'_> {
        Needs::target_alone(&self.target)
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        let model = bench.model(NetId::MAIN);
        if model.stats().is_empty() {
            return Err(FitError::NoBatchNorm);
        }
        Ok(Box::new(Sharpening { of_norms: of_norms(model) }))
    }
}

/// For each parameter of a network whether it belongs to a batch norm layer.
fn of_norms(model: &Model) -> Vec<bool> {
    let is_norm = |layer: &str| model.stats().iter().any(|it| it.layer == layer);
    let is_of_norm = |name: &str| name.rsplit_once('.').is_some_and(|(layer, _)| is_norm(layer));
    model.parameters().iter().map(|it| is_of_norm(&it.name)).collect()
}

/// Tent in the middle of a training: besides the network it remembers nothing.
struct Sharpening {
    of_norms: Vec<bool>,
}

impl Learner for Sharpening {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let images = &batch.target().images;
        let logits = bench.class_logits(NetId::MAIN, images, Domain::Target, Mode::LEARN)?;
        let entropy = entropy(&logits)?;
        bench.meter("target_entropy_loss", &entropy, logits.rows());
        let mut gradients = bench.gradients(&entropy)?;
        let parameters = bench.model(NetId::MAIN).parameters().iter().zip(&self.of_norms);
        for (parameter, _) in parameters.filter(|(_, is_of_norm)| !**is_of_norm) {
            drop(gradients.take(&parameter.value));
        }
        bench.update(&mut gradients, &[Group::MAIN])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::{rows, step};
    use crate::config::testing::read_lines;
    use crate::nn::geometry::Chw;
    use crate::nn::ops::{CpuOps, Tape};
    use crate::nn::zoo::{self, ArchSettings};
    use crate::train::{Optimizer, TargetBatch, TrainingSettings, tiny};

    const LINE: &str = "method = { kind = 'tent', target = 'other.train' }";

    fn tent() -> Tent {
        read_lines("target = 'other'", Tent::read).0.unwrap()
    }

    /// The values of each parameter, by its name.
    fn values(model: &Model) -> Vec<(String, Vec<f32>)> {
        model.parameters().iter().map(|it| (it.name.clone(), it.value.host())).collect()
    }

    #[test]
    fn weights_and_biases_of_batch_norm_alone_have_a_gradient() {
        let (_, descents) = step(LINE, |_| {});
        let [descent] = &descents[..] else { panic!("{descents:?}") };
        let names: Vec<&str> = descent.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["features.1.weight", "features.1.bias"]);
        let moves = |values: &Vec<f32>| values.iter().any(|it| *it != 0.0);
        assert!(descent.iter().all(|(_, values)| moves(values)), "{descent:?}");
    }

    /// Weight decay would move what has no gradient if it were an update.
    #[test]
    fn steps_make_a_batch_surer_and_leave_every_other_parameter_as_it_was() {
        let sgd = Optimizer::Sgd { lr: 0.5, momentum: 0.9, nesterov: false, weight_decay: 1e-3 };
        let settings = TrainingSettings::plain(4, sgd);
        let mut bench = Bench::alone(tiny::model(), &settings).unwrap();
        let method = tent();
        let mut learner = method.begin(&mut bench).unwrap();
        let before = values(bench.model(NetId::MAIN));
        let images: Vec<f32> =
            (0..4 * 48).map(|at| ((at * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let images = rows(images, 48);
        let mut entropies = Vec::new();
        for at in 0..20 {
            let target = Some(TargetBatch::plain(images.clone()));
            let batch = Batch { source: None, target };
            let readings = bench.step_alone(&mut *learner, &batch, (at, 20), false).unwrap().0;
            let entropy = readings.iter().find(|it| it.name == "target_entropy_loss");
            entropies.push(entropy.unwrap().value);
        }
        assert!(entropies[19] < 0.95 * entropies[0], "{entropies:?}");
        let after = values(bench.model(learner.predictor()));
        for ((name, before), (_, after)) in before.iter().zip(&after) {
            assert_eq!(before != after, name.starts_with("features.1."), "{name}");
        }
    }

    #[test]
    fn the_entropy_is_that_of_softmax_and_finite_where_a_class_is_certain() {
        let logits = [0.5, -1.0, 2.0, 0.0, 3.0, 0.25];
        let found = entropy(&rows(logits.map(|it| it as f32).to_vec(), 3)).unwrap().value();
        let of_row = |row: &[f64]| {
            let sum: f64 = row.iter().map(|it| it.exp()).sum();
            row.iter().map(|it| it.exp() / sum * (sum.ln() - it)).sum::<f64>()
        };
        let expected = logits.chunks(3).map(of_row).sum::<f64>() / 2.0;
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        let tape = Tape::default();
        let certain = rows(vec![1e4, -1e4, 0.0], 3).on(&tape);
        let loss = entropy(&certain).unwrap();
        assert!(loss.value().abs() < 1e-6, "{}", loss.value());
        let gradient = tape.backward(&loss).unwrap().take(&certain).unwrap().host();
        assert!(gradient.iter().all(|it| it.abs() < 1e-6), "{gradient:?}");
    }

    #[test]
    fn a_network_without_batch_norm_is_an_error() {
        let input = Chw { channels: 1, height: 28, width: 28 };
        let spec = (zoo::find("lenet").unwrap().build)(ArchSettings::new(input, 10));
        let model = Model::new(spec, &CpuOps::shared(), 0).unwrap();
        let (method, settings) = (tent(), tiny::settings(1));
        let mut bench = Bench::alone(model, &settings).unwrap();
        let Err(error) = method.begin(&mut bench) else { panic!("there is nothing to adapt") };
        assert!(error.to_string().contains("batch norm"), "{error}");
    }
}
