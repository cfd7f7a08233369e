//! The classes that a network takes images for, or mixes of two images, as at test time. Labels cannot reach it.

use super::inputs::Inputs;
use crate::data::Unlabelled;
use crate::metrics::label_free::mixval::SHARE;
use crate::nn::ops::{Input, OpError, argmax};
use crate::nn::{EntryLayer, Model};

/// Images at a time; it changes no number.
const BATCH: usize = 256;

/// The class that `model` takes each of `images` for. `done` is called with the size of every batch, and ends the run
/// by returning `false`.
///
/// # Errors
/// When the device fails (out of memory). `Ok(None)` when `done` ended it.
pub fn predict(
    model: &mut Model,
    images: Unlabelled,
    done: impl FnMut(usize) -> bool,
) -> Result<Option<Vec<u32>>, OpError> {
    let all: Vec<usize> = (0..images.len()).collect();
    let inputs = Inputs::new(model, images.images(), images.normalisation());
    classes(model, &all, |part| inputs.batch(part), done)
}

/// As [`predict`], of a mix for each of `pairs` of places among the images: [`SHARE`] of the first and the rest of
/// the second. Pixels are mixed after they were normalised, which makes no difference: that is linear.
///
/// # Errors
/// As [`predict`].
pub fn predict_mixes(
    model: &mut Model,
    images: Unlabelled,
    pairs: &[(usize, usize)],
    done: impl FnMut(usize) -> bool,
) -> Result<Option<Vec<u32>>, OpError> {
    let inputs = Inputs::new(model, images.images(), images.normalisation());
    classes(model, pairs, |part| Input::Values(mixed(&inputs, part)), done)
}

/// Mixes of normalised images, `[N, C, H, W]`.
fn mixed(inputs: &Inputs, pairs: &[(usize, usize)]) -> Vec<f32> {
    let (first, second): (Vec<usize>, Vec<usize>) = pairs.iter().copied().unzip();
    let batch = |indices: &[usize]| inputs.values(indices, &[]);
    let mut values = batch(&first);
    for (value, other) in values.iter_mut().zip(batch(&second)) {
        *value = SHARE * *value + (1.0 - SHARE) * other;
    }
    values
}

/// The class of the largest logit of each of `all`, which `batch` makes into images.
fn classes<T>(
    model: &mut Model,
    all: &[T],
    batch: impl Fn(&[T]) -> Input,
    mut done: impl FnMut(usize) -> bool,
) -> Result<Option<Vec<u32>>, OpError> {
    let mut found = Vec::with_capacity(all.len());
    for part in all.chunks(BATCH) {
        let x = model.take_in(EntryLayer::IMAGES, batch(part), part.len())?;
        let logits = model.logits_from(EntryLayer::IMAGES, &x)?.host();
        let best = logits.chunks_exact(model.spec().classes).map(argmax);
        found.extend(best.map(|class| u32::try_from(class).unwrap_or(u32::MAX)));
        if !done(part.len()) {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Images, Split, loader};
    use crate::nn::ops::Dims;
    use crate::train::tiny;

    #[test]
    fn a_mix_has_the_larger_share_of_its_first_image() {
        let dataset = Dataset { mean: vec![0.5], std: vec![0.25], ..tiny::dataset() };
        let images = Images::same(1, (1, 2), vec![255, 0, 0, 0]);
        let split = Split { images, labels: vec![0, 1] };
        let inputs = Inputs::new(&tiny::model(), &split.images, &dataset);
        let values = mixed(&inputs, &[(0, 1), (1, 0), (0, 0)]);
        // Normalised, white is 2 and black is -2.
        let expected = [0.55 * 2.0 - 0.45 * 2.0, -2.0, 0.45 * 2.0 - 0.55 * 2.0, -2.0, 2.0, -2.0];
        for (value, expected) in values.iter().zip(expected) {
            assert!((f64::from(*value) - expected).abs() < 1e-6, "{values:?}");
        }
        assert_eq!(values.len(), 6);
    }

    #[test]
    fn predictions_are_the_largest_logits_of_each_image_or_mix() {
        let (dataset, split) = (tiny::dataset(), tiny::split());
        let images = split.unlabelled(&dataset);
        let mut model = tiny::model();
        let found = predict(&mut model, images, |_| true).unwrap().unwrap();
        let pairs = [(0, 3), (1, 5), (4, 2)];
        let of_mixes = predict_mixes(&mut model, images, &pairs, |_| true).unwrap().unwrap();
        let inputs = Inputs::new(&model, &split.images, &dataset);
        // One image at a time.
        let mut alone = |values: Vec<f32>| {
            let dims = Dims::Rows(1, values.len());
            let image = model.ops().tensor(values, dims).unwrap();
            let logits = model.logits(&image).unwrap().host();
            u32::from(logits[1] > logits[0])
        };
        for (at, class) in found.iter().enumerate() {
            assert_eq!(*class, alone(loader::batch(&dataset, &split.images, &[at])), "image {at}");
        }
        for (pair, class) in pairs.iter().zip(&of_mixes) {
            assert_eq!(*class, alone(mixed(&inputs, &[*pair])), "mix {pair:?}");
        }
        assert_eq!((found.len(), of_mixes.len()), (6, 3));
    }

    #[test]
    fn whoever_watches_can_end_it() {
        let (dataset, split) = (tiny::dataset(), tiny::split());
        let images = split.unlabelled(&dataset);
        let mut seen = 0;
        let done = |count: usize| {
            seen += count;
            false
        };
        assert_eq!(predict(&mut tiny::model(), images, done).unwrap(), None);
        assert_eq!(seen, 6);
    }
}
