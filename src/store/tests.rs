use std::cell::Cell;
use std::fs;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::digest::Digest;

impl Store {
    /// Waits for the lock of `fingerprint`; `None` when `give_up` turned true.
    pub(super) fn lock(
        &self,
        fingerprint: &Fingerprint,
        what: &str,
        mut waiting: impl FnMut(&str),
        give_up: impl Fn() -> bool,
    ) -> Result<Option<Lock>, Error> {
        let mut told = false;
        loop {
            match self.try_lock(fingerprint, what)? {
                Claim::Mine(lock) => return Ok(Some(lock)),
                Claim::Held(_) if give_up() => return Ok(None),
                Claim::Held(holder) => {
                    if !std::mem::replace(&mut told, true) {
                        waiting(&holder);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

pub(super) fn name(byte: u8) -> Fingerprint {
    Fingerprint(Digest::from(blake3::Hash::from_bytes([byte; 32])))
}

fn manifest(fingerprint: Fingerprint) -> Manifest {
    Manifest {
        version: VERSION,
        kind: "test".into(),
        revision: 1,
        backend: "cpu".into(),
        settings: serde_json::json!({}),
        external: None,
        inputs: Vec::new(),
        fingerprint,
        content: Staging::no_content(),
        files: Vec::new(),
        runner: "0".into(),
        created: String::new(),
    }
}

pub(super) fn publish(store: &Store, fingerprint: Fingerprint, text: &str) -> Artifact {
    let lock = store.lock(&fingerprint, "test", |_| {}, || false).unwrap().unwrap();
    let staging = store.stage(&fingerprint, &lock).unwrap();
    fs::create_dir(staging.path().join("sub")).unwrap();
    fs::write(staging.path().join("sub/data"), text).unwrap();
    staging.add("timings.csv", format!("{:?}", std::time::Instant::now()).as_bytes()).unwrap();
    staging.publish(manifest(fingerprint)).unwrap()
}

#[test]
fn what_was_published_is_found_and_equal_data_have_equal_content() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(matches!(store.find(&name(1)).unwrap(), Found::Nothing));
    let one = publish(&store, name(1), "x");
    let Found::Whole(found) = store.find(&name(1)).unwrap() else { panic!("not found") };
    assert_eq!(found.content, one.content);
    assert_eq!(publish(&store, name(2), "x").content, one.content);
    assert_ne!(publish(&store, name(3), "y").content, one.content);
}

#[test]
fn a_crash_before_the_rename_leaves_nothing_visible_and_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lock = store.lock(&name(1), "test", |_| {}, || false).unwrap().unwrap();
    let staging = store.stage(&name(1), &lock).unwrap();
    fs::write(staging.path().join("half"), "x").unwrap();
    let left = staging.path().to_owned();
    // A living owner's folder stays, a dead one's goes.
    Store::open(folder.path()).unwrap();
    assert!(left.exists());
    std::mem::forget(staging);
    drop(lock);
    assert!(matches!(store.find(&name(1)).unwrap(), Found::Nothing));
    Store::open(folder.path()).unwrap();
    assert!(!left.exists());
}

#[test]
fn damage_is_found_and_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let artifact = publish(&store, name(1), "whole");
    fs::write(artifact.path.join("sub/data"), "hal").unwrap();
    let Found::Damaged(reason) = store.find(&name(1)).unwrap() else { panic!("not damaged") };
    assert_eq!(reason, "`sub/data` has 3 bytes instead of 5");
    let aside = store.set_aside(&name(1), &reason).unwrap();
    assert!(aside.join("manifest.json").exists());
    assert!(matches!(store.find(&name(1)).unwrap(), Found::Nothing));
}

#[test]
fn a_newer_format_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let artifact = publish(&store, name(1), "x");
    fs::write(artifact.path.join("manifest.json"), r#"{"version": 9}"#).unwrap();
    let error = store.find(&name(1)).unwrap_err();
    assert!(error.to_string().contains("its format is 9, this one reads up to 1"), "{error}");
}

#[test]
fn the_loser_of_a_race_gets_the_winners_artifact() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lock = store.lock(&name(1), "test", |_| {}, || false).unwrap().unwrap();
    let staging = store.stage(&name(1), &lock).unwrap();
    fs::write(staging.path().join("data"), "late").unwrap();
    fs::remove_file(folder.path().join("locks").join(format!("{}.0.lock", name(1)))).unwrap();
    let winner = publish(&store, name(1), "early");
    assert_eq!(staging.publish(manifest(name(1))).unwrap().content, winner.content);
}

#[test]
fn a_silent_holder_is_taken_over_and_a_living_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let beat = Duration::from_millis(20);
    let patience = Patience { beat, limit: Duration::from_millis(400) };
    let store = Store::open(folder.path()).unwrap().with_patience(patience);
    let path = folder.path().join("locks").join(format!("{}.0.lock", name(1)));
    fs::write(&path, "00000000000000000007 token 1 elsewhere\n").unwrap();
    let mut told = Vec::new();
    let lock = store.lock(&name(1), "test", |who| told.push(who.to_owned()), || false).unwrap();
    assert_eq!(told, ["process 1 on elsewhere"]);
    // Now somebody holds it and lives: a waiter waits far beyond the limit.
    let since = std::time::Instant::now();
    let give_up = || since.elapsed() > Duration::from_millis(1200);
    assert!(store.lock(&name(1), "test", |_| {}, give_up).unwrap().is_none());
    drop(lock);
    assert!(!path.exists());
}

#[test]
fn a_holder_that_died_on_this_machine_is_not_waited_for() {
    if !std::path::Path::new("/proc/self/ns/pid").exists() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let path = folder.path().join("locks").join(format!("{}.0.lock", name(1)));
    let mut child = process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let lock = store.lock(&name(2), "test", |_| {}, || false).unwrap().unwrap();
    let other = folder.path().join("locks").join(format!("{}.0.lock", name(2)));
    let text = fs::read_to_string(other).unwrap();
    drop(lock);
    let text = text.replace(&format!(" {} ", process::id()), &format!(" {pid} "));
    fs::write(&path, text).unwrap();
    let since = std::time::Instant::now();
    assert!(store.lock(&name(1), "test", |_| {}, || false).unwrap().is_some());
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[test]
fn of_many_waiters_one_takes_a_dead_holders_lock_and_the_others_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let patience = Patience { beat: Duration::from_millis(20), limit: Duration::from_millis(100) };
    let store = Store::open(folder.path()).unwrap().with_patience(patience);
    let locks = folder.path().join("locks");
    fs::write(locks.join(format!("{}.0.lock", name(1))), "0 dead 1 elsewhere\n").unwrap();
    let (holders, most, rounds) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let lock = store.lock(&name(1), "test", |_| {}, || false).unwrap().unwrap();
                most.fetch_max(holders.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(30));
                holders.fetch_sub(1, Ordering::SeqCst);
                rounds.fetch_add(1, Ordering::SeqCst);
                drop(lock);
            });
        }
    });
    assert_eq!((most.into_inner(), rounds.into_inner()), (1, 8));
    assert_eq!(fs::read_dir(locks).unwrap().count(), 0);
}

