//! What the live view says: a line for every running stage, the totals below. Plain values in, plain
//! lines out; draws nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::words::{amount, bar, clock, count, cut, fitted};
use crate::exec::events::{Event, PlannedTask, PlannedTrial};
use crate::exec::lines::line;

/// How a task states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TaskState {
    Open,
    Running,
    Done,
    Cached,
    Failed,
    Paused,
    Left,
}

/// What is known of a run.
pub struct LiveView {
    since: Instant,
    /// Between the first event and the last.
    active: bool,
    tasks: Vec<PlannedTask>,
    states: Vec<TaskState>,
    trials: Vec<PlannedTrial>,
    /// Of every trial, whether a line said that it is done.
    told: Vec<bool>,
    running: BTreeMap<usize, Running>,
    /// Seconds and number of finished tasks, by stage and by kind.
    took: HashMap<String, (f64, u32)>,
    /// Cached tasks of a sweep that no line has said yet.
    cached: usize,
}

/// A task that is being made.
struct Running {
    name: String,
    since: Instant,
    phase: String,
    unit: &'static str,
    total: Option<u64>,
    done: u64,
    status: String,
    /// How much was done when, over the last seconds.
    samples: VecDeque<(Instant, u64)>,
}

impl Running {
    fn advance(&mut self, by: u64, now: Instant) {
        self.done += by;
        if self.samples.back().is_none_or(|it| now - it.0 >= Duration::from_millis(500)) {
            self.samples.push_back((now, self.done));
            if self.samples.len() > 12 {
                self.samples.pop_front();
            }
        }
    }

    /// Units a second.
    #[expect(clippy::cast_precision_loss, reason = "a count of steps, images or bytes")]
    fn rate(&self, now: Instant) -> Option<f64> {
        let (from, before) = self.samples.front()?;
        let seconds = (now - *from).as_secs_f64();
        (seconds > 0.5 && self.done > *before).then(|| (self.done - before) as f64 / seconds)
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of steps, images or bytes")]
    fn left(&self, now: Instant) -> Option<f64> {
        Some(self.total?.saturating_sub(self.done) as f64 / self.rate(now)?)
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of steps, images or bytes")]
    fn line(&self, names: usize, width: usize, now: Instant) -> String {
        let name = format!("{:<names$}", cut(&self.name, names));
        let elapsed = clock(now - self.since);
        let unit = if self.unit == "bytes" { "B" } else { self.unit };
        let rate = self.rate(now).map(|it| format!("{} {unit}/s", amount(it))).unwrap_or_default();
        let Some(total) = self.total else {
            let done = if self.done > 0 { count(self.done) } else { String::new() };
            let parts = [(0, name), (2, self.phase.clone()), (3, done), (4, rate), (1, elapsed)];
            return fitted(&parts, width);
        };
        let share = self.done as f64 / total.max(1) as f64;
        let eta =
            self.left(now).map_or_else(|| elapsed, |it| format!("eta {}", clock(seconds(it))));
        let mut parts = vec![
            (0, name),
            (6, cut(&self.phase, 24)),
            (1, format!("{:>3.0}%", (100.0 * share).min(100.0))),
            (5, format!("{}/{}", count(self.done), count(total))),
            (4, rate),
            (3, self.status.clone()),
            (2, eta),
        ];
        // The bar takes what the others leave.
        let rest = parts.iter().filter(|it| !it.1.is_empty());
        let rest: usize = rest.map(|it| it.1.chars().count() + 2).sum();
        if width > rest + 6 {
            parts.insert(2, (7, bar(share, (width - rest).min(24))));
        }
        fitted(&parts, width)
    }
}

/// A duration that a terminal can show.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, 3.6e6)).unwrap_or_default()
}

impl LiveView {
    pub fn new(since: Instant) -> Self {
        Self {
            since,
            active: false,
            tasks: Vec::new(),
            states: Vec::new(),
            trials: Vec::new(),
            told: Vec::new(),
            running: BTreeMap::new(),
            took: HashMap::new(),
            cached: 0,
        }
    }

    fn sweep(&self) -> bool {
        self.trials.len() > 1 || self.trials.iter().any(|trial| !trial.labels.is_empty())
    }

    fn set_state(&mut self, task: usize, state: TaskState) {
        self.running.remove(&task);
        if let Some(before) = self.states.get_mut(task) {
            *before = state;
        }
    }

