//! Runs a reader on an empty table until it said everything that a file may hold.
//!
//! A reader is run again for every answer that one of its decisions may have, so that no list of keys is
//! kept beside the readers. Knows no key and reads no file.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use super::describe::{Describing, Script, TableReads};
use super::keys::Keys;
use super::node::Table;

/// Runs `read` with every answer to every question it asks: a record for each run.
pub fn explore<T>(read: impl Fn(&mut Keys) -> T) -> Vec<TableReads> {
    let table = Table::default();
    let mut records = Vec::new();
    let mut seen = HashSet::new();
    let mut open = VecDeque::from([HashMap::new()]);
    while let Some(answers) = open.pop_front() {
        let script = Rc::new(RefCell::new(Script { answers, met: Vec::new() }));
        let describing = Describing::new(Rc::clone(&script), String::new());
        let mut keys = Keys::describing(&table, describing);
        read(&mut keys);
        records.extend(keys.into_record());
        let script = script.borrow();
        for (id, answers) in &script.met {
            if !seen.insert(id.clone()) {
                continue;
            }
            open.extend((1..*answers).map(|answer| {
                let mut next = script.answers.clone();
                next.insert(id.clone(), answer);
                next
            }));
        }
    }
    records
}
