//! What the marks of a chart stand for, in lines below it.

use super::canvas::{Anchor, Canvas, fitted, width_of};

/// A name and its mark.
pub(super) struct LegendEntry<'a> {
    pub(super) name: &'a str,
    /// Classes of the mark, its form first: `l d1 s0`, `dot s3`.
    pub(super) mark: String,
}

/// Draws `entries` from `top` on and makes `canvas` as high as needed.
pub(super) fn draw(canvas: &mut Canvas, top: f64, entries: &[LegendEntry]) {
    let (left, right) = (14.0, canvas.width - 8.0);
    let (mut x, mut y) = (left, top + 12.0);
    for entry in entries {
        let name = fitted(entry.name, 11.0, right - left - 34.0);
        let wide = 30.0 + width_of(&name, 11.0) + 12.0;
        if x > left && x + wide > right {
            (x, y) = (left, y + 18.0);
        }
        if entry.mark.starts_with('l') {
            canvas.line((x, y - 4.0), (x + 24.0, y - 4.0), &entry.mark);
        } else {
            canvas.dots(&[(x + 14.0, y - 4.0)], &entry.mark);
        }
        canvas.text(x + 29.0, y, Anchor::Start, "q", &name);
        x += wide;
    }
    canvas.height = canvas.height.max(y + 10.0);
}
