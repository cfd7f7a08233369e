//! Whether every piece of advice in the program's text is followed by a test. Reads the text of `src`, the
//! tests beside this file, and what `check` says of the files that are wrong. Runs nothing itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::scene::found;
use super::{mistakes, source_text::SourceText};

/// Advice that tests elsewhere follow: the text as it is in `src`, and the name of a test.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "is one run of a file whose tables are of the trials of its sweep, which `runner sweep` carries out; its scores are in \
                 `scores.csv`",
        "a_plain_run_says_that_its_tables_are_of_the_trials_of_a_sweep",
    ),
    (
        "put another sign between them, or sweep the key that has the text",
        "text_with_dollars_comes_back_from_what_is_shown_of_a_sweep",
    ),
    (
        "sweep `pipeline.seed`: its values repeat a setting, and are none",
        "a_variable_that_is_set_or_swept_must_be_used_and_is_no_seed",
    ),
    (
        "write `\"${{{name}}}\"` where it counts, or leave this out",
        "a_variable_that_is_set_or_swept_must_be_used_and_is_no_seed",
    ),
    ("change `column_label`, or leave it or `average` out", "columns_that_look_alike_are_an_error"),
    (
        "; `runner table {}` shows the newest one that is over",
        "table_and_ls_say_of_a_run_that_goes_on_what_is_there_so_far",
    ),
    ("leave `{key}` out to do without it", "a_list_to_validate_on_has_names_and_each_of_them_once"),
    (
        "put labelled images of the source first, which decide, and `{}` behind them, which is recorded",
        "labels_of_the_target_never_decide",
    ),
    (
        "the network is known only once the stages that it learns from are in the store: their images say how large its input \
         is, and how many classes it has; `runner run` builds them",
        "the_layers_of_a_network_are_shown_once_its_data_are_there",
    ),
    (
        "{gone} workers have left the queue, came not to work and left no mark in {}: either they were cancelled there, or \
             the machines of the queue do not see the store and the folder {} at these paths; `--store` names a store \
             elsewhere",
        "a_store_that_the_nodes_do_not_see_ends_the_driver_with_its_path_and_a_worker_with_that_of_its_node",
    ),
    (
        "`--on` shows what is typed for a queue, which is text: leave out `--format`",
        "plan_shows_what_would_be_typed_and_asks_for_nothing",
    ),
    (
        "put `{host}` where the name of a machine goes, or leave out `hosts`",
        "a_stage_without_a_class_and_a_site_with_mistakes_are_errors_before_anything_is_asked_for",
    ),
    (
        "write each option as a text of its own, in one line",
        "a_stage_without_a_class_and_a_site_with_mistakes_are_errors_before_anything_is_asked_for",
    ),
    (
        "`--clusters` would send the workers where nothing else looks: set `SLURM_CLUSTERS` in the environment, which counts for all",
        "a_stage_without_a_class_and_a_site_with_mistakes_are_errors_before_anything_is_asked_for",
    ),
    (
        "add `[workers.cpu]`",
        "a_stage_without_a_class_and_a_site_with_mistakes_are_errors_before_anything_is_asked_for",
    ),
    (
        "expected {}; `${{...}}` is left to the shell",
        "a_stage_without_a_class_and_a_site_with_mistakes_are_errors_before_anything_is_asked_for",
    ),
    (
        "write one of them, as docs/clusters.md shows; `--on slurm` needs none",
        "a_stage_without_a_class_and_a_site_with_mistakes_are_errors_before_anything_is_asked_for",
    ),
    (
        "write one of {}",
        "a_stage_without_a_class_and_a_site_with_mistakes_are_errors_before_anything_is_asked_for",
    ),
    (
        "run {id} has no classes of workers; leave out `--class`, or begin it by `runner sweep` with `--on NAME`",
        "a_class_is_of_a_run_that_a_driver_began_with_a_site",
    ),
    (
        "run {} of {}: the queue drives it; `runner status` shows it, `runner stop {}` ends it, and what it prints is in {}",
        "a_run_on_a_cluster_is_shown_stopped_and_taken_up_again",
    ),
    (
        "{} {} on; the same command comes back to them, `runner stop {}` ends them",
        "ctrl_c_and_a_hang_up_leave_the_workers_at_work_and_say_so",
    ),
    (
        "runs in `{name}` used this store and cannot be read ({reason}); `--forget {typed}` lets \
             go of what only they need",
        "a_folder_that_cannot_be_read_keeps_everything_until_it_is_forgotten",
    ),
    (
        "runs in folders that are not known may have used this store before it kept a list \
                 of them; `--forget {UNKNOWN}` says that there are none",
        "a_store_of_an_older_runner_keeps_what_no_known_run_needs_until_told_that_there_are_no_others",
    ),
    (
        "there are no runs in `{}`: everything in the store would count as not needed; \
         `--results DIR` says where the runs are",
        "a_folder_that_is_not_there_or_holds_no_run_is_an_error_that_removes_nothing",
    ),
    (
        "{} found this at {}; once that process is over, `--retry-failed` tries it again",
        "a_failure_of_runs_at_work_holds_for_who_joins_them_until_told_otherwise_or_they_are_over",
    ),
    (
        "there is no file `{name}`, and no run of `{root}`, or more than one, is called so; \
             `runner status --store {}` lists them",
        "a_worker_by_the_id_of_a_run_works_from_any_folder",
    ),
    (
        "{} of run {} are left: `--anew` must wait until `{}` has ended them",
        "another_program_is_refused_with_both_digests_until_it_begins_the_run_anew",
    ),
    (
        "workers built stages of run {id} of {}, and its results are not written yet; `--forget {id}` lets go \
                     of what only it needs",
        "what_workers_built_stays_until_the_results_are_written_or_the_run_is_forgotten",
    ),
    (
        "build it where `{planned}` is, or leave out `--backend`",
        "a_plan_for_another_backend_finds_what_it_built_and_refuses_to_build_the_rest_by_name",
    ),
    (
        "no run and no pipeline with runs is called `{name}` in `{}`; `runner ls` lists them, and the page of a \
             pipeline's file waits for its first run",
        "a_name_that_no_run_has_is_an_error",
    ),
    (
        "`--retry-failed` tries it again, whatever killed it",
        "a_stage_that_is_killed_three_times_fails_with_advice_that_works",
    ),
    (
        "raise `time_limit`: what the program keeps in `{state}` is there when it begins again",
        "a_program_that_fails_is_told_with_its_end_and_its_last_words_and_is_tried_again",
    ),
    (
        "interrupted; run the same command again to go on",
        "an_interrupted_run_taken_up_by_the_same_command_gives_the_bytes_of_an_unbroken_one",
    ),
    (
        "run the pipeline again, which writes its results anew, and delete what is left",
        "results_that_are_not_whole_are_written_anew_by_the_next_run_which_says_so",
    ),
    (
        "`runner report {typed}` writes it",
        "a_full_disk_leaves_a_whole_page_or_none_and_the_run_fails_until_there_is_room",
    ),
    (
        "`head = []` gives the model a new classifier for other classes",
        "a_model_goes_on_learning_only_from_classes_that_it_has_or_with_a_new_head",
    ),
    (
        "or put {names} into {} yourself",
        "files_that_the_user_puts_where_the_advice_says_are_taken_from_there",
    ),
    ("the classes of the model: {}", "other_names_are_an_error_with_both_lists_whose_advice_works"),
    (
        "the classes of this data set: {}",
        "other_names_are_an_error_with_both_lists_whose_advice_works",
    ),
    (
        "make that folder, or give another one with `{option}`",
        "a_store_and_results_that_are_links_to_nowhere_are_named_as_such",
    ),
];

