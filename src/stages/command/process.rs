//! Runs a program of the user's, so that nothing of it outlives its stage: neither when it ends, nor when it is stopped,
//! nor when this process is killed. What it says goes to whoever watches the stage. Knows nothing of what it is for.
//!
//! The program and everything that it starts are a process group of their own. The first process of the group is a
//! watchman, a shell that reads from a pipe which only this process has the other end of: when the pipe closes, whatever
//! ended this process, the watchman kills its group. As it began before the program and ends after it, the number of the
//! group belongs to nobody else meanwhile.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::progress::Watch;

/// How often it is looked whether the program ended, the user asked to stop, or the time is over.
const BEAT: Duration = Duration::from_millis(20);

/// Lines of a program that are kept; what it says after so many is not.
const MOST_LINES: usize = 10_000;

/// Bytes of a line that are kept.
const LONGEST_LINE: usize = 4_096;

/// Lines of standard error that the message about a failure shows.
const LAST_LINES: usize = 12;

/// Ends with its group when standard input closes; a line says that it is no longer needed. The shell's own words are heard
/// by nobody.
const WATCHMAN: &str = "trap '' TERM INT HUP; read -r over || kill -KILL 0";

/// How a program ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// By itself, with success.
    Well,
    /// By itself, or killed by others.
    Badly {
        /// With which code or by which signal.
        status: ExitStatus,
        /// The last lines that it wrote to standard error.
        last: Vec<String>,
    },
    /// Stopped, because its time was over.
    OutOfTime {
        /// The last lines that it wrote to standard error.
        last: Vec<String>,
    },
    /// Stopped, because the user asked for it.
    Stopped,
}

/// How long a program may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// After so long it is stopped.
    pub limit: Option<Duration>,
    /// So long it has for its end once it was asked to stop; then it is killed.
    pub grace: Duration,
}

/// Runs `command` to its end.
///
/// # Errors
/// When a process cannot be started.
pub(super) fn run(mut command: Command, patience: Patience, watch: Watch) -> io::Result<Ended> {
    let group = Group::begin()?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(group.number());
    let mut program = command.spawn()?;
    let (stdout, stderr) = (program.stdout.take(), program.stderr.take());
    let said = Said::new(watch);
    let ended = thread::scope(|scope| {
        scope.spawn(|| said.hear(stdout, false));
        scope.spawn(|| said.hear(stderr, true));
        let ended = wait(&mut program, &group, patience, watch);
        // What it left running would hold the pipes open, and go on without anyone who looks after it.
        group.kill();
        said.over.store(true, Ordering::SeqCst);
        ended
    });
    let (status, why) = ended?;
    let last = said.last();
    Ok(match why {
        Why::Itself if status.success() => Ended::Well,
        Why::Itself => Ended::Badly { status, last },
        Why::OutOfTime => Ended::OutOfTime { last },
        Why::Asked => Ended::Stopped,
    })
}

/// How a program that ended badly did so, for people: `ended with the exit code 3`.
pub(super) fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with the exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}{}", named(signal)),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

fn named(signal: i32) -> &'static str {
    match signal {
        libc::SIGKILL => " (KILL: by someone, or because memory ran out)",
        libc::SIGSEGV => " (SEGV: it used memory that is not its own)",
        libc::SIGABRT => " (ABRT: it gave up)",
        libc::SIGTERM => " (TERM)",
        _ => "",
    }
}

/// Why a program ended.
#[derive(Debug, Clone, Copy)]
enum Why {
    Itself,
    OutOfTime,
    Asked,
}

fn wait(
    program: &mut Child,
    group: &Group,
    patience: Patience,
    watch: Watch,
) -> io::Result<(ExitStatus, Why)> {
    let since = Instant::now();
    let why = loop {
        if let Some(status) = program.try_wait()? {
            return Ok((status, Why::Itself));
        }
        if watch.is_cancelled() {
            break Why::Asked;
        }
        if patience.limit.is_some_and(|limit| since.elapsed() >= limit) {
            break Why::OutOfTime;
        }
        thread::sleep(BEAT);
    };
    group.ask_to_stop();
    let since = Instant::now();
    while since.elapsed() < patience.grace {
        if let Some(status) = program.try_wait()? {
            return Ok((status, why));
        }
        thread::sleep(BEAT);
    }
    group.kill();
    Ok((program.wait()?, why))
}

