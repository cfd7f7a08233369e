//! `runner export RUN STAGE DIR`: copies an artifact out of the store, as plain files.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use super::Error;
use crate::cli::ExportArgs;
use crate::config::diagnostic::suggest;
use crate::console;
use crate::fault::fail_point;
use crate::report::record::Record;
use crate::report::results;
use crate::scratch;
use crate::store::{Found, Store};
use crate::system;

/// Copies the artifact of a stage to a new folder, after comparing every byte of it with its manifest.
///
/// # Errors
/// When there is no such run, stage or artifact, the artifact is damaged, or the folder cannot be written.
pub fn run(args: &ExportArgs) -> Result<ExitCode, Error> {
    let run = super::find_run(&args.results, &args.run)?;
    let record = Record::read(&run)?;
    let Some(stages) = record.trials.get(args.trial) else {
        let count = record.trials.len();
        return Err(Error::Missing(format!("the run has {count} trials, from 0 on")));
    };
    let Some(stage) = stages.iter().find(|stage| stage.name == args.stage) else {
        let help = suggest(&args.stage, stages.iter().map(|stage| stage.name.as_str()));
        let help = help.unwrap_or_default();
        return Err(Error::Missing(format!("the run has no stage `{}`; {help}", args.stage)));
    };
    let Some(fingerprint) = stage.fingerprint.filter(|_| stage.content.is_some()) else {
        let text = format!("stage `{}` made nothing in this run ({})", stage.name, stage.state);
        return Err(Error::Missing(text));
    };
    let store = Store::peek(&args.store);
    let artifact = match store.verify(&fingerprint)? {
        Found::Whole(artifact) => artifact,
        Found::Nothing => {
            let text = "its artifact is no longer in the store; run the pipeline again";
            return Err(Error::Missing(text.into()));
        }
        Found::Damaged(reason) => {
            let folder = store.folder(&fingerprint);
            return Err(Error::Missing(format!(
                "its artifact is damaged ({reason}); remove the folder `{}` and run the pipeline again",
                folder.display()
            )));
        }
    };
    let into = &args.folder;
    if into.exists() {
        return Err(Error::Missing(format!("`{}` is there already", into.display())));
    }
    let refused =
        |source: io::Error| Error::Machine(format!("cannot write `{}`: {source}", into.display()));
    // The copy is made beside it and renamed when it is whole.
    let home = match into.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    system::create_folder(home).map_err(refused)?;
    let private = scratch::folder_in(home, ".export-").map_err(refused)?;
    let _noted = store.note_scratch(private.path());
    copy(&artifact.path, private.path()).map_err(refused)?;
    fail_point("exported");
    fs::rename(private.path(), into).map_err(refused)?;
    results::open_to_readers(into)?;
    console::say(format_args!("{}: {}", into.display(), artifact.summary));
    Ok(ExitCode::SUCCESS)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