/// Advice that no test can follow, by the reason.
const BEYOND_TESTS: &[(&str, &[&str])] = &[
    ("what is right is known to the user alone", &["the folder `{}` cannot be read"]),
    ("a split that is not there is found before a stage looks for it", &["it has {}"]),
    (
        "a network, another user or a machine with less space or memory is needed",
        &[
            "look at the network, then run again",
            "give it more memory, or let it need less, with a smaller batch or fewer `--jobs`",
            "free some memory, raise the limit that `ulimit -v` shows, or make the image smaller",
            "free some memory, or raise the limit that `ulimit -v` shows",
            "free some space, or give a folder on another disk with `--store DIR`",
            "raise the limit of open files, with `ulimit -n`, or close other programs",
            "give a folder that can be written with `{option}`",
            "check the folder's owner and permissions, or give another one with `{option}`",
        ],
    ),
    (
        "a machine with a GPU must join a run for processors",
        &["; with `--backend '{backend}'` a worker can"],
    ),
    (
        "another runner must come in between at the right moment",
        &[
            "another runner took over, as this one stood still for too long; run it again",
            "{} is at work on this store; try again when it is done",
            "run again once nothing writes to them",
            "start the worker again",
            "use the program that the workers are, or wait until they have ended",
            "`runner stop {id}` with the same `--store` ends them",
            "run the pipeline again: the artifact is set aside and built anew",
        ],
    ),
    (
        "PyTorch is needed, which writes what is advised; tests/torch/weights.py runs the command",
        &[
            "if you trust the file, let Python take the weights out of it, which runs that \
                         code: python3 -c {} {} weights.pth",
            "then `source = \"file:weights.pth\"`",
            "save `model.state_dict()`, which has a name for every tensor",
            "save `model.state_dict()` alone",
            "weights are read from what `torch.save(model.state_dict(), FILE)` writes, and from safetensors",
        ],
    ),
    (
        "a run must have ended without any trial that could be selected",
        &["write `trials = \"all\"`, or run the sweep with its `[sweep.select]`"],
    ),
    ("nobody but the authors can follow it", &["this is a bug in runner; please report it"]),
    (
        "pages say it, which are looked at in a browser",
        &[
            "<p class=\"note\">{left_out} more matrices do not fit here; `runner plot` writes them.</p>",
            "this run has no report yet: `runner report` writes one",
        ],
    ),
    (
        "an option is only named",
        &[
            "there is no file `{name}`, and a run that is named by its id has its `--set` already",
            "what the job of `--detach` gets",
            "the one that `runner devices` shows on the machine with the GPU, such as",
            "computes what the processor computes, as `--backend '{backend}'`",
            "`--backend '{wanted}'` is no backend of `device = \"{device}\"`; expected {expected} {}",
            "`--set` of the keys of `[sweep.pairs]` leaves the pairs {}",
            "`--set` needs a dotted key before the `=`",
            "`--set` needs a key and a value",
            "`--set` needs a value after the `=`",
            "`--set` takes one key at a time",
            "`--set {name}` is set in every value of the axis `{key}`{gone}",
            "`--set {name}` takes the place of the axis `{key}`: all trials have {}",
            "`--set {outer}` throws away what `--set {inner}` set before it",
            "`{what}` is not here yet, and `--offline` forbids to fetch {files} from {}",
            "`{0}` needs a runner built with `--features cuda`; `cuda:0` is the same GPU by kernels that every build has",
        ],
    ),
];

