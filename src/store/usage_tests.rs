//! Runs and collections on one store, and the folders that it knows.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use super::tests::{name, publish};
use super::*;

/// A store with a folder of results beside it.
fn home() -> (tempfile::TempDir, Store, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let results = home.path().join("results");
    fs::create_dir(&results).unwrap();
    let store = Store::open(home.path().join("store")).unwrap();
    (home, store, results)
}

fn collected(store: &Store, users: Users) -> Vec<PathBuf> {
    let in_use = !users.runs.is_empty();
    let garbage = store.garbage(users.needs, Duration::ZERO, in_use).unwrap();
    garbage.into_iter().map(|one| one.path).collect()
}

#[test]
fn a_run_uses_the_store_until_its_last_copy_is_dropped_and_what_it_needs_stays() {
    let (_home, store, results) = home();
    let [one, two] = [1, 2].map(|at| publish(&store, name(at), "x").path);
    let run = store.clone().enter("run of it", &results, |_| {}).unwrap();
    run.need(&[name(1)]).unwrap();
    let copy = run.clone();
    drop(run);
    let users = store.users().unwrap();
    assert_eq!(users.runs[0].what, "run of it");
    assert_eq!(users.runs, store.runs().unwrap());
    assert_eq!(collected(&store, users), [two.as_path()]);
    drop(copy);
    let users = store.users().unwrap();
    assert!(users.runs.is_empty());
    let all = collected(&store, users);
    assert!(all.len() == 2 && all.contains(&one), "{all:?}");
}

