//! A file that says that this process lives, for as long as it does: a sign of life whose counter a thread moves. It
//! appears whole and goes with its owner.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::departure::{Owed, owing};
use super::error::Error;
use super::sign::{Heart, Sign, move_counter, unborn_name};

/// The file; dropping it removes it.
#[derive(Debug)]
pub(super) struct Beacon {
    path: PathBuf,
    /// Moves the counter; stopped before the file goes.
    heart: Option<Heart>,
    #[expect(dead_code, reason = "held until the file goes")]
    owed: Owed,
}

impl Beacon {
    /// Begins one in `folder` for a process that does `what`, with some `lines` below, and gives the file as well, to
    /// append to. `beat` is called after every move of the counter, until it returns false.
    pub fn light(
        folder: &Path,
        (what, lines): (&str, &str),
        pause: Duration,
        mut beat: impl FnMut() -> bool + Send + 'static,
    ) -> Result<(Self, File), Error> {
        // What `folder` is in may have been taken away on purpose.
        match fs::create_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            created => created.map_err(|source| Error::writing(folder, source))?,
        }
        let mut sign = Sign::new(what);
        let private = folder.join(unborn_name(sign.word()));
        let path = folder.join(sign.word());
        let begin = || {
            fs::write(&private, format!("{}{lines}", sign.line()))?;
            // Both stay with the file whatever becomes of its name.
            let counter = OpenOptions::new().write(true).open(&private)?;
            let rest = OpenOptions::new().append(true).open(&private)?;
            fs::rename(&private, &path)?;
            Ok((counter, rest))
        };
        let own = path.clone();
        let begun: std::io::Result<((File, File), Owed)> =
            owing(move || drop(fs::remove_file(&own)), begin);
        let ((mut counter, rest), owed) = begun.map_err(|source| Error::writing(&path, source))?;
        // A failed write may pass; whoever looks tolerates a counter that stands still for a while.
        let heart = Heart::start(pause, move || {
            let _ = move_counter(&mut counter, &sign.line());
            beat()
        });
        Ok((Self { path, heart: Some(heart), owed }, rest))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        self.heart = None;
        // What cannot be removed is swept once its process is gone.
        let _ = fs::remove_file(&self.path);
    }
}
