//! A trained network with a new classifier, or with two. Trains nothing.

use std::collections::HashMap;

use super::geometry::Chw;
use super::heads::NewLayers;
use super::model::{Model, Parameter, RunningStats};
use super::placement::SpecError;
use super::spec::Part;

/// `old` for images of shape `input` and `classes` classes, with what `new` names made new as
/// [`Spec::renewed`](super::Spec::renewed) has it, and the names of the parameters that are new. What is
/// not new keeps its weights and whether it learns; what is new learns, drawn with `seed`.
///
/// # Errors
/// When the layers do not fit together.
pub fn replace(
    old: &Model,
    new: &NewLayers,
    input: Chw,
    classes: usize,
    seed: u64,
) -> Result<(Model, Vec<String>), SpecError> {
    let (spec, fresh) = old.spec().clone().renewed(new, input, classes);
    let is_fresh = |name: &str| fresh.iter().any(|prefix| name.starts_with(prefix));
    let mut model = Model::with_heads(spec, &old.heads(), old.ops(), seed)?;
    model.set_frozen_batch_norm(old.frozen_batch_norm());
    let parameters: HashMap<&str, &Parameter> =
        old.parameters().iter().map(|it| (it.name.as_str(), it)).collect();
    let mut new = Vec::new();
    for parameter in model.parameters_mut() {
        match parameters.get(parameter.name.as_str()) {
            Some(old) if old.shape == parameter.shape && !is_fresh(&parameter.name) => {
                parameter.value.write(&old.value.host());
                parameter.trainable = old.trainable;
            }
            _ => new.push(parameter.name.clone()),
        }
    }
    let statistics: HashMap<&str, &RunningStats> =
        old.stats().iter().map(|it| (it.layer.as_str(), it)).collect();
    for stats in model.stats_mut() {
        if let Some(old) = statistics.get(stats.layer.as_str())
            && old.mean.len() == stats.mean.len()
            && !is_fresh(&format!("{}.", stats.layer))
        {
            stats.mean.write(&old.mean.host());
            stats.var.write(&old.var.host());
            stats.batches = old.batches;
        }
    }
    Ok((model, new))
}

