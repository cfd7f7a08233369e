//! The batches of an epoch: picks the images, augments them where that is asked for, and turns them into
//! what the device takes. Touches no device.

use super::contract::Data;
use super::inputs::Inputs;
use super::matched::MatchedDraws;
use super::passes::ImagePasses;
use super::sampler::{DrawnBatch, Draws};
use super::settings::TrainingSettings;
use crate::data::augment::Augment;
use crate::data::augment::mixup::Mix;
use crate::data::view::{Domain, ViewKind, ViewRequest, hide_blocks};
use crate::nn::ops::{Input, PixelChanges};
use crate::nn::{EntryLayer, Model};
use crate::random;

/// The batches of one epoch, in the orders drawn for it.
pub struct Feed<'a> {
    source: Option<DomainFeed<'a>>,
    /// The classes of the source images.
    labels: &'a [u32],
    target: Option<DomainFeed<'a>>,
    /// Which images of the target go with those of the source, where that is known.
    matched: Option<MatchedDraws>,
    /// The parameter of mixup, where batches of the source are mixed.
    mixup: Option<f64>,
    /// Seed and epoch of everything drawn.
    drawn: (u64, u64),
}

/// The batch of one step.
pub struct Batches {
    /// Where the network takes them in.
    pub entry: EntryLayer,
    /// Labelled images; `None` for a training that has none.
    pub source: Option<DomainBatch>,
    /// Their classes.
    pub labels: Vec<u32>,
    /// The classes of what was mixed into them, and the share of that.
    pub mixed: Option<(Vec<u32>, f32)>,
    /// Images of the target domain.
    pub target: Option<DomainBatch>,
}

/// The images of one domain in a step.
pub struct DomainBatch {
    /// The images, or the output of frozen layers for them.
    pub images: Input,
    /// Their number N.
    pub count: usize,
    /// Their places in the data set.
    pub indices: Vec<usize>,
    /// The views of them that were asked for, in the order of the requests for this domain.
    pub views: Vec<Input>,
}

/// The images of the domains of a training, where it has them.
#[derive(Debug, Clone, Default)]
pub struct DomainInputs<'a> {
    /// The labelled images.
    pub source: Option<Inputs<'a>>,
    /// Those of the target.
    pub target: Option<Inputs<'a>>,
}

impl<'a> DomainInputs<'a> {
    /// Those of `data`, for networks like `model`.
    pub fn of(model: &Model, data: &Data<'a>) -> Self {
        let source = data.source.map(|(dataset, split)| Inputs::new(model, &split.images, dataset));
        let target = data.target.as_ref();
        let target = target.map(|it| Inputs::new(model, it.images(), it.normalisation()));
        Self { source, target }
    }
}

impl<'a> Feed<'a> {
    /// The batches of epoch `epoch`, from 0. `inputs` are the images of `data`, or the output of frozen layers for them.
    ///
    /// # Panics
    /// When there are outputs of layers and requests for views: views are of pixels.
    pub fn new(
        data: &Data<'a>,
        inputs: &DomainInputs<'a>,
        settings: &'a TrainingSettings,
        views: &'a [ViewRequest],
        epoch: usize,
    ) -> Self {
        let is_pixels =
            |it: &Option<Inputs>| it.as_ref().is_none_or(|it| it.entry() == EntryLayer::IMAGES);
        let from_pixels = is_pixels(&inputs.source) && is_pixels(&inputs.target);
        assert!(
            views.is_empty() || from_pixels,
            "views are of pixels, not of what layers made of them"
        );
        let drawn = (settings.seed, epoch as u64);
        let (size, augment) = (settings.batches(), settings.augment.as_ref());
        let views_of = |domain| views.iter().filter(|view| view.domain == domain).collect();
        let source =
            data.source.zip(inputs.source.clone()).map(|((_, split), inputs)| DomainFeed {
                word: "source",
                inputs,
                draws: settings.sampler.epoch(&split.labels, size, drawn),
                augment,
                views: views_of(Domain::Source),
                drawn,
            });
        let target = inputs.target.clone().map(|inputs| DomainFeed {
            word: "target",
            draws: Box::new(ImagePasses::new(
                drawn,
                "shuffle target",
                (inputs.images().len(), size),
            )),
            inputs,
            augment,
            views: views_of(Domain::Target),
            drawn,
        });
        let labels = data.source.map_or(&[][..], |(_, split)| &split.labels);
        let mixup = augment.and_then(Augment::mixup);
        Self { source, labels, target, matched: None, mixup, drawn }
    }