/// A process group that ends with this process.
struct Group {
    watchman: Child,
}

impl Group {
    /// Begins one that has only the watchman.
    fn begin() -> io::Result<Self> {
        let watchman = Command::new("sh")
            .args(["-c", WATCHMAN])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { watchman })
    }

    fn number(&self) -> i32 {
        i32::try_from(self.watchman.id()).unwrap_or(i32::MAX)
    }

    fn signal(&self, signal: i32) {
        // SAFETY: it takes two numbers; the group is that of the watchman, which was not waited for.
        unsafe { libc::killpg(self.number(), signal) };
    }

    /// Asks everything in the group to stop. The watchman does not listen.
    fn ask_to_stop(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Ends everything in the group, the watchman included.
    fn kill(&self) {
        self.signal(libc::SIGKILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        // It was killed, so this does not wait long.
        let _ = self.watchman.wait();
    }
}

/// What a program says, line by line.
struct Said<'a> {
    watch: Watch<'a>,
    heard: Mutex<Heard>,
    /// The program ended.
    over: AtomicBool,
}

#[derive(Default)]
struct Heard {
    lines: usize,
    last: VecDeque<String>,
}

impl<'a> Said<'a> {
    fn new(watch: Watch<'a>) -> Self {
        Self { watch, heard: Mutex::default(), over: AtomicBool::new(false) }
    }

    /// The last lines of standard error.
    fn last(self) -> Vec<String> {
        self.heard.into_inner().unwrap_or_else(PoisonError::into_inner).last.into()
    }

    /// Hears everything that comes from a pipe. A line that ends in a carriage return is one of a progress bar, which the
    /// next one takes the place of. After the program, a process that left its group may keep the pipe open: nobody waits
    /// for it.
    fn hear(&self, pipe: Option<impl Read + AsRawFd>, is_error: bool) {
        let Some(mut pipe) = pipe else { return };
        let (mut line, mut bytes) = (Vec::new(), [0; 1 << 14]);
        loop {
            let was_over = self.over.load(Ordering::SeqCst);
            if !is_readable(&pipe) {
                if was_over {
                    break;
                }
                continue;
            }
            let count = match pipe.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            for byte in &bytes[..count] {
                match byte {
                    b'\n' | b'\r' => {
                        self.line(&line, *byte == b'\r', is_error);
                        line.clear();
                    }
                    byte if line.len() < LONGEST_LINE => line.push(*byte),
                    _ => {}
                }
            }
        }
        self.line(&line, false, is_error);
    }

    fn line(&self, line: &[u8], passes: bool, is_error: bool) {
        let line = String::from_utf8_lossy(line);
        let line: String =
            line.trim_end().chars().filter(|it| !it.is_control() || *it == '\t').collect();
        if line.is_empty() {
            return;
        }
        if passes {
            self.watch.progress.status(&line);
            return;
        }
        let lines = {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.lines += 1;
            if is_error {
                if heard.last.len() == LAST_LINES {
                    heard.last.pop_front();
                }
                heard.last.push_back(line.clone());
            }
            heard.lines
        };
        match lines {
            ..=MOST_LINES => self.watch.progress.note(&line),
            _ if lines == MOST_LINES + 1 => {
                self.watch
                    .progress
                    .note(&format!("what it says after {MOST_LINES} lines is not kept"));
            }
            _ => {}
        }
    }
}