/// Words by which advice within a message is known.
const ADVISES: &[&str] = &[
    "`--",
    "`runner ",
    "run it again",
    "run again",
    "try again",
    "pipeline again",
    "command again",
    "; use ",
    "; save it",
];

/// Files whose texts are pages of help and of the reference: what these show is tested where they are.
const PAGES: &[&str] = &["src/cli.rs", "src/plan/manual.rs"];

/// Functions that give advice and nothing else.
const GIVERS: &[&str] = &["pub fn help(", "pub fn shortage(", "pub fn refused(source: &io::Error"];

/// What is handed on by these names was advice where it was made, and is counted there.
const HANDED_ON: &[&str] = &["path", "line", "help"];

/// One piece of advice, and the file that gives it.
type Advice = (String, String);

/// Every piece of advice in the program.
fn advice() -> BTreeSet<Advice> {
    let files: Vec<(String, SourceText)> = rust_files("src")
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs") && !name(path).ends_with("_tests.rs"))
        .map(|path| (name(&path), SourceText::of_program(&fs::read_to_string(&path).unwrap())))
        .collect();
    let mut all = BTreeSet::new();
    for (file, text) in &files {
        let mut add = |advice: &str| {
            // An option with a word for its value is a part of advice.
            if !advice.starts_with("--") {
                all.insert((advice.trim().to_owned(), file.clone()));
            }
        };
        for call in [".help(", ".advise(", "help.push("] {
            for argument in text.arguments(call) {
                match text.literal_at_start(&argument) {
                    Some(literal) => add(literal),
                    None => {
                        let name = called(&argument.code);
                        let is_handed_on = HANDED_ON.contains(&name)
                            || call == "help.push(" && argument.code.ends_with(".into()");
                        if name.is_empty() || is_handed_on {
                            continue;
                        }
                        let own = [text.sentences_of(name), text.sentences_of_variable(name)];
                        let others = files.iter().map(|it| it.1.sentences_of(name));
                        let lines = own.into_iter().chain(others).find(|it| !it.is_empty());
                        let lines = lines.unwrap_or_else(|| {
                            panic!("{file} gives advice by `{name}`, which is not a constant, a function \
                                or a variable with the text in it: write the text where it is given")
                        });
                        lines.iter().for_each(|it| add(it));
                    }
                }
            }
        }
        for giver in GIVERS {
            let sentences = text.bodies(giver).into_iter().flat_map(|it| text.sentences(&it));
            // A script for Python is part of its advice.
            sentences.filter(|it| !it.contains("sys.")).for_each(|it| add(&it));
        }
        for literal in &text.literals {
            if !PAGES.contains(&file.as_str())
                && ADVISES.iter().any(|words| literal.contains(words))
            {
                add(literal);
            }
        }
    }
    all
}

