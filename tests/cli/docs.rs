//! The README, the guides and the help texts say nothing that does not work: commands run, TOML passes
//! the check, links lead somewhere, and every key that a sentence mentions exists.
//!
//! A TOML block that is no whole pipeline names what it belongs to in a comment above it,
//! `<!-- in FILE -->` or `<!-- in FILE, stages.NAME -->`, and is checked as a part of that file. A file that another block
//! includes has `<!-- included as FILE -->` above it, and is checked with that one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser as _};
use runner::cli::{Cli, Verb};
use runner::cluster::Site;

use crate::binary::{files, runner, text};

/// What a shell runs that is not this program, each of which the gate or the benchmarks run.
const OTHERS: &[&str] = &[
    "cargo test",
    "cargo build --release",
    "cargo build --release --features cuda",
    "cargo install --path .",
    "pip install .",
    "pip install maturin ziglang",
    "maturin build --release --zig --compatibility manylinux_2_17",
    "podman build -t runner -f Containerfile .",
    "podman run --rm -v $PWD:/work runner run pipelines/dann.toml",
    "cargo fmt",
    "cargo clippy --all-targets -- -D warnings",
    ".ci/run",
    "src/nn/gpu/kernels/build.sh",
    "cargo test --test cli -- --ignored slurm::",
    "INSTA_UPDATE=always cargo test --test cli",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README, the guides and what else is written for people, with their texts.
fn pages() -> Vec<(PathBuf, String)> {
    let guides = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        guides.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    let others = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "benches/README.md"];
    paths.extend(others.map(|name| root().join(name)));
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let page = fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root()).unwrap().to_owned(), page)
        })
        .collect()
}

/// A fenced block of a page.
struct Block {
    /// `docs/sweeps.md:12`.
    place: String,
    language: String,
    /// The file, and the table in it, that a comment above the block names.
    part_of: Option<(String, Option<String>)>,
    lines: Vec<String>,
}

impl Block {
    fn is_of(&self, what: &str) -> bool {
        self.part_of.as_ref().is_some_and(|it| it.0 == what)
    }
}

/// What stands above a file that another block includes.
const INCLUDED: &str = "<!-- included as ";

impl Block {
    /// The name of the file that it is, where another block includes it.
    fn included_as(&self) -> Option<&str> {
        self.part_of.as_ref()?.0.strip_prefix(INCLUDED)?.strip_suffix(" -->")
    }
}

fn blocks() -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    for (path, page) in pages() {
        let mut inside = false;
        let mut part_of = None;
        for (at, line) in page.lines().enumerate() {
            if let Some(language) = line.strip_prefix("```") {
                inside = !inside;
                if inside {
                    found.push(Block {
                        place: format!("{}:{}", path.display(), at + 1),
                        language: language.to_owned(),
                        part_of: part_of.take(),
                        lines: Vec::new(),
                    });
                }
            } else if inside {
                found.last_mut().unwrap().lines.push(line.to_owned());
            } else if line.starts_with(INCLUDED) {
                part_of = Some((line.to_owned(), None));
            } else if let Some(name) = line.strip_prefix("<!-- in ") {
                let name = name.strip_suffix(" -->").unwrap();
                part_of = Some(match name.split_once(", ") {
                    Some((file, table)) => (file.to_owned(), Some(table.to_owned())),
                    None => (name.to_owned(), None),
                });
            }
        }
        assert!(!inside, "{}: a block without an end", path.display());
    }
    found
}

/// The words of a command, without its comment and where its output goes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in line.chars() {
        match letter {
            '\'' | '"' if quote.is_none() => quote = Some(letter),
            letter if quote == Some(letter) => quote = None,
            ' ' if quote.is_none() => words.push(String::new()),
            letter => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    let end = words.iter().position(|word| word == "#" || word == ">");
    words.truncate(end.unwrap_or(words.len()));
    words
}

/// Every command of the pages and of the help texts, with its place.
fn commands() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for block in blocks().iter().filter(|block| ["sh", "console"].contains(&&*block.language)) {
        for line in block.lines.iter().filter(|line| !line.trim().is_empty()) {
            found.push((block.place.clone(), words(line)));
        }
    }
    for verb in Cli::command().get_subcommands_mut() {
        let place = format!("runner {} --help", verb.get_name());
        let help = verb.render_long_help().to_string();
        let (_, examples) = help.split_once("Example").unwrap_or_else(|| panic!("{place}"));
        let lines: Vec<&str> =
            examples.lines().map(str::trim).filter(|line| line.starts_with("runner ")).collect();
        assert!(!lines.is_empty(), "{place} has no example");
        for line in lines {
            assert!(line.starts_with(&format!("runner {}", verb.get_name())), "{place}: {line}");
            found.push((place.clone(), words(line)));
        }
    }
    found
}

