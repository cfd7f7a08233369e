//! Draws charts as SVG, the same for the page and for files, and turns them into PNG. Knows charts, not
//! runs: what is drawn comes in as a description of numbers and names.

mod axis;
mod bars;
mod boundary;
mod canvas;
mod color;
mod confusion;
mod graph;
mod heat;
mod legend;
mod lines;
mod parallel;
mod png;
mod scatter;

pub use axis::Scale;
pub use bars::{Bar, Bars};
pub use boundary::{BoundaryChart, SampleGroup};
pub use canvas::escape;
pub use color::stylesheet;
pub use confusion::ConfusionChart;
pub use graph::{Graph, GraphNode};
pub use heat::Heat;
pub use lines::{Key, LineChart, LinePoint, Series};
pub use parallel::{Parallel, Upright};
pub use png::{PngError, png};
pub use scatter::{PointGroup, Scatter};

use canvas::Canvas;

/// What can be drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Chart {
    /// Values over something, with bands.
    Lines(LineChart),
    /// Points in a plane.
    Scatter(Scatter),
    /// A plane that a classifier divides.
    Boundary(BoundaryChart),
    /// A value for each pair.
    Heat(Heat),
    /// Lengths with names.
    Bars(Bars),
    /// Trials over all their settings and scores.
    Parallel(Parallel),
    /// What was taken for what.
    Confusion(ConfusionChart),
    /// Stages and what they wait for.
    Graph(Graph),
}

/// A drawn chart.
#[derive(Debug, Clone)]
pub struct Picture {
    width: f64,
    height: f64,
    body: String,
}

/// Draws `chart`. The same chart gives the same bytes.
pub fn draw(chart: &Chart) -> Picture {
    let canvas = match chart {
        Chart::Lines(lines) => lines::draw(lines),
        Chart::Scatter(scatter) => scatter::draw(scatter),
        Chart::Boundary(boundary) => boundary::draw(boundary),
        Chart::Heat(heat) => heat::draw(heat),
        Chart::Bars(bars) => bars::draw(bars),
        Chart::Parallel(parallel) => parallel::draw(parallel),
        Chart::Confusion(confusion) => confusion::draw(confusion),
        Chart::Graph(graph) => graph::draw(graph),
    };
    let Canvas { width, height, body } = canvas;
    Picture { width, height, body }
}

impl Picture {
    /// For a page that has [`stylesheet`]: `id` must be unique there; `title` names the picture and
    /// `about` says in words what it shows.
    pub fn inline(&self, id: &str, title: &str, about: &str) -> String {
        // A drawing with links is more than an image: what is in it must stay reachable.
        let role = if self.body.contains("<a ") { "group" } else { "img" };
        format!(
            "<svg class=\"plot\" role=\"{role}\" aria-labelledby=\"{id}-t {id}-d\" \
             viewBox=\"0 0 {w} {h}\" style=\"max-width:{w}px\"><title id=\"{id}-t\">{}</title>\
             <desc id=\"{id}-d\">{}</desc>{}</svg>",
            escape(title),
            escape(about),
            self.body,
            w = canvas::number(self.width),
            h = canvas::number(self.height),
        )
    }

    /// As a file of its own, on a light ground.
    pub fn file(&self, title: &str, about: &str) -> String {
        let head = 30.0;
        // A bold letter is about 1.2 times as wide as a plain one.
        let room = 24.0 + canvas::width_of(title, 13.0 * 1.2);
        let (w, h) = (canvas::number(self.width.max(room)), canvas::number(self.height + head));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" role=\"img\" width=\"{w}\" \
             height=\"{h}\" viewBox=\"0 0 {w} {h}\" font-family=\"DejaVu Sans, sans-serif\">\
             <title>{title}</title><desc>{about}</desc><style>{style}</style>\
             <rect width=\"{w}\" height=\"{h}\" fill=\"#fff\"/>\
             <text x=\"12\" y=\"21\" class=\"t b\">{title}</text>\
             <g transform=\"translate(0 {head})\">{body}</g></svg>\n",
            title = escape(title),
            about = escape(about),
            style = color::light_only(),
            body = self.body,
        )
    }
}

#[cfg(test)]
mod tests;
