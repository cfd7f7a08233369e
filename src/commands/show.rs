//! `runner show FILE`: a pipeline with every default and override filled in.

use std::io::{self, Write as _};

use super::Error;
use crate::cli::FileArgs;
use crate::plan::{print, resolve};

/// Prints the resolved pipeline as TOML.
pub fn run(args: &FileArgs) -> Result<(), Error> {
    let pipeline = resolve::load(&args.file, &args.set).map_err(Box::new)?;
    io::stdout().write_all(print::to_toml(&pipeline.resolved).as_bytes())?;
    Ok(())
}
