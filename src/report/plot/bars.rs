//! Lengths with names, one below the other.

use super::axis::short;
use super::canvas::{Anchor, Canvas, fitted, width_of};
use super::color::slot;

/// A chart of bars.
#[derive(Debug, Clone, PartialEq)]
pub struct Bars {
    /// Unit of the lengths.
    pub unit: String,
    /// The bars.
    pub bars: Vec<Bar>,
}

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it is of.
    pub name: String,
    /// Its length, from 0 on.
    pub value: f64,
}

#[expect(clippy::cast_precision_loss, reason = "few bars")]
pub(super) fn draw(bars: &Bars) -> Canvas {
    let widest = bars.bars.iter().map(|it| width_of(&it.name, 12.0)).fold(40.0, f64::max);
    let left = widest.min(190.0) + 16.0;
    let (wide, tall) = (460.0, 24.0);
    let mut canvas = Canvas::new(wide, 8.0 + tall * bars.bars.len() as f64);
    let longest = bars.bars.iter().map(|it| it.value).fold(0.0, f64::max);
    for (at, bar) in bars.bars.iter().enumerate() {
        let top = 4.0 + tall * at as f64;
        let name = fitted(&bar.name, 12.0, 190.0);
        canvas.text(left - 8.0, top + 16.0, Anchor::End, "", &name);
        let length =
            if longest > 0.0 { bar.value.max(0.0) / longest * (wide - left - 90.0) } else { 0.0 };
        let fill = format!("rx=\"2\" class=\"f{}\"", slot(0));
        canvas.rect((left, top + 4.0), (length.max(1.0), tall - 8.0), &fill);
        let text = format!("{} {}", short(bar.value), bars.unit);
        canvas.text(left + length + 6.0, top + 16.0, Anchor::Start, "q", &text);
    }
    canvas
}
