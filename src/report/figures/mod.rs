//! The pictures of a run. Each is rows of a CSV and a way to draw them: what is drawn is what the CSV
//! holds, on the page and in files.

mod confusion;
mod curves;
mod embedding;
mod files;
mod shape;
mod stages;
mod sweep;

pub use files::write;
pub use shape::Shape;
pub use stages::words;

use super::csv::Rows;
use super::loaded::Run;
use super::plot::Chart;
use super::results::Error;

/// What a picture belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The graph of the stages.
    Graph,
    /// What a stage took.
    Times,
    /// Metrics of training.
    Curves,
    /// Learning rate, momentum, lambda.
    Schedules,
    /// Metrics against the axes of a sweep.
    Sweep,
    /// What was taken for what.
    Confusion,
    /// Features in two dimensions.
    Embedding,
}

/// A picture with its numbers.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it belongs to.
    pub topic: Topic,
    /// The stage or model that it is of; empty for the whole run.
    pub of: String,
    /// Name of its files.
    pub name: String,
    /// Its title.
    pub title: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// Its numbers.
    pub rows: Rows,
    /// How they are drawn.
    pub shape: Shape,
}

impl Figure {
    /// What is drawn.
    pub fn chart(&self) -> Chart {
        self.shape.chart(&self.rows)
    }
}

/// Every picture of `run`, in the order of the page.
///
/// # Errors
/// When a file of the run cannot be read.
pub fn all(run: &Run) -> Result<Vec<Figure>, Error> {
    let mut figures = stages::figures(run);
    figures.extend(curves::figures(run));
    figures.extend(sweep::figures(run));
    figures.extend(confusion::figures(run));
    figures.extend(embedding::figures(run)?);
    name_apart(&mut figures);
    Ok(figures)
}

/// Gives figures that would share a file a number.
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

/// `name` with only letters that every file system takes.
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

/// Mean, and sample standard deviation of two or more.
#[expect(clippy::cast_precision_loss, reason = "counts of trials are small")]
pub fn mean_and_sd(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, None);
    }
    let squares: f64 = values.iter().map(|it| (it - mean).powi(2)).sum();
    (mean, Some((squares / (n - 1.0)).sqrt()))
}

/// `mean`, `low`, `high` (one standard deviation to each side) and `n` as cells.
fn spread(values: &[f64]) -> [String; 4] {
    let (mean, sd) = mean_and_sd(values);
    let side = |by: f64| sd.map(|sd| crate::metrics::number(mean + by * sd)).unwrap_or_default();
    [crate::metrics::number(mean), side(-1.0), side(1.0), values.len().to_string()]
}
