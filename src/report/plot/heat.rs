//! A value for each pair of two settings.

use super::axis::short;
use super::canvas::{Anchor, Canvas, fitted, fitted_apart, width_of};
use super::color::ramp;

/// A heat map.
#[derive(Debug, Clone, PartialEq)]
pub struct Heat {
    /// What is along the bottom.
    pub x: String,
    /// Its values.
    pub columns: Vec<String>,
    /// What is along the side.
    pub y: String,
    /// Its values, from the top.
    pub rows: Vec<String>,
    /// Values by row and column; nothing where no trial was.
    pub values: Vec<Vec<Option<f64>>>,
}

#[expect(clippy::cast_precision_loss, reason = "few cells")]
pub(super) fn draw(heat: &Heat) -> Canvas {
    let widest = heat.rows.iter().map(|it| width_of(it, 11.0)).fold(0.0, f64::max);
    let left = 34.0 + widest.min(150.0);
    let wide = (380.0 / heat.columns.len().max(1) as f64).clamp(30.0, 90.0);
    let tall = 34.0;
    let right = left + wide * heat.columns.len() as f64;
    let bottom = 10.0 + tall * heat.rows.len() as f64;
    let mut canvas = Canvas::new((right + 76.0).max(260.0), bottom + 48.0);
    let all = || heat.values.iter().flatten().flatten().copied();
    let (low, high) =
        all().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), it| (a.min(it), b.max(it)));
    let names: Vec<&str> = heat.rows.iter().map(String::as_str).collect();
    let names = fitted_apart(&names, 11.0, 150.0);
    for (row, (values, name)) in heat.values.iter().zip(names).enumerate() {
        let top = 10.0 + tall * row as f64;
        canvas.text(left - 6.0, top + tall / 2.0 + 4.0, Anchor::End, "q", &name);
        for (column, value) in values.iter().enumerate() {
            let at = left + wide * column as f64;
            let Some(value) = value else {
                canvas.rect((at + 1.0, top + 1.0), (wide - 2.0, tall - 2.0), "class=\"grid\"");
                continue;
            };
            let share = if high > low { (value - low) / (high - low) } else { 0.5 };
            let (fill, ink) = ramp(share);
            let fill = format!("fill=\"{fill}\"");
            canvas.rect((at + 0.5, top + 0.5), (wide - 1.0, tall - 1.0), &fill);
            let class = if ink == "#fff" { "off" } else { "on" };
            let (x, y) = (at + wide / 2.0, top + tall / 2.0 + 4.0);
            if width_of(&short(*value), 11.0) < wide {
                canvas.text(x, y, Anchor::Middle, class, &short(*value));
            }
        }
    }
    let names: Vec<&str> = heat.columns.iter().map(String::as_str).collect();
    for (column, name) in fitted_apart(&names, 11.0, wide - 2.0).into_iter().enumerate() {
        let at = left + wide * (column as f64 + 0.5);
        canvas.text(at, bottom + 16.0, Anchor::Middle, "q", &name);
    }
    canvas.text((left + right) / 2.0, bottom + 36.0, Anchor::Middle, "", &heat.x);
    canvas.upward(
        13.0,
        (10.0 + bottom) / 2.0,
        Anchor::Middle,
        "",
        &fitted(&heat.y, 12.0, (bottom - 10.0).max(120.0)),
    );
    key(&mut canvas, (right + 14.0, 10.0), (bottom - 10.0).min(160.0), (low, high));
    canvas
}

/// The scale of colours with its ends.
pub(super) fn key(canvas: &mut Canvas, at: (f64, f64), height: f64, ends: (f64, f64)) {
    let steps = 24;
    for step in 0..steps {
        let share = 1.0 - (f64::from(step) + 0.5) / f64::from(steps);
        let (fill, _) = ramp(share);
        let tall = height / f64::from(steps);
        let top = at.1 + tall * f64::from(step);
        let fill = format!("fill=\"{fill}\"");
        canvas.rect((at.0, top), (12.0, tall + 0.3), &fill);
    }
    if ends.0 <= ends.1 {
        canvas.text(at.0 + 16.0, at.1 + 9.0, Anchor::Start, "q", &short(ends.1));
        canvas.text(at.0 + 16.0, at.1 + height, Anchor::Start, "q", &short(ends.0));
    }
}
