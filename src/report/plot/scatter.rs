//! Points in a plane, in groups: features in two dimensions. The axes have no units, so none are drawn.

use super::axis::{PlotAxis, Scale};
use super::canvas::Canvas;
use super::color::slot;
use super::legend::{self, LegendEntry};

/// A chart of points.
#[derive(Debug, Clone, PartialEq)]
pub struct Scatter {
    /// The groups.
    pub groups: Vec<PointGroup>,
    /// Whether groups differ in shape too.
    pub shapes: bool,
}

/// Points of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct PointGroup {
    /// What they are.
    pub name: String,
    /// The points.
    pub points: Vec<(f64, f64)>,
}

pub(super) fn draw(scatter: &Scatter) -> Canvas {
    let mut canvas = Canvas::new(400.0, 360.0);
    let points = || scatter.groups.iter().flat_map(|it| &it.points);
    let x = PlotAxis::new(&Scale::Linear, points().map(|it| it.0), 8.0, 392.0, 0.03);
    let y = PlotAxis::new(&Scale::Linear, points().map(|it| it.1), 352.0, 8.0, 0.03);
    canvas.rect((4.0, 4.0), (392.0, 352.0), "class=\"grid\"");
    let mark = |at: usize| if scatter.shapes && at % 2 == 1 { "square" } else { "point" };
    for (at, group) in scatter.groups.iter().enumerate() {
        let places: Vec<_> = group.points.iter().map(|it| (x.at(it.0), y.at(it.1))).collect();
        canvas.dots(&places, &format!("{} s{}", mark(at), slot(at)));
    }
    let entries: Vec<LegendEntry> = scatter
        .groups
        .iter()
        .enumerate()
        .map(|(at, group)| {
            let form = if mark(at) == "square" { "square" } else { "dot" };
            LegendEntry { name: &group.name, mark: format!("{form} s{}", slot(at)) }
        })
        .collect();
    legend::draw(&mut canvas, 362.0, &entries);
    canvas
}