#[test]
fn a_holder_that_was_taken_over_notices_and_leaves_the_lock_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lock = store.lock(&name(1), "test", |_| {}, || false).unwrap().unwrap();
    assert!(!lock.is_lost());
    let next = folder.path().join("locks").join(format!("{}.1.lock", name(1)));
    fs::write(&next, "0 other 1 elsewhere\n").unwrap();
    assert!(lock.is_lost());
    drop(lock);
    assert!(next.exists() && next.with_file_name(format!("{}.0.lock", name(1))).exists());
}

#[test]
fn a_flipped_bit_is_found_by_comparing_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let artifact = publish(&store, name(1), "whole");
    assert!(matches!(store.verify(&name(1)).unwrap(), Found::Whole(_)));
    fs::write(artifact.path.join("sub/data"), "whple").unwrap();
    assert!(matches!(store.find(&name(1)).unwrap(), Found::Whole(_)));
    let Found::Damaged(reason) = store.verify(&name(1)).unwrap() else { panic!("not damaged") };
    assert_eq!(reason, "the bytes of `sub/data` have changed");
}

/// Something else in the place of a lock.
#[cfg(unix)]
fn strange(path: &Path, kind: &str) {
    match kind {
        "bytes" => fs::write(path, [0xff, 0xfe, b' ', 0xff]).unwrap(),
        "empty" => fs::write(path, "").unwrap(),
        "folder" => fs::create_dir_all(path.join("sub")).unwrap(),
        "dangling link" => std::os::unix::fs::symlink("nowhere", path).unwrap(),
        "pipe" => assert!(process::Command::new("mkfifo").arg(path).status().unwrap().success()),
        _ => fs::write(path, "a b c d e f").unwrap(),
    }
}

