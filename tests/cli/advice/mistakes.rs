//! Advice about settings: what `check` says to write is written, and the problem is gone without another one
//! in its place. Advice that needs a choice of the user is in [`SAID`], so that each new line is looked at.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::binary::{runner, text};

/// Advice that leaves something to the user. `settings.rs` makes a choice and follows it.
const SAID: &[&str] = &[
    "add `[pipeline]` with `name = \"...\"`",
    "add `[stages.NAME]`",
    "add `[stages.NAME]` with `kind = \"...\"`",
    "add `name = ...`, a string",
    "add `train = ...`, the name of a stage",
    "add `size = ...`, an integer",
    "add `on = ...`, a string",
    "name source and target in `on`",
    "where there is no such split, a `split` stage makes it: `holdout = 0.1`",
    "give each its own `name`; one may go without",
    "its splits are `train`, `valid`, `test`",
    "`*` matches any characters, dots included",
    "leave `epochs` out of the file to do without it",
    "`center_crop` is a key of a stage with `kind = \"normalize\"`, which comes before this one",
    "`thaw` is a key of a stage with `kind = \"freeze\"`, which comes before this one",
    "`lr` is a key of `optimizer`: `optimizer = { kind = \"sgd\", ... }`",
    "`target` is a key of `method`: `method = { kind = \"dann\", ... }`",
    "`patience` is a key of `early_stopping`, and of the schedule `reduce_on_plateau`",
    "`device` is a key of `[pipeline]`",
];

/// A pipeline file with a `--set` argument.
#[derive(Debug, Clone)]
struct Situation {
    file: String,
    set: Option<String>,
}

/// A problem that was found, as it was said.
#[derive(Debug, Clone, Default)]
struct Problem {
    title: String,
    /// Whether it stands in the argument rather than in the file.
    in_set: bool,
    /// The line, and the bytes of it that are underlined.
    line: usize,
    marked: std::ops::Range<usize>,
    help: Vec<String>,
}

/// Every problem that `check` finds.
fn problems(root: &Path, situation: &Situation) -> Vec<Problem> {
    fs::write(root.join("p.toml"), &situation.file).unwrap();
    let set = situation.set.iter().flat_map(|set| ["--set", set.as_str()]);
    let arguments: Vec<&str> = ["check", "p.toml"].into_iter().chain(set).collect();
    let output = runner(root, &arguments);
    let said = text(&output.stderr);
    let code = output.status.code();
    assert!(code == Some(0) || code == Some(2), "{said}");
    let mut found: Vec<Problem> = Vec::new();
    for line in said.lines() {
        if let Some(title) = line.strip_prefix("error: ") {
            if !title.starts_with("p.toml has ") {
                found.push(Problem { title: title.to_owned(), ..Problem::default() });
            }
            continue;
        }
        let Some(problem) = found.last_mut() else { continue };
        let trimmed = line.trim_start();
        if let Some(place) = trimmed.strip_prefix("--> ") {
            let mut parts = place.rsplitn(3, ':');
            let column: usize = parts.next().unwrap().parse().unwrap();
            problem.line = parts.next().unwrap().parse().unwrap();
            problem.in_set = parts.next() == Some("--set");
            problem.marked = column - 1..column - 1;
        } else if let Some(help) = trimmed.strip_prefix("= help: ") {
            problem.help.push(help.to_owned());
        } else if let Some(underline) = line.split_once('|').map(|it| it.1)
            && underline.trim_start().starts_with('^')
        {
            let count = underline.trim_start().bytes().take_while(|it| *it == b'^').count();
            problem.marked.end = problem.marked.start + count;
        }
    }
    found
}

/// The words of a text between backticks.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// One word of a shell, as it is without its quotes.
fn unquoted(word: &str) -> String {
    match word.strip_prefix('\'').and_then(|it| it.strip_suffix('\'')) {
        Some(inner) => inner.replace(r"'\''", "'"),
        None => word.to_owned(),
    }
}

impl Situation {
    /// The text that a problem stands in.
    fn text(&self, problem: &Problem) -> &str {
        if problem.in_set { self.set.as_deref().unwrap_or_default() } else { &self.file }
    }

    fn with_text(&self, problem: &Problem, text: String) -> Self {
        match problem.in_set {
            true => Self { set: Some(text.trim_end().to_owned()), ..self.clone() },
            false => Self { file: text, ..self.clone() },
        }
    }

