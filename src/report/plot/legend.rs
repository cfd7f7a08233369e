//! What the marks of a chart stand for, in lines below it.

use super::canvas::{Anchor, Canvas, fitted_apart, width_of};

/// A name and its mark.
pub(super) struct LegendEntry<'a> {
    pub(super) name: &'a str,
    /// Classes of the mark, its form first: `l d1 s0`, `dot s3`.
    pub(super) mark: String,
}

/// How high a line is.
const LINE: f64 = 18.0;

/// Draws `entries` from `top` on and makes `canvas` as high as needed. A legend is no higher than the chart above it: how
/// many entries do not fit is said in its last line.
pub(super) fn draw(canvas: &mut Canvas, top: f64, entries: &[LegendEntry]) {
    let (left, right) = (14.0, canvas.width - 8.0);
    let lowest = 2.0 * top - 10.0 - LINE;
    let names: Vec<&str> = entries.iter().map(|it| it.name).collect();
    let names = fitted_apart(&names, 11.0, right - left - 34.0);
    let (mut x, mut y) = (left, top + 12.0);
    for (at, (entry, name)) in entries.iter().zip(names).enumerate() {
        let wide = 30.0 + width_of(&name, 11.0) + 12.0;
        if x > left && x + wide > right {
            (x, y) = (left, y + LINE);
        }
        if y > lowest {
            let rest = format!("and {} more", entries.len() - at);
            canvas.text(left, y, Anchor::Start, "q", &rest);
            break;
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
