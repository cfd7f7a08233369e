//! SVG to PNG, with the text in the font of `assets/font`: the machine's fonts are not looked at.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb::Database};

/// Why there is no PNG.
#[derive(Debug, thiserror::Error)]
pub enum PngError {
    /// Not SVG.
    #[error("the drawing cannot be read: {0}")]
    Svg(#[from] resvg::usvg::Error),
    /// No memory for its pixels, or no pixels.
    #[error("the drawing is {0} x {1} pixels, for which there is no memory")]
    Size(u32, u32),
    /// Not written.
    #[error("the pixels cannot be written as PNG: {0}")]
    Encode(String),
}

static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_font_data(include_bytes!("../../../assets/font/DejaVuSans-subset.ttf").to_vec());
    fonts
        .load_font_data(include_bytes!("../../../assets/font/DejaVuSans-Bold-subset.ttf").to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    Arc::new(fonts)
});

/// `svg` as a PNG file, `scale` pixels for each of its own.
///
/// # Errors
/// When it is not SVG or too large.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size in pixels")]
pub fn png(svg: &str, scale: f32) -> Result<Vec<u8>, PngError> {
    let options =
        Options { fontdb: FONTS.clone(), font_family: "DejaVu Sans".into(), ..Options::default() };
    let tree = Tree::from_str(svg, &options)?;
    let size = tree.size();
    let (w, h) = ((size.width() * scale).ceil() as u32, (size.height() * scale).ceil() as u32);
    let mut pixels = Pixmap::new(w, h).ok_or(PngError::Size(w, h))?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| PngError::Encode(error.to_string()))
}
