//! Against torchvision (tests/golden/augment.py), and by hand.

use std::collections::BTreeMap;

use super::*;
use crate::config::testing::read_lines;
use crate::data::crop::middle;
use crate::nn::ops::{Area, ColorChange, Shift};
use crate::random;

fn golden() -> BTreeMap<String, Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/augment.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn image() -> Pixels {
    Pixels { values: golden()["image"].clone(), height: 6, width: 7, channels: 3 }
}

fn gray(width: usize, values: &[u8]) -> Pixels {
    Pixels { values: values.to_vec(), height: values.len() / width, width, channels: 1 }
}

#[test]
fn given_changes_are_torchvision_s_within_a_level() {
    for (name, expected) in golden() {
        let Some((what, number)) = name.split_once(' ') else { continue };
        let number: f64 = number.parse().unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "a factor")]
        let factor = number as f32;
        let mut image = image();
        match what {
            "rotate" => rotation::rotate(&mut image, rotation::by(number)),
            "resize" => {
                let part = Area { top: 1, left: 2, height: 5, width: 4 };
                let size = match number {
                    3.0 => (3, 2),
                    5.0 => (5, 4),
                    _ => (9, 8),
                };
                resized_crop::resize(&mut image, part, size);
            }
            "crop" => random_crop::window(&mut image, Shift { down: -1, right: 2 }, (4, 7)),
            "middle" => {
                let size = (3, 4);
                random_crop::window(&mut image, middle((6, 7), size), size);
            }
            "brightness" => color_jitter::recolor(&mut image, ColorChange::Brightness(factor)),
            "contrast" => color_jitter::recolor(&mut image, ColorChange::Contrast(factor)),
            "saturation" => color_jitter::recolor(&mut image, ColorChange::Saturation(factor)),
            "hue" => color_jitter::recolor(&mut image, ColorChange::Hue(factor)),
            other => panic!("{other}"),
        }
        assert_eq!(image.values.len(), expected.len(), "{name}");
        for (at, (ours, theirs)) in image.values.iter().zip(&expected).enumerate() {
            assert!(ours.abs_diff(*theirs) <= 1, "{name}, value {at}: {ours} not {theirs}");
        }
    }
}

#[test]
fn a_crop_shifts_and_zeros_follow() {
    let shifted = |down, right| {
        let mut image = gray(3, &[1, 2, 3, 4, 5, 6]);
        random_crop::window(&mut image, Shift { down, right }, (2, 3));
        image.values
    };
    assert_eq!(shifted(0, 0), [1, 2, 3, 4, 5, 6]);
    assert_eq!(shifted(-1, -1), [0, 0, 0, 0, 1, 2]);
    assert_eq!(shifted(1, 1), [5, 6, 0, 0, 0, 0]);
    for far in [Shift { down: -9, right: 9 }, Shift { down: 9, right: -9 }] {
        let mut image = gray(2, &[1, 2]);
        random_crop::window(&mut image, far, (1, 2));
        assert_eq!(image.values, [0, 0]);
    }
}

