//! The colours: a palette that people with the common colour blindnesses can tell apart (after Okabe and
//! Ito 2008), for light and dark grounds, and a scale of even lightness for values.

use std::fmt::Write as _;

/// Colours of series on a light ground and on a dark one.
const SERIES: [(&str, &str); 10] = [
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff9a57"),
    ("#009e73", "#2fd0a2"),
    ("#b0508a", "#e79ac6"),
    ("#a87700", "#f0c24b"),
    ("#3a3a3a", "#d8d8d8"),
    ("#4a9fd4", "#8ccaf3"),
    ("#7a5230", "#c79a73"),
    ("#6a4fa3", "#b7a3ea"),
    ("#7f8c1f", "#c5d25f"),
];

/// Names of the other colours: ground of a chart, its text, quiet text, grid.
const OTHERS: [(&str, &str, &str); 9] = [
    ("ground", "#ffffff", "#16191d"),
    ("ink", "#1d2329", "#e8ebee"),
    ("quiet", "#56606b", "#a8b2bd"),
    ("grid", "#dde2e7", "#343b43"),
    ("card", "#f4f6f8", "#20252b"),
    ("done", "#007a56", "#2fd0a2"),
    ("failed", "#b3261e", "#ff8a80"),
    ("waiting", "#8a6100", "#f0c24b"),
    ("link", "#005f96", "#7cc4f0"),
];

/// How marks look, with the colours as variables.
const MARKS: &str = include_str!("marks.css");

/// The slot that a series of number `at` has.
pub(super) fn slot(at: usize) -> usize {
    at % SERIES.len()
}

fn variables(dark: bool) -> String {
    let mut text = String::new();
    for (at, (light, night)) in SERIES.iter().enumerate() {
        let _ = write!(text, "--c{at}:{};", if dark { night } else { light });
    }
    for (name, light, night) in OTHERS {
        let _ = write!(text, "--{name}:{};", if dark { night } else { light });
    }
    text
}

/// The rules of each series: lines, bands, filled marks.
fn series_rules() -> String {
    let mut text = String::new();
    for at in 0..SERIES.len() {
        let _ =
            write!(text, ".plot .s{at}{{stroke:var(--c{at})}}.plot .f{at}{{fill:var(--c{at})}}");
    }
    text
}

/// The colours and marks for a page: light, dark where the reader's system or `data-theme` says so,
/// light on paper.
pub fn stylesheet() -> String {
    let (light, dark) = (variables(false), variables(true));
    format!(
        ":root{{{light}color-scheme:light}}\
         @media(prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}color-scheme:dark}}}}\
         :root[data-theme=dark]{{{dark}color-scheme:dark}}\
         @media print{{:root,:root:not([data-theme=light]),:root[data-theme=dark]{{{light}color-scheme:light}}}}\n\
         {}{MARKS}",
        series_rules()
    )
}

/// The marks in light colours, without variables, which not every reader of SVG knows.
pub(super) fn light_only() -> String {
    let mut text = series_rules() + MARKS;
    for (at, (light, _)) in SERIES.iter().enumerate() {
        text = text.replace(&format!("var(--c{at})"), light);
    }
    for (name, light, _) in OTHERS {
        text = text.replace(&format!("var(--{name})"), light);
    }
    text
}

/// Points of the scale from dark blue over green to yellow, even in lightness.
const RAMP: [(f64, f64, f64); 6] = [
    (38.0, 25.0, 88.0),
    (49.0, 84.0, 139.0),
    (33.0, 133.0, 141.0),
    (53.0, 179.0, 121.0),
    (144.0, 214.0, 67.0),
    (250.0, 230.0, 60.0),
];

/// The colour of `share` (0 to 1) of the scale, and a colour for text on it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 to 255")]
pub(super) fn ramp(share: f64) -> (String, &'static str) {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let at = share * 5.0;
    let low = (at as usize).min(4);
    let part = at - f64::from(u32::try_from(low).unwrap_or(0));
    let mix = |a: f64, b: f64| (a + (b - a) * part).round();
    let (from, to) = (RAMP[low], RAMP[low + 1]);
    let (r, g, b) = (mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2));
    let luminance = 0.299 * r + 0.587 * g + 0.114 * b;
    let ink = if luminance > 125.0 { "#111" } else { "#fff" };
    (format!("#{:02x}{:02x}{:02x}", r as u8, g as u8, b as u8), ink)
}
