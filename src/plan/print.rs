//! Writes a resolved pipeline as a TOML file that people can read.

use std::fmt::Write as _;

/// One table under its own header for `pipeline`, each stage, `sweep` and `table`; everything
/// below stands on one line.
pub fn to_toml(resolved: &toml::Table) -> String {
    let mut text = String::new();
    for name in ["pipeline", "stages", "sweep", "table"] {
        let Some(toml::Value::Table(table)) = resolved.get(name) else { continue };
        if name != "stages" {
            section(&mut text, name, table);
            continue;
        }
        for (stage, settings) in table {
            if let toml::Value::Table(settings) = settings {
                section(&mut text, &format!("stages.{stage}"), settings);
            }
        }
    }
    text
}

fn section(text: &mut String, header: &str, table: &toml::Table) {
    let gap = if text.is_empty() { "" } else { "\n" };
    writeln!(text, "{gap}[{header}]").expect("writing to a string does not fail");
    for (key, value) in table {
        writeln!(text, "{key} = {value}").expect("writing to a string does not fail");
    }
}