    /// The same with target images of the classes of each step's labelled images, in batches of `size`.
    /// `classes` are those of the target images, in data-set order; an image without a class, or whose
    /// class no labelled image of the step has, comes in its usual turn where the batch has room.
    #[must_use]
    pub fn matching(self, classes: &[Option<u32>], size: usize) -> Self {
        Self { matched: Some(MatchedDraws::new(classes, size, self.drawn)), ..self }
    }

    /// The batches of step `step`, from 0. They do not depend on timing or on the number of threads.
    pub fn step(&self, step: usize) -> Batches {
        let entry = self.source.as_ref().or(self.target.as_ref()).map(|it| it.inputs.entry());
        let is_mixed = self.mixup.is_some();
        let mut source = self.source.as_ref().map(|it| it.of(it.draws.batch(step), is_mixed));
        let indices = source.as_ref().map_or(&[][..], |source| &source.indices);
        let labels: Vec<u32> = indices.iter().map(|at| self.labels[*at]).collect();
        let target = self.target.as_ref().map(|target| {
            let usual = target.draws.batch(step);
            let drawn = match &self.matched {
                Some(matched) => matched.batch(step, &labels, usual),
                None => usual,
            };
            target.of(drawn, false)
        });
        let mixed = source.as_mut().zip(self.mixup).map(|(source, alpha)| {
            let (seed, epoch) = self.drawn;
            let mut stream = random::stream(seed, "mixup", epoch, step as u64);
            let mix = Mix::draw(alpha, source.count, &mut stream);
            let Input::Values(values) = &mut source.images else {
                unreachable!("images that are mixed are numbers")
            };
            let len = values.len() / source.count;
            mix.apply(values, len);
            (mix.partners.iter().map(|at| labels[*at]).collect(), 1.0 - mix.keeps)
        });
        Batches { entry: entry.unwrap_or(EntryLayer::IMAGES), source, labels, mixed, target }
    }
}

/// The images of one domain in an epoch.
struct DomainFeed<'a> {
    /// The domain as the keys of random numbers have it.
    word: &'static str,
    inputs: Inputs<'a>,
    draws: Box<dyn Draws>,
    augment: Option<&'a Augment>,
    views: Vec<&'a ViewRequest>,
    /// Seed and epoch of everything drawn.
    drawn: (u64, u64),
}

/// How the images of a step are looked at.
struct Look<'a> {
    /// Their places in the set.
    indices: &'a [usize],
    /// What becomes of them.
    changes: Vec<PixelChanges>,
}