    /// Takes an event in; the lines that stay of it.
    pub fn event(&mut self, event: &Event, now: Instant) -> Vec<String> {
        let mut stays = Vec::new();
        if !matches!(event, Event::Cached { .. }) && self.cached > 0 {
            let (count, done) = (self.cached, self.ended_trials(true));
            let trials =
                if done > 0 { format!(", {done} trials with them") } else { String::new() };
            stays.push(format!("{count} stages are cached{trials}"));
            self.cached = 0;
        }
        self.active = !matches!(event, Event::RunFinished { .. });
        match event {
            Event::RunStarted { plan, .. } | Event::Planned { plan } => {
                self.tasks.extend(plan.tasks.iter().cloned());
                self.trials.extend(plan.trials.iter().cloned());
                self.states.resize(self.tasks.len(), TaskState::Open);
                self.told.resize(self.trials.len(), false);
            }
            Event::TaskStarted { task, name, .. } => {
                self.set_state(*task, TaskState::Running);
                let running = Running {
                    name: name.clone(),
                    since: now,
                    phase: String::new(),
                    unit: "",
                    total: None,
                    done: 0,
                    status: String::new(),
                    samples: VecDeque::new(),
                };
                self.running.insert(*task, running);
                return stays;
            }
            Event::Phase { task, phase, total, unit } => {
                if let Some(it) = self.running.get_mut(task) {
                    (it.phase, it.total, it.unit) = (phase.clone(), *total, unit);
                    it.done = 0;
                    it.status.clear();
                    it.samples.clear();
                }
            }
            Event::Progress { task, by } => {
                if let Some(it) = self.running.get_mut(task) {
                    it.advance(*by, now);
                }
            }
            Event::Status { task, text } => {
                if let Some(it) = self.running.get_mut(task) {
                    it.status.clone_from(text);
                }
            }
            Event::Finished { task, seconds, .. } => {
                self.set_state(*task, TaskState::Done);
                if let Some(planned) = self.tasks.get(*task) {
                    for key in [format!("stage {}", planned.name), format!("kind {}", planned.kind)]
                    {
                        let (sum, count) = self.took.entry(key).or_default();
                        *sum += seconds;
                        *count += 1;
                    }
                }
            }
            Event::Cached { task, .. } => self.set_state(*task, TaskState::Cached),
            Event::Failed { task, .. } => self.set_state(*task, TaskState::Failed),
            Event::Paused { task, .. } => self.set_state(*task, TaskState::Paused),
            Event::Interrupted { task, .. } | Event::Skipped { task, .. } => {
                self.set_state(*task, TaskState::Left);
            }
            Event::Waiting { .. }
            | Event::Workers { .. }
            | Event::Metric { .. }
            | Event::Note { .. }
            | Event::RunFinished { .. } => {}
        }
        if !self.sweep() {
            stays.extend(line(event));
            return stays;
        }
        match event {
            Event::Cached { .. } => self.cached += 1,
            // A trial's end says enough, and the totals count the rest.
            Event::Finished { .. } => stays.extend(self.ended_lines()),
            Event::Skipped { .. } | Event::Paused { .. } => {}
            // The numbers of an epoch are in the curves; the view shows the loss.
            Event::Note { text, .. } if text.starts_with("epoch ") => {}
            _ => stays.extend(line(event)),
        }
        stays
    }

    fn is_done(&self, trial: &PlannedTrial) -> bool {
        let whole =
            |task: &usize| matches!(self.states[*task], TaskState::Done | TaskState::Cached);
        trial.tasks.iter().all(whole)
    }

    /// How many trials are done; those that no line told of count as told from now on, if `tell`.
    fn ended_trials(&mut self, tell: bool) -> usize {
        let done: Vec<bool> = self.trials.iter().map(|trial| self.is_done(trial)).collect();
        if tell {
            self.told.clone_from(&done);
        }
        done.iter().filter(|done| **done).count()
    }

    /// A line for every trial that is done and was not told.
    fn ended_lines(&mut self) -> Vec<String> {
        let new: Vec<usize> = (0..self.trials.len())
            .filter(|it| !self.told[*it] && self.is_done(&self.trials[*it]))
            .collect();
        if new.is_empty() {
            return Vec::new();
        }
        let all = self.trials.len();
        let mut lines = Vec::new();
        for trial in new {
            self.told[trial] = true;
            let told = self.told.iter().filter(|told| **told).count();
            let labels = &self.trials[trial].labels;
            let labels: Vec<String> = labels
                .iter()
                .map(|(key, value)| format!("{}={value}", ending_of_its_own(key, labels)))
                .collect();
            lines.push(format!("trial {trial:03} done ({told} of {all}): {}", labels.join(" ")));
        }
        lines
    }

