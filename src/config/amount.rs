//! Amounts as people write them: `16 GB`, `2h`. Knows no keys.

use std::time::Duration;

/// What [`time`] takes, to finish the sentence "expected ...".
pub const TIME: &str = "a number with `s`, `m`, `h` or `d`, such as 10m";

/// What [`memory`] takes, to finish the sentence "expected ...".
pub const MEMORY: &str = "a number with `MB`, `GB` or `TB`, such as 16 GB";

/// Units of memory, each 1024 times the one before, as queues count them.
const UNITS: [(&str, u64); 3] = [("MB", 1 << 20), ("GB", 1 << 30), ("TB", 1 << 40)];

/// A time: `90s`, `10m`, `2h`, `1d`.
pub fn time(text: &str) -> Option<Duration> {
    let (at, unit) = text.char_indices().last()?;
    let number: u32 = text[..at].trim_end().parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(u64::from(number) * seconds))
}

/// Bytes of memory: `500 MB`, `16 GB`, `1.5TB`. A GB is 1024 MB, and an MB is 1024 times 1024 bytes.
pub fn memory(text: &str) -> Option<u64> {
    let (unit, size) = UNITS.into_iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: f64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    let bytes = number * size as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within bounds")]
    (1.0..1e18).contains(&bytes).then_some(bytes.ceil() as u64)
}

/// As [`memory`] takes it, rounded up to a whole number of its largest unit that loses nothing.
pub fn memory_text(bytes: u64) -> String {
    let whole =
        UNITS.into_iter().rev().find(|(_, size)| bytes.is_multiple_of(*size) && bytes >= *size);
    let (unit, size) = whole.unwrap_or(UNITS[0]);
    format!("{} {unit}", bytes.div_ceil(size))
}

/// As [`time`] takes it.
pub fn time_text(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [("d", 86_400), ("h", 3600), ("m", 60)];
    let whole =
        units.into_iter().find(|(_, size)| seconds.is_multiple_of(*size) && seconds >= *size);
    let (unit, size) = whole.unwrap_or(("s", 1));
    format!("{}{unit}", seconds / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_memory_are_numbers_with_a_unit() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("2h", 7200), ("1 d", 86_400), ("0s", 0)]
        {
            assert_eq!(time(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for (text, bytes) in [("500 MB", 500 << 20), ("16 GB", 16 << 30), ("1.5TB", 3 << 39)] {
            assert_eq!(memory(text), Some(bytes), "{text}");
        }
        for wrong in ["", "s", "10", "-1s", "1.5h", "1 w", "4294967296s", "é"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
        for wrong in ["", "GB", "16", "16 G", "0 GB", "-1 GB", "NaN GB", "inf MB", "1e300 TB"] {
            assert_eq!(memory(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn amounts_are_shown_as_they_are_read() {
        for text in ["90s", "10m", "2h", "3d", "0s"] {
            assert_eq!(time_text(time(text).unwrap()), text);
        }
        for text in ["500 MB", "16 GB", "2 TB"] {
            assert_eq!(memory_text(memory(text).unwrap()), text);
        }
        assert_eq!(memory_text(memory("1.5 GB").unwrap()), "1536 MB");
        assert_eq!(memory_text(1), "1 MB");
    }
}
