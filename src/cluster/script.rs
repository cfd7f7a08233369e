//! The script that becomes a worker: it sets up what the site needs, and leaves a mark where it ends before that.

use super::engine::Order;
use crate::store::ENDED;
use crate::system::as_typed;

/// The variable with what the worker is called.
const LIFE: &str = "runner_life";

/// The lines that become what is ordered, called `life` and with so many `threads`, which both are words of shell.
///
/// A shell that the program takes the place of runs no trap any more: the mark says for certain that there is no worker.
/// bash runs none either when the program cannot be run. So it is tried before, which also finds libraries that are
/// missing.
pub(super) fn lines(order: &Order, life: &str, threads: Option<&str>) -> String {
    let Order { setup, logs, work, .. } = order;
    let mut text = String::new();
    if order.is_for_workers() {
        let logs = as_typed(&[logs.display().to_string()]);
        let mark = as_typed(&[format!(": > {logs}/\"${LIFE}\"{ENDED}")]);
        text += &format!("{LIFE}={life}\ntrap {mark} EXIT\n");
    }
    for line in setup {
        text += &format!("{line}\n");
    }
    text += &format!("{} --version > /dev/null || exit\n", as_typed(&work[..1]));
    text += &format!("exec {}", as_typed(work));
    if let Some(threads) = threads {
        text += &format!(" --threads {threads}");
    }
    if order.is_for_workers() {
        text += &format!(" --life \"${LIFE}\"");
    }
    text + "\n"
}
