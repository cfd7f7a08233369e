//! `pseudo_label`: labels images with what a model takes them for (Lee 2013). The data set that comes out holds
//! these predictions and nothing else: the labels that the images came with are out of its reach by type.

use std::cmp::Reverse;

use indexmap::IndexMap;

use super::classes::{Uses, clash, named};
use super::inputs::{misfits, open, unlike_classes};
use super::{
    Context, DatasetShape, Defaults, Described, Failure, Halt, Kind, Measures, Outcome, Problem,
    Product, Stage,
};
use crate::config::{Keys, Noted, Wants};
use crate::data::{Dataset, Provenance, Split, Unlabelled};
use crate::metrics::share;
use crate::nn::dispatch;
use crate::nn::{Backend, Saved};
use crate::progress::Unit;
use crate::train::predict;

pub(super) const KIND: Kind = Kind {
    name: "pseudo_label",
    about: "label images with what a model takes them for",
    measures: Measures::Nothing,
    parse,
};

/// The key of the images.
const TARGET: &str = "target";

#[derive(Debug)]
struct PseudoLabel;

fn parse(keys: &mut Keys, _: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    keys.about(&[
        ("model", "network whose predictions become the labels"),
        (TARGET, "images to label; the labels that they came with are out of reach"),
    ]);
    let model = keys.reference("model", Wants::Model);
    let target = keys.reference(TARGET, Wants::Split("train"));
    model?;
    target?;
    Ok(Box::new(PseudoLabel))
}

impl Stage for PseudoLabel {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        1
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        let (model, images) = (inputs.model("model"), inputs.dataset(TARGET));
        let (spec, known) = (model.spec.as_ref(), model.classes.as_deref());
        let mut problems: Vec<Problem> =
            spec.into_iter().flat_map(|spec| misfits(spec, &images, TARGET)).collect();
        problems.extend(unlike_classes((spec, known), &images, TARGET, Uses::Images));
        if !problems.is_empty() {
            return Err(problems);
        }
        let split = inputs.split(TARGET).map(|split| {
            let count = images.splits.as_ref().and_then(|all| all.get(split).copied().flatten());
            IndexMap::from([(split.to_owned(), count)])
        });
        Ok(Product::Dataset(DatasetShape {
            splits: split,
            channels: images.channels,
            size: images.size,
            features: images.features,
            classes: known.map(<[String]>::len).or(spec.map(|spec| spec.classes)),
            names: model.classes,
            // For which classes no image is taken is known once it ran.
            empty: Vec::new(),
        }))
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        dispatch::on(context.device, |ops| label(context, ops))
    }
}

fn label(context: &Context, ops: &Backend) -> Result<Outcome, Halt> {
    let Saved { mut model, classes } = Saved::open(&context.input("model").path, ops)?;
    let set = open(context, TARGET)?;
    set.check(model.spec(), TARGET)?;
    let found = (&*set.dataset.classes, &*set.dataset.empty_classes());
    if let Some(problem) = clash(TARGET, &classes, found, Uses::Images) {
        return Err(named(problem, TARGET).into());
    }
    let images = set.unlabelled();
    context.progress.begin("predict", Some(images.len() as u64), Unit::Images);
    let done = |count: usize| {
        context.progress.advance(count as u64);
        !context.cancelled()
    };
    let labels = predict(&mut model, images, done)
        .map_err(|error| Failure::new(format!("the device failed: {error:?}")))?
        .ok_or(Halt::Interrupted)?;
    let split = context.input(TARGET).split.clone().unwrap_or_default();
    let labelled = labelled(images, (split, labels), classes, &set.dataset.provenance);
    let mut outcome = Outcome::of_dataset(&labelled, context)?;
    outcome.summary += &most(&labelled);
    outcome.summary.extend(set.part(model.spec()).map(|part| format!(", by {part}")));
    Ok(outcome)
}

/// The data set of `images` with these labels, in a split of this name.
fn labelled(
    images: Unlabelled,
    (split, labels): (String, Vec<u32>),
    classes: Vec<String>,
    provenance: &[Provenance],
) -> Dataset {
    let normalisation = images.normalisation();
    let mut provenance = provenance.to_vec();
    provenance.push(Provenance {
        title: "Predictions of a network as labels".into(),
        licence: "that of the images".into(),
        citation: "D.-H. Lee, \"Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for \
                   Deep Neural Networks\", ICML 2013 Workshop: Challenges in Representation Learning"
            .into(),
        source: "predicted".into(),
    });
    Dataset {
        classes,
        mean: normalisation.mean.to_vec(),
        std: normalisation.std.to_vec(),
        splits: IndexMap::from([(split, Split { images: images.images().clone(), labels })]),
        provenance,
    }
}

