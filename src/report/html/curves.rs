//! The sections of learning curves and of schedules, by stage.

use super::section::{Section, about, grid, of_figures};
use crate::report::figures::{Figure, Topic};
use crate::report::plot::escape;

pub(super) fn section(figures: &[Figure]) -> Option<Section> {
    let mut html = String::new();
    let mut stages: Vec<&str> = about(figures, Topic::Curves).map(|it| it.of.as_str()).collect();
    stages.dedup();
    for stage in stages {
        html += &format!("<h3>{}</h3>", escape(stage));
        html += &grid(about(figures, Topic::Curves).filter(|it| it.of == stage));
    }
    (!html.is_empty()).then_some(Section { id: "curves", title: "Learning curves", html })
}

/// The section of learning rates, momentum and the weights of losses, with a heading for those that there are.
pub(super) fn schedules(figures: &[Figure]) -> Option<Section> {
    let has_lambda = about(figures, Topic::Schedules)
        .any(|it| it.name.strip_prefix(&*it.of).is_some_and(|name| name.starts_with("-lambda")));
    let title = if has_lambda { "Lambda and learning rate" } else { "Learning rate" };
    of_figures("schedules", title, about(figures, Topic::Schedules))
}
