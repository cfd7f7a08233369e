//! A section of the page, and how figures are placed in it.

use std::fmt::Write as _;

use crate::report::figures::{Figure, Shape, Topic};
use crate::report::plot::{draw, escape};

/// A section of the page.
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// The HTML below its heading.
    pub(super) html: String,
}

/// A section with `figures`; `None` when there are none.
pub(super) fn of_figures<'a>(
    id: &'static str,
    title: &'static str,
    figures: impl Iterator<Item = &'a Figure>,
) -> Option<Section> {
    let html = grid(figures);
    (!html.is_empty()).then_some(Section { id, title, html })
}

/// `figures` side by side, as many as fit in a row; empty when there are none.
pub(super) fn grid<'a>(figures: impl Iterator<Item = &'a Figure>) -> String {
    let html: String = figures.map(figure).collect();
    if html.is_empty() { html } else { format!("<div class=\"grid-of-figures\">{html}</div>") }
}

/// A figure with its title and a button that shows its numbers.
pub(super) fn figure(figure: &Figure) -> String {
    let svg = draw(&figure.chart()).inline(&id(figure), &figure.title, &figure.about);
    let mut html = String::new();
    let wide = if figure.shape == Shape::Parallel { " wide" } else { "" };
    let name = escape(&figure.name);
    let _ = writeln!(
        html,
        "<figure class=\"fig{wide}\" data-figure=\"{name}\"><figcaption>{}</figcaption>\
         <div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{}\">{svg}</div>\
         <p class=\"about\">{}</p></figure>",
        escape(&figure.title),
        escape(&figure.title),
        escape(&figure.about),
    );
    html
}

/// The figures of `topic`.
pub(super) fn about(figures: &[Figure], topic: Topic) -> impl Iterator<Item = &Figure> {
    figures.iter().filter(move |it| it.topic == topic)
}

/// An id for the elements of a figure that no other figure has.
pub(super) fn id(figure: &Figure) -> String {
    format!("f-{}", escape(&figure.name))
}
