//! One line with a bar for every running stage; finished stages leave a line above.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::style::ProgressTracker;
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::events::{Event, Reporter, STOPPING};
use super::lines::line;

/// Draws on standard error.
#[derive(Default)]
pub struct Terminal {
    screen: MultiProgress,
    bars: Mutex<HashMap<usize, ProgressBar>>,
}

impl Terminal {
    fn with(&self, task: usize, act: impl FnOnce(&ProgressBar)) {
        let bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bars.get(&task) {
            act(bar);
        }
    }

    /// A line above the bars.
    fn print(&self, text: &str) {
        // Without a terminal behind it, the screen swallows lines: then print them plainly.
        if self.screen.println(text).is_err() || self.screen.is_hidden() {
            anstream::eprintln!("{text}");
        }
    }

    fn end(&self, task: usize) {
        if let Some(bar) = self.bars.lock().unwrap_or_else(PoisonError::into_inner).remove(&task) {
            bar.finish_and_clear();
        }
    }
}

impl Reporter for Terminal {
    fn event(&self, event: &Event) {
        match event {
            Event::TaskStarted { task, name, .. } => {
                let bar = self.screen.add(ProgressBar::new_spinner());
                bar.set_style(style("{prefix:>14} {spinner} {elapsed} {msg}"));
                bar.set_prefix(name.clone());
                bar.enable_steady_tick(Duration::from_millis(200));
                self.bars.lock().unwrap_or_else(PoisonError::into_inner).insert(*task, bar);
                return;
            }
            Event::Phase { task, phase, total, unit } => self.with(*task, |bar| {
                let count = match *unit {
                    "bytes" => "{bytes}/{total_bytes} {bytes_per_sec}",
                    _ => "{human_pos}/{human_len} {rate}",
                };
                let unit = *unit;
                bar.reset();
                bar.set_message("");
                match total {
                    Some(total) => {
                        bar.set_length(*total);
                        let style = style(&format!(
                            "{{prefix:>14}} {} {{wide_bar}} {count} eta {{eta}} {{msg}}",
                            phase.replace(['{', '}'], "")
                        ));
                        bar.set_style(style.with_key("rate", Rate(unit)));
                    }
                    None => bar.set_style(style("{prefix:>14} {spinner} {human_pos} {msg}")),
                }
            }),
            Event::Progress { task, by } => self.with(*task, |bar| bar.inc(*by)),
            Event::Status { task, text } => {
                self.with(*task, |bar| bar.set_message(text.clone()));
            }
            Event::Finished { task, .. }
            | Event::Failed { task, .. }
            | Event::Paused { task, .. }
            | Event::Interrupted { task, .. } => self.end(*task),
            _ => {}
        }
        if let Some(text) = line(event) {
            self.print(&text);
        }
    }

    fn stopping(&self) {
        self.print(STOPPING);
    }
}

/// Units a second, as many digits as a person reads.
#[derive(Clone)]
struct Rate(&'static str);

impl ProgressTracker for Rate {
    fn clone_box(&self) -> Box<dyn ProgressTracker> {
        Box::new(self.clone())
    }

    fn tick(&mut self, _: &ProgressState, _: Instant) {}

    fn reset(&mut self, _: &ProgressState, _: Instant) {}

    fn write(&self, state: &ProgressState, out: &mut dyn std::fmt::Write) {
        let rate = state.per_sec();
        let digits = usize::from(rate < 100.0);
        // A display that cannot be written to shows nothing; the run goes on.
        let _ = write!(out, "{rate:.digits$} {}/s", self.0);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
