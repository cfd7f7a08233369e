//! Images against torchvision's: see tests/golden/resize.py.

use std::sync::atomic::AtomicBool;

use runner::data::convert::to_channels;
use runner::data::resize::{NewSize, resize};
use runner::data::{Images, Watch};
use runner::progress::Silent;
use safetensors::SafeTensors;

fn images(golden: &SafeTensors, name: &str) -> Images {
    let tensor = golden.tensor(name).expect("a tensor of the script");
    let [height, width, channels] = *tensor.shape() else { panic!("[H, W, C]") };
    Images::same(channels, (height, width), tensor.data().to_vec())
}

fn furthest(ours: &Images, theirs: &Images) -> u8 {
    assert_eq!((ours.channels, &ours.sizes), (theirs.channels, &theirs.sizes));
    let pairs = ours.pixels.iter().zip(theirs.pixels.iter());
    pairs.map(|(ours, theirs)| ours.abs_diff(*theirs)).max().expect("pixels")
}

#[test]
fn resized_images_are_within_one_step_of_torchvisions() {
    let bytes = include_bytes!("../golden/resize.safetensors");
    let golden = SafeTensors::deserialize(bytes).expect("a safetensors file");
    let cancel = AtomicBool::new(false);
    let watch = Watch { progress: &Silent, cancel: &cancel };
    let cases = golden.names().iter().filter(|name| name.ends_with(".from")).count() - 1;
    assert_eq!(cases, 8);
    for case in 0..cases {
        let expected = images(&golden, &format!("{case}.to"));
        let size = expected.size().expect("one image has one size");
        let ours = resize(
            &images(&golden, &format!("{case}.from")),
            NewSize::Fixed(size.0, size.1),
            &watch,
        )
        .expect("images");
        let furthest = furthest(&ours, &expected);
        assert!(furthest <= 1, "case {case} is off by {furthest} of 255");
    }
}

#[test]
fn gray_images_are_torchvisions() {
    let bytes = include_bytes!("../golden/resize.safetensors");
    let golden = SafeTensors::deserialize(bytes).expect("a safetensors file");
    let ours = to_channels(&images(&golden, "gray.from"), 1).unwrap();
    assert_eq!(furthest(&ours, &images(&golden, "gray.to")), 0);
}
