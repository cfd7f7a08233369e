//! Axes: from values to places, with ticks that people would choose.

use super::canvas::{Anchor, Canvas, fitted, width_of};

/// How an axis lays out its values.
#[derive(Debug, Clone, PartialEq)]
pub enum Scale {
    /// Even steps.
    Linear,
    /// Even steps between whole numbers: epochs, seeds.
    Whole,
    /// Even steps of the logarithm; all values above 0.
    Log,
    /// Names in this order; a value is the place of one.
    Names(Vec<String>),
}

/// An axis between two places.
#[derive(Debug, Clone)]
pub(super) struct PlotAxis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl PlotAxis {
    /// An axis for `values` from place `from` to place `to`, with room at both ends.
    #[expect(clippy::cast_precision_loss, reason = "few names")]
    pub(super) fn new(
        scale: &Scale,
        values: impl Iterator<Item = f64>,
        from: f64,
        to: f64,
        room: f64,
    ) -> Self {
        let values = values.filter(|it| it.is_finite() && (*scale != Scale::Log || *it > 0.0));
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), it| (a.min(it), b.max(it)));
        let mut scale = scale.clone();
        let (mut low, mut high) = match &scale {
            Scale::Names(names) => (-0.5, names.len().max(1) as f64 - 0.5),
            _ if low > high => {
                scale = Scale::Linear;
                (0.0, 1.0)
            }
            Scale::Log => (low.log10(), high.log10()),
            Scale::Linear | Scale::Whole => (low, high),
        };
        if !matches!(scale, Scale::Names(_)) {
            let spread = high - low;
            // The spread of values that are all the same is not 0 but the last digit of a sum.
            let pad = if spread <= low.abs().max(high.abs()) * 1e-9 {
                if low == 0.0 { 0.5 } else { low.abs() * 0.1 + 1e-12 }
            } else {
                spread * room
            };
            (low, high) = (low - pad, high + pad);
        }
        Self { scale, low, high, from, to }
    }

    /// Where `value` is.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = if self.scale == Scale::Log { value.max(1e-300).log10() } else { value };
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Values with their texts, about `wanted` of them.
    #[expect(clippy::cast_precision_loss, reason = "few names")]
    pub(super) fn ticks(&self, wanted: f64) -> Vec<(f64, String)> {
        match &self.scale {
            Scale::Names(names) => {
                names.iter().enumerate().map(|(at, name)| (at as f64, name.clone())).collect()
            }
            Scale::Log => {
                let decades: Vec<f64> = whole(self.low, self.high);
                if decades.len() >= 2 {
                    let every = (decades.len() as f64 / wanted).ceil().max(1.0);
                    return decades
                        .into_iter()
                        .filter(|it| (it / every).fract() == 0.0)
                        .map(|it| (10f64.powf(it), short(10f64.powf(it))))
                        .collect();
                }
                let (low, high) = (10f64.powf(self.low), 10f64.powf(self.high));
                linear(low, high, wanted, 0.0)
            }
            Scale::Linear => linear(self.low, self.high, wanted, 0.0),
            Scale::Whole => linear(self.low, self.high, wanted, 1.0),
        }
    }
}

fn whole(low: f64, high: f64) -> Vec<f64> {
    let mut found = Vec::new();
    let mut at = low.ceil();
    while at <= high && found.len() < 700 {
        found.push(at);
        at += 1.0;
    }
    found
}

/// Multiples of 1, 2 or 5 times a power of ten, `least` apart.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "digits of a number")]
fn linear(low: f64, high: f64, wanted: f64, least: f64) -> Vec<(f64, String)> {
    let rough = ((high - low) / wanted.max(1.0)).max(least);
    if !rough.is_finite() || rough <= 0.0 {
        return Vec::new();
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|it| it * power)
        .find(|it| *it >= rough * 0.999)
        .unwrap_or(power * 10.0);
    let digits = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    let mut ticks = Vec::new();
    let mut number = (low / step).ceil();
    while number * step <= high + step * 1e-9 && ticks.len() < 50 {
        let value = number * step;
        let large = value.abs() >= 1e6 || (step < 1e-5 && value != 0.0);
        let text = if large { short(value) } else { format!("{:.digits$}", value + 0.0) };
        ticks.push((value, text));
        number += 1.0;
    }
    ticks
}

/// A number in few letters.
pub(super) fn short(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        let text = format!("{value:.2e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        return format!("{digits}e{power}");
    }
    let text = if size >= 1000.0 { format!("{value:.0}") } else { format!("{value:.4}") };
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// Draws the frame of a chart with its grid, ticks and names; `inner` is left, top, right, bottom.
pub(super) fn frame(
    canvas: &mut Canvas,
    inner: (f64, f64, f64, f64),
    x: (&PlotAxis, &str),
    y: (&PlotAxis, &str),
) {
    let (left, top, right, bottom) = inner;
    for (value, text) in y.0.ticks(5.0) {
        let at = y.0.at(value);
        canvas.line((left, at), (right, at), "grid");
        canvas.text(left - 6.0, at + 4.0, Anchor::End, "q", &text);
    }
    let ticks = x.0.ticks(6.0);
    let widest = ticks.iter().map(|it| width_of(&it.1, 11.0)).fold(0.0, f64::max);
    let crowded =
        ticks.windows(2).any(|two| (x.0.at(two[1].0) - x.0.at(two[0].0)).abs() < widest + 4.0);
    for (at, (value, text)) in ticks.iter().enumerate() {
        let place = x.0.at(*value);
        canvas.line((place, bottom), (place, bottom + 4.0), "frame");
        if !crowded {
            canvas.text(place, bottom + 17.0, Anchor::Middle, "q", text);
        } else if ticks.len() < 3 || at % 2 == 0 {
            let room = (right - left) / 2.5;
            let text = fitted(text, 11.0, room);
            canvas.text(place, bottom + 17.0, Anchor::Middle, "q", &text);
        }
    }
    canvas.line((left, bottom), (right, bottom), "frame");
    canvas.text((left + right) / 2.0, bottom + 34.0, Anchor::Middle, "", x.1);
    canvas.upward(13.0, (top + bottom) / 2.0, Anchor::Middle, "", y.1);
}
