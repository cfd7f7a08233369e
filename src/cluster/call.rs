//! Runs a program of a queue, and gives up on it after a while: where a queue is full or its controller is down, its
//! programs take minutes.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How often it is looked whether a program has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs `command` with this `input` and returns what it printed.
///
/// Variables of a job that this process runs in are taken away: the programs of a queue take them for options.
///
/// # Errors
/// What it said, when it failed, cannot be run or takes longer than a minute.
pub(super) fn call(command: Command, input: &str) -> Result<String, String> {
    call_within(command, input, LIMIT)
}

fn call_within(mut command: Command, input: &str, limit: Duration) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_a_job = text.starts_with("SLURM_") && text != "SLURM_CONF";
        if of_a_job || text.starts_with("SBATCH_") {
            command.env_remove(&name);
        }
    }
    let mut begin = || -> io::Result<(Child, File, File)> {
        // Files and not pipes: what the program leaves running may keep them open.
        let [mut stdin, stdout, stderr] =
            [tempfile::tempfile()?, tempfile::tempfile()?, tempfile::tempfile()?];
        stdin.write_all(input.as_bytes())?;
        stdin.rewind()?;
        command.stdin(stdin).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        Ok((command.spawn()?, stdout, stderr))
    };
    let begun = begin().map_err(|error| format!("`{program}` cannot be run: {error}"));
    let (mut child, mut stdout, mut stderr) = begun?;
    let ended = wait(&mut child, limit).map_err(|error| format!("`{program}`: {error}"))?;
    let (out, said) = (all_of(&mut stdout), all_of(&mut stderr));
    match ended {
        Some(status) if status.success() => Ok(out),
        Some(status) => {
            let said = if said.is_empty() { out } else { said };
            Err(if said.is_empty() { format!("`{program}` failed: {status}") } else { said })
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
    while since.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(PAUSE);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
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
    fn a_program_that_does_not_answer_is_ended() {
        let slow =
            call_within(shell("echo waiting >&2; exec sleep 60"), "", Duration::from_millis(300));
        assert_eq!(slow, Err("`sh` did not answer within 0 s: waiting".into()));
    }
}
