//! Images of characters in outline fonts: white ink on black, as MNIST, each character turned, slanted,
//! scaled and shifted at random.

use std::fs;
use std::path::PathBuf;

use rayon::prelude::*;
use resvg::tiny_skia::{FillRule, Mask, Path, PathBuilder, Transform};
use skrifa::instance::{LocationRef, Size};
use skrifa::outline::{DrawSettings, OutlinePen};
use skrifa::{FontRef, MetadataProvider};

use super::Watch;
use super::dataset::{Images, Split};
use super::error::DataError;
use crate::progress::Unit;
use crate::random::{self, Stream};

/// Height and width of an image, in pixels.
const SIDE: u16 = 28;

/// Length of the longer side of an upright character, in pixels.
const SIZE: (f32, f32) = (14.0, 20.0);

/// Degrees by which a character is turned, to either side.
const ANGLE: f32 = 15.0;

/// Pixels by which its top and bottom move apart sideways, per pixel of its height.
const SLANT: f32 = 0.15;

/// Pixels between its middle and that of the image, along each axis.
const SHIFT: f32 = 1.5;

/// Images between two looks at whether the user asked to stop.
const BATCH: usize = 512;

/// Outlines of the same characters in several fonts.
#[derive(Debug)]
pub struct Glyphs {
    /// For each font one for each character, with its middle at (0, 0) and a longer side of 1.
    fonts: Vec<Vec<Path>>,
    characters: usize,
}

impl Glyphs {
    /// The outlines of `characters` in the fonts at `files`, in that order.
    ///
    /// # Errors
    /// When a file cannot be read, is not a font or lacks one of the characters.
    pub fn read(files: &[PathBuf], characters: &str) -> Result<Self, DataError> {
        let read = |file: &PathBuf| {
            let bytes = fs::read(file).map_err(|error| DataError::io(file, error))?;
            outlines(&bytes, characters).map_err(|reason| DataError::malformed(file, reason))
        };
        let fonts = files.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { fonts, characters: characters.chars().count() })
    }

    /// `count` images of 28x28 gray pixels: the characters in turn, each in one of the fonts. Each image
    /// is a function of (seed, split, index) alone.
    ///
    /// # Errors
    /// When the user asked to stop.
    ///
    /// # Panics
    /// When there are no fonts.
    pub fn draw(
        &self,
        split: &str,
        count: usize,
        seed: u64,
        watch: &Watch,
    ) -> Result<Split, DataError> {
        watch.progress.begin(&format!("draw {split}"), Some(count as u64), Unit::Images);
        let purpose = format!("glyphs {split}");
        let mut pixels = Vec::new();
        for start in (0..count).step_by(BATCH) {
            watch.check()?;
            let end = count.min(start + BATCH);
            let images: Vec<Vec<u8>> = (start..end)
                .into_par_iter()
                .map(|index| {
                    let mut stream = random::stream(seed, &purpose, 0, index as u64);
                    let font = &self.fonts[stream.below(self.fonts.len())];
                    Pose::draw(&mut stream).image(&font[index % self.characters])
                })
                .collect();
            pixels.extend(images.into_iter().flatten());
            watch.progress.advance((end - start) as u64);
        }
        let side = usize::from(SIDE);
        let labels = (0..).take(self.characters).cycle().take(count).collect();
        Ok(Split { images: Images::same(1, (side, side), pixels), labels })
    }
}

/// Where a character stands and how.
#[derive(Debug, Clone, Copy)]
struct Pose {
    size: f32,
    slant: f32,
    angle: f32,
    /// To the right and down.
    shift: (f32, f32),
}

impl Pose {
    fn draw(stream: &mut Stream) -> Self {
        let mut between = |from: f32, to: f32| from + (to - from) * stream.uniform();
        Self {
            size: between(SIZE.0, SIZE.1),
            slant: between(-SLANT, SLANT),
            angle: between(-ANGLE, ANGLE),
            shift: (between(-SHIFT, SHIFT), between(-SHIFT, SHIFT)),
        }
    }

