//! Reading lines of TOML in tests.

use super::node::Value;
use super::source::Sources;
use super::{Gathered, Keys, document};

/// What `read` makes of lines of TOML, and what their table gathered meanwhile.
pub(crate) fn read_lines<T>(lines: &str, read: impl FnOnce(&mut Keys) -> T) -> (T, Gathered) {
    let root = document::parse(Sources::default().add("test", lines), lines).expect("valid TOML");
    let Value::Table(table) = &root.value else { panic!("a document is a table") };
    let mut keys = Keys::new(table, root.span);
    let found = read(&mut keys);
    (found, keys.finish())
}

impl Gathered {
    /// The messages of its problems.
    pub(crate) fn messages(&self) -> Vec<String> {
        self.problems.iter().map(|one| one.message.clone()).collect()
    }
}
