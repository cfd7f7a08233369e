//! The graph of the stages with how each ended, and the time that each took.

use super::figure::{Figure, Topic};
use super::shape::Shape;
use crate::exec::Ending;
use crate::report::csv::CsvRows;
use crate::report::measured::MeasuredRun;

pub(super) fn figures(run: &MeasuredRun) -> Vec<Figure> {
    let header = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
    let mut graph = Vec::new();
    let mut times = Vec::new();
    for (name, needs) in &run.stages {
        let tasks = run.tasks(name);
        let Some((_, first)) = tasks.first() else { continue };
        let seconds: f64 = tasks.iter().map(|it| it.1.work()).sum();
        let count = if tasks.len() > 1 { format!("{}×, ", tasks.len()) } else { String::new() };
        let needs: Vec<&str> = needs.iter().map(|it| run.stages[*it].0.as_str()).collect();
        let states: Vec<Ending> = tasks.iter().map(|it| it.1.state).collect();
        let state = worst(&states).word().to_owned();
        let note = format!("{count}{}", words(seconds));
        graph.push(vec![name.clone(), first.kind.clone(), state, note, needs.join(" ")]);
        times.push(vec![name.clone(), format!("{seconds:.3}")]);
    }
    let count = graph.len();
    let mut figures = vec![Figure {
        topic: Topic::Graph,
        of: String::new(),
        name: "stages".into(),
        title: "Stages".into(),
        about: format!("{count} stages from top to bottom; an arrow leads to what needs a stage."),
        rows: CsvRows { header: header(&["stage", "kind", "state", "note", "needs"]), rows: graph },
        shape: Shape::Graph,
    }];
    if times.iter().any(|it| it[1] != "0.000") {
        figures.push(Figure {
            topic: Topic::Times,
            of: String::new(),
            name: "times".into(),
            title: "Time by stage".into(),
            about: "Seconds that each stage took, all its trials together; what was cached took them in the run that \
                    built it."
                .into(),
            rows: CsvRows { header: header(&["stage", "seconds"]), rows: times },
            shape: Shape::Bars { unit: "s".into() },
        });
    }
    figures
}

/// The ending to show for a stage whose tasks ended in several ways: the worst.
fn worst(states: &[Ending]) -> Ending {
    let worse = [Ending::Failed, Ending::Interrupted, Ending::Skipped, Ending::Built];
    let found = worse.into_iter().find(|ending| states.contains(ending));
    found.or(states.first().copied()).unwrap_or(Ending::Skipped)
}

/// A duration, rounded for people.
pub fn words(seconds: f64) -> String {
    if seconds < 0.05 {
        "0 s".into()
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else if seconds < 3600.0 {
        format!("{:.1} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}
