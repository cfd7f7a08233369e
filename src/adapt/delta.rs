//! DELTA (Li, Xiong, Wang, Rao, Liu and Huan 2019, "DELTA: Deep Learning Transfer using Feature Map with Attention
//! for Convolutional Networks"): a network is fine-tuned while its feature maps stay near those that it began with.
//!
//! loss = CE(class, source) + weight / 2 sum_l sum_i sum_c C W_lc |FM_lc(x_i) - FM0_lc(x_i)|^2 / (H W)
//!        + head_decay / 2 |w_head|^2
//!
//! over some layers l, the images i of the batch and the C channels of a layer with maps of H x W values. FM0 are the
//! maps of a frozen copy in evaluation mode, while the network that learns is in training mode, with batch
//! statistics: the distance is not 0 at the start where batch norm learns. w_head are the parameters of the
//! classifier that learn. As in the authors' code nothing is divided by the number of images, and the attention W of
//! a layer, whose sum is 1, is multiplied by C.
//!
//! W_l = softmax_c(r_lc / 5)
//!
//! where r_lc is how much the cross-entropy of the frozen copy rises when channel c is set to zero, minus its mean over
//! the channels and divided by their standard deviation. It is the mean over the batches of the first steps, so
//! that it is complete after `attention_batches` of them; the authors use 4 batches before the first step, TLLib 10. A
//! batch costs a pass per channel. The copy's classifier must know the task: the authors train it first, the rest
//! being frozen. Without such batches every channel has the same W = 1 / C.
//!
//! The authors take the maps behind the last convolution of each of four stages. Here these are the maps that the
//! stages put out, after batch norm, addition and rectification. A layer that is frozen, with all before it, counts
//! for nothing, as it cannot move away.

use super::{Classified, Coefficient};
use crate::config::{Keys, Noted};
use crate::data::view::Domain;
use crate::nn::fuse::{self, outlets};
use crate::nn::geometry::Chw;
use crate::nn::ops::{Dims, OpError, Targets, Tensor};
use crate::nn::{EntryLayer, Model, Part, Pass, Spec};
use crate::train::{
    Batch, Bench, FitError, Group, Learner, Method, Misfit, Mode, Needs, NetId, SourceBatch, Visit,
};

/// The network as it came in.
const START: NetId = NetId::named("start");

/// The stages of a ResNet.
const STAGES: [&str; 4] = ["layer1", "layer2", "layer3", "layer4"];

/// What standardised rises are divided by in the softmax.
const TEMPERATURE: f64 = 5.0;

/// Settings of DELTA.
#[derive(Debug, Clone)]
pub struct Delta {
    /// Weight of the distance of the feature maps.
    pub weight: Coefficient,
    /// Weight decay of the classifier, in the loss.
    pub head_decay: f64,
    /// The layers whose maps are compared.
    pub layers: Vec<String>,
    /// Batches from which the attention is computed; 0 for the same weight of all channels.
    pub attention_batches: usize,
}

impl Delta {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("weight", "weight of the distance between the feature maps and those of the start"),
            ("head_decay", "weight decay of the classifier"),
            (
                "layers",
                "layers whose feature maps are compared; the four stages of a ResNet when left out",
            ),
            (
                "attention_batches",
                "batches of the first steps from which the weights of the channels are computed, a pass for each channel; all channels weigh the same with 0",
            ),
        ]);
        let weight = Coefficient::read(keys, "weight", Coefficient::Constant { max: 0.01 });
        let head_decay = keys.float("head_decay").at_least(0.0).or(0.01);
        let layers = keys
            .strings("layers")
            .such_that("an array of at least one name of a layer", |it| !it.is_empty())
            .or(Vec::from(STAGES.map(str::to_owned)));
        let attention_batches = keys.count("attention_batches", 0..=1_000_000).or(0_usize);
        Ok(Self {
            weight: weight?,
            head_decay: head_decay?,
            layers: layers?,
            attention_batches: attention_batches?,
        })
    }
}

impl Method for Delta {
    fn needs(&self) -> Needs<'_> {
        Needs { comes_in: true, ..Needs::SOURCE }
    }

    fn misfit(&self, spec: &Spec) -> Option<Misfit> {
        let known = outlets(spec).ok()?;
        let mut places = Vec::with_capacity(self.layers.len());
        for name in &self.layers {
            let Some(place) = fuse::after(&known, name) else {
                let message = format!("the network has no place after a layer `{name}`");
                let last = known.last().map_or("features", String::as_str);
                let all = known.join("`, `");
                let help = format!("write `layers = [\"{last}\"]`, or other places of `{all}`");
                return Some(Misfit { message, help });
            };
            if places.contains(&place) {
                let message = format!("`{name}` ends where another one of `layers` does");
                return Some(Misfit { message, help: format!("leave `{name}` out of `layers`") });
            }
            places.push(place);
        }
        None
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        bench.copy(NetId::MAIN, START);
        let model = bench.model(NetId::MAIN);
        let mut places: Vec<EntryLayer> =
            self.layers.iter().filter_map(|name| model.after(name)).collect();
        assert_eq!(places.len(), self.layers.len(), "the network has these layers");
        places.sort();
        let layers = places.into_iter().map(|place| ComparedLayer::new(model, place)).collect();
        Ok(Box::new(Keeping { settings: self, layers }))
    }
}

