//! Many runners on one store, some of which are killed: everything is made, and made once.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::binary::spawn;
use crate::photos::{artifacts, photos};
use serde_json::Value;

const STAGES: usize = 60;

/// Two data stages, and networks that all read the second: so many runners meet at every one.
fn pipeline() -> String {
    let mut text = crate::photos::PIPELINE.split("[stages.net]").next().unwrap().to_owned();
    for at in 0..STAGES - 2 {
        text += &format!(
            "[stages.net{at}]\nkind = \"pretrain\"\ntrain = \"images\"\nseed = {at}\n\
             model = {{ layers = [\"relu\"], head = [] }}\nepochs = 3\nbatch_size = 16\n\n"
        );
    }
    text
}

fn start(root: &Path, number: usize) -> Child {
    let events = fs::File::create(root.join(format!("{number}.events"))).unwrap();
    let results = format!("results{number}");
    let command = ["run", "photos.toml", "--json", "--threads", "1", "--results", &results];
    spawn(root, &command, events.into(), Stdio::null())
}

#[test]
fn two_four_and_eight_runners_of_which_some_are_killed_make_every_artifact_once() {
    for runners in [2, 4, 8] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        photos(root);
        fs::write(root.join("photos.toml"), pipeline()).unwrap();
        let mut living: Vec<Child> = (0..runners).map(|number| start(root, number)).collect();
        let mut started = runners;
        // One after the other is killed, wherever it is, and another takes its place.
        for kill in 0..runners {
            thread::sleep(Duration::from_millis(40 + 17 * kill as u64));
            let mut victim = living.remove(0);
            victim.kill().unwrap();
            victim.wait().unwrap();
            living.push(start(root, started));
            started += 1;
        }
        let since = Instant::now();
        for mut runner in living {
            while runner.try_wait().unwrap().is_none() {
                assert!(
                    since.elapsed() < Duration::from_secs(120),
                    "{runners} runners stand still"
                );
                thread::sleep(Duration::from_millis(5));
            }
            assert!(runner.wait().unwrap().success());
        }
        assert_eq!(artifacts(&root.join(".runner")).len(), STAGES);
        // The next one clears away what the killed ones held when they had made it already.
        assert!(start(root, started).wait().unwrap().success());
        started += 1;
        for folder in ["locks", "staging", "checkpoints", "damaged"] {
            let left =
                fs::read_dir(root.join(".runner").join(folder)).into_iter().flatten().count();
            assert_eq!(left, 0, "{runners} runners, {folder}");
        }
        // A stage that was finished is never made again; one that was begun more than once was
        // begun again after its maker had been killed.
        let (mut begun, mut finished) = (BTreeMap::new(), BTreeMap::new());
        for number in 0..started {
            let events = fs::read_to_string(root.join(format!("{number}.events"))).unwrap();
            for line in events.lines() {
                // A killed runner may leave half a line.
                let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
                let count = match event["event"].as_str() {
                    Some("task_started") => &mut begun,
                    Some("finished") => &mut finished,
                    _ => continue,
                };
                *count.entry(event["name"].as_str().unwrap().to_owned()).or_insert(0) += 1;
            }
        }
        assert!(finished.values().all(|times| *times == 1), "{runners} runners: {finished:?}");
        let again: usize = begun.values().map(|times| times - 1).sum();
        assert!(again <= runners, "{again} stages were begun again after {runners} kills");
    }
}