#[cfg(unix)]
#[test]
fn what_no_runner_wrote_in_the_place_of_a_lock_is_an_unknown_holder_that_blocks_nothing_for_good() {
    for kind in ["bytes", "empty", "folder", "dangling link", "pipe", "words"] {
        let folder = tempfile::tempdir().unwrap();
        let patience =
            Patience { beat: Duration::from_millis(20), limit: Duration::from_millis(80) };
        let store = Store::open(folder.path()).unwrap().with_patience(patience);
        let path = folder.path().join("locks").join(format!("{}.0.lock", name(1)));
        strange(&path, kind);
        let store = Store::open(store.root()).unwrap().with_patience(patience);
        let holders = store.holders().unwrap();
        assert!(holders.len() == 1 && !holders[0].known && !holders[0].dead, "{kind}: {holders:?}");
        assert!(store.users().unwrap().others.is_empty(), "{kind}");
        let mut told = Vec::new();
        let lock = store.lock(&name(1), "test", |who| told.push(who.to_owned()), || false).unwrap();
        assert_eq!(told, ["an unknown holder"], "{kind}");
        drop(lock);
        assert!(path.symlink_metadata().is_err(), "{kind}");
    }
}

#[test]
fn a_version_that_is_no_text_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    Store::open(folder.path()).unwrap();
    fs::write(folder.path().join("version"), [0xff, 0xfe]).unwrap();
    Store::open(folder.path()).unwrap();
}

#[test]
fn a_holder_that_was_overtaken_by_one_that_is_done_notices_and_touches_no_lock_of_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let patience = Patience { beat: Duration::from_millis(5), ..Patience::default() };
    let store = Store::open(folder.path()).unwrap().with_patience(patience);
    let path = folder.path().join("locks").join(format!("{}.0.lock", name(1)));
    let stood = store.lock(&name(1), "stood still", |_| {}, || false).unwrap().unwrap();
    // What whoever took over does at its end.
    fs::remove_file(&path).unwrap();
    assert!(stood.is_lost());
    let next = store.lock(&name(1), "next", |_| {}, || false).unwrap().unwrap();
    assert!(stood.is_lost() && !next.is_lost());
    let text = || fs::read_to_string(&path).unwrap();
    let before = text();
    while text() == before {
        std::thread::yield_now();
    }
    drop(stood);
    assert!(text().ends_with(" next\n") && !next.is_lost(), "{}", text());
    drop(next);
    assert!(!path.exists());
}

#[test]
fn a_file_of_an_artifact_is_given_out_only_as_it_was_published() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let artifact = publish(&store, name(1), "whole");
    let open = || Checked::open(&artifact.path, &artifact.content);
    assert_eq!(open().unwrap().read("sub/data").unwrap().as_deref(), Some(b"whole".as_slice()));
    assert_eq!(open().unwrap().read("data").unwrap(), None);
    let other = publish(&store, name(2), "other").content;
    assert!(matches!(Checked::open(&artifact.path, &other), Err(Error::Damaged { .. })));
    for text in ["whple", ""] {
        fs::write(artifact.path.join("sub/data"), text).unwrap();
        let wrong = open().unwrap().read("sub/data");
        let Err(Error::Damaged { reason, .. }) = wrong else { panic!("given out: {wrong:?}") };
        assert_eq!(reason, "the bytes of `sub/data` have changed");
    }
    fs::remove_file(artifact.path.join("sub/data")).unwrap();
    assert!(matches!(open().unwrap().read("sub/data"), Err(Error::Damaged { .. })));
    fs::remove_dir_all(&artifact.path).unwrap();
    assert!(matches!(open(), Err(Error::Damaged { .. })));
}

