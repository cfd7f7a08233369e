//! Reporters without a terminal: timestamped lines, NDJSON, errors only. They never draw.

use super::events::{Event, Reporter};
use crate::console;

/// Timestamped lines on standard error.
pub struct Lines;

/// Every event as one line of JSON on standard output.
pub struct Json;

/// Failures only.
pub struct Quiet;

impl Reporter for Lines {
    fn event(&self, event: &Event) {
        if let Some(line) = line(event) {
            let time = crate::system::now().with_timezone(&chrono::Local).format("%H:%M:%S");
            for line in line.lines() {
                console::say(format_args!("{time} {line}"));
            }
        }
    }
}

impl Reporter for Json {
    fn event(&self, event: &Event) {
        let json = serde_json::to_string(event).expect("an event is plain data");
        console::put(&format!("{json}\n"));
    }
}

impl Reporter for Quiet {
    fn event(&self, event: &Event) {
        if matches!(event, Event::Failed { .. })
            && let Some(line) = line(event)
        {
            console::say(line);
        }
    }
}

/// The event as a line of text; `None` for what only a live display shows.
pub(super) fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::TaskStarted { name, kind, .. } => format!("{name}: {kind} started"),
        Event::Cached { name, summary, .. } => with(format!("{name}: cached"), summary),
        Event::Waiting { name, holder, .. } => format!("{name}: waiting for {holder}"),
        Event::Note { name, text, .. } => format!("{name}: {text}"),
        Event::Finished { name, summary, seconds, .. } => {
            with(format!("{name}: done in {seconds:.1} s"), summary)
        }
        Event::Failed { name, message, inputs, help, .. } => {
            let mut text = format!("error: stage `{name}` failed: {message}");
            if !inputs.is_empty() {
                text += &format!("\n  inputs: {}", inputs.join(", "));
            }
            for help in help {
                text += &format!("\n  help: {help}");
            }
            text
        }
        Event::Workers { text } => format!("workers: {text}"),
        Event::Interrupted { name, .. } => format!("{name}: interrupted"),
        Event::Paused { name, epochs, .. } => format!("{name}: paused after epoch {epochs}"),
        Event::Skipped { name, because, .. } => {
            format!("{name}: skipped, because `{because}` has no result")
        }
        Event::RunFinished { cached, ran, failed, skipped, pruned, seconds } => {
            let pruned = match pruned {
                0 => String::new(),
                pruned => format!(", {pruned} pruned"),
            };
            format!(
                "{ran} ran, {cached} cached, {failed} failed, {skipped} skipped{pruned} in \
                 {seconds:.1} s"
            )
        }
        Event::RunStarted { .. }
        | Event::Planned { .. }
        | Event::Phase { .. }
        | Event::Progress { .. }
        | Event::Metric { .. }
        | Event::Status { .. } => return None,
    })
}

/// What happened, and the stage's own words on it where it has some.
fn with(what: String, summary: &str) -> String {
    if summary.is_empty() { what } else { format!("{what}: {summary}") }
}