/// DELTA in the middle of a training.
struct Keeping<'m> {
    settings: &'m Delta,
    /// From the images to the heads.
    layers: Vec<ComparedLayer>,
}

/// A layer whose maps are compared.
struct ComparedLayer {
    place: EntryLayer,
    shape: Chw,
    /// Batches that were measured so far: one number, for the state.
    batches: Vec<u32>,
    /// The mean rise of the loss without each channel.
    rises: Vec<f32>,
}

impl ComparedLayer {
    fn new(model: &Model, place: EntryLayer) -> Self {
        let shape = model.entry_shape(place);
        Self { place, shape, batches: vec![0], rises: vec![0.0; shape.channels] }
    }

    /// C W of each channel.
    fn weights(&self) -> Vec<f32> {
        if self.batches[0] == 0 { vec![1.0; self.rises.len()] } else { attention(&self.rises) }
    }

    /// Half the sum over images and channels of the weighted mean squares of a channel's differences.
    fn distance(&self, now: &Tensor, start: &Tensor) -> Result<Tensor, OpError> {
        let away = now.add(&start.detached().scale(-1.0)?)?;
        let squares = now.ops().global_avg_pool(&away.square()?, self.shape)?;
        let weights = now.constant(self.weights(), Dims::Rows(1, self.shape.channels))?;
        squares.mul(&weights)?.sum()?.scale(0.5)
    }

    /// Adds a batch to the mean rises: `maps` are the copy's, `whole` is its loss with all channels.
    fn measure(
        &mut self,
        copy: &mut Model,
        maps: &Tensor,
        targets: &Targets,
        whole: f64,
    ) -> Result<(), OpError> {
        let (rows, channels) = (maps.rows(), self.shape.channels);
        self.batches[0] += 1;
        for (channel, mean) in self.rises.iter_mut().enumerate() {
            let kept = |at: usize| if at % channels == channel { 0.0 } else { 1.0 };
            let scale: Vec<f32> = (0..rows * channels).map(kept).collect();
            let without = maps.ops().scale_channels(maps, &scale, channels)?;
            let features = copy.features_from(self.place, &without, Pass::EVAL)?;
            let rise = loss_of(copy, &features, targets)? - whole;
            #[expect(clippy::cast_possible_truncation, reason = "the mean of losses of f32")]
            let rise = rise as f32;
            #[expect(clippy::cast_precision_loss, reason = "batches are far below 2^24")]
            let share = 1.0 / self.batches[0] as f32;
            *mean += (rise - *mean) * share;
        }
        Ok(())
    }
}

impl Learner for Keeping<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let weight = bench.knob("weight", self.settings.weight.over_time());
        let source = batch.source();
        // By what is frozen, not by whether its output was kept: that changes no number.
        let frozen = bench.model(NetId::MAIN).frozen_entry();
        let mut layers: Vec<&mut ComparedLayer> =
            self.layers.iter_mut().filter(|it| it.place > frozen).collect();
        measure(bench, source, &mut layers, self.settings.attention_batches)?;

        let places: Vec<EntryLayer> = layers.iter().map(|it| it.place).collect();
        let (images, domain) = (&source.images, Domain::Source);
        let start = match places.is_empty() {
            true => Vec::new(),
            false => bench.features_through(START, &places, images, domain, Mode::EVAL)?,
        };
        let now = bench.features_through(NetId::MAIN, &places, images, domain, Mode::LEARN)?;
        let features = now.last().expect("the end of the features");
        let logits = bench.learn(&Part::CLASSIFIER, features, domain)?;
        let classified = Classified::new(&logits, &source.targets)?;
        let mut distance = logits.constant(vec![0.0], Dims::Scalar)?;
        for ((layer, now), start) in layers.iter().zip(&now).zip(&start) {
            distance = distance.add(&layer.distance(now, start)?)?;
        }

        classified.report_loss(bench);
        bench.meter("feature_map_loss", &distance, classified.count);
        classified.report_accuracy(bench);
        let mut loss = classified.loss.add(&distance.scale(weight)?)?;
        #[expect(clippy::cast_possible_truncation, reason = "losses are f32")]
        let half_decay = (self.settings.head_decay / 2.0) as f32;
        for parameter in bench.recorded_parameters(NetId::MAIN, &Part::CLASSIFIER) {
            loss = loss.add(&parameter.square()?.sum()?.scale(half_decay)?)?;
        }
        bench.descend(&loss, &[Group::MAIN])
    }

    fn state(&mut self, visit: &mut dyn Visit) {
        for (at, layer) in self.layers.iter_mut().enumerate() {
            visit.integers(&format!("batches.{at}"), &mut layer.batches);
            visit.numbers(&format!("rises.{at}"), &mut layer.rises);
        }
    }
}

