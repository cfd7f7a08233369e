//! Writes a resolved pipeline as a TOML file that people can read.

use std::fmt::Write as _;

use crate::config::node::shown;
use crate::config::overrides::TABLES;

/// One table under its own header for `pipeline`, `vars`, each stage, `sweep` and `table`; everything
/// below stands on one line.
pub fn to_toml(resolved: &toml::Table) -> String {
    let mut text = String::new();
    for &name in TABLES {
        let table = match resolved.get(name) {
            Some(toml::Value::Table(table)) => table,
            Some(toml::Value::Array(tables)) => {
                for table in tables.iter().filter_map(toml::Value::as_table) {
                    section(&mut text, &format!("[{name}]"), table);
                }
                continue;
            }
            _ => continue,
        };
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
        writeln!(text, "{key} = {}", shown(value)).expect("writing to a string does not fail");
    }
}
