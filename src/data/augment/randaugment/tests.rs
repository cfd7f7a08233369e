//! Against torchvision (tests/golden/randaugment.py), and by hand.

use std::collections::BTreeSet;

use safetensors::tensor::SafeTensors;

use super::*;
use crate::config::testing::read_lines;
use crate::data::augment::{Augment, Pixels, alteration, change};
use crate::random;

fn named(name: &str) -> Operation {
    *OPERATIONS.iter().find(|it| format!("{it:?}") == name).unwrap_or_else(|| panic!("{name}"))
}

fn with_golden(look: impl FnOnce(&SafeTensors)) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/randaugment.safetensors");
    let bytes = std::fs::read(path).unwrap();
    look(&SafeTensors::deserialize(&bytes).unwrap());
}

#[test]
fn every_operation_is_torchvision_s_to_the_byte_and_blends_are_within_a_level() {
    with_golden(|golden| {
        let mut seen = BTreeSet::new();
        for (name, expected) in golden.tensors() {
            let [of, operation, bin, way, fill] = name.split('/').collect::<Vec<_>>()[..] else {
                continue;
            };
            if of == "magnitudes" {
                continue;
            }
            let image = golden.tensor(&format!("{of}/image")).unwrap();
            let [height, width, channels] = *image.shape() else { panic!("{name}") };
            let mut pixels = Pixels { values: image.data().to_vec(), height, width, channels };
            let operation = named(operation);
            let (magnitude, fill) = (bin.parse().unwrap(), fill.parse().unwrap());
            let step = RandAugment { magnitude, bins: 31, fill };
            let alteration = step.alteration(operation, way == "1", (height, width));
            alteration::alter(&mut pixels, alteration);
            assert_eq!(pixels.values.len(), expected.data().len(), "{name}");
            // torchvision subtracts the factor from one in double precision.
            let levels = u8::from(matches!(operation, Brightness | Color | Contrast | Sharpness));
            for (at, (ours, theirs)) in pixels.values.iter().zip(expected.data()).enumerate() {
                assert!(ours.abs_diff(*theirs) <= levels, "{name}, {at}: {ours} not {theirs}");
            }
            seen.insert((of.to_owned(), format!("{operation:?}")));
        }
        for of in ["rgb", "gray"] {
            let of_these = seen.iter().filter(|(image, _)| image == of).count();
            assert_eq!(of_these, OPERATIONS.len(), "{of}");
        }
        assert!(seen.contains(&("dull".to_owned(), "Equalize".to_owned())), "{seen:?}");
    });
}

#[test]
fn magnitudes_are_torchvision_s() {
    with_golden(|golden| {
        let mut count = 0;
        for (name, expected) in golden.tensors() {
            let ["magnitudes", bins, height, width, operation] =
                name.split('/').collect::<Vec<_>>()[..]
            else {
                continue;
            };
            let bins: usize = bins.parse().unwrap();
            let size = (height.parse().unwrap(), width.parse().unwrap());
            let theirs = expected.data().chunks_exact(4);
            assert_eq!(theirs.len(), bins, "{name}");
            for (magnitude, theirs) in theirs.enumerate() {
                let theirs = f32::from_le_bytes(theirs.try_into().unwrap());
                let step = RandAugment { magnitude, bins, fill: 0 };
                let ours = step.magnitude(named(operation), size);
                assert!(
                    (ours - theirs).abs() <= 1e-6 * theirs.abs(),
                    "{name}, {magnitude}: {ours}, {theirs}"
                );
                assert_eq!(ours.trunc().to_bits(), theirs.trunc().to_bits(), "{name}, {magnitude}");
                count += 1;
            }
        }
        assert_eq!(count, (31 + 31 + 10 + 5) * 11);
    });
}

#[test]
fn each_operation_is_drawn_as_often_as_another_and_each_way() {
    let step = RandAugment { magnitude: 9, bins: 31, fill: 0 };
    let streams = (0..2800).map(|at| random::stream(3, "augment", 1, at));
    let PixelChanges::Alter(each) = step.draw((8, 8), &mut streams.collect::<Vec<_>>()) else {
        panic!("operations")
    };
    let count = |is: &dyn Fn(&Alteration) -> bool| each.iter().filter(|it| is(it)).count();
    for operation in OPERATIONS {
        let ways = [false, true].map(|way| step.alteration(operation, way, (8, 8)));
        // Four standard deviations of a binomial distribution of 2800 draws, and of half as many.
        let expected = if ways[0] == ways[1] { 145..=255 } else { 61..=139 };
        for way in ways {
            let found = count(&|it| *it == way);
            assert!(expected.contains(&found), "{way:?}: {found}");
        }
    }
}

