//! `trials.csv`: the axis values of every trial of a sweep, and how the trial ended. It is both written and
//! read here, so that its columns are known in one place.

use super::csv::CsvRows;
use crate::config::sweep::PairKeys;
use crate::exec::{Done, End};
use crate::metrics::number;
use crate::plan::graph::Plan;
use crate::plan::search::Verdict;

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialState {
    /// Every stage has an artifact.
    Done,
    /// A stage failed.
    Failed,
    /// The search ended it early.
    Pruned,
    /// The user stopped the run during it.
    Interrupted,
    /// It did not begin, or not all of its stages did.
    Skipped,
}

impl TrialState {
    /// All states.
    const ALL: [Self; 5] =
        [Self::Done, Self::Failed, Self::Pruned, Self::Interrupted, Self::Skipped];

    /// The word for it in files and for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Pruned => "pruned",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
        }
    }

    fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// A trial of a finished sweep, or the only one of a plain run.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialResult {
    /// `000` and so on; empty for a plain run.
    pub name: String,
    /// The swept keys with the values of this trial as text.
    pub labels: Vec<(String, String)>,
    /// How it ended.
    pub state: TrialState,
    /// The value that trials are selected by.
    pub objective: Option<f64>,
    /// Whether `[sweep.select]` selected it; `None` without a `[sweep.select]`.
    pub selected: Option<bool>,
    /// Why it ended like this, where the file says so.
    pub reason: String,
    /// Whether its predicted classes collapse on the target; `None` where the selection does not look at that.
    pub collapsed: Option<bool>,
}

impl TrialResult {
    /// The value of a swept key in this trial.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Its pair of domains, `amazon → webcam`, where the run has pairs.
    pub fn pair(&self, keys: Option<&PairKeys>) -> Option<String> {
        keys?.label(|key| self.label(key))
    }
}

/// The columns that follow those of the axes.
pub const FACTS: [&str; 4] = ["state", "objective", "selected", "reason"];

/// A further column where the selection looks at predicted classes.
const COLLAPSED: &str = "collapsed";

/// The trials of a plan as CSV: the number of the trial, a column for each axis, then [`FACTS`].
pub fn text(plan: &Plan, done: &[Done], verdicts: &[Verdict]) -> String {
    let axes = plan.trials[0].labels.iter().map(|(key, _)| key.clone());
    let header = std::iter::once("trial".to_owned()).chain(axes);
    let checked = verdicts.iter().any(|it| it.collapsed.is_some());
    let header = header.chain(FACTS.map(str::to_owned));
    let header = header.chain(checked.then(|| COLLAPSED.to_owned()));
    let rows = plan.trials.iter().enumerate().map(|(trial, it)| {
        let labels = it.label_texts().into_iter().map(|(_, value)| value);
        let verdict = verdicts.get(trial);
        let (state, reason) = state(plan, done, trial, verdict);
        let objective = verdict.and_then(|it| it.objective).map(number).unwrap_or_default();
        let selected = verdict.and_then(|it| it.selected);
        let selected = selected.map(|it| it.to_string()).unwrap_or_default();
        let collapsed = verdict.and_then(|it| it.collapsed);
        let collapsed = collapsed.map(|it| it.to_string()).unwrap_or_default();
        let facts = [state.word().to_owned(), objective, selected, reason].into_iter();
        let facts = facts.chain(checked.then_some(collapsed));
        std::iter::once(format!("{trial:03}")).chain(labels).chain(facts).collect()
    });
    CsvRows { header: header.collect(), rows: rows.collect() }.text()
}

/// Reads the axes and the trials from `rows`. The axes are the columns between `trial` and `state`.
///
/// # Errors
/// What is wrong with the rows, as a sentence.
pub fn read(rows: &CsvRows) -> Result<(Vec<String>, Vec<TrialResult>), String> {
    let column = |name: &str| rows.header.iter().position(|it| it == name);
    let state = column("state").filter(|at| *at > 0).ok_or("it has no column `state`")?;
    let axes = rows.header[1..state].to_vec();
    let [objective, selected, reason, collapsed] =
        ["objective", "selected", "reason", COLLAPSED].map(column);
    let cell = |row: &[String], at: Option<usize>| at.map(|at| row[at].clone()).unwrap_or_default();
    let mut trials = Vec::new();
    for (number, row) in rows.rows.iter().enumerate() {
        let name = format!("{number:03}");
        if row[0] != name {
            return Err(format!("trial `{}` stands where trial `{name}` should", row[0]));
        }
        let word = &row[state];
        trials.push(TrialResult {
            name,
            labels: axes.iter().cloned().zip(row[1..state].iter().cloned()).collect(),
            state: TrialState::named(word)
                .ok_or_else(|| format!("`{word}` is no state of a trial"))?,
            objective: cell(row, objective).parse().ok(),
            selected: cell(row, selected).parse().ok(),
            reason: cell(row, reason),
            collapsed: cell(row, collapsed).parse().ok(),
        });
    }
    Ok((axes, trials))
}

/// How a trial ended, and the reason where there is one.
fn state(
    plan: &Plan,
    done: &[Done],
    trial: usize,
    verdict: Option<&Verdict>,
) -> (TrialState, String) {
    let stages = || plan.stages[trial].iter().map(|(name, task)| (name, &done[task.index()]));
    for (name, done) in stages() {
        if let End::Failed(failure) = &done.end {
            return (TrialState::Failed, format!("{name}: {failure}"));
        }
    }
    if stages().any(|(_, done)| done.end == End::Interrupted) {
        return (TrialState::Interrupted, String::new());
    }
    if let Some(pruned) = verdict.and_then(|it| it.pruned.as_ref()) {
        return (TrialState::Pruned, pruned.reason.clone());
    }
    if stages().all(|(_, done)| done.artifact.is_some()) {
        return (TrialState::Done, String::new());
    }
    let because = stages().find_map(|(_, done)| match &done.end {
        End::Skipped { because } => Some(format!("`{because}` has no result")),
        _ => None,
    });
    (TrialState::Skipped, because.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<(Vec<String>, Vec<TrialResult>), String> {
        read(&CsvRows::read(text).unwrap())
    }

    #[test]
    fn axes_are_the_columns_before_the_state_and_every_fact_may_be_missing() {
        let text = "trial,pipeline.seed,stages.net.lr,state,selected\n000,0,0.1,done,true\n";
        let (axes, trials) = read_text(text).unwrap();
        assert_eq!(axes, ["pipeline.seed", "stages.net.lr"]);
        assert_eq!(trials[0].label("stages.net.lr"), Some("0.1"));
        assert_eq!((trials[0].state, trials[0].selected), (TrialState::Done, Some(true)));
        assert_eq!((trials[0].objective, trials[0].reason.as_str()), (None, ""));
        assert_eq!(trials[0].collapsed, None);
        let text = "trial,pipeline.seed,state,objective,selected,reason,collapsed\n\
            000,0,done,0.5,true,,false\n001,1,failed,,false,net: no,\n";
        let collapsed: Vec<Option<bool>> =
            read_text(text).unwrap().1.iter().map(|it| it.collapsed).collect();
        assert_eq!(collapsed, [Some(false), None]);
    }

    #[test]
    fn a_file_that_is_not_of_trials_in_order_says_what_is_wrong() {
        for (text, wrong) in [
            ("trial,seed\n000,0\n", "it has no column `state`"),
            ("trial,state\n000,done\n002,done\n", "trial `002` stands where trial `001` should"),
            ("trial,state\n000,lost\n", "`lost` is no state of a trial"),
        ] {
            assert_eq!(read_text(text).unwrap_err(), wrong);
        }
    }
}