    /// Seconds until the run is over, as far as stages like those to come have been timed.
    fn left(&self, now: Instant) -> Option<f64> {
        let mean = |planned: &PlannedTask| {
            let found = self.took.get(&format!("stage {}", planned.name));
            let found = found.or_else(|| self.took.get(&format!("kind {}", planned.kind)));
            found.map(|(sum, count)| sum / f64::from(*count))
        };
        let mut sum = 0.0;
        for (planned, state) in self.tasks.iter().zip(&self.states) {
            sum += match state {
                TaskState::Open => mean(planned)?,
                TaskState::Running => {
                    let running = self.running.get(&planned.task)?;
                    let spent = (now - running.since).as_secs_f64();
                    match running.left(now) {
                        Some(left) => left,
                        None => (mean(planned)? - spent).max(0.0),
                    }
                }
                _ => 0.0,
            };
        }
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let side_by_side = self.running.len().max(1) as f64;
        Some(sum / side_by_side)
    }

    /// The lines of the view for a terminal of `width` columns, running stages on `most` of them.
    pub fn lines(&self, width: usize, most: usize, now: Instant) -> Vec<String> {
        if !self.active || self.tasks.is_empty() && self.running.is_empty() {
            return Vec::new();
        }
        // A terminal wraps a line that fills it.
        let width = width - 1;
        let names = self.running.values().map(|it| it.name.chars().count()).max().unwrap_or(0);
        let names = names.min((width / 4).max(12));
        let mut lines: Vec<String> =
            self.running.values().take(most).map(|it| it.line(names, width, now)).collect();
        if self.running.len() > most {
            lines.push(format!("and {} more", self.running.len() - most));
        }
        let counted = |state: TaskState| self.states.iter().filter(|it| **it == state).count();
        let word = |state: TaskState, word: &str| match counted(state) {
            0 => String::new(),
            count => format!("{count} {word}"),
        };
        let over =
            self.states.iter().filter(|it| !matches!(it, TaskState::Open | TaskState::Running));
        let stages = [
            (0, format!("{}/{} stages", over.count(), self.tasks.len())),
            (4, word(TaskState::Running, "running")),
            (3, word(TaskState::Cached, "cached")),
            (1, word(TaskState::Failed, "failed")),
            (4, word(TaskState::Paused, "paused")),
            (2, word(TaskState::Left, "skipped")),
        ];
        let done = self.trials.iter().filter(|trial| self.is_done(trial)).count();
        let trials = match self.sweep() {
            true => format!("{done}/{} trials", self.trials.len()),
            false => String::new(),
        };
        let eta = self.left(now).map(|it| format!("eta {}", clock(seconds(it))));
        let times = [(0, trials), (2, clock(now - self.since)), (1, eta.unwrap_or_default())];
        let whole: Vec<(u8, String)> = stages.iter().chain(&times).cloned().collect();
        let line =
            fitted(&whole.iter().map(|it| (0, it.1.clone())).collect::<Vec<_>>(), usize::MAX);
        if line.chars().count() <= width {
            lines.push(line);
        } else {
            lines.extend([fitted(&stages, width), fitted(&times, width)]);
        }
        lines
    }
}

/// The shortest ending of an axis, in whole words, that no other axis ends in.
fn ending_of_its_own<'a>(key: &'a str, labels: &IndexMap<String, String>) -> &'a str {
    let endings = key.rmatch_indices('.').map(|(at, _)| &key[at + 1..]);
    let is_own = |ending: &&str| {
        let ends = |other: &String| {
            other.strip_suffix(ending).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        labels.keys().filter(|other| ends(other)).count() == 1
    };
    endings.into_iter().find(is_own).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;
    use crate::exec::Planned;

    fn started(tasks: usize, trials: usize) -> Event {
        let task = |task| PlannedTask {
            task,
            name: format!("stage_with_a_long_name_{}", task % 3),
            kind: "pretrain".into(),
            needs: Vec::new(),
            splits: IndexMap::new(),
        };
        let trial = |trial: usize| PlannedTrial {
            trial,
            labels: IndexMap::from([("pipeline.seed".to_owned(), trial.to_string())]),
            tasks: (0..tasks).filter(|task| task % trials == trial).collect(),
        };
        let plan = Planned {
            tasks: (0..tasks).map(task).collect(),
            trials: (0..trials).map(trial).collect(),
        };
        Event::RunStarted { run: "r".into(), pipeline: "p".into(), command: Vec::new(), plan }
    }

    fn begin(view: &mut LiveView, task: usize, now: Instant) {
        let name = format!("stage_with_a_long_name_{task}[{task:03}]");
        view.event(&Event::TaskStarted { task, name, kind: "pretrain".into() }, now);
        let phase = "train".to_owned();
        view.event(&Event::Phase { task, phase, total: Some(4_800), unit: "steps" }, now);
        view.event(&Event::Progress { task, by: 1 }, now);
        view.event(&Event::Progress { task, by: 1_199 }, now + Duration::from_secs(10));
        view.event(&Event::Status { task, text: "loss 0.412".into() }, now);
    }

    #[test]
    fn every_line_fits_and_says_loss_and_eta_at_any_width() {
        let start = Instant::now();
        let mut view = LiveView::new(start);
        view.event(&started(40, 10), start);
        for task in 0..4 {
            begin(&mut view, task, start);
        }
        let now = start + Duration::from_secs(10);
        for width in [40, 60, 80, 120, 200] {
            let lines = view.lines(width, 8, now);
            assert!(lines.len() >= 5, "{lines:#?}");
            for line in &lines {
                assert!(line.chars().count() < width, "{width}: {line}");
            }
            for line in &lines[..4] {
                assert!(line.contains("25%") && line.contains("eta 0:30"), "{width}: {line}");
                assert!(width < 60 || line.contains("loss 0.412"), "{width}: {line}");
                assert!(width < 80 || line.contains("120 steps/s"), "{width}: {line}");
            }
            let totals = lines[4..].join(" ");
            assert!(totals.contains("0/40 stages") && totals.contains("0/10 trials"), "{totals}");
        }
    }

    #[test]
    fn axes_are_called_by_as_many_words_as_tell_them_apart() {
        let keys = ["stages.source.input", "stages.target.input", "pipeline.seed", "pair"];
        let labels = keys.map(|key| (key.to_owned(), String::new())).into_iter().collect();
        let shown = keys.map(|key| ending_of_its_own(key, &labels));
        assert_eq!(shown, ["source.input", "target.input", "seed", "pair"]);
    }

    #[test]
    fn a_sweep_says_a_line_for_what_is_cached_and_one_for_each_trial() {
        let now = Instant::now();
        let mut view = LiveView::new(now);
        view.event(&started(300, 100), now);
        let mut said = Vec::new();
        for task in 0..200 {
            let (name, summary) = (format!("x[{task:03}]"), String::new());
            said.extend(view.event(&Event::Cached { task, name, summary }, now));
        }
        assert!(said.is_empty(), "{said:?}");
        for task in 200..300 {
            begin(&mut view, task, now);
            let note = Event::Note { task, name: "x".into(), text: "epoch  1/3  loss 1".into() };
            said.extend(view.event(&note, now));
            let (name, summary) = (format!("x[{task:03}]"), String::new());
            said.extend(view.event(&Event::Finished { task, name, summary, seconds: 1.0 }, now));
        }
        assert_eq!(said.len(), 100, "{said:#?}");
        assert_eq!(said[99], "trial 099 done (100 of 100): seed=99");
        assert!(view.lines(80, 8, now).last().unwrap().contains("300/300 stages"));
    }

    #[test]
    fn the_end_of_a_sweep_is_told_from_what_stages_took() {
        let start = Instant::now();
        let mut view = LiveView::new(start);
        view.event(&started(6, 2), start);
        assert!(!view.lines(80, 8, start).concat().contains("eta"));
        for task in 0..3 {
            let finished =
                Event::Finished { task, name: "x".into(), summary: String::new(), seconds: 20.0 };
            view.event(&finished, start);
        }
        let line = view.lines(80, 8, start).concat();
        assert!(line.contains("eta 1:00"), "{line}");
        let end = Event::RunFinished {
            cached: 0,
            ran: 3,
            failed: 0,
            skipped: 0,
            pruned: 0,
            seconds: 1.0,
        };
        view.event(&end, start);
        assert!(view.lines(80, 8, start).is_empty());
    }
}