fn read(line: &str) -> Result<Augment, Vec<String>> {
    let text = format!("augment = {line}");
    let (found, gathered) = read_lines(&text, Augment::read);
    let problems = gathered.messages();
    if problems.is_empty() { Ok(found.unwrap().unwrap()) } else { Err(problems) }
}

#[test]
fn settings_are_read_and_wrong_ones_are_said() {
    let drawn = |line: &str| {
        let streams = (0..40).map(|at| random::stream(3, "augment", 1, at));
        read(line).unwrap().draw((12, 10), &mut streams.collect::<Vec<_>>())
    };
    let usual = drawn("['randaugment']");
    assert_eq!(usual.len(), 2);
    assert_eq!(
        usual,
        drawn("[{ kind = 'randaugment', ops = 2, magnitude = 9, bins = 31, fill = 0 }]")
    );
    for other in ["ops = 1", "magnitude = 10", "bins = 30", "fill = 1"] {
        let line = format!("[{{ kind = 'randaugment', {other} }}]");
        assert_ne!(usual, drawn(&line), "{other}");
    }
    // The strongest of two is that of thirty-one.
    let strongest = drawn("[{ kind = 'randaugment', magnitude = 30 }]");
    assert_eq!(strongest, drawn("[{ kind = 'randaugment', magnitude = 1, bins = 2 }]"));
    for (settings, message) in [
        ("ops = 0", "`augment.0.ops` must be an integer from 1 to 16"),
        ("magnitude = 31", "`augment.0.magnitude` must be an integer from 0 to 30"),
        ("magnitude = 10, bins = 10", "`augment.0.magnitude` must be an integer from 0 to 9"),
        ("bins = 1", "`augment.0.bins` must be an integer from 2 to 1001"),
        ("bins = 9", "missing key `augment.0.magnitude`"),
        ("fill = 256", "`augment.0.fill` must be an integer from 0 to 255"),
    ] {
        let problems = read(&format!("[{{ kind = 'randaugment', {settings} }}]")).unwrap_err();
        assert_eq!(problems, [message], "{settings}");
    }
}

#[test]
fn presets_are_the_lists_that_they_are_called_by() {
    let size = (17, 12);
    let drawn = |line: &str, size| {
        let streams = (0..400).map(|at| random::stream(3, "augment", 1, at));
        read(line).unwrap().draw(size, &mut streams.collect::<Vec<_>>())
    };
    let weak = drawn("['weak']", size);
    let [PixelChanges::Flip(flips), PixelChanges::Window { each, size: (17, 12) }] = &weak[..]
    else {
        panic!("{weak:?}")
    };
    assert!((150..=250).contains(&flips.iter().filter(|it| **it).count()));
    let places = |by: fn(&crate::nn::ops::Shift) -> isize| {
        each.iter().map(by).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(
        (places(|it| it.down), places(|it| it.right)),
        (vec![-2, -1, 0, 1, 2], vec![-1, 0, 1])
    );
    assert_eq!(drawn("['strong']", size)[..2], weak);
    // On images of 32 pixels a side these are numbers of pixels.
    let list = "['flip', { kind = 'random_crop', padding = 4 }, 'randaugment', { kind = 'cutout', size = 16 }]";
    assert_eq!(drawn("['strong']", (32, 32)), drawn(list, (32, 32)));
    // Images of a single pixel are not shifted, and blanked out whole.
    let mut image = Pixels { values: vec![7], height: 1, width: 1, channels: 1 };
    let changes = drawn("['strong']", (1, 1));
    change(&mut image, &changes, 0);
    assert_eq!(image.values, [0]);
    assert_eq!(read("[{ kind = 'weak', p = 0.5 }]").unwrap_err(), ["unknown key `augment.0.p`"]);
}
