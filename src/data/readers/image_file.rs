//! One image file: whether it is one, whether it is whole, and its pixels of 8 bits.
//!
//! Gray images stay gray, all others become RGB. Transparency is dropped, as PIL's `convert("RGB")` does.
//! The content decides on the format; the name only on whether the file counts as an image.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::whole;
use crate::data::error::DataError;

/// Endings of images that can be read.
const EXTENSIONS: &[&str] = &[
    "png", "jpg", "jpeg", "webp", "bmp", "gif", "ppm", "pgm", "pbm", "pnm", "tif", "tiff", "jpe",
    "jfif",
];

/// Endings of images that cannot be read. They count as images, so that a data set does not shrink
/// silently by those of its files that are in such a format.
const UNREADABLE: &[&str] = &[
    "avif", "heic", "heif", "jp2", "j2k", "jpx", "jxl", "svg", "ico", "tga", "exr", "hdr", "psd",
    "pcx", "dds", "qoi", "xbm", "xpm", "eps", "dcm", "cr2", "cr3", "nef", "arw", "dng", "orf",
    "rw2", "raf",
];

/// Endings of what lies beside images; such files are not looked into.
const ASIDE: &[&str] = &[
    "txt", "md", "rst", "csv", "tsv", "json", "jsonl", "xml", "yaml", "yml", "toml", "html", "pdf",
    "db", "ini", "log", "lst", "py", "sh", "m", "mat", "npy", "npz", "pt", "pth", "pkl", "h5",
    "zip", "gz", "tar",
];

/// Pixels that one image may have, the number beyond which PIL refuses an image too. A header that promises
/// more is taken for damage.
const MOST_PIXELS: u64 = (512 << 20) / 3;

/// Bytes that they may take, as the decoder gives them: so many pixels in colour of 16 bits.
const MOST_BYTES: u64 = 1 << 30;

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// Whether a file is an image by its name, or by its first bytes where the name says nothing.
pub(super) fn is_image(path: &Path) -> bool {
    let is_aside = || ASIDE.contains(&extension(path).as_str());
    has_image_ending(path) || (!is_aside() && begins_like_one(path))
}

/// Whether a name is that of an image by its ending. Never looks at a disk.
pub(super) fn has_image_ending(path: &Path) -> bool {
    let extension = extension(path);
    [EXTENSIONS, UNREADABLE].iter().any(|known| known.contains(&extension.as_str()))
}

/// Whether the first bytes are those of an image, for formats with a long enough signature.
fn begins_like_one(path: &Path) -> bool {
    use ImageFormat::{Avif, Gif, Jpeg, Png, Tiff, WebP};
    let mut head = Vec::new();
    // A pipe would keep its reader waiting.
    let read = path.is_file()
        && File::open(path).and_then(|file| file.take(32).read_to_end(&mut head)).is_ok();
    read && matches!(format_of(&head), Some(Png | Jpeg | Gif | WebP | Tiff | Avif))
}

/// The formats for messages.
pub(super) fn formats() -> String {
    EXTENSIONS.join(", ")
}

/// What may follow the point in the name of an image, in small and in capital letters.
pub(super) fn endings() -> impl Iterator<Item = String> {
    EXTENSIONS.iter().flat_map(|ending| [(*ending).to_owned(), ending.to_uppercase()])
}

/// A whole image file in memory, not yet decoded.
pub(super) struct EncodedImage {
    bytes: Vec<u8>,
    format: ImageFormat,
    /// Height and width.
    size: (usize, usize),
    orientation: Orientation,
    /// Pictures in the file.
    pictures: usize,
    /// Bytes of memory that decoding it takes at most, about.
    needs: u64,
}

/// Pixels of one file.
pub(super) struct Decoded {
    pub(super) channels: usize,
    /// Height and width.
    pub(super) size: (usize, usize),
    pub(super) pixels: Vec<u8>,
    /// Whether its EXIF data say that it is to be turned.
    pub(super) oriented: bool,
    /// Whether the file holds more pictures than this one.
    pub(super) several: bool,
}

