//! The pictures of a run. Each consists of the rows of a CSV and a way to draw them, so that every picture, on
//! the page and in files, shows exactly what its CSV holds.

mod boundary;
mod confusion;
mod curves;
mod embedding;
mod figure;
mod files;
mod ranking;
mod shape;
mod stages;
mod sweep;

pub use figure::{Figure, Topic};
pub use files::write;
pub use shape::Shape;
pub use stages::words;

use super::error::Error;
use super::measured::MeasuredRun;
use super::target_labels;

/// Every picture of `run`, in the order of the page. The doubts about the run become part of every description.
///
/// # Errors
/// When a file of the run cannot be read.
pub fn all(run: &MeasuredRun) -> Result<Vec<Figure>, Error> {
    let mut figures = stages::figures(run);
    figures.extend(curves::figures(run));
    figures.extend(sweep::figures(run));
    figures.extend(ranking::figures(run)?);
    figures.extend(confusion::figures(run));
    figures.extend(boundary::figures(run)?);
    figures.extend(embedding::figures(run)?);
    name_apart(&mut figures);
    let labels = target_labels::warning(&run.record.trials);
    for figure in &mut figures {
        run.doubts.iter().chain(&labels).for_each(|doubt| figure.about += &format!(" {doubt}"));
    }
    Ok(figures)
}

/// Numbers figures that would otherwise share a file.
fn name_apart(figures: &mut [Figure]) {
    let mut taken = std::collections::BTreeMap::new();
    for figure in figures {
        figure.name = file_name(&figure.name);
        let times = taken.entry(figure.name.clone()).or_insert(0);
        *times += 1;
        if *times > 1 {
            figure.name = format!("{}-{times}", figure.name);
        }
    }
}

/// `name` with only those characters that every file system accepts.
fn file_name(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '.' => text.push(letter),
            _ if !text.ends_with('-') && !text.is_empty() => text.push('-'),
            _ => {}
        }
    }
    text.trim_end_matches('-').chars().take(120).collect()
}
