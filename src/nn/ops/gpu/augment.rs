//! Changes of images that stay on the GPU: each kind is a kernel that reads the bytes of all images of a batch and writes others.

use super::GpuOps;
use super::input::Pixels;
use super::node::{all, block, blocks, count, for_each, size};
use crate::nn::geometry::Chw;
use crate::nn::gpu::{Block, Given, Grid, Kernel};
use crate::nn::ops::{Alteration, Area, ColorChange, OpError, PixelChanges, Shift};

/// Numbers that `move_images` takes per image.
const MOVE: usize = 7;
/// Threads of `recolor_images` and of `alter_images`, which have a block for each image.
const OF_AN_IMAGE: u32 = 256;
/// Words that `alter_images` takes per image.
const ALTERATION: usize = 16;

impl GpuOps {
    /// Images of bytes after changes, one image after the other, and their shape; nothing where there are no changes.
    ///
    /// # Panics
    /// When there is not a change of each kind for each image.
    pub(super) fn changed_pixels(
        &self,
        pixels: Pixels,
        (images, shape): (usize, Chw),
        changes: &[PixelChanges],
    ) -> Result<Option<(Block, Chw)>, OpError> {
        let mut newest: Option<(Block, Chw)> = None;
        for changes in changes {
            assert_eq!(changes.len(), images, "a change for each image");
            let (from, old) = match &newest {
                Some((newest, shape)) => (self.found(Pixels::Sent(block(newest))), *shape),
                None => (self.found(pixels), shape),
            };
            let (height, width) = changes.size_after((old.height, old.width));
            let new = Chw { height, width, ..old };
            let changed = self.room_for_bytes(images * new.len())?;
            self.change(from, &changed, (images, old, new), changes)?;
            newest = Some((changed, new));
        }
        Ok(newest)
    }

    fn change(
        &self,
        [rows, from]: [Given; 2],
        into: &Block,
        (images, old, new): (usize, Chw, Chw),
        changes: &PixelChanges,
    ) -> Result<(), OpError> {
        let Chw { channels, height, width } = new;
        // A thread for each of `of`, with the numbers that were drawn.
        let changed = |kernel: Kernel, of: usize, sizes: &[usize], drawn: Given| {
            let sizes: Vec<Given> = sizes.iter().copied().map(size).collect();
            let given = all(&[&[count(of)], &sizes, &[rows, from, drawn, block(into)]]);
            self.launch(kernel, for_each(of), &given)
        };
        let bytes = images * new.len();
        let moved = |moves: Vec<[i32; MOVE]>| {
            let sizes = [old.height, old.width, height, width, channels];
            changed(Kernel::MoveImages, bytes, &sizes, Given::Places(moves.as_flattened()))
        };
        match changes {
            PixelChanges::Flip(each) => {
                moved(each.iter().map(|flips| [0, 0, i32::from(*flips), 0, 0, 0, 0]).collect())
            }
            PixelChanges::Window { each, .. } => {
                let by = |by: isize| i32::try_from(by).expect("a few thousand pixels");
                let each = each.iter();
                moved(
                    each.map(|Shift { down, right }| [by(*down), by(*right), 0, 0, 0, 0, 0])
                        .collect(),
                )
            }
            PixelChanges::Blank(each) => {
                let of = |it: &Area| {
                    let last = (it.top + it.height, it.left + it.width);
                    [0, 0, 0, side(it.top), side(it.left), side(last.0), side(last.1)]
                };
                moved(each.iter().map(of).collect())
            }
            PixelChanges::Turn(each) => {
                let each = each.iter().flat_map(|it| [it.sin, it.cos]).flat_map(halves);
                let turns: Vec<u32> = each.collect();
                let sizes = [height, width, channels];
                changed(Kernel::TurnImages, bytes / channels, &sizes, Given::Words(&turns))
            }
            PixelChanges::Resize { each, .. } => {
                let of = |it: &Area| [it.top, it.left, it.height, it.width].map(side);
                let areas: Vec<[i32; 4]> = each.iter().map(of).collect();
                let lines = images * (height + width);
                let most = most_inputs(old.height, height).max(most_inputs(old.width, width));
                let taps = self.room(lines * (1 + most))?;
                let areas = Given::Places(areas.as_flattened());
                let sizes = [images, height, width, most].map(size);
                let given = all(&[&sizes, &[areas, block(&taps)]]);
                self.launch(Kernel::ResizeTaps, for_each(lines), &given)?;
                let sizes = [old.height, old.width, height, width, channels, most];
                changed(Kernel::ResizeImages, bytes, &sizes, block(&taps))
            }
            PixelChanges::Recolor(each) => {
                let steps: Vec<u32> = each.iter().flatten().flat_map(|it| step(*it)).collect();
                let shape = [new.area(), channels].map(size);
                let lists = [rows, from, Given::Words(&steps), block(into)];
                let grid = Grid { blocks: [blocks(images, 1), 1, 1], threads: OF_AN_IMAGE };
                self.launch(Kernel::RecolorImages, grid, &all(&[&shape[..], &lists]))
            }
            PixelChanges::Alter(each) => {
                let words: Vec<u32> = each.iter().flat_map(alteration).collect();
                let shape = [height, width, channels].map(size);
                let lists = [rows, from, Given::Words(&words), block(into)];
                let grid = Grid { blocks: [blocks(images, 1), 1, 1], threads: OF_AN_IMAGE };
                self.launch(Kernel::AlterImages, grid, &all(&[&shape[..], &lists]))
            }
        }
    }
}

