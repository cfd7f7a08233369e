//! The section of a sweep: its trials and its pictures.

use super::headline;
use super::section::{Section, about, grid};
use crate::report::figures::{Figure, Topic};
use crate::report::measured::MeasuredRun;

pub(super) fn section(run: &MeasuredRun, figures: &[Figure]) -> Option<Section> {
    if !run.is_sweep() {
        return None;
    }
    let html = grid(about(figures, Topic::Sweep)) + &headline::trials(run);
    Some(Section { id: "sweep", title: "Sweep", html })
}
