//! Packages through the user's own package managers: the last resort where only registries are
//! reachable. Nothing is installed; the package is unpacked in a private folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Cause;
use crate::data::Watch;
use crate::data::readers::visible_entries;
use crate::data::unpack::{Limits, unpack};
use crate::progress::Unit;

/// A package manager that takes longer is taken for stuck.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// The unpacked content of `name@version` of the npm registry.
pub(super) fn npm(package: &str, scratch: &Path, watch: &Watch) -> Result<TempDir, Cause> {
    let held = folder(scratch)?;
    watch.progress.begin(&format!("npm pack {package}"), None, Unit::Bytes);
    let args = ["pack", package, "--ignore-scripts", "--silent"];
    run("npm", &args, held.path(), watch)?;
    let archive = only_file(held.path(), "tgz")?;
    let content = held.path().join("content");
    fs::create_dir(&content).map_err(|error| Cause::io(&content, error))?;
    unpack(&archive, &content, Limits::default(), watch)?;
    Ok(held)
}

/// The unpacked content of `name==version` of the Python index. Nothing is built: only a wheel will do.
pub(super) fn pip(package: &str, scratch: &Path, watch: &Watch) -> Result<TempDir, Cause> {
    let held = folder(scratch)?;
    watch.progress.begin(&format!("pip download {package}"), None, Unit::Bytes);
    let args = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", package];
    run("python3", &args, held.path(), watch)?;
    let archive = only_file(held.path(), "whl")?;
    let content = held.path().join("content");
    fs::create_dir(&content).map_err(|error| Cause::io(&content, error))?;
    unpack(&archive, &content, Limits::default(), watch)?;
    Ok(held)
}

/// The unpacked content of a Debian package.
pub(super) fn apt(package: &str, scratch: &Path, watch: &Watch) -> Result<TempDir, Cause> {
    let held = folder(scratch)?;
    watch.progress.begin(&format!("apt-get download {package}"), None, Unit::Bytes);
    run("apt-get", &["download", "-q", package], held.path(), watch)?;
    let archive = only_file(held.path(), "deb")?;
    let archive = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    run("dpkg-deb", &["-x", &archive, "content"], held.path(), watch)?;
    Ok(held)
}

pub(super) fn folder(scratch: &Path) -> Result<TempDir, Cause> {
    tempfile::tempdir_in(scratch).map_err(|error| Cause::io(scratch, error))
}

fn only_file(folder: &Path, extension: &str) -> Result<PathBuf, Cause> {
    visible_entries(folder)?
        .into_iter()
        .find(|path| path.extension().is_some_and(|found| found == extension))
        .ok_or_else(|| Cause::Failed(format!("it left no .{extension} file")))
}

/// What a program writes to its standard output, run in `folder`.
pub(super) fn answer(
    program: &str,
    args: &[&str],
    folder: &Path,
    watch: &Watch,
) -> Result<String, Cause> {
    let path = folder.join(".stdout");
    let io = |error| Cause::io(&path, error);
    let file = File::create(&path).map_err(io)?;
    run_to(file.into(), program, args, folder, watch)?;
    Ok(String::from_utf8_lossy(&fs::read(&path).map_err(io)?).into_owned())
}

fn run(program: &str, args: &[&str], folder: &Path, watch: &Watch) -> Result<(), Cause> {
    run_to(Stdio::null(), program, args, folder, watch)
}

/// Runs a program in `folder` until it ends, takes too long, or the user asks to stop.
fn run_to(
    stdout: Stdio,
    program: &str,
    args: &[&str],
    folder: &Path,
    watch: &Watch,
) -> Result<(), Cause> {
    let said = folder.join(".stderr");
    let stderr = File::create(&said).map_err(|error| Cause::io(&said, error))?;
    let mut child = Command::new(program)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .map_err(|error| Cause::Failed(format!("cannot start `{program}`: {error}")))?;
    let start = Instant::now();
    let status = loop {
        let io = |error: std::io::Error| Cause::Failed(format!("`{program}`: {error}"));
        if let Some(status) = child.try_wait().map_err(io)? {
            break status;
        }
        let stop = watch.check().is_err();
        if stop || start.elapsed() > LONGEST {
            let _ = child.kill();
            let _ = child.wait();
            return Err(if stop {
                Cause::Interrupted
            } else {
                Cause::Failed(format!("`{program}` took longer than {} s", LONGEST.as_secs()))
            });
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    if status.success() {
        return Ok(());
    }
    let said = fs::read(&said).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    let said = last.map_or_else(|| "it said nothing".to_owned(), str::to_owned);
    Err(Cause::Failed(format!("`{program} {}` failed ({status}): {said}", args.join(" "))))
}
