//! Places where the tests kill the process, to prove that it can die anywhere. Nothing is left of
//! them in a release build.

#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU64, Ordering};

/// Dies here, without a word and without cleaning up, when `RUNNER_FAIL_POINT` is `NAME:COUNT` and
/// this is the COUNT-th time that a point called `name` (or any point, for `*`) is passed.
#[inline]
pub fn fail_point(name: &str) {
    #[cfg(debug_assertions)]
    {
        static PASSED: AtomicU64 = AtomicU64::new(0);
        let Ok(wanted) = std::env::var("RUNNER_FAIL_POINT") else { return };
        let Some((point, count)) = wanted.split_once(':') else { return };
        if point != "*" && point != name {
            return;
        }
        if PASSED.fetch_add(1, Ordering::SeqCst) + 1 == count.parse().unwrap_or(0) {
            // What a power cut leaves: no destructor, no handler, no buffer is written.
            std::process::abort();
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
