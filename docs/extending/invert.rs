//! `invert`: turns light into dark, which gives a data set a second domain.

use super::{Context, Defaults, Described, Halt, Kind, Measures, Outcome, Problem, Product, Stage};
use crate::bytes::Collector;
use crate::config::{Keys, Noted, Wants};
use crate::data::{DataError, Images};

pub(super) const KIND: Kind = Kind {
    name: "invert",
    about: "turn light into dark and dark into light",
    measures: Measures::Nothing,
    parse,
};

#[derive(Debug)]
struct Invert {
    /// 1 inverts an image, less turns it gray on the way there.
    amount: f64,
}

fn parse(keys: &mut Keys, _: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    keys.about(&[
        ("input", "data set to invert"),
        ("amount", "how far: 1 inverts, 0.5 leaves gray"),
    ]);
    let input = keys.reference("input", Wants::Dataset);
    let amount = keys.float("amount").fraction().or(1.0);
    // Only now may it give up: every key was asked for, so an unknown one is reported too.
    input?;
    Ok(Box::new(Invert { amount: amount? }))
}

impl Stage for Invert {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        1
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        // Splits, sizes, channels and classes stay as they are.
        Ok(Product::Dataset(inputs.dataset("input")))
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        let mut dataset = context.dataset("input")?;
        for split in dataset.splits.values_mut() {
            context.check_cancelled()?;
            split.images = self.inverted(&split.images)?;
        }
        Outcome::of_dataset(&dataset, context)
    }
}

impl Invert {
    fn inverted(&self, images: &Images) -> Result<Images, DataError> {
        // Images may be larger than memory: the collector continues in a file when they are many.
        let mut pixels = Collector::new(images.pixels.len()).map_err(DataError::spilled)?;
        for part in images.pixels.chunks(1 << 20) {
            let part: Vec<u8> = part.iter().map(|pixel| self.pixel(*pixel)).collect();
            pixels.push(&part).map_err(DataError::spilled)?;
        }
        let pixels = pixels.finish().map_err(DataError::spilled)?;
        Ok(Images { channels: images.channels, sizes: images.sizes.clone(), pixels })
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 255")]
    fn pixel(&self, pixel: u8) -> u8 {
        let pixel = f64::from(pixel);
        (pixel + self.amount * (255.0 - 2.0 * pixel)).round() as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_becomes_dark_and_half_way_is_gray() {
        let images = Images::same(1, (1, 3), vec![0, 100, 255]);
        let all = Invert { amount: 1.0 }.inverted(&images).unwrap();
        assert_eq!(all, Images::same(1, (1, 3), vec![255, 155, 0]));
        let half = Invert { amount: 0.5 }.inverted(&images).unwrap();
        assert_eq!(half, Images::same(1, (1, 3), vec![128, 128, 128]));
    }

    #[test]
    fn its_product_is_like_its_input() {
        let product = Invert { amount: 1.0 }.describe(&Described::default()).unwrap();
        assert!(matches!(product, Product::Dataset(_)));
    }
}
