//! What a process takes back when it leaves at once, without ending what it has in hand: otherwise others would take
//! it for killed, and those on other machines would wait until its signs of life have stood still for long enough.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How each thing is taken back, in the order in which they were begun.
static OWED: Mutex<BTreeMap<u64, Undo>> = Mutex::new(BTreeMap::new());

type Undo = Box<dyn Fn() + Send>;

fn all_owed() -> MutexGuard<'static, BTreeMap<u64, Undo>> {
    OWED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that is taken back should the process leave before this is dropped.
pub(super) struct Owed(u64);

impl fmt::Debug for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Owed").field(&self.0).finish()
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        all_owed().remove(&self.0);
    }
}

/// Begins something, and has `undo` take it back should the process leave. Nothing begins once it is leaving. `begin`
/// must not begin something else this way.
pub(super) fn owing<T, E>(
    undo: impl Fn() + Send + 'static,
    begin: impl FnOnce() -> Result<T, E>,
) -> Result<(T, Owed), E> {
    let mut all = all_owed();
    let begun = begin()?;
    let number = all.last_key_value().map_or(0, |(last, _)| last + 1);
    all.insert(number, Box::new(undo));
    Ok((begun, Owed(number)))
}

/// Takes back what this process has in hand, the newest first: starts of tasks, locks, signs of life. Call it right before
/// the process exits; whatever would begin something after this waits for that.
pub fn leave_at_once() {
    let all = all_owed();
    all.values().rev().for_each(|undo| undo());
    mem::forget(all);
}