/// Gives `model`, which [`replace`] made of `old`, the classifier of `old` as the head `part`, with its weights and
/// with whether they learn.
///
/// # Errors
/// When that does not fit the features of `model`, or not into the memory.
pub fn keep_classifier(model: &mut Model, old: &Model, part: &Part) -> Result<(), SpecError> {
    model.spec().with_classifier_of(old.spec(), part)?;
    // What is drawn is overwritten.
    model.replace_head(part, old.spec().second_classifier(part), None, 0)?;
    let of_old = old.parameters().iter().filter(|it| it.part == Part::CLASSIFIER);
    let of_new = model.parameters_mut().iter_mut().filter(|it| it.part == *part);
    for (new, old) in of_new.zip(of_old) {
        new.value.write(&old.value.host());
        new.trainable = old.trainable;
    }
    let norms = |model: &Model, part: &Part| -> Vec<usize> {
        let named = |name: &str, layer: &str| name.rsplit_once('.').is_some_and(|it| it.0 == layer);
        let is_of_part = |layer: &str| {
            model.parameters().iter().any(|it| it.part == *part && named(&it.name, layer))
        };
        let stats = model.stats().iter().enumerate();
        stats.filter(|(_, it)| is_of_part(&it.layer)).map(|(at, _)| at).collect()
    };
    for (to, from) in norms(model, part).into_iter().zip(norms(old, &Part::CLASSIFIER)) {
        let (old, new) = (&old.stats()[from], &mut model.stats_mut()[to]);
        new.mean.write(&old.mean.host());
        new.var.write(&old.var.host());
        new.batches = old.batches;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ops::{CpuOps, Dims};
    use crate::nn::spec::Layer;
    use crate::nn::zoo::{self, ArchSettings};

    const SMALL: Chw = Chw { channels: 3, height: 16, width: 16 };

    fn model(arch: &str) -> Model {
        let layout = ArchSettings { small_input: true, ..ArchSettings::new(SMALL, 7) };
        let spec = (zoo::find(arch).unwrap().build)(layout);
        let mut model = Model::new(spec, &CpuOps::shared(), 0).unwrap();
        model.parameters_mut().iter_mut().for_each(|it| it.trainable = false);
        model
    }

    fn head(layers: &[Layer]) -> NewLayers {
        NewLayers { head: Some(layers.to_vec()), bottleneck: None }
    }

    fn names<'a>(it: impl IntoIterator<Item = &'a Parameter>) -> Vec<(&'a str, Vec<usize>)> {
        it.into_iter().map(|it| (it.name.as_str(), it.shape.clone())).collect()
    }

    #[test]
    fn a_head_takes_the_classifier_s_place_under_the_names_of_pytorch() {
        let old = model("resnet18");
        let head = head(&[zoo::linear(100), Layer::Relu]);
        let larger = Chw { channels: 3, height: 24, width: 24 };
        let (new, fresh) = replace(&old, &head, larger, 4, 1).unwrap();
        assert_eq!(fresh, ["fc.0.weight", "fc.0.bias", "fc.2.weight", "fc.2.bias"]);
        let learning = names(new.parameters().iter().filter(|it| it.trainable));
        assert_eq!(learning[0], ("fc.0.weight", vec![100, 512]));
        assert_eq!(learning[2], ("fc.2.weight", vec![4, 100]));
        assert_eq!(learning.len(), 4);
        assert_eq!(new.spec().input, larger);
        for (old, new) in old.parameters().iter().zip(new.parameters()).take(60) {
            assert_eq!((&old.name, old.value.host()), (&new.name, new.value.host()));
        }
    }

    #[test]
    fn an_empty_head_is_a_new_last_layer_even_for_as_many_classes() {
        let new = |arch| replace(&model(arch), &head(&[]), SMALL, 7, 1).unwrap().1;
        assert_eq!(new("resnet18"), ["fc.weight", "fc.bias"]);
        assert_eq!(new("mobilenet_v2"), ["classifier.1.weight", "classifier.1.bias"]);
        assert_eq!(new("squeezenet1_1"), ["classifier.1.weight", "classifier.1.bias"]);
    }

    #[test]
    fn the_old_classifier_stays_as_another_head_that_says_what_it_said() {
        let part = Part::named("old");
        for arch in ["resnet18", "dacnn", "squeezenet1_1"] {
            let mut old = model(arch);
            old.stats_mut().iter_mut().for_each(|it| it.batches = 5);
            let (mut new, fresh) = replace(&old, &head(&[]), SMALL, 4, 1).unwrap();
            keep_classifier(&mut new, &old, &part).unwrap();
            let features = old.spec().feature_len().unwrap();
            let values = (0..3 * features).map(|at| (at % 17) as f32 / 17.0 - 0.3).collect();
            let x = CpuOps::shared().tensor(values, Dims::Rows(3, features)).unwrap();
            let before = old.forward(&Part::CLASSIFIER, &x, crate::nn::Pass::EVAL).unwrap();
            let after = new.forward(&part, &x, crate::nn::Pass::EVAL).unwrap();
            assert_eq!(before.host(), after.host(), "{arch}");
            let kept = new.parameters().iter().filter(|it| it.part == part);
            assert!(kept.clone().count() > 0 && kept.clone().all(|it| !it.trainable), "{arch}");
            assert!(kept.into_iter().all(|it| !fresh.contains(&it.name)), "{arch}");
            let seen = new.stats().iter().filter(|it| it.layer.starts_with("old."));
            assert!(seen.into_iter().all(|it| it.batches == 5), "{arch}");
        }
        // Features of another length are something else to a linear layer.
        let old = model("dacnn");
        let larger = Chw { channels: 3, height: 24, width: 24 };
        let (mut new, _) = replace(&old, &head(&[Layer::Relu]), larger, 4, 1).unwrap();
        let error = keep_classifier(&mut new, &old, &part).unwrap_err().to_string();
        assert_eq!(error, "layer `old`: takes in features of another shape");
        assert!(!new.has_head(&part));
    }

    #[test]
    fn a_head_on_maps_begins_with_their_means() {
        let (new, fresh) =
            replace(&model("squeezenet1_1"), &head(&[Layer::Relu]), SMALL, 5, 1).unwrap();
        assert_eq!(fresh, ["classifier.1.weight", "classifier.1.bias"]);
        let last = new.parameters().last().unwrap();
        assert_eq!(last.shape, [5]);
        assert_eq!(new.spec().part(&Part::CLASSIFIER).len(), 3);
    }
    #[test]
    fn a_bottleneck_is_new_with_every_head_and_the_features_before_it_stay() {
        let mut old = model("dacnn");
        let layers = old.spec().part(&Part::DOMAIN).to_vec();
        old.attach_head(&Part::DOMAIN, layers, Some(2), 0).unwrap();
        old.stats_mut().iter_mut().for_each(|it| it.batches = 5);
        let bottleneck = Some(vec![zoo::linear(1250), zoo::batch_norm()]);
        let new = NewLayers { bottleneck, head: None };
        let input = old.spec().input;
        // As wide as the features were: what comes in has the same shape, and is something else.
        let (new, fresh) = replace(&old, &new, input, 7, 1).unwrap();
        let kept = new.parameters().iter().filter(|it| !fresh.contains(&it.name));
        assert!(kept.clone().all(|it| it.name.starts_with("features.") && !it.trainable));
        assert_eq!((kept.count(), fresh.len()), (8, 4 + 10 + 6));
        assert!(new.has_head(&Part::DOMAIN));
        let seen = new.stats().iter().filter(|it| it.batches > 0).map(|it| it.layer.as_str());
        assert_eq!(seen.collect::<Vec<_>>(), ["features.bn1", "features.bn2"]);
    }
}
