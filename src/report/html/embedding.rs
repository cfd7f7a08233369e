//! The section of features in two dimensions, before and after adaptation.

use super::section::{Section, about, grid};
use crate::report::figures::{Figure, Topic};
use crate::report::measured::MeasuredRun;
use crate::report::plot::escape;

pub(super) fn section(run: &MeasuredRun, figures: &[Figure]) -> Option<Section> {
    // Models stand side by side, in one row per method and colouring.
    let view = |it: &Figure| it.title.rsplit(": ").next().unwrap_or_default().to_owned();
    let mut views: Vec<String> = about(figures, Topic::Embedding).map(view).collect();
    views.dedup();
    let html: String = views
        .iter()
        .map(|title| {
            let row = about(figures, Topic::Embedding).filter(|it| view(it) == *title);
            format!("<h3>{}</h3>{}", escape(title), grid(row))
        })
        .collect();
    if html.is_empty() {
        return None;
    }
    let trial =
        if run.is_sweep() { format!("<p>Of trial {:03}.</p>", run.shown()) } else { String::new() };
    Some(Section { id: "features", title: "Features in two dimensions", html: trial + &html })
}