/// The share of images that are taken for the same class, for a summary: near 100 % the model has collapsed.
fn most(labelled: &Dataset) -> String {
    let split = &labelled.splits[0];
    let counts = split.class_counts(labelled.classes.len());
    let most = counts.iter().zip(&labelled.classes).enumerate();
    let most = most.max_by_key(|(at, (count, _))| (**count, Reverse(*at)));
    let Some((_, (count, class))) = most else { return String::new() };
    format!(", {:.1} % of them taken for `{class}`", 100.0 * share(*count, split.len()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::super::{Environment, Input, ModelShape};
    use super::*;
    use crate::device::Device;
    use crate::nn::ops::Dims;
    use crate::progress::Silent;
    use crate::train::tiny;

    /// The tiny images with these labels in `train`, and other images in `test`.
    fn dataset(labels: &[u32]) -> Dataset {
        let train = Split { labels: labels.to_vec(), ..tiny::split() };
        let splits = IndexMap::from([("train".into(), train), ("test".into(), tiny::split())]);
        Dataset { splits, mean: vec![0.5; 3], std: vec![0.25; 3], ..tiny::dataset() }
    }

    /// What the stage makes of `train` of a data set, with the classes `x` and `y` of the tiny network.
    fn run(dataset: &Dataset, out: &Path) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let inputs = [("model", None), (TARGET, Some("train"))].map(|(key, split)| Input {
            key: key.into(),
            path: place(key),
            split: split.map(str::to_owned),
        });
        let saved = Saved { model: tiny::model(), classes: vec!["x".into(), "y".into()] };
        saved.save(&inputs[0].path).unwrap();
        dataset.save(&inputs[1].path).unwrap();
        let environment = Environment {
            offline: true,
            downloads: place("downloads"),
            activations: None,
            home: ".".into(),
            save_every: Duration::from_secs(60),
        };
        let context = Context {
            environment: &environment,
            scratch: folder.path(),
            budget: None,
            inputs: &inputs,
            out,
            external: None,
            device: Device::Cpu,
            progress: &Silent,
            cancel: &AtomicBool::new(false),
        };
        PseudoLabel.run(&context).unwrap()
    }

    fn bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        files.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
    }

    #[test]
    fn the_labels_are_those_of_the_model_whatever_labels_the_images_came_with() {
        // As the data set calls classes has nothing to say either: it counts them.
        let counted =
            |labels: &[u32]| Dataset { classes: vec!["0".into(), "1".into()], ..dataset(labels) };
        let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let outcome = run(&counted(&[0, 1, 0, 1, 0, 1]), first.path());
        run(&counted(&[1, 1, 1, 0, 0, 0]), second.path());
        assert_eq!(bytes(first.path()), bytes(second.path()));

        let made = Dataset::open(first.path()).unwrap();
        assert_eq!(made.classes, ["x", "y"]);
        assert_eq!((made.mean, made.std), (vec![0.5; 3], vec![0.25; 3]));
        assert_eq!(made.splits.keys().collect::<Vec<_>>(), ["train"]);
        assert_eq!(made.splits[0].images, tiny::split().images);
        // (p / 255 - 1/2) / (1/4), channels first, one image at a time.
        let mut model = tiny::model();
        for (label, image) in made.splits[0].labels.iter().zip(tiny::split().images.iter()) {
            let value = |pixel: u8| (f32::from(pixel) / 255.0 - 0.5) / 0.25;
            let of_channel =
                |channel: usize| image.pixels.iter().skip(channel).step_by(3).copied().map(value);
            let values: Vec<f32> = (0..3).flat_map(of_channel).collect();
            let image = model.ops().tensor(values, Dims::Rows(1, 48)).unwrap();
            let logits = model.logits(&image).unwrap().host();
            assert_eq!(*label, u32::from(logits[1] > logits[0]), "{logits:?}");
        }
        assert!(outcome.summary.contains(" % of them taken for `"), "{}", outcome.summary);
        assert!(made.provenance.iter().any(|it| it.source == "predicted"));
    }

    #[test]
    fn what_will_come_out_has_one_split_and_the_classes_of_the_model() {
        let model = ModelShape::fresh(tiny::model().spec().clone(), None);
        let images = DatasetShape {
            splits: Some(IndexMap::from([("train".into(), Some(6)), ("test".into(), Some(9))])),
            channels: Some(3),
            size: Some((4, 4)),
            ..DatasetShape::unknown()
        };
        let describe = |images: &DatasetShape, classes: Option<Vec<String>>| {
            let model = ModelShape { classes, ..model.clone() };
            let inputs = BTreeMap::from([
                ("model".to_owned(), (Product::Model(model), None)),
                (TARGET.to_owned(), (Product::Dataset(images.clone()), Some("test".to_owned()))),
            ]);
            PseudoLabel.describe(&Described { inputs })
        };
        let names = vec!["x".to_owned(), "y".to_owned()];
        for classes in [None, Some(names)] {
            let Ok(Product::Dataset(shape)) = describe(&images, classes.clone()) else { panic!() };
            assert_eq!(shape.splits, Some(IndexMap::from([("test".into(), Some(9))])));
            assert_eq!((shape.classes, shape.names), (Some(2), classes));
            assert_eq!((shape.channels, shape.size), (Some(3), Some((4, 4))));
        }
        let gray = DatasetShape { channels: Some(1), ..images };
        assert!(describe(&gray, None).unwrap_err()[0].message.contains("3 channels"));
    }
}