fn broken(path: &Path, reason: impl std::fmt::Display) -> DataError {
    DataError::malformed(path, format!("cannot be read as an image: {reason}"))
}

impl EncodedImage {
    /// Reads a file and looks whether it is whole.
    ///
    /// # Errors
    /// When it is not an image in a format that can be read, is cut off or damaged, or cannot be read.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let extension = extension(path);
        if UNREADABLE.contains(&extension.as_str()) {
            let formats = formats();
            return Err(broken(path, format!("convert it to a format that is read: {formats}")));
        }
        if !EXTENSIONS.contains(&extension.as_str()) {
            let reason =
                "it begins like one, but its name does not end like one: rename it to end in";
            return Err(broken(path, format!("{reason} {}, or move it away", formats())));
        }
        let io = |error| DataError::io(path, error);
        if !fs::metadata(path).map_err(io)?.is_file() {
            return Err(broken(path, "it is not a file"));
        }
        Self::of(path, fs::read(path).map_err(io)?)
    }

    /// The file at `path`, which holds `bytes`.
    fn of(path: &Path, bytes: Vec<u8>) -> Result<Self, DataError> {
        let format = format_of(&bytes)
            .ok_or_else(|| broken(path, format!("it begins like none of {}", formats())))?;
        let pictures = whole::check(format, &bytes).map_err(|reason| broken(path, reason))?;
        let mut decoder = decoder(&bytes, format).map_err(|error| broken(path, error))?;
        let (width, height) = decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            return Err(broken(path, format!("its size is {width} x {height} pixels")));
        }
        if pixels > MOST_PIXELS {
            let most = MOST_PIXELS / 1_000_000;
            let reason = format!("{width} x {height} pixels are more than the {most} million");
            return Err(broken(path, format!("{reason} that an image may have")));
        }
        if decoder.total_bytes() > MOST_BYTES {
            let (bytes, most) = (decoder.total_bytes().div_ceil(1_000_000), MOST_BYTES / 1_000_000);
            let reason = format!("its pixels take {bytes} MB, more than the {most} MB of an image");
            return Err(broken(path, format!("{reason}: save it with 8 bits per channel")));
        }
        let color = decoder.color_type();
        if matches!(color, ColorType::Rgb32F | ColorType::Rgba32F) {
            let reason =
                "its pixels are floating-point numbers, and nothing says which one is white";
            return Err(broken(path, format!("{reason}: save it with 8 or 16 bits per channel")));
        }
        // Beside the pixels: their copy in other channels, and what the decoder keeps of all of them.
        let convert = match color {
            ColorType::L8 | ColorType::Rgb8 => 0,
            _ => 3,
        };
        let keep = match format {
            ImageFormat::Jpeg => 6,
            ImageFormat::WebP | ImageFormat::Gif => 4,
            ImageFormat::Tiff => u64::from(color.bytes_per_pixel()).max(4),
            _ => 0,
        };
        let needs = decoder.total_bytes() + pixels * (convert + keep) + bytes.len() as u64;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        drop(decoder);
        let size = (height as usize, width as usize);
        Ok(Self { bytes, format, size, orientation, pictures, needs })
    }

    /// Bytes of memory that [`Self::decode`] takes at most, about.
    pub(super) fn needs(&self) -> u64 {
        self.needs
    }

    /// Height and width, as they are stored.
    pub(super) fn size(&self) -> (usize, usize) {
        self.size
    }

    /// The pixels, turned as the EXIF data say when `upright`.
    ///
    /// # Errors
    /// When the decoder finds damage.
    pub(super) fn decode(self, path: &Path, upright: bool) -> Result<Decoded, DataError> {
        let mut image = decoder(&self.bytes, self.format)
            .and_then(DynamicImage::from_decoder)
            .map_err(|error| broken(path, error))?;
        if upright {
            image.apply_orientation(self.orientation);
        }
        let size = (image.height() as usize, image.width() as usize);
        let gray = !image.color().has_color();
        let (channels, pixels) = if gray {
            (1, image.into_luma8().into_raw())
        } else {
            (3, image.into_rgb8().into_raw())
        };
        let oriented = self.orientation != Orientation::NoTransforms;
        Ok(Decoded { channels, size, pixels, oriented, several: self.pictures > 1 })
    }
}

