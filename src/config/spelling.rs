//! Values that other languages write in another way than TOML: `.5`, `True`, `None`, `1e400`.

use toml::Value;

/// What a value was meant to be that TOML does not know.
#[derive(Debug, Clone, PartialEq)]
pub enum Meant {
    /// This, as TOML writes it.
    Value(String),
    /// The absence of a value.
    Nothing,
    /// A number that 64 bits do not hold; what they hold.
    OutOfRange(&'static str),
    /// Perhaps text.
    Text,
}

/// What integers can be.
pub const INTEGERS: &str = "integers go from -9223372036854775808 to 9223372036854775807";

/// What floats can be.
pub const FLOATS: &str = "numbers go from -1.7976931348623157e308 to 1.7976931348623157e308";

/// What `text`, one value that TOML does not take, was meant to be.
pub fn meant(text: &str) -> Meant {
    let lower = text.to_lowercase();
    if ["none", "null", "nil", "~", "undefined"].contains(&lower.as_str()) {
        return Meant::Nothing;
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit()) {
        // Leading zeros, or too many digits.
        return match text.parse::<i64>() {
            Ok(number) => Meant::Value(number.to_string()),
            Err(_) => Meant::OutOfRange(INTEGERS),
        };
    }
    let decimal = match text.matches(',').count() {
        1 if digits.starts_with(|it: char| it.is_ascii_digit()) => text.replace(',', "."),
        _ => text.to_owned(),
    };
    if digits.starts_with(|it: char| it.is_ascii_digit() || it == '.')
        && let Ok(number) = decimal.parse::<f64>()
    {
        return match number.is_finite() {
            true => Meant::Value(super::node::shown(&Value::Float(number))),
            false => Meant::OutOfRange(FLOATS),
        };
    }
    let known = match lower.as_str() {
        "infinity" | "+infinity" => "inf".to_owned(),
        "-infinity" => "-inf".to_owned(),
        _ => lower,
    };
    match format!("x = {known}").parse::<toml::Table>() {
        Ok(table) if table.len() == 1 && known != text => Meant::Value(known),
        _ => Meant::Text,
    }
}

/// Advice for a place in a file where TOML found no value: `text` from `at` on begins with one that TOML
/// writes in another way.
pub fn advice(text: &str, at: usize) -> Option<String> {
    let ends = |it: char| it.is_whitespace() || ",]}#=[{\"'".contains(it);
    let start = text.get(..at)?.rfind(ends).map_or(0, |before| before + 1);
    let rest = text.get(start..)?;
    let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
    match meant(word) {
        _ if word.is_empty() => None,
        Meant::Value(value) => Some(format!("write `{value}` for `{word}`")),
        Meant::Nothing => Some(format!("TOML has no `{word}`: leave the key out")),
        Meant::OutOfRange(range) => Some(range.to_owned()),
        Meant::Text => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_of_other_languages_become_what_toml_writes() {
        let cases = [
            (".5", "0.5"),
            ("-.5", "-0.5"),
            ("1.", "1.0"),
            ("1.e-3", "0.001"),
            (".5e2", "50.0"),
            ("007", "7"),
            ("0,5", "0.5"),
            ("True", "true"),
            ("FALSE", "false"),
            ("NaN", "nan"),
            ("-Infinity", "-inf"),
            ("0XFF", "0xff"),
        ];
        for (given, wanted) in cases {
            assert_eq!(meant(given), Meant::Value(wanted.into()), "{given}");
            assert!(format!("x = {wanted}").parse::<toml::Table>().is_ok(), "{wanted}");
        }
    }

    #[test]
    fn what_is_no_value_is_not_called_one() {
        assert_eq!(meant("None"), Meant::Nothing);
        assert_eq!(meant("1e400"), Meant::OutOfRange(FLOATS));
        assert_eq!(meant("-1e400"), Meant::OutOfRange(FLOATS));
        assert_eq!(meant("99999999999999999999"), Meant::OutOfRange(INTEGERS));
        for text in ["cpu", "1.2.3", "source.train", "1,000,000", "e5", "."] {
            assert_eq!(meant(text), Meant::Text, "{text}");
        }
    }

    #[test]
    fn the_word_around_a_place_is_found() {
        let text = "a = { lr = .5, b = 1 }";
        for at in [11, 12] {
            assert_eq!(advice(text, at).unwrap(), "write `0.5` for `.5`");
        }
        assert_eq!(advice("a = ", 4), None);
        assert_eq!(advice("é = Non", 9), None, "beyond the end");
    }
}