/// How many pixels of any part of a side of `old` pixels one of `new` pixels is made of at most: the same for all parts, so that
/// steps differ in nothing but what was drawn.
fn most_inputs(old: usize, new: usize) -> usize {
    // Twice the width of the filter, which is a pixel at least, and one that begins and ends within it.
    (2 * old.max(new)).div_ceil(new) + 1
}

/// A place along an image's side.
fn side(at: usize) -> i32 {
    i32::try_from(at).expect("images are smaller")
}

/// The words of a number in double precision, the lower one first.
fn halves(number: f64) -> [u32; 2] {
    [number.to_bits() as u32, (number.to_bits() >> 32) as u32]
}

/// An operation of `alter_images`: its kind, the bits of its number, the value of what comes from beyond the image, nothing, and six
/// numbers in double precision that say where pixels come from.
fn alteration(alteration: &Alteration) -> [u32; ALTERATION] {
    let mut words = [0; ALTERATION];
    let [kind, number] = match alteration {
        Alteration::Identity => step(None),
        Alteration::Recolor(change) => step(Some(*change)),
        Alteration::Map(map) => {
            words[2] = u32::from(map.fill);
            let numbers = map.column.into_iter().chain(map.row).flat_map(halves);
            words[4..].iter_mut().zip(numbers).for_each(|(word, number)| *word = number);
            [5, 0]
        }
        Alteration::Sharpness(factor) => [6, factor.to_bits()],
        Alteration::Posterize(kept) => [7, u32::from(*kept)],
        Alteration::Solarize(threshold) => [8, threshold.to_bits()],
        Alteration::AutoContrast => [9, 0],
        Alteration::Equalize => [10, 0],
    };
    words[..2].copy_from_slice(&[kind, number]);
    words
}

/// A step of `recolor_images`: its kind and the bits of its number.
fn step(change: Option<ColorChange>) -> [u32; 2] {
    match change {
        None => [0, 0],
        Some(ColorChange::Brightness(factor)) => [1, factor.to_bits()],
        Some(ColorChange::Contrast(factor)) => [2, factor.to_bits()],
        Some(ColorChange::Saturation(factor)) => [3, factor.to_bits()],
        Some(ColorChange::Hue(turn)) => [4, turn.to_bits()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// nvcc joins a product and a sum after it unless it is told not to, which the stand-in's compiler never does.
    #[test]
    fn kernels_that_give_the_bytes_of_the_host_join_no_operations() {
        let text = include_str!("../../gpu/kernels/kernels.ptx");
        for kernel in [
            Kernel::MoveImages,
            Kernel::TurnImages,
            Kernel::ResizeTaps,
            Kernel::ResizeImages,
            Kernel::RecolorImages,
            Kernel::AlterImages,
        ] {
            let entry = format!(".visible .entry {}(", kernel.name());
            let (_, rest) = text.split_once(&entry).unwrap();
            let body = rest.split(".visible .entry").next().unwrap();
            assert!(body.contains("ret;") && !body.contains("fma."), "{}", kernel.name());
        }
        assert!(text.contains("fma.rn.f32"), "others do");
    }
}