    /// Scales, slants, turns and then shifts.
    fn transform(self) -> Transform {
        let middle = f32::from(SIDE) / 2.0;
        Transform::from_scale(self.size, self.size)
            .post_concat(Transform::from_skew(self.slant, 0.0))
            .post_rotate(self.angle)
            .post_translate(middle + self.shift.0, middle + self.shift.1)
    }

    /// The share of each pixel that is inside the outline, from 0 to 255.
    fn image(self, outline: &Path) -> Vec<u8> {
        let side = u32::from(SIDE);
        let mut mask = Mask::new(side, side).expect("a few pixels");
        mask.fill_path(outline, FillRule::Winding, true, self.transform());
        mask.take()
    }
}

/// The outline of each of `characters` in a font.
fn outlines(font: &[u8], characters: &str) -> Result<Vec<Path>, String> {
    let font = FontRef::new(font).map_err(|error| format!("not a font: {error}"))?;
    let of = |character: char| {
        outline(&font, character).ok_or_else(|| format!("the font has no `{character}`"))
    };
    characters.chars().map(of).collect()
}

/// The outline of a character, with its middle at (0, 0) and a longer side of 1.
fn outline(font: &FontRef, character: char) -> Option<Path> {
    let glyph = font.outline_glyphs().get(font.charmap().map(character)?)?;
    let mut pen = Pen(PathBuilder::new());
    glyph.draw(DrawSettings::unhinted(Size::unscaled(), LocationRef::default()), &mut pen).ok()?;
    let path = pen.0.finish()?;
    let bounds = path.compute_tight_bounds()?;
    let (x, y) = ((bounds.left() + bounds.right()) / 2.0, (bounds.top() + bounds.bottom()) / 2.0);
    let scale = 1.0 / bounds.width().max(bounds.height());
    path.transform(Transform::from_translate(-x, -y).post_scale(scale, scale))
}

/// Takes an outline in a font's coordinates, which grow upwards.
struct Pen(PathBuilder);

