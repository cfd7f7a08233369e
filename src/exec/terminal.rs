//! One line with a bar for every running stage; finished stages leave a line above.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::events::{Event, Reporter};
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
                    _ => "{human_pos}/{human_len} {per_sec}",
                };
                bar.reset();
                bar.set_message("");
                match total {
                    Some(total) => {
                        bar.set_length(*total);
                        bar.set_style(style(&format!(
                            "{{prefix:>14}} {} {{bar:24}} {count} eta {{eta}} {{msg}}",
                            phase.replace(['{', '}'], "")
                        )));
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
            | Event::Interrupted { task, .. } => self.end(*task),
            _ => {}
        }
        if let Some(text) = line(event) {
            // Without a terminal behind it, the screen swallows lines: then print them plainly.
            if self.screen.println(&text).is_err() || self.screen.is_hidden() {
                anstream::eprintln!("{text}");
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
