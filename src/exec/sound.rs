//! Which artifacts were compared with their manifests, byte for byte, in this run. Each is compared once,
//! however many tasks read it: those that read the same one wait for the first of them, and nobody waits
//! for the hashing of another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::digest::{Content, Fingerprint};

/// The content of every artifact that was found whole. Its lock is held while the artifact is hashed.
type Compared = Arc<Mutex<Option<Content>>>;

/// The artifacts that were compared.
#[derive(Debug, Default)]
pub(super) struct Sound {
    artifacts: Mutex<HashMap<Fingerprint, Compared>>,
}

impl Sound {
    /// The content of the artifact of `fingerprint`, which `compare` tells unless it is known; `None` when
    /// it is damaged or gone. What was damaged is compared again when it is asked for again.
    ///
    /// # Errors
    /// Those of `compare`.
    pub fn content<E>(
        &self,
        fingerprint: &Fingerprint,
        compare: impl FnOnce() -> Result<Option<Content>, E>,
    ) -> Result<Option<Content>, E> {
        let known = {
            let mut artifacts = self.artifacts.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(artifacts.entry(*fingerprint).or_default())
        };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = compare()?;
        }
        Ok(*known)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::digest::Digest;

    fn digest(text: &str) -> Digest {
        blake3::hash(text.as_bytes()).into()
    }

    #[test]
    fn hashing_one_artifact_keeps_nobody_waiting_who_needs_another() {
        let sound = Sound::default();
        let (one, other) = (Fingerprint(digest("one")), Fingerprint(digest("other")));
        let (begun, has_begun) = channel();
        let (other_is_done, finish) = channel::<()>();
        thread::scope(|scope| {
            let (sound, one) = (&sound, &one);
            let first = scope.spawn(move || {
                sound.content(one, || {
                    begun.send(()).unwrap();
                    // Until the other one was compared: for ever, if that waits for this one.
                    finish.recv_timeout(Duration::from_secs(60))?;
                    Ok::<_, RecvTimeoutError>(Some(Content(digest("a"))))
                })
            });
            has_begun.recv().unwrap();
            let found = sound.content(&other, || Ok::<_, ()>(Some(Content(digest("b")))));
            assert_eq!(found, Ok(Some(Content(digest("b")))));
            other_is_done.send(()).unwrap();
            assert_eq!(first.join().unwrap(), Ok(Some(Content(digest("a")))));
        });
    }

    #[test]
    fn an_artifact_is_hashed_once_for_all_who_need_it_and_again_only_when_it_was_damaged() {
        let sound = Sound::default();
        let one = Fingerprint(digest("one"));
        let compared = AtomicUsize::new(0);
        assert_eq!(sound.content(&one, || Ok::<_, ()>(None)), Ok(None));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let found = sound.content(&one, || {
                        compared.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, ()>(Some(Content(digest("a"))))
                    });
                    assert_eq!(found, Ok(Some(Content(digest("a")))));
                });
            }
        });
        assert_eq!(compared.into_inner(), 1);
    }
}
