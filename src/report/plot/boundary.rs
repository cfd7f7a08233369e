//! The classes of a plane as coloured ground, with samples on it. Both axes have one scale, so that angles are true.

use std::fmt::Write as _;

use super::canvas::{Canvas, number};
use super::color::slot;
use super::legend::{self, LegendEntry};

/// A plane that a classifier divides.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundaryChart {
    /// The names of the classes.
    pub classes: Vec<String>,
    /// Where the middles of the columns of cells lie, from the left.
    pub x: Vec<f64>,
    /// Where the middles of the rows of cells lie, from the bottom.
    pub y: Vec<f64>,
    /// The class of each cell, by row and column; nothing where none is known.
    pub cells: Vec<Vec<Option<usize>>>,
    /// The samples.
    pub groups: Vec<SampleGroup>,
}

/// Samples of one class of one domain.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleGroup {
    /// The domain that they are from.
    pub domain: String,
    /// The number of the domain, which decides on the form of the marks.
    pub form: usize,
    /// The number of the class.
    pub class: usize,
    /// Where they lie.
    pub points: Vec<(f64, f64)>,
}

const LEFT: f64 = 8.0;
const TOP: f64 = 8.0;
const WIDTH: f64 = 384.0;

/// Where cells begin and end, from their middles.
fn edges(middles: &[f64]) -> Option<(f64, f64, f64)> {
    let (first, last) = (*middles.first()?, *middles.last()?);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred cells")]
    let step = if middles.len() > 1 { (last - first) / (middles.len() - 1) as f64 } else { 1.0 };
    (step > 0.0).then_some((first - step / 2.0, last + step / 2.0, step))
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred cells")]
pub(super) fn draw(chart: &BoundaryChart) -> Canvas {
    let (Some((left, right, wide)), Some((low, high, tall))) = (edges(&chart.x), edges(&chart.y))
    else {
        return Canvas::new(400.0, 40.0);
    };
    let scale = WIDTH / (right - left);
    let height = ((high - low) * scale).min(3.0 * WIDTH);
    let mut canvas = Canvas::new(WIDTH + 2.0 * LEFT, TOP + height + 8.0);
    let at_x = |x: f64| LEFT + (x - left) * scale;
    let at_y = |y: f64| TOP + height - (y - low) / (high - low) * height;
    let mut grounds = vec![String::new(); chart.classes.len()];
    for (row, cells) in chart.cells.iter().enumerate() {
        let bottom = low + row as f64 * tall;
        let (top, bottom) = (number(at_y(bottom + tall)), number(at_y(bottom)));
        let mut from = 0;
        while from < cells.len() {
            let class = cells[from];
            let count = cells[from..].iter().take_while(|it| **it == class).count();
            if let Some(ground) = class.and_then(|class| grounds.get_mut(class)) {
                let edge = |column: usize| number(at_x(left + column as f64 * wide));
                let (start, end) = (edge(from), edge(from + count));
                let _ = write!(ground, "M{start} {top}H{end}V{bottom}H{start}Z");
            }
            from += count;
        }
    }
    // One path for each class: the edges between its cells would show otherwise.
    for (class, ground) in grounds.iter().enumerate().filter(|(_, it)| !it.is_empty()) {
        canvas.raw(&format!("<path d=\"{ground}\" class=\"zone f{}\"/>", slot(class)));
    }
    canvas.rect((LEFT, TOP), (WIDTH, height), "class=\"grid\"");
    let forms = chart.groups.iter().map(|it| it.form).max().unwrap_or_default();
    let mark = |form: usize| if form % 2 == 1 { "square" } else { "point" };
    for group in &chart.groups {
        let places: Vec<_> = group.points.iter().map(|it| (at_x(it.0), at_y(it.1))).collect();
        canvas.dots(&places, &format!("{} s{}", mark(group.form), slot(group.class)));
    }
    let names: Vec<String> = chart
        .groups
        .iter()
        .map(|group| {
            let class = chart.classes.get(group.class).map_or("", String::as_str);
            if forms > 0 { format!("{}, {class}", group.domain) } else { class.to_owned() }
        })
        .collect();
    let entries: Vec<LegendEntry> = names
        .iter()
        .zip(&chart.groups)
        .map(|(name, group)| {
            let form = if mark(group.form) == "square" { "square" } else { "dot" };
            LegendEntry { name, mark: format!("{form} s{}", slot(group.class)) }
        })
        .collect();
    let below = canvas.height + 2.0;
    legend::draw(&mut canvas, below, &entries);
    canvas
}
