//! Runs a program of a queue, and gives up on it after a while: where a queue is full or its controller is down, its
//! programs take minutes.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How often it is looked whether a program has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// Set once this process is to leave: then no answer is waited for.
static IS_LEAVING: AtomicBool = AtomicBool::new(false);

/// Ends the program that is running and any that is to run: the user waits for this process to leave.
pub fn give_up_calls() {
    IS_LEAVING.store(true, Ordering::SeqCst);
}

/// Variables that say where a queue is and who asks it, and nothing of what is asked.
const OF_THE_SITE: &[&str] = &["SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"];

/// Runs `command` with this `input` and returns what it printed.
///
/// Variables of a job that this process runs in are taken away, and what the user has set for other work: the programs
/// of a queue take them for options.
///
/// # Errors
/// What it said, when it failed, cannot be run or takes longer than a minute.
pub(super) fn call(command: Command, input: &str) -> Result<String, String> {
    call_within(command, input, LIMIT)
}

fn call_within(mut command: Command, input: &str, limit: Duration) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let folder = command.get_current_dir().map(std::path::Path::to_owned);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_a_job = text.starts_with("SLURM_") && !OF_THE_SITE.contains(&&*text);
        if of_a_job || ["SBATCH_", "SQUEUE_", "SCANCEL_"].iter().any(|it| text.starts_with(it)) {
            command.env_remove(&name);
        }
    }
    // Signals of the terminal are for this process, and not for what it asks for.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut begin = || -> io::Result<(Child, File, File)> {
        // Files and not pipes: what the program leaves running may keep them open.
        let [mut stdin, stdout, stderr] = [temporary()?, temporary()?, temporary()?];
        stdin.write_all(input.as_bytes())?;
        stdin.rewind()?;
        command.stdin(stdin).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        Ok((command.spawn()?, stdout, stderr))
    };
    let begun = begin().map_err(|error| match &folder {
        Some(folder) if !folder.is_dir() => {
            format!("the folder `{}` is not there: {error}", folder.display())
        }
        _ => format!("`{program}` cannot be run: {error}"),
    });
    let (mut child, mut stdout, mut stderr) = begun?;
    let ended = wait(&mut child, limit).map_err(|error| format!("`{program}`: {error}"))?;
    let (out, said) = (all_of(&mut stdout), all_of(&mut stderr));
    match ended {
        Some(status) if status.success() => Ok(out),
        Some(status) => {
            let said = if said.is_empty() { out } else { said };
            Err(if said.is_empty() { format!("`{program}` failed: {status}") } else { said })
        }
        None if IS_LEAVING.load(Ordering::SeqCst) => {
            Err(format!("`{program}` was not waited for, as this process leaves"))
        }
        None => {
            let seconds = limit.as_secs();
            let said = if said.is_empty() { said } else { format!(": {said}") };
            Err(format!("`{program}` did not answer within {seconds} s{said}"))
        }
    }
}

/// How it ended; nothing where that took too long, and it was ended.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let since = Instant::now();
    while since.elapsed() < limit && !IS_LEAVING.load(Ordering::SeqCst) {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(PAUSE);
    }
    end(child)?;
    child.wait()?;
    Ok(None)
}

/// Ends a program and all that it has started.
fn end(child: &mut Child) -> io::Result<()> {
    #[cfg(unix)]
    if let Ok(group) = libc::pid_t::try_from(child.id()) {
        // SAFETY: it has no conditions; the group is the program's own until it was waited for.
        unsafe { libc::killpg(group, libc::SIGKILL) };
    }
    child.kill()
}

/// A file for what a program says.
fn temporary() -> io::Result<File> {
    tempfile::tempfile().map_err(|error| {
        let folder = std::env::temp_dir();
        io::Error::new(
            error.kind(),
            format!("no file can be made in `{}`: {error}", folder.display()),
        )
    })
}

fn all_of(file: &mut File) -> String {
    let mut bytes = Vec::new();
    // What cannot be read was not said.
    let _ = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_program_says_counts_and_what_it_leaves_running_does_not() {
        assert_eq!(call(shell("cat; sleep 60 & true"), "text\n"), Ok("text".into()));
        assert_eq!(call(shell("echo no >&2; exit 1"), ""), Err("no".into()));
        assert!(call(shell("exit 3"), "").unwrap_err().contains("exit status: 3"));
        let gone = call(Command::new("no-such-program"), "").unwrap_err();
        assert!(gone.starts_with("`no-such-program` cannot be run: "), "{gone}");
    }

    #[test]
    fn a_folder_that_is_gone_is_named() {
        let mut command = shell("true");
        command.current_dir("/no/such/folder");
        let said = call(command, "").unwrap_err();
        assert!(said.starts_with("the folder `/no/such/folder` is not there: "), "{said}");
    }

    #[test]
    fn a_program_that_does_not_answer_is_ended() {
        let slow =
            call_within(shell("echo waiting >&2; exec sleep 60"), "", Duration::from_millis(300));
        assert_eq!(slow, Err("`sh` did not answer within 0 s: waiting".into()));
    }
}