    /// With the problem's line, counted from 1, changed.
    fn with_line(&self, problem: &Problem, line: usize, change: impl Fn(&str) -> String) -> Self {
        let lines = self.text(problem).lines().enumerate();
        let lines = lines.map(|(at, it)| if at + 1 == line { change(it) } else { it.to_owned() });
        self.with_text(problem, lines.collect::<Vec<_>>().join("\n") + "\n")
    }

    /// With `name` for the wrong word among what is underlined.
    fn with_name(&self, problem: &Problem, name: &str) -> Self {
        self.with_line(problem, problem.line, |line| {
            let marked = &line[problem.marked.clone()];
            let wrong = code(&problem.title).into_iter().filter(|it| marked.contains(it));
            let wrong = wrong.min_by_key(|it| it.len());
            let wrong = wrong.unwrap_or_else(|| marked.trim_matches(['"', '\'']));
            let new = marked.replacen(wrong, name, 1);
            format!("{}{new}{}", &line[..problem.marked.start], &line[problem.marked.end..])
        })
    }

    /// With `key = value` where the advice means it.
    fn with_setting(&self, problem: &Problem, help: &str, setting: &str) -> Self {
        let key = setting.split_once(" = ").unwrap().0;
        let lines: Vec<&str> = self.file.lines().collect();
        let own = lines[problem.line - 1];
        if own.starts_with(&format!("{key} = ")) {
            return self.with_line(problem, problem.line, |_| setting.to_owned());
        }
        let before = own[..problem.marked.start].strip_suffix(&format!("{key} = "));
        if let Some(before) = before {
            let after = &own[problem.marked.end..];
            return self.with_line(problem, problem.line, |_| format!("{before}{setting}{after}"));
        }
        let into_inline = |at: usize| {
            self.with_line(problem, at, |line| line.replacen('{', &format!("{{ {setting},"), 1))
        };
        if own[problem.marked.clone()].starts_with('{') {
            return into_inline(problem.line);
        }
        let header = (0..problem.line).rev().find(|at| lines[*at].starts_with('[')).unwrap();
        if let Some((_, table)) = help.split_once(" to `") {
            let table = table.trim_end_matches('`');
            let is_it = |at: &usize| lines[*at].starts_with(&format!("{table} = "));
            let at = (header..lines.len()).find(is_it).unwrap();
            // A word stands for a table of its kind.
            return match lines[at].split_once(" = \"") {
                Some((_, word)) if !lines[at].contains('{') => {
                    let tag = if table == "model" { "arch" } else { "kind" };
                    let line = format!("{table} = {{ {tag} = \"{word}, {setting} }}");
                    self.with_line(problem, at + 1, |_| line.clone())
                }
                _ => into_inline(at + 1),
            };
        }
        // What is set already is set anew.
        let end = (header + 1..lines.len()).find(|at| lines[*at].starts_with('['));
        let mut of_table = header + 1..end.unwrap_or(lines.len());
        match of_table.find(|at| lines[*at].starts_with(&format!("{key} = "))) {
            Some(at) => self.with_line(problem, at + 1, |_| setting.to_owned()),
            None => self.with_line(problem, header + 1, |line| format!("{line}\n{setting}")),
        }
    }

    /// Without a key of the tables on the problem's line, or of those below the header there.
    fn without(&self, problem: &Problem, key: &str) -> Self {
        let lines: Vec<&str> = self.file.lines().collect();
        let has = |at: &usize| lines[*at - 1].contains(&format!("{key} = "));
        let line = (problem.line..=lines.len()).find(has).unwrap();
        self.with_line(problem, line, |line| {
            let mut line = line.to_owned();
            while let Some(start) = line.find(&format!("{key} = ")) {
                let rest = &line[start..];
                let end = start + rest.find([',', '}', '\n']).unwrap_or(rest.len());
                let start = line[..start].trim_end_matches([',', ' ']).len();
                line.replace_range(start..end, " ");
            }
            line
        })
    }
}

