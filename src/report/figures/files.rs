//! Writes the pictures of a run: first the CSV of each, then SVG and PNG drawn from what that CSV holds.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::figure::Figure;
use crate::report::csv::CsvRows;
use crate::report::error::Error;
use crate::report::plot::{draw, png};
use crate::system::{self, write_file};

/// The scale of the PNG, in pixels per unit of the SVG.
const SCALE: f32 = 2.0;

/// Writes `figures` into `folder`, which is created if necessary. Returns the paths of the SVG files.
///
/// # Errors
/// When a file cannot be written.
pub fn write(figures: &[Figure], folder: &Path) -> Result<Vec<PathBuf>, Error> {
    system::create_folder(folder)
        .map_err(|source| Error::Io { path: folder.to_owned(), source })?;
    figures.par_iter().map(|figure| write_one(figure, folder)).collect()
}

fn write_one(figure: &Figure, folder: &Path) -> Result<PathBuf, Error> {
    let put = |ending: &str, bytes: &[u8]| {
        let path = folder.join(format!("{}.{ending}", figure.name));
        write_file(&path, bytes).map_err(|source| Error::Io { path: path.clone(), source })?;
        Ok::<_, Error>(path)
    };
    let malformed =
        |path: &Path, reason: String| Error::Malformed { path: path.to_owned(), reason };
    let path = put("csv", figure.rows.text().as_bytes())?;
    let text =
        fs::read_to_string(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
    let rows = CsvRows::read(&text).map_err(|error| malformed(&path, error.to_string()))?;
    let svg = draw(&figure.shape.chart(&rows)).file(&figure.title, &figure.about);
    let drawn = put("svg", svg.as_bytes())?;
    let pixels = png(&svg, SCALE).map_err(|error| malformed(&drawn, error.to_string()))?;
    put("png", &pixels)?;
    Ok(drawn)
}