/// The arguments of this program in a command; `None` for another one.
fn arguments(words: &[String]) -> Option<Vec<&str>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["runner", rest @ ..] | ["cargo", "run", "--release", "--", rest @ ..] => {
            Some(rest.to_vec())
        }
        _ => None,
    }
}

/// Whole pipelines in the pages, by the name of the file that the page says to save them as.
fn saved() -> BTreeMap<String, String> {
    let whole = blocks().into_iter().filter(|block| {
        block.language == "toml" && block.lines.iter().any(|line| line == "[pipeline]")
    });
    whole
        .map(|block| {
            let name = block.lines.iter().find_map(|line| line.strip_prefix("name = \"")).unwrap();
            (format!("{}.toml", name.trim_end_matches('"')), block.lines.join("\n") + "\n")
        })
        .collect()
}

/// A folder with everything that the pages speak of: the shipped pipelines, those to save, some images,
/// and finished runs of small pipelines that are called as the shipped ones and have their stages.
fn folder_of_the_reader() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for path in files(&root().join("pipelines")) {
        let copy = folder.path().join(path.strip_prefix(root()).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(&path, copy).unwrap();
    }
    for (name, pipeline) in saved() {
        fs::write(folder.path().join(name), pipeline).unwrap();
    }
    for domain in ["amazon", "webcam"] {
        let place = folder.path().join("Office-Caltech");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join(format!("{domain}_SURF_L10.mat")), "").unwrap();
    }
    fs::write(folder.path().join("mine.npz"), "").unwrap();
    crate::protocols::office(folder.path());
    for block in blocks() {
        let Some(name) = block.included_as() else { continue };
        for home in ["", "pipelines"] {
            fs::write(folder.path().join(home).join(name), block.lines.join("\n")).unwrap();
        }
    }
    for (split, class, gray) in
        [("train", "cat", 40), ("train", "dog", 200), ("test", "cat", 40), ("test", "dog", 200)]
    {
        let place = folder.path().join("photos").join(split).join(class);
        fs::create_dir_all(&place).unwrap();
        for at in 0..6 {
            let image = image::GrayImage::from_pixel(28, 28, image::Luma([gray + at]));
            image.save(place.join(format!("{at}.png"))).unwrap();
        }
    }
    folder
}

