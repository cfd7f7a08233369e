//! Parallel coordinates: a trial is a line over its settings and scores, coloured by the last.

use super::axis::{PlotAxis, Scale};
use super::canvas::{Anchor, Canvas, escape, fitted, fitted_apart};
use super::color::ramp;

/// A chart of parallel coordinates.
#[derive(Debug, Clone, PartialEq)]
pub struct Parallel {
    /// The axes; the last gives the colours.
    pub axes: Vec<Upright>,
    /// Names of the lines.
    pub names: Vec<String>,
}

/// An axis and where each line crosses it.
#[derive(Debug, Clone, PartialEq)]
pub struct Upright {
    /// What it is.
    pub name: String,
    /// How it is laid out.
    pub scale: Scale,
    /// A value for each line; nothing where a line has none.
    pub values: Vec<Option<f64>>,
}

#[expect(clippy::cast_precision_loss, reason = "few axes")]
pub(super) fn draw(parallel: &Parallel) -> Canvas {
    let count = parallel.axes.len();
    let gap = 170.0;
    let (left, right) = (80.0, 90.0);
    let width = left + right + gap * count.saturating_sub(1) as f64;
    let (top, bottom) = (44.0, 284.0);
    let mut canvas = Canvas::new(width, 300.0);
    let place = |at: usize| left + gap * at as f64;
    let axes: Vec<PlotAxis> = parallel
        .axes
        .iter()
        .map(|it| {
            let values = it.values.iter().flatten().copied();
            PlotAxis::new(&it.scale, values, bottom, top, 0.04)
        })
        .collect();
    let last = parallel.axes.last().map(|it| it.values.as_slice()).unwrap_or_default();
    let known = || last.iter().flatten().copied();
    let (low, high) =
        known().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), it| (a.min(it), b.max(it)));
    // The best last, on top of the others.
    let mut order: Vec<usize> = (0..parallel.names.len()).collect();
    let rank = |line: usize| last.get(line).copied().flatten().unwrap_or(f64::NEG_INFINITY);
    order.sort_by(|a, b| rank(*a).total_cmp(&rank(*b)).then(a.cmp(b)));
    for line in order {
        let points: Vec<(f64, f64)> = parallel
            .axes
            .iter()
            .enumerate()
            .filter_map(|(at, it)| Some((place(at), axes[at].at((*it.values.get(line)?)?))))
            .collect();
        if points.len() < 2 {
            continue;
        }
        let paint = match last.get(line).copied().flatten() {
            Some(value) if high > low => {
                format!(" stroke=\"{}\"", line_color((value - low) / (high - low)))
            }
            Some(_) => format!(" stroke=\"{}\"", line_color(0.5)),
            None => " stroke=\"#888\" stroke-dasharray=\"3 3\"".to_owned(),
        };
        canvas.raw(&format!("<g><title>{}</title>", escape(&parallel.names[line])));
        canvas.path(&points, "l", &paint);
        canvas.raw("</g>");
    }
    for (at, (upright, axis)) in parallel.axes.iter().zip(&axes).enumerate() {
        let x = place(at);
        canvas.line((x, top - 6.0), (x, bottom + 6.0), "frame");
        let name = fitted(&upright.name, 12.0, gap - 10.0);
        canvas.text(x, if at % 2 == 0 { 16.0 } else { 32.0 }, Anchor::Middle, "", &name);
        let ticks = axis.ticks(5.0);
        let texts: Vec<&str> = ticks.iter().map(|it| it.1.as_str()).collect();
        let texts = fitted_apart(&texts, 11.0, 74.0);
        for ((value, _), text) in ticks.iter().zip(texts) {
            let y = axis.at(*value);
            canvas.line((x - 4.0, y), (x, y), "frame");
            let (x, anchor) =
                if at + 1 == count { (x + 6.0, Anchor::Start) } else { (x - 7.0, Anchor::End) };
            canvas.text(x, y + 4.0, anchor, "q halo", &text);
        }
    }
    canvas
}

/// The part of the scale that a thin line shows on a light ground and on a dark one.
fn line_color(share: f64) -> String {
    ramp(0.22 + 0.68 * share).0
}
