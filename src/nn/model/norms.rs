//! Batch norm with tensors of their own for each of two domains (Chang et al. 2019, "Domain-Specific
//! Batch Normalization for Unsupervised Domain Adaptation"). Runs nothing.

use super::{Model, NormTensors, Parameter, RunningStats};
use crate::nn::ops::OpError;
use crate::nn::spec::Layer;

impl Model {
    /// Gives every batch norm layer a second set of parameters and running statistics for the source
    /// domain, which begins as a copy of its own. Their names go on from the layer's with `source`. The
    /// names of the new parameters.
    ///
    /// # Errors
    /// When they do not fit into the memory of the device.
    pub fn split_norms(&mut self) -> Result<Vec<String>, OpError> {
        let mut new = Vec::new();
        for at in 0..self.layers.len() {
            let layer = &self.layers[at];
            if !matches!(layer.placed.layer, Layer::BatchNorm { .. }) || layer.source.is_some() {
                continue;
            }
            let own = layer.weight.zip(layer.bias).zip(layer.stats);
            let ((weight, bias), stats) = own.expect("batch norm has its tensors");
            let name = format!("{}.source", layer.placed.name);
            let mut copy = |from: usize, word: &str| -> Result<usize, OpError> {
                let name = format!("{name}.{word}");
                new.push(name.clone());
                let old = self.parameters[from].clone();
                let value = self.flat(old.value.host())?;
                self.parameters.push(Parameter { name, value, ..old });
                Ok(self.parameters.len() - 1)
            };
            let (weight, bias) = (copy(weight, "weight")?, copy(bias, "bias")?);
            let old = self.stats[stats].clone();
            let (mean, var) = (self.flat(old.mean.host())?, self.flat(old.var.host())?);
            self.stats.push(RunningStats { layer: name, mean, var, ..old });
            let stats = self.stats.len() - 1;
            self.layers[at].source = Some(NormTensors { weight, bias, stats });
        }
        Ok(new)
    }

    /// Takes the second set away again: what is left is the network of the target.
    pub fn drop_source_norms(&mut self) {
        let sources: Vec<NormTensors> =
            self.layers.iter_mut().filter_map(|layer| layer.source.take()).collect();
        // They stand behind all others.
        if let Some(first) = sources.first() {
            self.parameters.truncate(first.weight);
            self.stats.truncate(first.stats);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::geometry::Chw;
    use crate::nn::ops::{CpuOps, Dims, Tape, Tensor};
    use crate::nn::zoo::{self, ArchSettings};
    use crate::nn::{DropoutKey, Part, Pass, StochasticNorm};

    fn dacnn() -> Model {
        let input = Chw { channels: 3, height: 28, width: 28 };
        let spec = (zoo::find("dacnn").unwrap().build)(ArchSettings::new(input, 10));
        Model::new(spec, &CpuOps::shared(), 1).unwrap()
    }

    fn pass(model: &mut Model, x: &Tensor, source_norms: bool) -> Vec<f32> {
        let tape = Tape::default();
        let key = DropoutKey { seed: 0, pass: "source", epoch: 0, step: 0 };
        let pass = Pass { source_norms, ..Pass::train(&tape, key) };
        model.forward(&Part::FEATURES, x, pass).unwrap().host()
    }

    #[test]
    fn which_channels_go_by_averages_is_drawn_for_each_layer_pass_and_step() {
        let key = DropoutKey { seed: 0, pass: "source", epoch: 0, step: 0 };
        let of = |key, p, layer| StochasticNorm { key, p }.by_averages(layer, 1000);
        let share = |chosen: &[bool]| chosen.iter().filter(|it| **it).count();
        let first = of(key, 0.25, "bn1");
        assert!((200..300).contains(&share(&first)), "{}", share(&first));
        assert_eq!((share(&of(key, 0.0, "bn1")), share(&of(key, 1.0, "bn1"))), (0, 1000));
        assert_eq!(of(key, 0.25, "bn1"), first);
        let others = [
            of(key, 0.25, "bn2"),
            of(DropoutKey { step: 1, ..key }, 0.25, "bn1"),
            of(DropoutKey { pass: "source 2", ..key }, 0.25, "bn1"),
            of(DropoutKey { seed: 1, ..key }, 0.25, "bn1"),
        ];
        assert!(others.iter().all(|other| *other != first));
    }

    #[test]
    fn each_domain_moves_its_own_statistics_and_the_target_s_are_left_in_the_end() {
        let mut model = dacnn();
        let plain = (model.parameters().len(), model.stats().len());
        let new = model.split_norms().unwrap();
        assert_eq!(new[..2], ["features.bn1.source.weight", "features.bn1.source.bias"]);
        assert_eq!(model.parameters().len(), plain.0 + new.len());
        let x: Vec<f32> = (0..2 * 2352).map(|at| (at % 13) as f32 / 13.0).collect();
        let x = model.ops().tensor(x, Dims::Rows(2, 2352)).unwrap();
        let before = model.stats()[0].mean.host();
        let of_source = pass(&mut model, &x, true);
        assert_eq!(model.stats()[0].mean.host(), before);
        let at = model.stats().iter().position(|it| it.layer == "features.bn1.source").unwrap();
        assert_ne!(model.stats()[at].mean.host(), before);
        // Both sets begin alike, so the same batch gives the same values.
        assert_eq!(pass(&mut model, &x, false), of_source);
        assert_eq!(model.stats()[0].mean.host(), model.stats()[at].mean.host());
        model.drop_source_norms();
        assert_eq!((model.parameters().len(), model.stats().len()), plain);
        assert_eq!(pass(&mut model, &x, true), of_source);
    }
}
