//! Numbers, times and lines as a terminal of some width has room for them.

use std::time::Duration;

/// `text` in at most `width` columns, an ellipsis where it is cut.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// `1:02:03`, `2:03`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A count with as many digits as a person reads: `950`, `12.3k`, `4.0M`.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn count(number: u64) -> String {
    amount(number as f64)
}

/// As [`count`], of what need not be whole.
pub fn amount(number: f64) -> String {
    match number {
        _ if number >= 1e10 => format!("{:.0}G", number / 1e9),
        _ if number >= 1e9 => format!("{:.1}G", number / 1e9),
        _ if number >= 1e7 => format!("{:.0}M", number / 1e6),
        _ if number >= 1e6 => format!("{:.1}M", number / 1e6),
        _ if number >= 1e5 => format!("{:.0}k", number / 1e3),
        _ if number >= 1e4 => format!("{:.1}k", number / 1e3),
        _ if number >= 10.0 || number.fract() == 0.0 => format!("{number:.0}"),
        _ => format!("{number:.1}"),
    }
}

/// A bar of `width` columns, `share` of it full.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub fn bar(share: f64, width: usize) -> String {
    let full = (share.clamp(0.0, 1.0) * width as f64) as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(width - full))
}

/// The parts that fit into `width` columns, in their order, two spaces between them: those that count
/// least, by their rank, go first. Empty parts take no room.
pub fn fitted(parts: &[(u8, String)], width: usize) -> String {
    let mut kept: Vec<&(u8, String)> = parts.iter().filter(|part| !part.1.is_empty()).collect();
    loop {
        let texts: Vec<&str> = kept.iter().map(|part| part.1.as_str()).collect();
        let line = texts.join("  ");
        let least = kept.iter().enumerate().max_by_key(|(_, part)| part.0).map(|(at, _)| at);
        match least {
            Some(at) if line.chars().count() > width && kept.len() > 1 => {
                kept.remove(at);
            }
            _ => return cut(&line, width),
        }
    }
}

/// Colours of a line of the view: the bar, and what failed.
pub fn painted(line: &str) -> String {
    let mut text = line.to_owned();
    if let (Some(from), Some(to)) = (text.find(['█', '░']), text.rfind(['█', '░'])) {
        text.insert_str(to + '░'.len_utf8(), "\x1b[0m");
        text.insert_str(from, "\x1b[36m");
    }
    if let Some(at) = text.find(" failed") {
        let from = text[..at].rfind(' ').map_or(0, |space| space + 1);
        text.insert_str(at + " failed".len(), "\x1b[0m");
        text.insert_str(from, "\x1b[31m");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_least_makes_room_and_the_rest_keeps_its_order() {
        let parts = [(0, "name".to_owned()), (2, "bar".into()), (1, "eta 0:12".into())];
        assert_eq!(fitted(&parts, 40), "name  bar  eta 0:12");
        assert_eq!(fitted(&parts, 14), "name  eta 0:12");
        assert_eq!(fitted(&parts, 3), "na…");
    }

    #[test]
    fn counts_and_times_are_short() {
        assert_eq!(
            [0, 999, 12_345, 123_456, 4_000_000].map(count),
            ["0", "999", "12.3k", "123k", "4.0M"]
        );
        assert_eq!(amount(0.25), "0.2");
        let times = [3, 75, 3_723].map(|it| clock(Duration::from_secs(it)));
        assert_eq!(times, ["0:03", "1:15", "1:02:03"]);
        assert_eq!(bar(0.5, 4), "██░░");
    }
}
