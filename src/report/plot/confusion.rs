//! What was taken for what: a row for each true class, coloured by its shares.

use std::collections::BTreeMap;

use super::canvas::{Anchor, Canvas, fitted, width_of};
use super::color::ramp;

/// A confusion matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfusionChart {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Images (or their mean over trials) by the places of the true and the predicted class, where there
    /// are some.
    pub counts: BTreeMap<(usize, usize), f64>,
}

/// Pixels of a letter's height.
const SIZE: f64 = 11.0;

/// Above this many classes cells have no numbers.
const NUMBERED: usize = 16;

#[expect(clippy::cast_precision_loss, reason = "few classes")]
pub(super) fn draw(confusion: &ConfusionChart) -> Canvas {
    let count = confusion.classes.len().max(1);
    let cell = if count <= NUMBERED {
        (400.0 / count as f64).clamp(30.0, 60.0)
    } else {
        420.0 / count as f64
    };
    let longest = confusion.classes.iter().map(|it| width_of(it, SIZE)).fold(0.0, f64::max);
    let room = longest.clamp(34.0, 110.0);
    let every = (count as f64 / 20.0).ceil();
    // Names that do not fit side by side run upwards.
    let upwards = longest > (cell * every).max(20.0);
    let (left, top) = (24.0 + room, 8.0);
    let side = cell * count as f64;
    let below = if upwards { room + 8.0 } else { 20.0 };
    let mut canvas = Canvas::new(left + side + 10.0, top + side + below + 26.0);
    canvas.rect((left, top), (side, side), "class=\"grid\"");
    let mut wholes = vec![0.0; confusion.classes.len()];
    confusion.counts.iter().for_each(|((row, _), value)| wholes[*row] += value);
    for ((row, column), value) in &confusion.counts {
        if *value <= 0.0 || wholes[*row] <= 0.0 {
            continue;
        }
        let share = value / wholes[*row];
        // The square root shows the few mistakes of a good model.
        let (fill, ink) = ramp(share.sqrt());
        let (x, y) = (left + cell * *column as f64, top + cell * *row as f64);
        canvas.rect((x, y), (cell, cell), &format!("fill=\"{fill}\""));
        if count <= NUMBERED {
            let class = if ink == "#fff" { "off" } else { "on" };
            let (x, y) = (x + cell / 2.0, y + cell / 2.0 + 4.0);
            canvas.text(x, y, Anchor::Middle, class, &brief(*value));
        }
    }
    for (at, name) in confusion.classes.iter().enumerate() {
        if (at as f64 / every).fract() != 0.0 {
            continue;
        }
        let middle = cell * (at as f64 + 0.5);
        let name = fitted(name, SIZE, room);
        canvas.text(left - 6.0, top + middle + 4.0, Anchor::End, "q", &name);
        if upwards {
            canvas.upward(left + middle + 4.0, top + side + 6.0, Anchor::End, "q", &name);
        } else {
            canvas.text(left + middle, top + side + 15.0, Anchor::Middle, "q", &name);
        }
    }
    canvas.text(left + side / 2.0, top + side + below + 16.0, Anchor::Middle, "", "predicted");
    canvas.upward(13.0, top + side / 2.0, Anchor::Middle, "", "true class");
    canvas
}

fn brief(value: f64) -> String {
    if value >= 10_000.0 {
        return format!("{:.0}k", value / 1000.0);
    }
    if value.fract() == 0.0 || value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}