#[test]
fn a_thousand_waiting_workers_open_fewer_than_two_files_per_second_each() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let numbered = |number: u32| Fingerprint(Digest::from(blake3::hash(&number.to_le_bytes())));
    // Each waits for what fifty others build, and for what six hundred are to build that nobody has begun.
    let watched = WatchedTasks {
        locks: (0..50).map(numbered).collect(),
        artifacts: (50..650).map(numbered).collect(),
    };
    for task in &watched.locks {
        let path = folder.path().join("locks").join(format!("{task}.0.lock"));
        fs::write(path, format!("0 {task} 1 elsewhere\n")).unwrap();
        assert!(matches!(store.try_lock(task, "test").unwrap(), Claim::Held(_)));
    }
    let (mut opens, mut waited) = (0, Duration::ZERO);
    for _ in 0..1000 {
        let mut lookout = store.lookout();
        for round in 0..12 {
            let pause = lookout.pause();
            let before = sign::OPENS.with(Cell::get);
            assert_eq!(lookout.look(&store, &watched).unwrap(), []);
            // The first pauses are short, as something may happen at any moment.
            if round >= 6 {
                opens += sign::OPENS.with(Cell::get) - before;
                waited += pause;
            }
        }
    }
    let rate = f64::from(opens) / waited.as_secs_f64();
    assert!(rate > 0.2 && rate < 2.0, "{rate} opens per second of a worker");
}

#[test]
fn what_others_build_is_seen_once_it_is_there_or_its_lock_is_gone_or_it_failed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let watched = WatchedTasks { locks: Vec::new(), artifacts: (0..40).map(name).collect() };
    let path = |byte| folder.path().join("locks").join(format!("{}.0.lock", name(byte)));
    for mut lookout in [store.lookout(), store.frequent_lookout()] {
        fs::write(path(7), "0 token 1 elsewhere\n").unwrap();
        assert_eq!(lookout.look(&store, &watched).unwrap(), []);
        fs::remove_file(path(7)).unwrap();
        assert_eq!(lookout.look(&store, &watched).unwrap(), [name(7)]);
        let failed = folder.path().join("failed");
        fs::create_dir_all(&failed).unwrap();
        let record = failed.join(format!("{}.0123456789abcdef.json", name(3)));
        fs::write(&record, "{}").unwrap();
        assert_eq!(lookout.look(&store, &watched).unwrap(), [name(3)]);
        fs::remove_file(record).unwrap();
        // What came and went between two looks is found when its turn comes.
        publish(&store, name(39), "x");
        let looks = (0..100).position(|_| {
            lookout.pause();
            lookout.look(&store, &watched).unwrap() == [name(39)]
        });
        assert!(looks.is_some());
        fs::remove_dir_all(store.folder(&name(39))).unwrap();
    }
}

#[test]
fn a_look_at_hundreds_of_held_tasks_opens_fewer_than_two_files_per_second_and_finds_what_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let path = |byte| folder.path().join("locks").join(format!("{}.0.lock", name(byte)));
    let locks: Vec<Fingerprint> = (0..200).map(name).collect();
    let held = WatchedTasks { locks, artifacts: Vec::new() };
    for byte in 0..200 {
        fs::write(path(byte), format!("0 token{byte} 1 elsewhere\n")).unwrap();
        assert!(matches!(store.try_lock(&name(byte), "test").unwrap(), Claim::Held(_)));
    }
    let mut lookout = store.lookout();
    fs::remove_file(path(7)).unwrap();
    assert_eq!(lookout.look(&store, &held).unwrap(), [name(7)]);
    // All counters move, and the look sees that of a few. It also lists the folder.
    let pause = (0..10).map(|_| lookout.pause()).last().unwrap();
    for byte in 0..200 {
        fs::write(path(byte), format!("1 token{byte} 1 elsewhere\n")).unwrap();
    }
    assert_eq!(lookout.look(&store, &held).unwrap(), []);
    let saw = |byte: &u8| store.seen.text(&name(*byte).to_string()).unwrap().starts_with('1');
    let saw = u32::try_from((0..200).filter(saw).count()).unwrap();
    assert!(saw > 1 && f64::from(saw + 1) / pause.as_secs_f64() < 2.0, "{saw} in {pause:?}");
}

