//! The section of confusion matrices: as many as a page should hold.

use super::section::{Section, about, figure};
use crate::report::figures::{Figure, Topic};

/// The most bytes that all matrices together may take.
const ROOM: usize = 600_000;

pub(super) fn section(figures: &[Figure]) -> Option<Section> {
    let mut html = String::new();
    let mut left_out = 0;
    for matrix in about(figures, Topic::Confusion) {
        let drawn = figure(matrix);
        if html.len() + drawn.len() > ROOM {
            left_out += 1;
        } else {
            html += &drawn;
        }
    }
    if html.is_empty() && left_out == 0 {
        return None;
    }
    let mut html = format!(
        "<p>A row for each true class; the colour is the share of its images (square root).</p>\
         <div class=\"grid-of-figures\">{html}</div>"
    );
    if left_out > 0 {
        html += &format!(
            "<p class=\"note\">{left_out} more matrices do not fit here; `runner plot` writes them.</p>"
        );
    }
    Some(Section { id: "confusion", title: "Confusion matrices", html })
}