/// A run of seconds that is called `name` and has the stages that the pages ask for.
fn small_run(folder: &Path, name: &str) {
    let mut pipeline = format!("[pipeline]\nname = \"{name}\"\n");
    pipeline += "[stages.photos]\nkind = \"download\"\nsource = \"file:photos\"\nformat = \"image-folder\"\n";
    pipeline += "[stages.target]\nkind = \"normalize\"\ninput = \"photos\"\n";
    for (seed, stage) in ["source_only", "dann", "target_trained", "tuned"].iter().enumerate() {
        pipeline +=
            &format!("[stages.{stage}]\nkind = \"pretrain\"\ntrain = \"target\"\nseed = {seed}\n");
        pipeline += "model = { layers = [\"max_pool\"], head = [] }\nepochs = 1\nbatch_size = 4\n";
        if *stage == "dann" {
            pipeline += "target_scores = { on = \"target.test\", metrics = [\"entropy\"] }\n";
        }
    }
    pipeline +=
        "[stages.score]\nkind = \"evaluate\"\nmodels = [\"source_only\", \"dann\", \"tuned\"]\n";
    pipeline += "on = [\"target.test\"]\n";
    let sweeps = name.ends_with("sweep");
    if sweeps {
        pipeline += "[sweep]\naxes = { \"stages.dann.seed\" = [0, 1, 2] }\n";
        pipeline += "[table]\nover = \"stages.dann.seed\"\n";
    }
    let file = format!("small-{name}.toml");
    fs::write(folder.join(&file), pipeline).unwrap();
    let verb = if sweeps { "sweep" } else { "run" };
    let output = runner(folder, &[verb, &file, "--quiet"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// What to run in place of a command that would take minutes, or serve for ever; the command itself
/// where that is quick. `None` where nothing stands in for it.
fn in_its_place(parsed: &Cli, arguments: &[&str]) -> Option<Vec<String>> {
    let file = |file: &runner::cli::FileArgs| {
        let set = file.set.iter().flat_map(|set| ["--set".to_owned(), set.clone()]);
        let plan = ["plan".to_owned(), file.file.to_str().unwrap().to_owned()];
        plan.into_iter().chain(set).collect::<Vec<String>>()
    };
    match &parsed.verb {
        // What would run is planned: the file, the settings and what they name are right.
        Verb::Run(run) => Some(file(&run.file)),
        Verb::Sweep(sweep) => Some([file(&sweep.file), vec!["--sweep".into()]].concat()),
        Verb::Work(work) if work.run.extension().is_some() => {
            Some(vec!["plan".into(), work.run.to_str().unwrap().into(), "--sweep".into()])
        }
        // `tests/cli/work.rs` names runs by their ids and stops them.
        Verb::Work(_) | Verb::Stop(_) | Verb::Watch(_) => None,
        Verb::Report(report) if report.serve => None,
        _ => Some(arguments.iter().map(|word| (*word).to_owned()).collect()),
    }
}

#[test]
fn every_command_of_the_pages_and_of_the_help_runs_as_written() {
    let folder = folder_of_the_reader();
    for name in ["dann", "dann-sweep", "finetune"] {
        small_run(folder.path(), name);
    }
    let (mut done, mut wrong) = (BTreeSet::new(), Vec::new());
    for (place, words) in commands() {
        let line = words.join(" ");
        let Some(arguments) = arguments(&words) else {
            let is_known = OTHERS.contains(&line.as_str())
                || (words[0].starts_with("python3") && root().join(&words[1]).exists())
                || place.starts_with("benches/");
            assert!(
                is_known,
                "{place}: nothing says that `{line}` works; `OTHERS` lists what does"
            );
            continue;
        };
        let whole = std::iter::once("runner").chain(arguments.iter().copied());
        let parsed = match Cli::try_parse_from(whole) {
            Ok(parsed) => parsed,
            Err(error) => {
                wrong.push(format!("{place}: `{line}`: {error}"));
                continue;
            }
        };
        let Some(arguments) = in_its_place(&parsed, &arguments) else { continue };
        if !done.insert(arguments.clone()) {
            continue;
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = runner(folder.path(), &arguments);
        if !output.status.success() {
            let said = text(&output.stderr);
            wrong.push(format!("{place}: `{line}`, as {arguments:?}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(done.len() > 25, "{done:?}");
}

/// Puts a part of a pipeline in its place: tables with their sub-tables are merged, and what has a
/// `kind`, as a stage, takes the place of the one of its name.
fn merge(whole: &mut toml::Table, part: &toml::Table) {
    for (key, value) in part {
        match (whole.get_mut(key), value) {
            (Some(toml::Value::Table(whole)), toml::Value::Table(part))
                if !part.contains_key("kind") && key != "axes" =>
            {
                merge(whole, part);
            }
            _ => {
                whole.insert(key.clone(), value.clone());
            }
        }
    }
}

#[test]
fn every_toml_block_passes_the_check() {
    let folder = folder_of_the_reader();
    let mut checked = 0;
    let included = |block: &&Block| block.included_as().is_some();
    for block in blocks().iter().filter(|block| block.language == "toml" && !included(block)) {
        let place = &block.place;
        let part: toml::Table = match block.lines.join("\n").parse() {
            Ok(part) => part,
            Err(error) => panic!("{place}: {error}"),
        };
        let whole = match &block.part_of {
            None => {
                let is_whole = part.contains_key("pipeline");
                assert!(is_whole, "{place}: write `<!-- in FILE -->` above a part of a pipeline");
                part
            }
            Some((file, _)) if file == "a site" => {
                Site::parse(place, &block.lines.join("\n")).unwrap_or_else(|it| panic!("{it}"));
                checked += 1;
                continue;
            }
            Some((file, table)) => {
                let text = fs::read_to_string(folder.path().join(file)).unwrap();
                let mut whole: toml::Table = text.parse().unwrap();
                let mut place = &mut whole;
                for key in table.iter().flat_map(|table| table.split('.')) {
                    place = place.get_mut(key).unwrap().as_table_mut().unwrap();
                }
                merge(place, &part);
                whole
            }
        };
        // Beside the shipped pipelines, whose programs lie there.
        let block = "pipelines/block.toml";
        fs::write(folder.path().join(block), toml::to_string(&whole).unwrap()).unwrap();
        let output = runner(folder.path(), &["check", block]);
        assert!(output.status.success(), "{place}: {}", text(&output.stderr));
        checked += 1;
    }
    assert!(checked > 12, "{checked}");
}

/// The part of an address after `#` that leads to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

fn anchors(page: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in page.lines() {
        inside ^= line.starts_with("```");
        if let (false, Some(heading)) = (inside, line.strip_prefix('#')) {
            let anchor = anchor(heading.trim_start_matches('#'));
            // A heading that is there again has a number after it.
            let again = (1..).map(|count| format!("{anchor}-{count}"));
            let mut names = std::iter::once(anchor.clone()).chain(again);
            found.insert(names.find(|name| !found.contains(name)).unwrap());
        }
    }
    found
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut links = 0;
    for (path, page) in pages() {
        let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.starts_with("https://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let to = match file {
                "" => root().join(&path),
                file => root().join(path.parent().unwrap()).join(file),
            };
            assert!(to.exists(), "{}: there is no `{target}`", path.display());
            if !heading.is_empty() {
                let there = anchors(&fs::read_to_string(&to).unwrap());
                assert!(there.contains(heading), "{}: `{target}`: {there:?}", path.display());
            }
            links += 1;
        }
    }
    assert!(links > 30, "{links}");
}

#[test]
fn every_guide_is_reached_from_the_readme_which_is_one_page() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 120, "{} lines", readme.lines().count());
    for (path, _) in pages() {
        if path.starts_with("docs") {
            assert!(readme.contains(&format!("]({})", path.display())), "{}", path.display());
        }
    }
}

#[test]
fn the_table_of_the_readme_is_that_of_the_reference_results() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let reference = fs::read_to_string(root().join("results/reference/dann.csv")).unwrap();
    for line in reference.lines().skip(1) {
        let [model, column, mean, ..] = line.split(',').collect::<Vec<_>>()[..] else { panic!() };
        let row =
            readme.lines().find(|line| line.split_whitespace().next() == Some(model)).unwrap();
        let percent = format!("{:.1}", mean.parse::<f64>().unwrap() * 100.0);
        let shown = match column {
            "source.test" => row.split_whitespace().nth(1),
            "target.test" => row.split_whitespace().nth(2),
            _ => row.split_whitespace().last(),
        };
        assert_eq!(shown, Some(percent.as_str()), "{model} on {column}");
    }
}

/// Every key of the schema.
fn keys(schema: &serde_json::Value, found: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(map) => {
            if let Some(serde_json::Value::Object(properties)) = map.get("properties") {
                found.extend(properties.keys().cloned());
            }
            map.values().for_each(|below| keys(below, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|below| keys(below, found)),
        _ => {}
    }
}

#[test]
fn every_setting_that_a_sentence_mentions_exists() {
    let output = runner(root(), &["schema"]);
    let mut known = BTreeSet::new();
    keys(&serde_json::from_slice(&output.stdout).unwrap(), &mut known);
    for block in blocks().iter().filter(|block| block.is_of("a site")) {
        // These are read, so their keys exist.
        let site: toml::Table = block.lines.join("\n").parse().unwrap();
        let below = site.get("workers").and_then(toml::Value::as_table).into_iter().flatten();
        let of_classes =
            below.filter_map(|(_, class)| class.as_table()).flat_map(toml::Table::keys);
        known.extend(site.keys().chain(of_classes).cloned());
    }
    let mut seen = 0;
    for (path, page) in pages() {
        if !path.starts_with("docs") {
            continue;
        }
        let mut inside = false;
        let prose = page.lines().filter(|line| {
            inside ^= line.starts_with("```");
            !inside && !line.starts_with("```")
        });
        for line in prose {
            for code in line.split('`').skip(1).step_by(2) {
                let Some((key, value)) = code.split_once(" = ") else { continue };
                if key.starts_with('{') {
                    continue;
                }
                if code.parse::<toml::Table>().is_err() {
                    assert!(value.contains("..."), "{}: `{code}` is no TOML", path.display());
                }
                assert!(known.contains(key), "{}: there is no key `{key}`", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn the_examples_of_extending_are_the_files_that_the_tests_compile() {
    let page = fs::read_to_string(root().join("docs/extending.md")).unwrap();
    let mut examples = 0;
    for entry in fs::read_dir(root().join("docs/extending")).unwrap() {
        let path = entry.unwrap().path();
        let whole = fs::read_to_string(&path).unwrap();
        let (shown, _) = whole.split_once("\n#[cfg(test)]\nmod tests").unwrap();
        let shown = format!("```rust\n{}\n```", shown.trim_end());
        assert!(page.contains(&shown), "docs/extending.md does not show {}", path.display());
        examples += 1;
    }
    assert_eq!(page.matches("```rust").count(), examples);
}

#[test]
fn the_reference_of_keys_is_current() {
    let printed = text(&runner(root(), &["schema", "--format", "markdown"]).stdout);
    let written = fs::read_to_string(root().join("docs/reference.md")).unwrap();
    let differs = printed.lines().zip(written.lines()).find(|(new, old)| new != old);
    assert!(
        printed == written,
        "docs/reference.md is not current: {differs:?}; renew it with \
         `cargo run -- schema --format markdown > docs/reference.md`"
    );
}