/// Measures the rises of those of `layers` that have fewer than `most` batches on this one.
fn measure(
    bench: &mut Bench,
    source: &SourceBatch,
    layers: &mut [&mut ComparedLayer],
    most: usize,
) -> Result<(), FitError> {
    let wants = |it: &ComparedLayer| usize::try_from(it.batches[0]).is_ok_and(|it| it < most);
    let mut layers: Vec<&mut &mut ComparedLayer> =
        layers.iter_mut().filter(|it| wants(it)).collect();
    if layers.is_empty() {
        return Ok(());
    }
    let places: Vec<EntryLayer> = layers.iter().map(|it| it.place).collect();
    let (images, targets) = (&source.images, &source.targets);
    let mut inner = bench.features_through(START, &places, images, Domain::Source, Mode::EVAL)?;
    let features = inner.pop().expect("the end of the features");
    let copy = bench.model_mut(START);
    let whole = loss_of(copy, &features, targets)?;
    for (layer, maps) in layers.iter_mut().zip(&inner) {
        layer.measure(copy, maps, targets, whole)?;
    }
    Ok(())
}

/// The cross-entropy of a network's classifier for these features, in evaluation mode.
fn loss_of(model: &mut Model, features: &Tensor, targets: &Targets) -> Result<f64, OpError> {
    let logits = model.forward(&Part::CLASSIFIER, features, Pass::EVAL)?;
    Ok(logits.ops().cross_entropy(&logits, targets)?.value())
}

