//! What was taken for what: a row for each true class, coloured by its shares.

use super::canvas::{Anchor, Canvas, fitted};
use super::color::ramp;

/// A confusion matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Confusion {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Images (or their mean over trials) by true and predicted class.
    pub counts: Vec<Vec<f64>>,
}

/// Above this many classes cells have no numbers.
const NUMBERED: usize = 16;

#[expect(clippy::cast_precision_loss, reason = "few classes")]
pub(super) fn draw(confusion: &Confusion) -> Canvas {
    let count = confusion.classes.len().max(1);
    let cell = if count <= NUMBERED {
        (400.0 / count as f64).clamp(30.0, 60.0)
    } else {
        420.0 / count as f64
    };
    let (left, top) = (58.0, 8.0);
    let side = cell * count as f64;
    let mut canvas = Canvas::new(left + side + 10.0, top + side + 46.0);
    canvas.rect((left, top), (side, side), "class=\"grid\"");
    for (row, counts) in confusion.counts.iter().enumerate() {
        let whole: f64 = counts.iter().sum();
        for (column, value) in counts.iter().enumerate() {
            if *value <= 0.0 || whole <= 0.0 {
                continue;
            }
            let share = value / whole;
            // The square root shows the few mistakes of a good model.
            let (fill, ink) = ramp(share.sqrt());
            let (x, y) = (left + cell * column as f64, top + cell * row as f64);
            canvas.rect((x, y), (cell, cell), &format!("fill=\"{fill}\""));
            if count <= NUMBERED {
                let class = if ink == "#fff" { "off" } else { "on" };
                canvas.text(
                    x + cell / 2.0,
                    y + cell / 2.0 + 4.0,
                    Anchor::Middle,
                    class,
                    &brief(*value),
                );
            }
        }
    }
    let every = (count as f64 / 20.0).ceil();
    for (at, name) in confusion.classes.iter().enumerate() {
        if (at as f64 / every).fract() != 0.0 {
            continue;
        }
        let middle = cell * (at as f64 + 0.5);
        canvas.text(left - 6.0, top + middle + 4.0, Anchor::End, "q", &fitted(name, 11.0, 34.0));
        let name = fitted(name, 11.0, (cell * every).max(20.0));
        canvas.text(left + middle, top + side + 15.0, Anchor::Middle, "q", &name);
    }
    canvas.text(left + side / 2.0, top + side + 36.0, Anchor::Middle, "", "predicted");
    canvas.upward(13.0, top + side / 2.0, "", "true class");
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