/// What following a line of advice may lead to: each of the inner ones must help, or at least one where
/// they are names to choose from. `None` for advice in words alone.
fn followed(
    situation: &Situation,
    problem: &Problem,
    help: &str,
) -> Option<(Vec<Situation>, bool)> {
    let words = code(help);
    if SAID.contains(&help) || words.is_empty() {
        return None;
    }
    if help.starts_with("did you mean") || help.starts_with("expected one of") {
        let all = words.iter().map(|name| situation.with_name(problem, name));
        return Some((all.collect(), false));
    }
    if help.starts_with("a `normalize` stage with ")
        || help.starts_with("for example `") && !help.contains("--set")
    {
        return None;
    }
    let sets: Vec<&str> = words.iter().filter_map(|it| it.strip_prefix("--set ")).collect();
    if let Some(set) = sets.iter().find(|set| !set.starts_with("KEY")) {
        return Some((vec![Situation { set: Some(unquoted(set)), ..situation.clone() }], true));
    }
    if let [new, wrong] = words[..]
        && help == format!("write `{new}` for `{wrong}`")
    {
        let line = |line: &str| line.replacen(wrong, new, 1);
        return Some((vec![situation.with_line(problem, problem.line, line)], true));
    }
    if help.starts_with("leave it out") {
        let next = situation.with_line(problem, problem.line, |_| String::new());
        return Some((vec![next], true));
    }
    if help.starts_with("leave `") {
        return Some((vec![situation.without(problem, words[0])], true));
    }
    if help.starts_with("write `") && !words[0].contains('=') && help.contains("for each channel") {
        // In place of the value.
        let key = situation.file.lines().nth(problem.line - 1)?.split(" = ").next()?;
        let all = words
            .iter()
            .map(|value| situation.with_setting(problem, "", &format!("{key} = {value}")));
        return Some((all.collect(), true));
    }
    let settings: Vec<&str> =
        words.iter().copied().filter(|it| it.contains(" = ") && !it.contains("...")).collect();
    assert!(!settings.is_empty(), "nobody can follow this, and it is not in `SAID`: {help}");
    let all = settings.iter().map(|it| situation.with_setting(problem, help, it));
    Some((all.collect(), true))
}

/// Follows every line of advice about a situation; the lines that were followed.
fn follow_all(root: &Path, name: &str, situation: &Situation) -> usize {
    let before = problems(root, situation);
    assert!(!before.is_empty(), "{name} is not wrong");
    let known: BTreeSet<&str> = before.iter().map(|it| it.title.as_str()).collect();
    let mut count = 0;
    for problem in &before {
        for help in &problem.help {
            let Some((all, each)) = followed(situation, problem, help) else { continue };
            let helps = |next: &Situation| {
                let after = problems(root, next);
                let again = after.iter().any(|it| it.title == problem.title);
                // A problem that was hidden before stands in a line that is as it was.
                let is_old = |it: &Problem| {
                    let line = next.text(it).lines().nth(it.line.saturating_sub(1));
                    known.contains(it.title.as_str())
                        || line.is_some_and(|line| situation.text(it).lines().any(|it| it == line))
                };
                let new = after.iter().find(|it| !is_old(it));
                (!again && new.is_none()).then_some(()).ok_or_else(|| {
                    format!(
                        "{name}: {}\nadvice: {help}\nleads to {after:#?}\nfrom {next:#?}",
                        problem.title
                    )
                })
            };
            let results: Vec<Result<(), String>> = all.iter().map(helps).collect();
            let good = results.iter().filter(|it| it.is_ok()).count();
            let enough = if each { good == all.len() } else { good > 0 };
            assert!(enough, "{}", results.into_iter().find_map(Result::err).unwrap());
            count += 1;
        }
    }
    count
}

/// The files of `tests/bad` about whose lines something is advised.
fn wrong_files() -> Vec<(String, Situation)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut all = Vec::new();
    for path in crate::binary::files(&folder) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // Whole tables are written twice, or none is there: advice about files, not lines of them.
        let whole = ["duplicate_table.toml", "empty.toml", "duplicate_key.toml"];
        if let (Ok(file), false) = (fs::read_to_string(&path), whole.contains(&name.as_str())) {
            all.push((name, Situation { file, set: None }));
        }
    }
    all
}

#[test]
fn advice_about_every_wrong_file_helps_when_it_is_followed() {
    let root = tempfile::tempdir().unwrap();
    let files = wrong_files();
    let count: usize = files.iter().map(|(name, it)| follow_all(root.path(), name, it)).sum();
    assert!(count >= 20, "only {count} lines of advice were followed");
}

/// A pipeline without a mistake, for others to put one into.
pub(super) const GOOD: &str = r#"[pipeline]
name = "good"

