//! A folder of images with a pipeline, and what is in its store.

#![allow(dead_code, reason = "not every test file uses all of it")]

use std::fs;
use std::path::Path;

pub const PIPELINE: &str = r#"
[pipeline]
name = "photos"

[stages.photos]
kind = "download"
source = "file:photos"
format = "image-folder"

[stages.images]
kind = "normalize"
input = "photos"
resize = 12
channels = 3
mean = "auto"
std = "auto"

[stages.net]
kind = "pretrain"
train = "images"
validate = "images.test"
model = { layers = [{ kind = "conv2d", filters = 8, kernel = 3 }, "batch_norm", "relu", "max_pool"], head = [16, "relu"] }
epochs = 4
batch_size = 16
optimizer = { kind = "adam", lr = 0.01 }

[stages.head]
kind = "freeze"
model = "net"
freeze = ["features.*"]

[stages.adapted]
kind = "finetune"
model = "head"
train = "images"
method = { kind = "dann", target = "images.test" }
epochs = 2
batch_size = 16

[stages.score]
kind = "evaluate"
models = ["net", "adapted"]
on = ["images.test"]
"#;

/// Reddish squares and bluish ones, each of another size.
pub fn photos(root: &Path) {
    for (split, count) in [("train", 20_u32), ("test", 8)] {
        for (class, name) in ["blue", "red"].iter().enumerate() {
            let folder = root.join("photos").join(split).join(name);
            fs::create_dir_all(&folder).unwrap();
            for at in 0..count {
                let (width, height) = (14 + at % 5, 13 + at % 7);
                let image = image::RgbImage::from_fn(width, height, |x, y| {
                    let noise = u8::try_from((x * 31 + y * 17 + at * 7) % 90).unwrap();
                    let bright = noise + 120;
                    let (red, blue) = if class == 1 { (bright, noise) } else { (noise, bright) };
                    image::Rgb([red, noise, blue])
                });
                image.save(folder.join(format!("{at}.png"))).unwrap();
            }
        }
    }
    fs::write(root.join("photos.toml"), PIPELINE).unwrap();
}

/// A folder of six images for each class, all of about the class's colour.
pub fn folders(root: &Path, name: &str, classes: &[(&str, [u8; 3])]) {
    for (class, colour) in classes {
        let folder = root.join(name).join(class);
        fs::create_dir_all(&folder).unwrap();
        for at in 0..6_u8 {
            let pixel = image::Rgb(colour.map(|value| value.saturating_add(at * 5)));
            image::RgbImage::from_pixel(6, 6, pixel)
                .save(folder.join(format!("{at}.png")))
                .unwrap();
        }
    }
}

/// Every artifact's name.
pub fn artifacts(store: &Path) -> Vec<String> {
    let Ok(shards) = fs::read_dir(store.join("artifacts")) else { return Vec::new() };
    let mut names: Vec<String> = shards
        .flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