impl OutlinePen for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        self.0.move_to(x, -y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.0.line_to(x, -y);
    }

    fn quad_to(&mut self, cx0: f32, cy0: f32, x: f32, y: f32) {
        self.0.quad_to(cx0, -cy0, x, -y);
    }

    fn curve_to(&mut self, cx0: f32, cy0: f32, cx1: f32, cy1: f32, x: f32, y: f32) {
        self.0.cubic_to(cx0, -cy0, cx1, -cy1, x, -y);
    }

    fn close(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;
    use std::sync::atomic::AtomicBool;

    use resvg::tiny_skia::{PathSegment, Point};

    use super::*;
    use crate::progress::Silent;

    const DIGITS: &str = "0123456789";

    fn digits() -> Glyphs {
        let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("assets/font");
        let files = ["DejaVuSans-subset.ttf", "DejaVuSans-Bold-subset.ttf"];
        Glyphs::read(&files.map(|file| folder.join(file)), DIGITS).unwrap()
    }

    fn drawn(glyphs: &Glyphs, split: &str, count: usize, seed: u64) -> Split {
        let cancel = AtomicBool::new(false);
        let watch = Watch { progress: &Silent, cancel: &cancel };
        glyphs.draw(split, count, seed, &watch).unwrap()
    }

    /// The area inside an outline of lines and parabolas whose holes run the other way round.
    fn area(outline: &Path) -> f64 {
        let cross = |a: Point, b: Point| f64::from(a.x * b.y - a.y * b.x);
        let (mut first, mut last, mut sum) = (Point::zero(), Point::zero(), 0.0);
        for segment in outline.segments() {
            match segment {
                PathSegment::MoveTo(to) => (first, last) = (to, to),
                PathSegment::LineTo(to) => {
                    sum += cross(last, to) / 2.0;
                    last = to;
                }
                PathSegment::QuadTo(by, to) => {
                    sum += (cross(last, by) + cross(by, to)) / 3.0 + cross(last, to) / 6.0;
                    last = to;
                }
                PathSegment::CubicTo(..) => panic!("TrueType has none"),
                PathSegment::Close => sum += cross(last, first) / 2.0,
            }
        }
        sum.abs()
    }

    /// Every pose at the ends of all ranges.
    fn extremes() -> Vec<Pose> {
        let end = |at: u32, bit: u32| if (at >> bit) & 1 == 0 { -1.0 } else { 1.0 };
        (0..32)
            .map(|at| Pose {
                size: if at < 16 { SIZE.0 } else { SIZE.1 },
                slant: SLANT * end(at, 0),
                angle: ANGLE * end(at, 1),
                shift: (SHIFT * end(at, 2), SHIFT * end(at, 3)),
            })
            .collect()
    }

    #[test]
    fn the_ink_is_the_area_of_the_outline_in_every_pose_and_none_is_lost() {
        let glyphs = digits();
        for outline in glyphs.fonts.iter().flatten() {
            for pose in extremes() {
                // Slanting and turning keep the area.
                let expected = area(outline) * f64::from(pose.size).powi(2);
                let ink = pose.image(outline).iter().map(|it| f64::from(*it)).sum::<f64>() / 255.0;
                assert!((ink / expected - 1.0).abs() < 0.05, "{ink} for {expected}: {pose:?}");
                let placed = outline.clone().transform(pose.transform()).unwrap();
                let at = placed.compute_tight_bounds().unwrap();
                assert!(at.left() >= 0.0 && at.right() <= 28.0, "{at:?}: {pose:?}");
                assert!(at.top() >= 0.0 && at.bottom() <= 28.0, "{at:?}: {pose:?}");
            }
        }
    }

    #[test]
    fn digits_stand_upright_in_the_middle_and_are_not_mirrored() {
        let glyphs = digits();
        let pose = Pose { size: 20.0, slant: 0.0, angle: 0.0, shift: (0.0, 0.0) };
        for font in &glyphs.fonts {
            // The mean place of the ink, from the middle of the image to the right and down.
            let ink = |digit: usize| {
                let (mut sums, mut total) = ((0.0, 0.0), 0.0);
                for (at, value) in pose.image(&font[digit]).iter().enumerate() {
                    let value = f64::from(*value);
                    sums.0 += value * ((at % 28) as f64 - 13.5);
                    sums.1 += value * ((at / 28) as f64 - 13.5);
                    total += value;
                }
                (sums.0 / total, sums.1 / total)
            };
            assert!(ink(7).1 < -1.0, "a seven is heavy above: {:?}", ink(7));
            assert!(ink(3).0 > 0.5, "a three is heavy to the right: {:?}", ink(3));
            assert!(ink(6).1 > 0.1 && ink(9).1 < -0.1, "{:?}, {:?}", ink(6), ink(9));
            assert!(ink(0).0.abs() < 0.2 && ink(0).1.abs() < 0.2, "{:?}", ink(0));
        }
    }

    #[test]
    fn classes_come_in_turn_and_images_are_the_same_at_any_number_of_threads() {
        let glyphs = digits();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| drawn(&glyphs, "train", 1030, 5))
        };
        let split = with(1);
        assert_eq!(split, with(3));
        assert_eq!(split.class_counts(10), [103; 10]);
        assert_eq!(split.labels[9..12], [9, 0, 1]);
        assert_eq!(split.images.size(), Some((28, 28)));
        let first = |split: &Split| split.images.pixels[..784].to_vec();
        assert_eq!(first(&split), first(&drawn(&glyphs, "train", 1, 5)));
        assert_ne!(first(&split), first(&drawn(&glyphs, "test", 1, 5)));
        assert_ne!(first(&split), first(&drawn(&glyphs, "train", 1, 6)));
        let again = &split.images.pixels[7840..8624];
        assert_ne!(first(&split), again, "another image of the same digit stands otherwise");
    }

    #[test]
    fn what_is_no_font_or_lacks_a_character_is_an_error_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.ttf");
        fs::write(&file, "no font").unwrap();
        let error = Glyphs::read(std::slice::from_ref(&file), DIGITS).unwrap_err().to_string();
        assert!(error.contains("x.ttf: not a font: "), "{error}");
        let subset =
            FilePath::new(env!("CARGO_MANIFEST_DIR")).join("assets/font/DejaVuSans-subset.ttf");
        let error = Glyphs::read(&[subset], "1\u{9f8d}").unwrap_err().to_string();
        assert!(error.ends_with("the font has no `\u{9f8d}`"), "{error}");
    }
}