#[test]
fn starts_from_where_a_task_is_count_until_it_ends_or_a_run_forgives_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let begin = |store: &Store| {
        let lock = store.lock(&name(1), "test", |_| {}, || false).unwrap().unwrap();
        store.killed_starts(&name(1)).unwrap().begin(&lock, true).unwrap()
    };
    for _ in 0..MOST_ATTEMPTS {
        assert!(begin(&store).is_some());
    }
    assert!(begin(&store).is_none());
    let forgiving = store.clone().forgiving().unwrap();
    begin(&forgiving).unwrap().end();
    let abandoned = begin(&store).unwrap();
    begin(&store).unwrap();
    abandoned.abandon();
    begin(&store).unwrap();
    // A checkpoint that is newer: it gets on.
    fs::create_dir_all(store.checkpoints(&name(1))).unwrap();
    fs::write(store.checkpoints(&name(1)).join("000000000007-x.safetensors"), "").unwrap();
    for _ in 0..MOST_ATTEMPTS {
        assert!(begin(&store).is_some());
    }
    assert!(begin(&store).is_none());
    publish(&store, name(1), "done");
    Store::open(folder.path()).unwrap();
    assert_eq!(fs::read_dir(folder.path().join("attempts")).unwrap().count(), 0);
}

#[test]
fn a_worker_that_joins_clears_nothing_away_and_whoever_opens_the_store_does() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    drop(Store::open(root).unwrap());
    let left = root.join("staging").join(format!("{}-0123456789abcdef", "0".repeat(64)));
    fs::create_dir(&left).unwrap();
    drop(Store::join(root).unwrap());
    assert!(left.exists());
    drop(Store::open(root).unwrap());
    assert!(!left.exists());
}

#[test]
fn a_run_is_registered_once_and_its_workers_are_counted_while_they_are_there() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let record = |program: &str| RunRecord {
        pipeline: "p".into(),
        file: "p.toml".into(),
        set: Vec::new(),
        folder: root.path().into(),
        program: program.into(),
        runner: "0".into(),
    };
    let first = store.register_run("1a", "plan", &record("first")).unwrap();
    let second = store.register_run("1a", "plan", &record("second")).unwrap();
    assert_eq!((&first.record, &second.record), (&record("first"), &record("first")));
    assert_eq!(second.plan().unwrap(), "plan");
    assert_eq!(second.backend().unwrap(), None);
    assert_eq!(first.settle_backend("cpu avx2").unwrap(), "cpu avx2");
    assert_eq!(second.settle_backend("cpu avx512").unwrap(), "cpu avx2", "it is settled once");
    let (asked, told) = std::sync::mpsc::channel();
    let hasty = Patience { beat: Duration::from_millis(5), ..Patience::default() };
    let place = store.with_patience(hasty).join_run(&first, Some("7_1"), move |how| {
        let _ = asked.send(how);
    });
    let store = Store::join(root.path()).unwrap();
    let [worker] = store.workers(&first).unwrap().try_into().unwrap();
    assert_eq!(worker.what, "worker of run 1a of p, life 7_1");
    first.end_workers(Stop::Now).unwrap();
    assert_eq!(told.recv().unwrap(), Stop::Now);
    drop(place.unwrap());
    assert_eq!(store.workers(&first).unwrap(), []);
    // One that is silent on a machine that nobody hears of is not there.
    let silent = first.folder.join("workers/0123456789abcdef");
    fs::write(&silent, "00000000000000000007 0123456789abcdef 1 elsewhere worker\n").unwrap();
    assert_eq!(store.workers(&first).unwrap().len(), 1);
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(120);
    fs::File::options().write(true).open(&silent).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(store.workers(&first).unwrap(), []);
}

