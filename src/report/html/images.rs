//! The section of images: samples of each domain, the worst mistakes, and pictures that stages drew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::section::Section;
use crate::report::csv::CsvRows;
use crate::report::error::Error;
use crate::report::measured::{ClassNames, MeasuredRun};
use crate::report::plot::escape;

/// The most bytes that all pictures together may take.
const ROOM: usize = 400_000;

pub(super) fn section(run: &MeasuredRun) -> Result<Option<Section>, Error> {
    let trial = run.shown();
    let mut room = ROOM;
    let mut html = String::new();
    for (stage, _) in &run.stages {
        if let Some(pictures) = run.extra(trial, stage, "pictures.csv")? {
            html += &rows_of_tiles(run, (trial, stage), &pictures, &mut room)?;
        } else {
            html += &plain(&run.trial_folder(trial).join(stage), stage, &mut room)?;
        }
    }
    if html.is_empty() {
        return Ok(None);
    }
    if run.is_sweep() {
        html.insert_str(0, &format!("<p>Of trial {trial:03}.</p>"));
    }
    Ok(Some(Section { id: "images", title: "Images", html }))
}

/// The image in `file` as a data URL; `None` when there is no such file or it does not fit.
fn address(folder: &Path, file: &str, room: &mut usize) -> Result<Option<String>, Error> {
    // A name from a CSV must not lead out of its folder.
    if Path::new(file).components().count() != 1 || file.contains("..") {
        return Ok(None);
    }
    let path = folder.join(file);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Io { path, source }),
    };
    let text = BASE64_STANDARD.encode(bytes);
    if text.len() > *room {
        return Ok(None);
    }
    *room -= text.len();
    Ok(Some(format!("data:image/png;base64,{text}")))
}

/// The rows of tiles that `pictures.csv` lists.
fn rows_of_tiles(
    run: &MeasuredRun,
    (trial, stage): (usize, &str),
    pictures: &CsvRows,
    room: &mut usize,
) -> Result<String, Error> {
    let column = |name: &str| pictures.header.iter().position(|it| it == name);
    let columns = ["file", "kind", "model", "dataset", "tile", "count"].map(column);
    let [Some(file), Some(kind), Some(model), Some(dataset), Some(tile), Some(count)] = columns
    else {
        return Ok(String::new());
    };
    let folder = run.trial_folder(trial).join(stage);
    let mistakes = run.extra(trial, stage, "mistakes.csv")?;
    let mut html = String::new();
    for row in &pictures.rows {
        let Some(source) = address(&folder, &row[file], room)? else { continue };
        let tiles: u32 = row[count].parse().unwrap_or(1);
        let wide: u32 = row[tile].parse().unwrap_or(28);
        let wrong = row[kind] == "mistakes";
        let title = if wrong {
            format!("{} on {}: the worst mistakes", row[model], row[dataset])
        } else {
            format!("Images of {}", row[dataset])
        };
        // Small images are enlarged by a whole factor, so that all pixels have the same size.
        let zoom = (56 / wide.max(1)).clamp(1, 4);
        let _ = write!(
            html,
            "<figure class=\"tiles\"><figcaption>{0}</figcaption>\
             <div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{0}\">\
             <img src=\"{source}\" alt=\"{0}, {tiles} in a row\" width=\"{1}\">",
            escape(&title),
            u64::from(tiles) * u64::from(wide) * u64::from(zoom),
        );
        if wrong && let Some(mistakes) = &mistakes {
            let classes = run.classes(trial, stage, &row[model], &row[dataset]);
            html += &captions(mistakes, &row[model], &row[dataset], &classes, wide * zoom);
        }
        html += "</div></figure>\n";
    }
    Ok(html)
}

/// The class of each misclassified tile, and the class that it was taken for.
fn captions(
    mistakes: &CsvRows,
    model: &str,
    dataset: &str,
    classes: &ClassNames,
    wide: u32,
) -> String {
    let column = |name: &str| mistakes.header.iter().position(|it| it == name);
    let columns = ["model", "dataset", "label", "predicted", "confidence"].map(column);
    let [Some(of), Some(on), Some(label), Some(predicted), Some(confidence)] = columns else {
        return String::new();
    };
    let items: String = mistakes
        .rows
        .iter()
        .filter(|row| row[of] == model && row[on] == dataset)
        .map(|row| {
            let sure: f64 = row[confidence].parse().unwrap_or(0.0);
            format!(
                "<li style=\"width:{wide}px\">{}<span aria-hidden=\"true\">→</span>\
                 <span class=\"hidden\"> taken for </span>{}<br><span class=\"quiet\">{:.0} %</span></li>",
                escape(&classes.name(&row[label])),
                escape(&classes.name(&row[predicted])),
                sure * 100.0
            )
        })
        .collect();
    format!("<ol class=\"captions\">{items}</ol>")
}

/// Every picture in the folder of a stage.
fn plain(folder: &Path, stage: &str, room: &mut usize) -> Result<String, Error> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(String::new()) };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|it| it.file_name().to_string_lossy().into_owned())
        .filter(|it| it.ends_with(".png"))
        .collect();
    names.sort();
    let mut html = String::new();
    for name in names {
        let Some(source) = address(folder, &name, room)? else { continue };
        let title = format!("{stage}: {}", name.trim_end_matches(".png"));
        let _ = writeln!(
            html,
            "<figure class=\"tiles\"><figcaption>{0}</figcaption>\
             <div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{0}\">\
             <img src=\"{source}\" alt=\"{0}\"></div></figure>",
            escape(&title)
        );
    }
    Ok(html)
}
