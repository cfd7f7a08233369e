//! What the marks of a chart stand for, in lines below it.

use super::canvas::{Anchor, Canvas, fitted, width_of};
use super::color::slot;

/// A name and its mark.
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) slot: usize,
    /// Class of the mark: `l`, `l d1`, `dot`, ...
    pub(super) mark: String,
}

/// Draws `entries` from `top` on and makes `canvas` as high as needed.
pub(super) fn draw(canvas: &mut Canvas, top: f64, entries: &[Entry]) {
    let (left, right) = (14.0, canvas.width - 8.0);
    let (mut x, mut y) = (left, top + 12.0);
    for entry in entries {
        let name = fitted(entry.name, 11.0, right - left - 34.0);
        let wide = 30.0 + width_of(&name, 11.0) + 12.0;
        if x > left && x + wide > right {
            (x, y) = (left, y + 18.0);
        }
        let class = format!("{} s{}", entry.mark, slot(entry.slot));
        if entry.mark.starts_with('l') {
            canvas.line((x, y - 4.0), (x + 24.0, y - 4.0), &class);
        } else {
            canvas.dots(&[(x + 14.0, y - 4.0)], &class);
        }
        canvas.text(x + 29.0, y, Anchor::Start, "q", &name);
        x += wide;
    }
    canvas.height = canvas.height.max(y + 10.0);
}