#[test]
fn a_run_begun_anew_stays_where_it_is_when_others_forget_the_one_before_it() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    // The same program may begin it anew, for another backend.
    let record = RunRecord {
        pipeline: "p".into(),
        file: "p.toml".into(),
        set: Vec::new(),
        folder: root.path().into(),
        program: "0".into(),
        runner: "0".into(),
    };
    let before = store.register_run("1a", "plan", &record).unwrap();
    store.forget_run(&before).unwrap();
    let now = store.register_run("1a", "plan", &record).unwrap();
    assert_eq!(before.stop(), Some(Stop::AfterStep));
    assert!(matches!(store.join_run(&before, None, |_| {}), Err(Error::RunGone { .. })));
    let place = store.join_run(&now, None, |how| panic!("the worker was asked to end: {how:?}"));
    let forgetting = AtomicUsize::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    store.forget_run(&before).unwrap();
                }
                forgetting.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while forgetting.load(Ordering::SeqCst) > 0 {
            assert_eq!(now.stop(), None);
        }
    });
    assert!(matches!(store.forget_run(&now), Err(Error::RunAtWork { .. })));
    drop(place.unwrap());
    store.forget_run(&now).unwrap();
    assert_eq!(store.shared_runs().unwrap().len(), 0);
    assert_eq!(fs::read_dir(root.path().join("locks")).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn after_a_dead_holder_no_two_hold_the_lock_however_often_it_changes_hands() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let path = folder.path().join("locks").join(format!("{}.0.lock", name(1)));
    let mut child = process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let lock = store.lock(&name(1), "test", |_| {}, || false).unwrap().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    drop(lock);
    let dead = text.replace(&format!(" {} ", process::id()), &format!(" {} ", child.id()));
    let (mut twice, mut lost) = (0, 0);
    for round in 0..150 {
        // A token of its own, as every holder has.
        let token = sign::token_in(&dead).to_owned();
        fs::write(&path, dead.replace(&token, &format!("dead{round}"))).unwrap();
        let (holders, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let losses = AtomicUsize::new(0);
        let together = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    together.wait();
                    // Opening clears up what the dead left, as every run does first.
                    let store = Store::open(folder.path()).unwrap();
                    for _ in 0..20 {
                        let Claim::Mine(lock) = store.try_lock(&name(1), "test").unwrap() else {
                            std::thread::yield_now();
                            continue;
                        };
                        let now = holders.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        losses.fetch_add(usize::from(lock.is_lost()), Ordering::SeqCst);
                        holders.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        twice += usize::from(most.into_inner() > 1);
        lost += losses.into_inner();
    }
    assert_eq!((twice, lost), (0, 0), "two held it in {twice} rounds, {lost} lost it and lived");
    assert_eq!(fs::read_dir(folder.path().join("locks")).unwrap().count(), 0);
}

#[test]
fn a_lock_that_was_lost_stays_lost_when_its_files_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let path = folder.path().join("locks").join(format!("{}.0.lock", name(1)));
    let lock = store.lock(&name(1), "test", |_| {}, || false).unwrap().unwrap();
    let text = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(lock.is_lost());
    fs::write(&path, text).unwrap();
    assert!(lock.is_lost());
}

#[test]
fn starts_beside_others_condemn_no_task_and_neither_do_starts_that_could_not_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lock = store.lock(&name(1), "test", |_| {}, || false).unwrap().unwrap();
    assert!(!store.killed_starts(&name(1)).unwrap().any());
    let starts = folder.path().join("attempts").join(name(1).to_string());
    fs::create_dir_all(&starts).unwrap();
    for number in 0..MOST_ATTEMPTS {
        // On a full disk the file is there and its text is not.
        fs::write(starts.join(format!("000000000000-full{number}.alone")), "").unwrap();
    }
    assert!(!store.killed_starts(&name(1)).unwrap().any());
    for number in 0..2 * MOST_ATTEMPTS {
        fs::write(starts.join(format!("000000000000-beside{number}")), "text").unwrap();
    }
    assert!(store.killed_starts(&name(1)).unwrap().any());
    store.killed_starts(&name(1)).unwrap().begin(&lock, true).unwrap().unwrap().abandon();
    for number in 0..MOST_ATTEMPTS {
        fs::write(starts.join(format!("000000000000-one{number}.alone")), "text").unwrap();
    }
    assert!(store.killed_starts(&name(1)).unwrap().begin(&lock, true).unwrap().is_none());
}