/// The format by the first bytes of a file.
fn format_of(bytes: &[u8]) -> Option<ImageFormat> {
    let big_tiff = bytes.starts_with(b"II\x2b\0") || bytes.starts_with(b"MM\0\x2b");
    if big_tiff { Some(ImageFormat::Tiff) } else { image::guess_format(bytes).ok() }
}

fn decoder(bytes: &[u8], format: ImageFormat) -> image::ImageResult<impl ImageDecoder + '_> {
    let mut limits = Limits::default();
    // Beside the pixels, a decoder may hold a part of them as they are packed.
    limits.max_alloc = Some(MOST_BYTES + MOST_BYTES / 2);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    reader.into_decoder()
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, Rgb, Rgba};
    use safetensors::SafeTensors;

    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/images.safetensors");

    /// The pictures that tests/golden/images.py makes, by name.
    fn pictures() -> Vec<(String, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/image");
        let names = SafeTensors::deserialize(GOLDEN).unwrap();
        let mut names: Vec<String> = names.names().into_iter().map(str::to_owned).collect();
        names.retain(|name| !name.ends_with(".upright"));
        names.sort();
        assert!(names.len() > 30, "one of each kind");
        names.into_iter().map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
    }

    fn read(name: &str, bytes: &[u8], upright: bool) -> Result<Decoded, DataError> {
        let path = Path::new(name);
        EncodedImage::of(path, bytes.to_vec()).and_then(|image| image.decode(path, upright))
    }

    /// How far pixels are from Pillow's: the furthest, and the mean.
    fn distance(name: &str, found: &Decoded) -> (u8, f64) {
        let golden = SafeTensors::deserialize(GOLDEN).unwrap();
        let golden = golden.tensor(name).unwrap();
        let (height, width) = found.size;
        assert_eq!(golden.shape(), [height, width, found.channels], "{name}");
        let far = || found.pixels.iter().zip(golden.data()).map(|(a, b)| a.abs_diff(*b));
        let sum: f64 = far().map(f64::from).sum();
        (far().max().unwrap(), sum / found.pixels.len() as f64)
    }

    /// Lossy formats leave the decoder some freedom; the others none.
    fn bound(name: &str) -> (u8, f64) {
        match name {
            "cmyk.jpg" => (40, 8.0),
            _ if name.contains(".jpg") => (16, 1.5),
            "lossy.webp" | "clear.webp" => (16, 1.5),
            _ => (0, 0.0),
        }
    }

    #[test]
    fn a_picture_of_each_kind_is_read_as_pillow_reads_it() {
        for (name, bytes) in pictures() {
            let (found, (most, mean)) = (read(&name, &bytes, false).unwrap(), bound(&name));
            let (furthest, off) = distance(&name, &found);
            assert!(
                furthest <= most && off <= mean,
                "{name} is off by {furthest}, {off} on average"
            );
            assert_eq!(found.oriented, name.starts_with("turned."), "{name}");
            assert_eq!(found.several, name.starts_with("two-"), "{name}");
        }
    }

    #[test]
    fn an_orientation_is_applied_when_asked_for() {
        for (name, bytes) in pictures() {
            let found = read(&name, &bytes, true).unwrap();
            let turned = name.starts_with("turned.");
            let golden = if turned { format!("{name}.upright") } else { name.clone() };
            let (furthest, off) = distance(&golden, &found);
            let (most, mean) = bound(&name);
            assert!(
                furthest <= most && off <= mean,
                "{name} is off by {furthest}, {off} on average"
            );
        }
    }

    #[test]
    fn a_picture_cut_off_anywhere_is_an_error() {
        for (name, bytes) in pictures() {
            // The last number of a text may be cut to another one; Pillow pads pages.
            let padding = match name.as_str() {
                "digits.ppm" => 3,
                "two-pages.tif" => 15,
                _ => 0,
            };
            let whole = read(&name, &bytes, false).unwrap();
            for length in 0..bytes.len() - padding {
                let Ok(found) = read(&name, &bytes[..length], false) else { continue };
                // The checksum of a PNG's end chunk, and what follows the first frame of a GIF.
                let needless = match name.rsplit('.').next() {
                    Some("png") => length >= bytes.len() - 4,
                    Some("gif") => found.size == whole.size && found.pixels == whole.pixels,
                    _ => false,
                };
                assert!(needless, "{name}: {length} of {} bytes", bytes.len());
                assert_eq!(found.pixels, whole.pixels, "{name}: {length} of {} bytes", bytes.len());
            }
        }
    }

    #[test]
    fn a_picture_that_lacks_its_end_but_no_pixel_is_read() {
        let lacking = |name: &str, count: usize| {
            let (_, bytes) = pictures().into_iter().find(|(found, _)| found == name).unwrap();
            let whole = read(name, &bytes, false).unwrap();
            let found = read(name, &bytes[..bytes.len() - count], false).unwrap();
            assert_eq!((found.size, found.pixels), (whole.size, whole.pixels), "{name}");
        };
        for (name, _) in pictures() {
            match name.rsplit('.').next() {
                Some("png") => (1..=4).for_each(|count| lacking(&name, count)),
                Some("gif") => lacking(&name, 1),
                _ => {}
            }
        }
        // In the middle of the second frame.
        lacking("two-frames.gif", 20);
    }

    /// A picture whose header promises `width` x `height` pixels of `bits` for each channel.
    fn promising(name: &str, width: u32, height: u32, bits: u8) -> Vec<u8> {
        let (_, mut bytes) = pictures().into_iter().find(|(found, _)| found == name).unwrap();
        if name.ends_with(".gif") {
            bytes[6..8].copy_from_slice(&(width as u16).to_le_bytes());
            bytes[8..10].copy_from_slice(&(height as u16).to_le_bytes());
        } else {
            bytes[16..20].copy_from_slice(&width.to_be_bytes());
            bytes[20..24].copy_from_slice(&height.to_be_bytes());
            bytes[24] = bits;
            let mut sum = flate2::Crc::new();
            sum.update(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&sum.sum().to_be_bytes());
        }
        bytes
    }

    #[test]
    fn the_pixels_of_an_image_are_bounded_by_their_number_and_by_their_bytes() {
        let open = |name, width, height, bits| {
            let bytes = promising(name, width, height, bits);
            EncodedImage::of(Path::new(name), bytes).map(|image| image.size())
        };
        for name in ["clear.png", "plain.gif"] {
            assert_eq!(open(name, 12_000, 12_000, 8).unwrap(), (12_000, 12_000), "{name}");
            let error = open(name, 15_000, 12_000, 8).unwrap_err().to_string();
            let message =
                "15000 x 12000 pixels are more than the 178 million that an image may have";
            assert!(error.contains(message), "{error}");
        }
        let error = open("clear.png", 12_000, 12_000, 16).unwrap_err().to_string();
        assert!(error.contains("its pixels take 1152 MB, more than the 1073 MB"), "{error}");
    }

    #[test]
    fn floating_point_colours_are_refused() {
        for value in [0.5_f32, 255.0, f32::NAN] {
            let mut opaque = Cursor::new(Vec::new());
            let image = ImageBuffer::from_pixel(2, 2, Rgb([value; 3]));
            DynamicImage::from(image).write_to(&mut opaque, ImageFormat::Tiff).unwrap();
            let mut clear = Cursor::new(Vec::new());
            let image = ImageBuffer::from_pixel(2, 2, Rgba([value; 4]));
            DynamicImage::from(image).write_to(&mut clear, ImageFormat::Tiff).unwrap();
            for bytes in [opaque.into_inner(), clear.into_inner()] {
                let error = read("a.tif", &bytes, false).map(|_| ()).unwrap_err().to_string();
                assert!(error.contains("its pixels are floating-point numbers"), "{error}");
            }
        }
    }

    /// A cut file that something gave its end marker again, or filled up to its size.
    #[test]
    fn a_jpeg_that_lacks_data_is_an_error_even_when_it_ends_as_it_should() {
        for (name, bytes) in pictures().iter().filter(|(name, _)| name.ends_with(".jpg")) {
            let data = bytes.windows(2).position(|two| two == [0xff, 0xda]).unwrap();
            for length in data + 14..bytes.len() - 3 {
                let ended = [&bytes[..length], &[0xff, 0xd9][..]].concat();
                assert!(read(name, &ended, false).is_err(), "{name}: {length} of {}", bytes.len());
                let mut filled = bytes[..length].to_vec();
                filled.resize(bytes.len() + 100, 0);
                assert!(read(name, &filled, false).is_err(), "{name}: {length} of {}", bytes.len());
            }
        }
    }

    /// A cut file whose last block of data and whose end something made up.
    #[test]
    fn a_gif_that_lacks_pixels_is_an_error_even_when_it_ends_as_it_should() {
        let (_, bytes) = pictures().into_iter().find(|(name, _)| name == "plain.gif").unwrap();
        let frame = 13 + 6 * (1 << (bytes[10] & 7));
        assert_eq!(bytes[frame], 0x2c, "a frame follows the colours");
        let (head, mut rest) = bytes.split_at(frame + 11);
        let mut data = Vec::new();
        while rest[0] > 0 {
            let (block, after) = rest[1..].split_at(usize::from(rest[0]));
            data.extend_from_slice(block);
            rest = after;
        }
        let of = |data: &[u8]| {
            let blocks = data.chunks(255).flat_map(|part| [&[part.len() as u8][..], part].concat());
            let bytes = head.iter().copied().chain(blocks).chain([0, 0x3b]).collect::<Vec<_>>();
            read("plain.gif", &bytes, false)
        };
        assert!(of(&data).is_ok());
        // The last bytes may hold no more than the code for the end.
        for length in 0..data.len() - 3 {
            assert!(of(&data[..length]).is_err(), "{length} of {} bytes", data.len());
        }
    }

    #[test]
    fn what_follows_a_picture_does_not_count() {
        for (name, mut bytes) in pictures() {
            bytes.extend_from_slice(&[0xff, 0xd8, 0, 0, b'x']);
            assert!(read(&name, &bytes, false).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_picture_without_pixels_is_malformed_in_every_format() {
        let (width, height) = (43_u32, 29_u32);
        for (name, bytes) in pictures() {
            let spots = |side: u32| {
                let big = bytes.windows(2).position(|two| two == (side as u16).to_be_bytes());
                let little = bytes.windows(2).position(|two| two == (side as u16).to_le_bytes());
                [big, little].into_iter().flatten().collect::<Vec<_>>()
            };
            for at in spots(width).into_iter().chain(spots(height)) {
                let mut empty = bytes.clone();
                empty[at..at + 2].fill(0);
                match read(&name, &empty, false) {
                    Ok(found) => assert!(!found.pixels.is_empty(), "{name}, byte {at}"),
                    Err(error) => {
                        assert!(matches!(error, DataError::Malformed { .. }), "{name}: {error}");
                    }
                }
            }
        }
    }
}