#[test]
fn a_run_waits_for_a_collection_before_it_begins_and_before_it_needs_more() {
    let (_home, store, results) = home();
    let going = store.clone().enter("going", &results, |_| {}).unwrap();
    let collection = store.collect(|_| {}).unwrap();
    let over = AtomicBool::new(false);
    // It has seen the collection, or gone on without.
    let looked = AtomicBool::new(false);
    let named = |wanted: &str| {
        let texts = store.entries("users").unwrap();
        texts.iter().any(|path| fs::read_to_string(path).unwrap_or_default().contains(wanted))
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            going.need(&[name(1)]).unwrap();
            assert!(over.load(Ordering::SeqCst), "it named what it needs and did not wait");
        });
        scope.spawn(|| {
            let mut told = Vec::new();
            let waiting = |who: &str| {
                told.push(who.to_owned());
                looked.store(true, Ordering::SeqCst);
            };
            store.clone().enter("coming", &results, waiting).unwrap();
            let waited = over.load(Ordering::SeqCst);
            looked.store(true, Ordering::SeqCst);
            assert!(waited, "it began and did not wait");
            assert!(told[0].starts_with("process "), "{told:?}");
        });
        while !named(&name(1).to_string()) || !looked.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        let told_first = named("coming");
        over.store(true, Ordering::SeqCst);
        drop(collection);
        assert!(told_first, "it looked for a collection before it was known to one");
    });
    assert_eq!(store.entries("locks").unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn a_collection_that_was_taken_over_takes_nothing_away() {
    let (_home, store, _) = home();
    let path = publish(&store, name(1), "x").path;
    let collection = store.collect(|_| {}).unwrap();
    let mut garbage = store.garbage([].into(), Duration::ZERO, false).unwrap();
    fs::remove_file(store.root().join("locks/collection.0.lock")).unwrap();
    assert!(!garbage[0].take_away(&collection).unwrap());
    assert!(path.exists());
    drop(collection);
    let collection = store.collect(|_| {}).unwrap();
    assert!(garbage[0].take_away(&collection).unwrap());
    // Killed here, it would be found by the next one.
    let half = store.garbage([].into(), Duration::ZERO, false).unwrap();
    assert!(!path.exists() && half.len() == 1 && half[0].what == Waste::HalfRemoved, "{half:?}");
    garbage[0].remove().unwrap();
    assert!(store.garbage([].into(), Duration::ZERO, false).unwrap().is_empty());
}

#[test]
fn runs_that_died_here_are_swept_and_those_elsewhere_count_while_their_counter_moves() {
    let (_home, store, results) = home();
    drop(store.clone().enter("first", &results, |_| {}).unwrap());
    let users = store.root().join("users");
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let gone = child.id();
    child.wait().unwrap();
    let run = store.clone().enter("mine", &results, |_| {}).unwrap();
    let mine = store.entries("users").unwrap().remove(0);
    let text = fs::read_to_string(&mine).unwrap();
    let dead = users.join("dead");
    let here = format!(" {} ", std::process::id());
    fs::write(&dead, text.replace(&here, &format!(" {gone} "))).unwrap();
    let elsewhere = users.join("elsewhere");
    fs::write(&elsewhere, format!("7 token 1 elsewhere run\n{}\n", name(3))).unwrap();
    fs::write(users.join("garbage"), [0xff, 0xfe]).unwrap();
    fs::create_dir(users.join("folder")).unwrap();
    Store::open(store.root()).unwrap();
    assert_eq!(dead.exists(), !Path::new("/proc/self/ns/pid").exists());
    let found = store.users().unwrap();
    assert!(found.needs.contains(&name(3)) && found.runs.len() == 2, "{found:?}");
    let silent = SystemTime::now() - Duration::from_secs(7200);
    let back = |path: &Path| fs::File::options().append(true).open(path).unwrap();
    back(&elsewhere).set_modified(silent).unwrap();
    // This one is known to live, however long it stands still.
    back(&mine).set_modified(silent).unwrap();
    let found = store.users().unwrap();
    assert_eq!(found.runs.len(), 1, "{found:?}");
    found.clear_abandoned().unwrap();
    assert!(!elsewhere.exists() && mine.exists());
    drop(run);
}

#[test]
fn makers_whose_run_is_not_listed_are_found_by_their_locks() {
    let (_home, store, results) = home();
    let lock = store.lock(&name(1), "net", |_| {}, || false).unwrap();
    assert_eq!(store.users().unwrap().others[0].what, "net");
    let run = store.clone().enter("run", &results, |_| {}).unwrap();
    assert!(store.users().unwrap().others.is_empty());
    drop((lock, run));
}

#[test]
fn the_folders_of_results_are_known_also_when_store_and_results_are_moved_together() {
    let (home, store, results) = home();
    let outside = tempfile::tempdir().unwrap();
    for results in [&results, &results, &outside.path().to_owned()] {
        drop(store.clone().enter("run", results, |_| {}).unwrap());
    }
    let moved = outside.path().join("moved");
    fs::rename(home.path(), &moved).unwrap();
    let store = Store::open(moved.join("store")).unwrap();
    assert!(store.knows_all_folders());
    let known = || -> Vec<PathBuf> {
        let folders = store.results_folders().unwrap();
        folders.into_iter().map(|it| fs::canonicalize(it.path.unwrap()).unwrap()).collect()
    };
    let mut expected = [moved.join("results"), outside.path().to_owned()]
        .map(|path| fs::canonicalize(path).unwrap());
    expected.sort();
    let mut found = known();
    found.sort();
    assert_eq!(found, expected);
    store.results_folders().unwrap()[0].forget().unwrap();
    assert_eq!(known().len(), 1);
}

#[test]
fn a_damaged_entry_for_a_folder_names_no_other_folder() {
    let (_home, store, results) = home();
    drop(store.clone().enter("run", &results, |_| {}).unwrap());
    let entry = store.results_folders().unwrap().remove(0).entry().to_owned();
    for bytes in [&b""[..], b"resultt", &[0xff]] {
        fs::write(&entry, bytes).unwrap();
        let folders = store.results_folders().unwrap();
        assert_eq!((folders.len(), folders[0].path.clone()), (1, None));
        assert_eq!(folders[0].name(), entry);
    }
}

#[test]
fn a_store_that_was_used_before_it_kept_a_list_of_folders_says_so_until_told_otherwise() {
    let (_home, store, _) = home();
    publish(&store, name(1), "x");
    fs::remove_dir_all(store.root().join("results")).unwrap();
    let store = Store::open(store.root()).unwrap();
    assert!(!store.knows_all_folders());
    store.claim_to_know_all_folders().unwrap();
    assert!(Store::open(store.root()).unwrap().knows_all_folders());
}

/// Writes down that a task failed, and says which start that was.
fn fail(run: &Store) -> String {
    let lock = run.lock(&name(1), "net", |_| {}, || false).unwrap().unwrap();
    let cause = FailureCause { message: "no memory".into(), help: Vec::new(), killed: false };
    let record = run.record_failure(&name(1), &lock, "net", cause).unwrap();
    assert!(record.is_own());
    record.start
}

#[test]
fn a_failure_concerns_the_runs_of_its_plan_until_the_last_of_them_is_over() {
    let (_home, store, results) = home();
    let enter = |plan| {
        let store = Store::open(store.root()).unwrap().for_plan(name(plan).0);
        store.enter("run", &results, |_| {}).unwrap()
    };
    let (first, other) = (enter(7), enter(8));
    let start = fail(&first);
    let found = |run: &Store| run.failure(&name(1)).unwrap().map(|record| record.start);
    assert_eq!(found(&other), None);
    let joined = enter(7);
    assert_eq!(found(&joined), Some(start.clone()));
    // Another plan's failure of the same task replaces none.
    let theirs = fail(&other);
    assert_eq!((found(&joined), found(&other)), (Some(start.clone()), Some(theirs)));
    drop(first);
    assert_eq!(found(&enter(7)), Some(start), "one of its runs is at work");
    drop(joined);
    assert_eq!(store.failures_at_work().unwrap().len(), 1, "that of the other plan");
    assert_eq!(found(&enter(7)), None, "other plans keep none of its records");
    drop(other);
    Store::open(store.root()).unwrap();
    assert!(store.failures().unwrap().is_empty());
}

#[test]
fn of_runs_that_begin_one_after_the_other_to_try_again_the_first_does() {
    let (_home, store, results) = home();
    let enter = |again: bool| {
        let mut store = Store::open(store.root()).unwrap().for_plan(name(7).0);
        if again {
            store = store.forgiving().unwrap();
        }
        store.enter("run", &results, |_| {}).unwrap()
    };
    let failed = |run: &Store| run.failure(&name(1)).unwrap().is_some();
    let (peer, before) = (enter(false), enter(false));
    fail(&before);
    drop(before);
    let first = enter(true);
    assert!(failed(&peer) && !failed(&first), "the run that wrote it is over");
    fail(&first);
    assert!(failed(&enter(true)), "the first has tried again and is at work");
}

#[test]
fn what_killed_processes_left_among_the_records_is_removed_when_it_is_old() {
    let (_home, store, _) = home();
    let folder = store.root().join("failed");
    fs::create_dir(&folder).unwrap();
    let (old, young) = (folder.join(".old"), folder.join(".young"));
    for path in [&old, &young] {
        fs::write(path, "{").unwrap();
    }
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    fs::File::options().append(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    Store::open(store.root()).unwrap();
    assert!(!old.exists() && young.exists());
}