/// C softmax(r / 5) of so many rises of the loss, r being these with mean 0 and standard deviation 1; all
/// ones where they do not differ.
#[expect(clippy::cast_precision_loss, reason = "a layer has far below 2^53 channels")]
#[expect(clippy::cast_possible_truncation, reason = "weights of a loss are f32")]
fn attention(rises: &[f32]) -> Vec<f32> {
    let count = rises.len() as f64;
    let mean = rises.iter().map(|it| f64::from(*it)).sum::<f64>() / count;
    let squares = rises.iter().map(|it| (f64::from(*it) - mean).powi(2));
    let deviation = (squares.sum::<f64>() / count).sqrt();
    if deviation == 0.0 {
        return vec![1.0; rises.len()];
    }
    let standardised = |it: &f32| (f64::from(*it) - mean) / deviation;
    let exps: Vec<f64> = rises.iter().map(|it| (standardised(it) / TEMPERATURE).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.into_iter().map(|it| (count * it / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::{rows, step};
    use crate::config::testing::read_lines;
    use crate::nn::zoo::{self, ArchSettings};
    use crate::train::{Gradient, Reading, tiny};

    /// A step of DELTA on the tiny network, whose batch norm is frozen or not.
    fn of(settings: &str, frozen: bool) -> (Vec<Reading>, Gradient) {
        let line = format!("method = {{ kind = 'delta', layers = ['features.2'], {settings} }}");
        let (readings, mut descents) = step(&line, |model| {
            for parameter in model.parameters_mut() {
                parameter.trainable &= !(frozen && parameter.name.starts_with("features.1."));
            }
        });
        (readings, descents.remove(0))
    }

    fn reading(readings: &[Reading], name: &str) -> f64 {
        readings.iter().find(|it| it.name == name).unwrap().value
    }

    #[test]
    fn at_the_start_the_maps_are_those_of_the_copy_where_batch_norm_is_frozen() {
        assert_eq!(reading(&of("head_decay = 0", true).0, "feature_map_loss"), 0.0);
        assert!(reading(&of("head_decay = 0", false).0, "feature_map_loss") > 0.0);
    }

    #[test]
    fn without_weight_a_step_is_that_of_the_cross_entropy_and_the_head_decays_as_asked() {
        let alone = step("method = 'supervised'", |_| {}).1.remove(0);
        assert_eq!(of("weight = 0, head_decay = 0", false).1, alone);
        assert_ne!(of("head_decay = 0", false).1, alone);
        let decayed = of("weight = 0, head_decay = 0.5", false).1;
        for (parameter, ((name, found), (_, alone))) in
            tiny::model().parameters().iter().zip(decayed.iter().zip(&alone))
        {
            assert_eq!(parameter.name, *name);
            let decay = if name.starts_with("classifier.") { 0.5 } else { 0.0 };
            for ((found, alone), value) in found.iter().zip(alone).zip(parameter.value.host()) {
                let expected = alone + decay * value;
                assert!((found - expected).abs() < 1e-6, "{name}: {found} and {expected}");
            }
        }
    }

    #[test]
    fn the_distance_is_the_weighted_mean_square_of_each_channel() {
        let shape = Chw { channels: 2, height: 1, width: 3 };
        let place = EntryLayer::IMAGES;
        let rises = vec![0.5, -0.25];
        let mut layer = ComparedLayer { place, shape, batches: vec![0], rises };
        let now = rows(vec![1.0, 2.0, 3.0, 0.0, 0.0, 4.0, -1.0, 0.0, 0.0, 2.0, 2.0, 2.0], 6);
        let start = rows(vec![0.0, 2.0, 1.0, 0.0, 1.0, 4.0, 0.0, 0.0, 0.0, 2.0, 2.0, 1.0], 6);
        let [first, second] = [(5.0 + 1.0) / 3.0, (1.0 + 1.0) / 3.0];
        let found = layer.distance(&now, &start).unwrap().value();
        assert!((found - (first + second) / 2.0).abs() < 1e-6, "{found}");
        // Two rises are 1 and -1 when they are standardised.
        layer.batches = vec![1];
        let [high, low] = [0.2_f64.exp(), (-0.2_f64).exp()].map(|it| 2.0 * it);
        let sum = f64::midpoint(high, low);
        let expected = (high * first + low * second) / sum / 2.0;
        let found = layer.distance(&now, &start).unwrap().value();
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
    }

    #[test]
    fn attention_has_a_mean_of_one_and_is_even_where_nothing_differs() {
        let weights = attention(&[0.1, -0.3, 0.7, 0.0]);
        let mean: f32 = weights.iter().sum::<f32>() / 4.0;
        assert!((mean - 1.0).abs() < 1e-6, "{weights:?}");
        assert!(weights[2] > weights[0] && weights[3] > weights[1], "{weights:?}");
        assert_eq!(attention(&[0.25; 3]), [1.0; 3]);
    }

    #[test]
    fn a_channel_matters_as_much_as_the_copy_s_loss_rises_without_it() {
        let method = read_lines("layers = ['features.2']\nattention_batches = 2", Delta::read);
        let method = method.0.unwrap();
        let mut model = tiny::model();
        // The classifier looks at the second of two channels only.
        let weight = model.parameters_mut().iter_mut().find(|it| it.name == "classifier.0.weight");
        let looks = |at: usize| if at % 8 < 4 { 0.0 } else { (at % 3) as f32 - 1.0 };
        weight.unwrap().value.write(&(0..16).map(looks).collect::<Vec<f32>>());
        let settings = tiny::settings(1);
        let mut bench = Bench::alone(model, &settings).unwrap();
        bench.copy(NetId::MAIN, START);
        let place = bench.model(NetId::MAIN).after(&method.layers[0]).unwrap();
        let mut layer = ComparedLayer::new(bench.model(NetId::MAIN), place);
        let number = |at: usize| ((at * 37) % 101) as f32 / 50.0 - 1.0;
        for batch in 0..3 {
            let images = rows((0..192).map(|at| number(at + batch)).collect::<Vec<f32>>(), 48);
            let source = SourceBatch::plain(images, Targets::plain(&[0, 1, 1, 0]));
            measure(&mut bench, &source, &mut [&mut layer], method.attention_batches).unwrap();
        }
        assert_eq!(layer.batches, [2], "no more than was asked for");
        assert_eq!(layer.rises[0], 0.0);
        assert!(layer.rises[1].abs() > 1e-4, "{:?}", layer.rises);
    }

    #[test]
    fn layers_that_are_not_there_or_there_twice_are_a_misfit() {
        let input = Chw { channels: 3, height: 32, width: 32 };
        let spec = |arch: &str| {
            let layout = ArchSettings { small_input: true, ..ArchSettings::new(input, 7) };
            (zoo::find(arch).unwrap().build)(layout)
        };
        let read = |lines: &str| read_lines(lines, Delta::read).0.unwrap();
        assert_eq!(read("").misfit(&spec("resnet18")), None);
        let misfit = read("").misfit(&spec("dacnn")).unwrap();
        assert_eq!(misfit.message, "the network has no place after a layer `layer1`");
        assert!(misfit.help.starts_with("write `layers = [\"features.flatten\"]`"), "{misfit:?}");
        assert_eq!(read("layers = ['features.flatten']").misfit(&spec("dacnn")), None);
        let twice = read("layers = ['layer4', 'layer4.1']").misfit(&spec("resnet18")).unwrap();
        assert_eq!(twice.message, "`layer4.1` ends where another one of `layers` does");
    }
}
