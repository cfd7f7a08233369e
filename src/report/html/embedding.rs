//! Features before and after adaptation in two dimensions.

use super::section::{Section, about, grid};
use crate::report::figures::{Figure, Topic};
use crate::report::loaded::Run;

pub(super) fn section(run: &Run, figures: &[Figure]) -> Option<Section> {
    let html = grid(about(figures, Topic::Embedding));
    if html.is_empty() {
        return None;
    }
    let trial =
        if run.is_sweep() { format!("<p>Of trial {:03}.</p>", run.shown()) } else { String::new() };
    Some(Section { id: "features", title: "Features in two dimensions", html: trial + &html })
}
