//! The section of decision boundaries, model beside model.

use super::section::{Section, about, grid};
use crate::report::figures::{Figure, Topic};
use crate::report::measured::MeasuredRun;

pub(super) fn section(run: &MeasuredRun, figures: &[Figure]) -> Option<Section> {
    about(figures, Topic::Boundary).next()?;
    let html = grid(about(figures, Topic::Boundary));
    let trial =
        if run.is_sweep() { format!("<p>Of trial {:03}.</p>", run.shown()) } else { String::new() };
    Some(Section { id: "boundaries", title: "Decision boundaries", html: trial + &html })
}
