//! The numbers of the figures as JSON in the page, from which it builds tables when a reader asks for them.

use serde_json::{Map, Value, json};

use crate::report::figures::{Figure, Shape};

/// The most bytes that all numbers may take. Those of figures that do not fit are in files only.
const ROOM: usize = 450_000;

/// A JSON object with the header and rows of each figure. Nothing in it can end the script around it.
pub(super) fn numbers(figures: &[Figure]) -> String {
    let mut all = Map::new();
    let mut size = 0;
    for figure in figures {
        // A table of points is of no use, and a graph shows everything in its picture.
        if matches!(figure.shape, Shape::Scatter { .. } | Shape::Graph) {
            continue;
        }
        let rows: Vec<Vec<String>> =
            figure.rows.rows.iter().map(|row| row.iter().map(|it| rounded(it)).collect()).collect();
        let value = json!({ "title": figure.title, "header": figure.rows.header, "rows": rows });
        let length = value.to_string().len();
        if size + length > ROOM {
            continue;
        }
        size += length;
        all.insert(figure.name.clone(), value);
    }
    safe(&Value::Object(all).to_string())
}

/// Escapes JSON for a script: the result contains no `</script>` and no `<!--`.
fn safe(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Rounds a long number to five significant digits.
fn rounded(cell: &str) -> String {
    match cell.parse::<f64>() {
        Ok(value) if cell.len() > 7 && cell.contains('.') && value.is_finite() => {
            let digits = 4.0 - value.abs().max(1e-300).log10().floor().clamp(-9.0, 4.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 13")]
            let text = if value.abs() < 1e-3 {
                format!("{value:.4e}")
            } else {
                format!("{value:.*}", digits.clamp(0.0, 8.0) as usize)
            };
            text
        }
        _ => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_the_script_it_stands_in() {
        let text = safe(&json!({ "a": "</script><!-- &amp;" }).to_string());
        assert!(!text.contains('<') && !text.contains('>'), "{text}");
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["a"], "</script><!-- &amp;");
    }

    #[test]
    fn numbers_keep_five_digits_and_words_stay() {
        let cells =
            ["0.12558202028274537", "1234.56789123", "12", "0.3", "0.0000123456789", "a.b.c.d.e.f"];
        let short: Vec<String> = cells.iter().map(|it| rounded(it)).collect();
        assert_eq!(short, ["0.12558", "1234.6", "12", "0.3", "1.2346e-5", "a.b.c.d.e.f"]);
    }
}