/// Waits a moment for something to be read from a pipe; its end counts, too.
fn is_readable(pipe: &impl AsRawFd) -> bool {
    const MOMENT: libc::c_int = 100;
    let mut asked = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: it is one structure, which the call may change, of a pipe that is open.
    unsafe { libc::poll(&raw mut asked, 1, MOMENT) != 0 }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::progress::{Progress, Unit};

    /// Keeps notes, and asks to stop when one is `stop`.
    #[derive(Default)]
    struct Listener {
        notes: Mutex<Vec<String>>,
        status: Mutex<Vec<String>>,
        cancel: AtomicBool,
    }

    impl Progress for Listener {
        fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}
        fn advance(&self, _: u64) {}
        fn status(&self, text: &str) {
            self.status.lock().unwrap().push(text.to_owned());
        }
        fn note(&self, text: &str) {
            self.notes.lock().unwrap().push(text.to_owned());
            if text == "stop" {
                self.cancel.store(true, Ordering::SeqCst);
            }
        }
    }

    const PATIENCE: Patience = Patience { limit: None, grace: Duration::from_secs(20) };

    fn shell(line: &str, patience: Patience) -> (Ended, Listener) {
        let listener = Listener::default();
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        let watch = Watch { progress: &listener, cancel: &listener.cancel };
        let ended = run(command, patience, watch).unwrap();
        (ended, listener)
    }

    /// Waits until no process has the number that the program wrote to a file.
    fn gone(path: &Path) {
        let number: i32 = fs::read_to_string(path).unwrap().trim().parse().unwrap();
        let since = Instant::now();
        // SAFETY: signal 0 only asks whether there is such a process.
        while unsafe { libc::kill(number, 0) } == 0 {
            let state = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
            // One that nobody waited for yet is over, too.
            if state.contains(") Z ") {
                return;
            }
            assert!(since.elapsed() < Duration::from_secs(20), "process {number} goes on");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn lines_are_notes_and_progress_bars_are_passing() {
        let (ended, listener) = shell(
            "echo one; echo two >&2; printf '10 %%\\r20 %%\\rdone'; printf '\\033[1mbold\\n' >&2",
            PATIENCE,
        );
        assert!(matches!(ended, Ended::Well), "{ended:?}");
        let mut notes = listener.notes.into_inner().unwrap();
        notes.sort();
        assert_eq!(notes, ["[1mbold", "done", "one", "two"]);
        assert_eq!(listener.status.into_inner().unwrap(), ["10 %", "20 %"]);
    }

    #[test]
    fn a_bad_end_is_told_with_the_last_lines_of_standard_error() {
        let (ended, _) =
            shell("echo out; for i in $(seq 1 40); do echo e$i >&2; done; exit 3", PATIENCE);
        let Ended::Badly { status, last } = ended else { panic!("{ended:?}") };
        assert_eq!(in_words(status), "ended with the exit code 3");
        assert_eq!((last.len(), last.last().unwrap().as_str()), (LAST_LINES, "e40"));
        let (ended, _) = shell("kill -KILL $$", PATIENCE);
        let Ended::Badly { status, .. } = ended else { panic!("{ended:?}") };
        assert!(in_words(status).starts_with("was killed by signal 9"), "{}", in_words(status));
    }

    #[test]
    fn what_it_left_running_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        let (ended, _) = shell(&format!("sleep 1000 & echo $! > {}", file.display()), PATIENCE);
        assert!(matches!(ended, Ended::Well), "{ended:?}");
        gone(&file);
    }

    #[test]
    fn one_that_is_asked_to_stop_may_tidy_up() {
        let line = "trap 'echo tidied; exit 0' TERM; echo stop; while :; do sleep 0.01; done";
        let (ended, listener) = shell(line, PATIENCE);
        assert!(matches!(ended, Ended::Stopped), "{ended:?}");
        assert!(listener.notes.into_inner().unwrap().contains(&"tidied".to_owned()));
    }

    #[test]
    fn one_that_does_not_listen_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        let line = format!(
            "trap '' TERM; (trap '' TERM; while :; do sleep 0.01; done) & echo $! > {}; echo stop; wait",
            file.display()
        );
        let patience = Patience { grace: Duration::from_millis(50), ..PATIENCE };
        let (ended, _) = shell(&line, patience);
        assert!(matches!(ended, Ended::Stopped), "{ended:?}");
        gone(&file);
    }

    #[test]
    fn one_whose_time_is_over_is_stopped() {
        let patience = Patience { limit: Some(Duration::from_millis(50)), ..PATIENCE };
        let (ended, _) = shell("echo begun >&2; exec sleep 1000", patience);
        let Ended::OutOfTime { last } = ended else { panic!("{ended:?}") };
        assert!(last.is_empty() || last == ["begun"], "{last:?}");
    }

    #[test]
    fn a_program_that_talks_without_end_fills_no_memory() {
        let (_, listener) = shell("yes | head -n 20000", PATIENCE);
        let notes = listener.notes.into_inner().unwrap();
        assert_eq!(notes.len(), MOST_LINES + 1);
        assert!(notes.last().unwrap().contains("is not kept"));
    }
}