#[test]
fn a_cut_is_a_square_about_its_middle_that_ends_with_the_image() {
    let cut = |size, middle| {
        let mut image = gray(4, &[9; 12]);
        cutout::blank(&mut image, cutout::square(size, middle, (3, 4)));
        image.values
    };
    assert_eq!(cut(1, (1, 2)), [9, 9, 9, 9, 9, 9, 0, 9, 9, 9, 9, 9]);
    assert_eq!(cut(2, (0, 0)), [0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
    assert_eq!(cut(3, (2, 3)), [9, 9, 9, 9, 9, 9, 0, 0, 9, 9, 0, 0]);
}

/// What `augment = LINE` makes of the test image with each of `streams`.
fn applied(line: &str, indices: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let augment = read(line).unwrap().unwrap();
    let one = |index| {
        let mut image = image();
        let changes = augment.draw((6, 7), &mut [random::stream(3, "augment", 1, index)]);
        change(&mut image, &changes, 0);
        assert_eq!(image.values.len(), 6 * 7 * 3);
        image.values
    };
    indices.map(one).collect()
}

fn read(line: &str) -> Result<Option<Augment>, Vec<String>> {
    let text = format!("augment = {line}");
    let (found, gathered) = read_lines(&text, Augment::read);
    let problems = gathered.messages();
    if problems.is_empty() { Ok(found.unwrap()) } else { Err(problems) }
}

#[test]
fn every_change_goes_by_its_stream_and_changes_something() {
    let lines = [
        "['random_crop']",
        "['flip']",
        "['resized_crop']",
        "['rotation']",
        "[{ kind = 'color_jitter', hue = 0.3 }]",
        "[{ kind = 'cutout', size = 3 }]",
        "[{ kind = 'random_erasing', p = 1.0, scale = [0.1, 0.3] }]",
        "['flip', 'random_crop', 'rotation']",
    ];
    for line in lines {
        let images = applied(line, 0..24);
        assert_eq!(images, applied(line, 0..24), "{line}");
        let different: std::collections::HashSet<&Vec<u8>> = images.iter().collect();
        let expected = if line == "['flip']" { 2 } else { 8 };
        assert!(different.len() >= expected, "{line}: {} of 24 differ", different.len());
    }
    assert!(applied("['flip']", 0..24).contains(&image().values));
}

#[test]
fn a_crop_of_another_size_lies_anywhere_in_the_image_and_its_border_and_nowhere_else() {
    let augment = read("[{ kind = 'random_crop', size = [4, 5], padding = 1 }]").unwrap().unwrap();
    assert_eq!((augment.size(), augment.misfit((6, 7))), (Some((4, 5)), None));
    let mut streams: Vec<_> = (0..200).map(|at| random::stream(3, "augment", 1, at)).collect();
    let changes = augment.draw((6, 7), &mut streams);
    let [PixelChanges::Window { each, size: (4, 5) }] = &changes[..] else { panic!("{changes:?}") };
    for (places, last) in [
        (each.iter().map(|it| it.down).collect::<std::collections::BTreeSet<_>>(), 3),
        (each.iter().map(|it| it.right).collect(), 3),
    ] {
        assert!(places.iter().copied().eq(-1..=last), "{places:?}");
    }
    // What fits exactly has one place.
    let whole = read("[{ kind = 'random_crop', size = [6, 7] }]").unwrap().unwrap();
    let changes = whole.draw((6, 7), &mut [random::stream(3, "augment", 1, 0)]);
    let mut same = image();
    change(&mut same, &changes, 0);
    assert_eq!(same.values, image().values);
    assert!(whole.misfit((6, 6)).is_some() && whole.misfit((5, 7)).is_some());
}

#[test]
fn changes_after_a_crop_are_of_its_size() {
    let line = "[{ kind = 'resized_crop', size = [4, 3] }, 'flip', 'random_crop', 'rotation', \
                { kind = 'cutout', size = 2 }, 'random_erasing']";
    let augment = read(line).unwrap().unwrap();
    let changes = augment.draw((6, 7), &mut [random::stream(3, "augment", 1, 0)]);
    let mut small = image();
    change(&mut small, &changes, 0);
    assert_eq!((small.height, small.width, small.values.len()), (4, 3, 36));
    assert_eq!(augment.size(), Some((4, 3)));
    // The same part is drawn whatever size it gets.
    let whole = read("['resized_crop']").unwrap().unwrap();
    let of_whole = whole.draw((6, 7), &mut [random::stream(3, "augment", 1, 0)]);
    let part = |changes: &[PixelChanges]| match &changes[0] {
        PixelChanges::Resize { each, .. } => each[0],
        other => panic!("{other:?}"),
    };
    assert_eq!(part(&changes), part(&of_whole));
    assert_eq!(whole.size(), None);
}

#[test]
fn wrong_changes_are_said() {
    let problems = |line| read(line).unwrap_err();
    assert_eq!(problems("['flop']"), ["`flop` is not a value of `augment.0.kind`"]);
    assert_eq!(problems("[3]"), ["a change must be a word or a table"]);
    assert_eq!(problems("'flip'"), ["`augment` must be an array of changes"]);
    assert_eq!(problems("['mixup', 'flip']"), ["nothing can come after `mixup`"]);
    assert_eq!(
        problems("[{ kind = 'resized_crop', scale = [0.5, 2.0] }]"),
        ["`augment.0.scale` must be two numbers above 0 and at most 1, rising"]
    );
    assert_eq!(read("[{ kind = 'mixup', alpha = 0.4 }]").unwrap().unwrap().mixup(), Some(0.4));
}