impl DomainFeed<'_> {
    /// The images that were drawn for a step; as numbers, where the host changes these.
    fn of(&self, drawn: DrawnBatch, as_numbers: bool) -> DomainBatch {
        let look = match self.inputs.entry() {
            EntryLayer::IMAGES => {
                self.look(&format!("augment {}", self.word), self.augment, &drawn)
            }
            _ => Look { indices: &drawn.indices, changes: Vec::new() },
        };
        let images = if as_numbers { Input::Values(self.values(&look)) } else { self.input(&look) };
        let views = self.views.iter().map(|view| self.view(view, (&look, &images), &drawn));
        let views = views.collect();
        let count = drawn.indices.len();
        DomainBatch { images, count, indices: drawn.indices, views }
    }

    /// A view of the images that are trained on as `look` shows, which `images` are.
    fn view(
        &self,
        view: &ViewRequest,
        (look, images): (&Look, &Input),
        drawn: &DrawnBatch,
    ) -> Input {
        let purpose = format!("augment {} {}", self.word, view.name);
        match &view.kind {
            ViewKind::Plain => self.inputs.batch(&drawn.indices),
            ViewKind::Augmented => self.input(&self.look(&purpose, self.augment, drawn)),
            ViewKind::Own(augment) => self.input(&self.look(&purpose, Some(&**augment), drawn)),
            ViewKind::Masked { block, ratio } => {
                let size = self.inputs.size();
                let mut values = match images {
                    Input::Values(values) => values.clone(),
                    Input::Pixels { .. } | Input::Kept { .. } => self.values(look),
                };
                let len = values.len() / drawn.indices.len();
                for (row, values) in values.chunks_exact_mut(len).enumerate() {
                    let mut stream = self.stream(&purpose, drawn, row);
                    hide_blocks(values, size, (*block, *ratio), &mut stream);
                }
                Input::Values(values)
            }
        }
    }

    /// The images that were drawn, with changes that are drawn for `purpose`.
    fn look<'d>(
        &self,
        purpose: &str,
        augment: Option<&Augment>,
        drawn: &'d DrawnBatch,
    ) -> Look<'d> {
        let indices = &drawn.indices[..];
        let Some(augment) = augment else { return Look { indices, changes: Vec::new() } };
        let size = self.inputs.images().size().expect("a batch has images of one size");
        let mut streams: Vec<random::Stream> =
            (0..indices.len()).map(|row| self.stream(purpose, drawn, row)).collect();
        Look { indices, changes: augment.draw(size, &mut streams) }
    }

    /// What the device takes.
    fn input(&self, Look { indices, changes }: &Look) -> Input {
        match changes.is_empty() {
            true => self.inputs.batch(indices),
            false => self.inputs.changed(indices, changes),
        }
    }

    /// The images as numbers `[N, C*H*W]`.
    fn values(&self, Look { indices, changes }: &Look) -> Vec<f32> {
        self.inputs.values(indices, changes)
    }

    /// The random numbers of the image in row `row`, which are others whenever it comes again.
    fn stream(&self, purpose: &str, drawn: &DrawnBatch, row: usize) -> random::Stream {
        let (seed, epoch) = self.drawn;
        let appearance = drawn.passes[row] << 32 | drawn.indices[row] as u64;
        random::stream(seed, purpose, epoch, appearance)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::testing::read_lines;
    use crate::data::augment::{self, Pixels};
    use crate::data::{Dataset, Images, Split, loader};
    use crate::train::tiny;

    /// The changes of a line of TOML.
    fn augment(line: &str) -> Augment {
        read_lines(line, Augment::read).0.unwrap().unwrap()
    }

    fn jitter() -> Augment {
        augment("augment = [{ kind = 'color_jitter', brightness = 0.9 }, 'flip']")
    }

    fn request(domain: Domain, name: &'static str, kind: ViewKind) -> ViewRequest {
        ViewRequest { domain, name, kind }
    }

    /// The two domains of a training, both of the tiny images.
    fn data<'a>(dataset: &'a Dataset, split: &'a Split) -> Data<'a> {
        let (source, target) = (Some((dataset, split)), Some(split.unlabelled(dataset)));
        Data { source, target, validate: None, recorded: Vec::new(), scored: None }
    }

    fn inputs<'a>(data: &Data<'a>) -> DomainInputs<'a> {
        DomainInputs::of(&tiny::model(), data)
    }

    /// What the processor takes.
    fn values(input: &Input) -> &[f32] {
        let Input::Values(values) = input else { panic!("a processor takes numbers: {input:?}") };
        values
    }

    /// What the augmentation `purpose` makes of an image in pass `pass` of epoch 2, by the keys of old.
    fn expected(
        augment: &Augment,
        purpose: &str,
        split: &Split,
        (pass, image): (u64, usize),
    ) -> Vec<u8> {
        let values = split.images.pixels[image * 48..(image + 1) * 48].to_vec();
        let mut pixels = Pixels { values, height: 4, width: 4, channels: 3 };
        let stream = random::stream(0, purpose, 2, pass << 32 | image as u64);
        augment::change(&mut pixels, &augment.draw((4, 4), &mut [stream]), 0);
        pixels.values
    }

    /// The bytes of the images as a batch.
    fn as_batch(dataset: &Dataset, images: &[Vec<u8>]) -> Vec<f32> {
        let all: Vec<usize> = (0..images.len()).collect();
        loader::batch(dataset, &Images::same(3, (4, 4), images.concat()), &all)
    }

    #[test]
    fn images_are_drawn_and_changed_by_the_keys_of_old_whatever_views_there_are() {
        let (dataset, split) = (tiny::dataset(), tiny::split());
        let data = data(&dataset, &split);
        let settings = TrainingSettings { augment: Some(jitter()), ..tiny::settings(3) };
        let views = [request(Domain::Target, "strong", ViewKind::Augmented)];
        let feeds =
            [&[][..], &views].map(|views| Feed::new(&data, &inputs(&data), &settings, views, 2));
        for step in [0, 1, 4] {
            for feed in &feeds {
                let Batches { source, target, labels, .. } = feed.step(step);
                let pass = (step / 3) as u64;
                for (batch, word) in [(source.unwrap(), "source"), (target.unwrap(), "target")] {
                    let shuffle = format!("shuffle {word}");
                    let order = loader::pass_order(0, &shuffle, (2, pass), 6);
                    assert_eq!(batch.indices, order[step % 3 * 2..][..2]);
                    let augment = settings.augment.as_ref().unwrap();
                    let purpose = format!("augment {word}");
                    let images = batch.indices.iter();
                    let images = images.map(|at| expected(augment, &purpose, &split, (pass, *at)));
                    let images = as_batch(&dataset, &images.collect::<Vec<_>>());
                    assert_eq!(values(&batch.images), images);
                    if word == "source" {
                        let of_images: Vec<u32> =
                            batch.indices.iter().map(|at| split.labels[*at]).collect();
                        assert_eq!(labels, of_images);
                    }
                }
            }
        }
    }

    #[test]
    fn each_view_is_of_the_same_images_with_random_numbers_of_its_own() {
        let (dataset, split) = (tiny::dataset(), tiny::split());
        let data = data(&dataset, &split);
        let settings = TrainingSettings { augment: Some(jitter()), ..tiny::settings(3) };
        let views = [
            request(Domain::Target, "weak", ViewKind::Augmented),
            request(Domain::Source, "plain", ViewKind::Plain),
            request(Domain::Target, "other", ViewKind::Augmented),
            request(
                Domain::Target,
                "strong",
                ViewKind::Own(Arc::new(augment("augment = [{ kind = 'cutout', size = 2 }]"))),
            ),
            request(Domain::Target, "masked", ViewKind::Masked { block: Some(2), ratio: 0.5 }),
        ];
        let feed = Feed::new(&data, &inputs(&data), &settings, &views, 2);
        let Batches { source, target, .. } = feed.step(4);
        let (source, target) = (source.unwrap(), target.unwrap());
        let plain = loader::batch(&dataset, &split.images, &source.indices);
        assert!(source.views.len() == 1 && values(&source.views[0]) == plain);
        let [weak, other, strong, masked] = target.views.iter().map(values).collect::<Vec<_>>()[..]
        else {
            panic!("four of the target")
        };
        for (view, name, augment) in [
            (weak, "augment target weak", settings.augment.as_ref().unwrap()),
            (other, "augment target other", settings.augment.as_ref().unwrap()),
            (
                strong,
                "augment target strong",
                &augment("augment = [{ kind = 'cutout', size = 2 }]"),
            ),
        ] {
            let images = target.indices.iter().map(|at| expected(augment, name, &split, (1, *at)));
            assert_eq!(view, as_batch(&dataset, &images.collect::<Vec<_>>()), "{name}");
        }
        let trained = values(&target.images);
        assert!(weak != other && weak != trained, "each is drawn on its own");
        let kept = masked.iter().zip(trained).filter(|(masked, it)| masked == it).count();
        let hidden = masked.iter().filter(|it| **it == 0.0).count();
        assert!(kept + hidden >= masked.len() && hidden > 0 && kept > 0, "{kept} and {hidden}");
    }

    #[test]
    fn without_source_images_a_step_has_those_of_the_target_alone() {
        let (dataset, split) = (tiny::dataset(), tiny::split());
        let data = Data { source: None, ..data(&dataset, &split) };
        let settings =
            TrainingSettings { augment: Some(augment("augment = ['mixup']")), ..tiny::settings(1) };
        let batches = Feed::new(&data, &inputs(&data), &settings, &[], 0).step(0);
        assert!(batches.source.is_none() && batches.labels.is_empty() && batches.mixed.is_none());
        assert_eq!(batches.target.unwrap().count, 2);
    }

    #[test]
    fn target_images_whose_classes_are_known_are_of_the_classes_of_the_step() {
        let (dataset, split) = (tiny::dataset(), tiny::split());
        let data = data(&dataset, &split);
        let settings = TrainingSettings { augment: Some(jitter()), ..tiny::settings(1) };
        // One image of each class has none that is known.
        let classes = [None, Some(1), Some(0), Some(1), Some(0), None];
        let feed = || Feed::new(&data, &inputs(&data), &settings, &[], 3);
        let (usual, matching) = (feed(), feed().matching(&classes, 2));
        for step in 0..6 {
            let [plain, matched] = [usual.step(step), matching.step(step)];
            let [of_plain, of_matched] = [&plain, &matched].map(|it| it.source.as_ref().unwrap());
            let [of_plain, of_matched] = [of_plain, of_matched].map(|it| values(&it.images));
            assert_eq!(of_plain, of_matched, "the source's are as ever");
            let target = matched.target.unwrap();
            let found = target.indices.iter().map(|at| classes[*at].unwrap());
            let mut found: Vec<u32> = found.collect();
            let mut wanted = plain.labels;
            found.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(found, wanted, "step {step}");
        }
    }

    #[test]
    fn a_sampler_chooses_images_of_the_source_and_none_of_the_target() {
        let (dataset, split) = (tiny::dataset(), tiny::split());
        let data = data(&dataset, &split);
        let line = "sampler = { kind = 'class_aware', classes = 2, images = 4 }";
        let sampler = read_lines(line, crate::train::sampler::read).0.unwrap();
        let augment = Some(jitter());
        let settings = TrainingSettings { sampler, batch_size: 8, augment, ..tiny::settings(1) };
        let Batches { source, target, labels, .. } =
            Feed::new(&data, &inputs(&data), &settings, &[], 0).step(0);
        let (source, target) = (source.unwrap(), target.unwrap());
        assert_eq!(labels.iter().filter(|label| **label == 0).count(), 4);
        assert_eq!(target.indices, loader::epoch_order(0, "shuffle target", 0, 6));
        // Three images of a class give four: the one that comes again is changed in another way.
        let again = (1..8).find(|at| source.indices[..*at].contains(&source.indices[*at])).unwrap();
        let first = source.indices.iter().position(|it| *it == source.indices[again]).unwrap();
        let row = |at: usize| &values(&source.images)[at * 48..(at + 1) * 48];
        assert_ne!(row(again), row(first));
    }
}
