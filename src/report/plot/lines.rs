//! Values over something: learning curves, schedules, a metric against an axis of a sweep.

use super::axis::{PlotAxis, Scale, frame};
use super::canvas::{Canvas, width_of};
use super::color::slot;
use super::legend::{self, LegendEntry};

/// A chart of lines.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    /// What is along the bottom.
    pub x: String,
    /// How it is laid out.
    pub scale: Scale,
    /// What is along the side.
    pub y: String,
    /// The lines.
    pub series: Vec<Series>,
    /// Thin lines: there are many.
    pub faint: bool,
    /// Whether lines join the points.
    pub joined: bool,
    /// What their colours and patterns stand for.
    pub keys: Vec<Key>,
}

/// What a colour, a pattern or both stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// In words.
    pub name: String,
    /// Number of the colour; nothing when it is a pattern in every colour.
    pub color: Option<usize>,
    /// Number of the pattern.
    pub dash: usize,
}

/// A line, or points.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Number of its colour.
    pub color: usize,
    /// Number of its pattern: 0 solid.
    pub dash: usize,
    /// The points, by growing `x`.
    pub points: Vec<LinePoint>,
}

/// A point of a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinePoint {
    /// Along the bottom.
    pub x: f64,
    /// Along the side.
    pub y: f64,
    /// The band around it.
    pub band: Option<(f64, f64)>,
}

pub(super) fn draw(lines: &LineChart) -> Canvas {
    let mut canvas = Canvas::new(460.0, 300.0);
    let (top, right, bottom) = (10.0, 446.0, 246.0);
    let points = || lines.series.iter().flat_map(|it| &it.points);
    let heights = points().flat_map(|it| {
        let (low, high) = it.band.unwrap_or((it.y, it.y));
        [it.y, low, high]
    });
    let y = PlotAxis::new(&Scale::Linear, heights, bottom, top, 0.06);
    let widest = y.ticks(5.0).iter().map(|it| width_of(&it.1, 11.0)).fold(20.0, f64::max);
    let inner = (30.0 + widest, top, right, bottom);
    let x = PlotAxis::new(&lines.scale, points().map(|it| it.x), inner.0, inner.2, 0.03);
    frame(&mut canvas, inner, (&x, &lines.x), (&y, &lines.y));
    for series in &lines.series {
        let color = slot(series.color);
        if series.points.iter().any(|it| it.band.is_some()) {
            let band = |it: &LinePoint| it.band.unwrap_or((it.y, it.y));
            let upper = series.points.iter().map(|it| (x.at(it.x), y.at(band(it).1)));
            let lower = series.points.iter().rev().map(|it| (x.at(it.x), y.at(band(it).0)));
            canvas.area(&upper.chain(lower).collect::<Vec<_>>(), &format!("band f{color}"));
        }
    }
    for series in &lines.series {
        let color = slot(series.color);
        let places: Vec<_> = series.points.iter().map(|it| (x.at(it.x), y.at(it.y))).collect();
        if lines.joined && places.len() > 1 {
            let faint = if lines.faint { " faint" } else { "" };
            let class = format!("l s{color}{}{faint}", dashes(series.dash));
            canvas.path(&places, &class, "");
        } else {
            canvas.dots(&places, &format!("dot s{color}"));
        }
    }
    let entries = lines.keys.iter().map(|it| {
        let form = if lines.joined { format!("l{}", dashes(it.dash)) } else { "dot".into() };
        let color = it.color.map_or("sq".to_owned(), |it| format!("s{}", slot(it)));
        LegendEntry { name: &it.name, mark: format!("{form} {color}") }
    });
    let entries: Vec<LegendEntry> = entries.collect();
    if !entries.is_empty() {
        legend::draw(&mut canvas, 286.0, &entries);
    }
    canvas
}

fn dashes(dash: usize) -> &'static str {
    ["", " d1", " d2", " d3"][dash % 4]
}