[stages.digits]
kind = "download"
dataset = "mnist-10k"

[stages.part]
kind = "split"
input = "digits"
holdout = 0.1
name = "held"

[stages.images]
kind = "normalize"
input = "part"
channels = 3
mean = [0.5, 0.5, 0.5]
std = 0.5

[stages.net]
kind = "pretrain"
train = "images"
model = { layers = ["flatten"] }
epochs = 1
optimizer = { kind = "sgd", lr = 0.1 }

[stages.score]
kind = "evaluate"
models = ["net"]
on = ["images.test"]
"#;

/// Settings of [`GOOD`] and arguments that are wrong.
fn wrong_settings() -> Vec<(String, Situation)> {
    let sweep = "\n[sweep.axes]\n\"stages.net.optimizer.lr\" = [0.1, 0.2]\n\
        \"stages.net.optimizer\" = [{ kind = \"sgd\" }, { kind = \"sgd\", momentum = 0.9 }]\n";
    let swept = format!("{GOOD}{sweep}");
    // What is written in place of what, in a file that is right.
    let in_file = [
        ("std = 0.5", "std = [0.5]"),
        ("mean = [0.5, 0.5, 0.5]", "mean = [0.5]"),
        ("std = 0.5", "std = \"wide\""),
        ("channels = 3", "channels = 1"),
        ("holdout = 0.1", "holdout = .1"),
        ("lr = 0.1", "lr = 1."),
        ("epochs = 1", "epochs = 007"),
        ("lr = 0.1", "lr = 0.1, nesterov = False"),
        ("kind = \"sgd\" },", "kind = \"sgd\", lr = 0.3 },"),
        ("epochs = 1", "epochs = 1\nepoch = \"longer\""),
        ("epochs = 1", "epochs = 1\nkeep_best = \"loss\""),
        ("lr = 0.1", "lr = 0.1, momentun = 0.9"),
        ("train = \"images\"", "train = \"imagse\""),
        ("channels = 3", "channels = 3\nresize = [32]"),
    ];
    let arguments = [
        "stages.part.holdout=.5",
        "stages.net.optimizer.lr=1.",
        "stages.net.optimizer.lr=0,01",
        "stages.net.optimizer.nesterov=False",
        "stages.net.epochs=007",
        "pipeline.device=cpu",
        "pipeline.title=it costs $5",
        "pipeline.title=C:\\new",
        "pipeline.seed",
        "pipeline.seed=",
        "stages.nett.epochs=3",
        "stage.net.epochs=3",
        "stages.net.epoch_s=3",
    ];
    let file = |(from, to): &(&str, &str)| {
        let base = if to.contains("lr = 0.3 },") { &swept } else { GOOD };
        assert!(base.contains(from), "{from}");
        ((*to).to_owned(), Situation { file: base.replacen(from, to, 1), set: None })
    };
    let argument = |set: &&str| {
        let set = (*set).to_owned();
        (set.clone(), Situation { file: GOOD.to_owned(), set: Some(set) })
    };
    in_file.iter().map(file).chain(arguments.iter().map(argument)).collect()
}

#[test]
fn advice_about_settings_helps_when_it_is_followed() {
    let root = tempfile::tempdir().unwrap();
    for (name, situation) in wrong_settings() {
        let followed = follow_all(root.path(), &name, &situation);
        assert!(followed > 0, "`{name}` comes without advice that can be followed");
    }
}

/// Every line of advice that is followed here, or in `settings.rs` when it is one of [`SAID`].
pub(super) fn advice_given() -> BTreeSet<String> {
    let root = tempfile::tempdir().unwrap();
    let all = wrong_files().into_iter().chain(wrong_settings());
    all.flat_map(|(_, situation)| problems(root.path(), &situation))
        .flat_map(|problem| problem.help)
        .collect()
}

#[test]
fn a_value_that_nothing_can_stand_for_comes_without_advice_to_quote_it() {
    let root = tempfile::tempdir().unwrap();
    for value in ["None", "null", "1e400", "-1e400", "99999999999999999999"] {
        let set = Some(format!("stages.net.optimizer.lr={value}"));
        let found = problems(root.path(), &Situation { file: GOOD.to_owned(), set });
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(!found[0].help.iter().any(|help| help.contains("quote")), "{found:?}");
    }
}