/// The name of what an argument is.
fn called(argument: &str) -> &str {
    let name =
        argument.trim().trim_start_matches('&').split(['(', ' ', '.']).next().unwrap_or_default();
    match argument.trim().strip_prefix("self.") {
        Some(rest) => rest.split(['(', '.']).next().unwrap_or_default(),
        None => name.rsplit("::").next().unwrap_or_default(),
    }
}

/// A path as it is written in the project.
fn name(path: &Path) -> String {
    let path = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(path);
    path.to_str().unwrap().trim_start_matches('/').to_owned()
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = crate::binary::files(&folder);
    files.retain(|path| path.extension().is_some_and(|ending| ending == "rs"));
    files.sort();
    files
}

/// Every text in the tests of this folder, which quote the advice that they follow.
fn quoted() -> BTreeSet<String> {
    let tests = rust_files("tests/cli/advice").into_iter().filter(|it| !it.ends_with("census.rs"));
    tests.flat_map(|it| SourceText::new(&fs::read_to_string(it).unwrap()).literals).collect()
}

#[test]
fn every_advice_in_the_program_is_followed_by_a_test() {
    let quoted = quoted();
    let given = mistakes::advice_given();
    let beyond: Vec<&str> = BEYOND_TESTS.iter().flat_map(|it| it.1).copied().collect();
    let listed: Vec<&str> = ELSEWHERE.iter().map(|it| it.0).chain(beyond).collect();
    let all = advice();
    assert!(all.len() > 150, "only {} pieces of advice were found in `src`", all.len());
    let is_new = |(advice, _): &&Advice| {
        !quoted.contains(advice)
            && !listed.contains(&advice.as_str())
            && !given.iter().any(|line| found(line, advice) == Some(line.as_str()))
    };
    let new: Vec<String> =
        all.iter().filter(is_new).map(|(advice, file)| format!("\n  {file}: {advice:?}")).collect();
    assert!(
        new.is_empty(),
        "nothing follows this advice:{}\n\nWrite a test in tests/cli/advice that provokes each (`Scene::follow` \
         with the text as it is in `src`), or put it into `ELSEWHERE` or `BEYOND_TESTS` in census.rs.",
        new.concat()
    );
}

#[test]
fn what_is_said_of_advice_that_is_not_followed_here_is_still_so() {
    let all: BTreeSet<String> = advice().into_iter().map(|it| it.0).collect();
    let tests: String = ["tests", "src"]
        .iter()
        .flat_map(|folder| rust_files(folder))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for (advice, test) in ELSEWHERE {
        assert!(all.contains(*advice), "nothing in `src` says {advice:?} any more");
        assert!(tests.contains(&format!("fn {test}(")), "there is no test `{test}`");
    }
    for advice in BEYOND_TESTS.iter().flat_map(|it| it.1) {
        assert!(all.contains(*advice), "nothing in `src` says {advice:?} any more");
    }
}
