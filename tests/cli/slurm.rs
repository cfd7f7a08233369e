//! Drivers and workers on a cluster: a private Slurm of two nodes, each a machine of its own as far as its processes
//! can tell, whose power can fail (`tests/slurm/minislurm.sh`). Where Slurm is not installed these tests are left out,
//! and say so; with `RUNNER_SLURM_TESTS=require` they fail there. What takes minutes is ignored unless asked for.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::BufReader;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use runner::nn::kernels::isa::Isa;
use serde_json::Value;

use crate::binary::{files, lasting, left_out, text};
use crate::queue::{all_gone, begun, ended, hears, logs, of_workers, said, shared, site};
use crate::workers::{
    LR, alone, assert_nothing_left, assert_same, command, events, newest, output, spawn, started,
    twelve, with_sweep,
};

/// A cluster, until it is dropped.
struct Cluster {
    folder: tempfile::TempDir,
    settings: Vec<(&'static str, String)>,
    /// Whether its nodes can die.
    are_apart: bool,
}

/// The first of four ports that nothing of this machine has, below those that the system gives to whoever asks for any.
fn free_ports() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() * 16 + COUNT.fetch_add(1, Ordering::SeqCst);
    let places = (first..).map(|place| 20_000 + u16::try_from(place % 3_000).unwrap() * 4);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    places.take(3_000).find(|port| (*port..*port + 4).all(is_free)).expect("some port is free")
}

impl Cluster {
    /// Starts one; nothing where Slurm is not installed, which it says. `settings` are of `slurm.conf`.
    fn start(settings: &[&str]) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("slurm-").tempdir().unwrap();
        let port = free_ports();
        let mut cluster = Self {
            settings: vec![
                ("MINISLURM_DIR", folder.path().join("cluster").display().to_string()),
                ("MINISLURM_PORT", port.to_string()),
                ("MINISLURM_MINJOBAGE", "2".into()),
                ("MINISLURM_EXTRA", settings.join("\n")),
            ],
            folder,
            are_apart: false,
        };
        let check = cluster.ask(&["check"]);
        if !check.status.success() {
            let why = text(&check.stderr);
            let must = std::env::var_os("RUNNER_SLURM_TESTS").is_some_and(|it| it == "require");
            assert!(!must, "{why}");
            left_out(&format!("no cluster: {}", why.trim()));
            return None;
        }
        cluster.are_apart = text(&check.stdout).starts_with("namespaces");
        let started = cluster.ask(&["start"]);
        assert!(started.status.success(), "{}{}", text(&started.stdout), text(&started.stderr));
        Some(cluster)
    }

    /// One whose nodes can die; nothing where that cannot be, which it says.
    fn of_mortals(settings: &[&str]) -> Option<Self> {
        let cluster = Self::start(settings)?;
        if !cluster.are_apart {
            left_out("no nodes that can die: that needs root and `unshare`");
            return None;
        }
        Some(cluster)
    }

    /// One whose machines have a second backend to compute by; nothing where this processor has none, which it says.
    fn of_two_backends() -> Option<Self> {
        if Isa::best() != Isa::Avx512 {
            left_out("this processor has no AVX-512, and so no second backend that it computes by");
            return None;
        }
        Self::of_mortals(&[])
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm/minislurm.sh");
        let mut bash = Command::new("bash");
        bash.arg(script).args(arguments).envs(self.settings.iter().map(|(name, it)| (name, it)));
        bash.output().unwrap()
    }

    fn tell(&self, arguments: &[&str]) {
        let told = self.ask(arguments);
        assert!(told.status.success(), "{arguments:?}: {}", text(&told.stderr));
    }

    fn conf(&self) -> PathBuf {
        self.folder.path().join("cluster/etc/slurm.conf")
    }

    /// A program of Slurm's.
    fn slurm(&self, words: &[&str]) -> String {
        let mut command = Command::new(words[0]);
        text(&command.args(&words[1..]).env("SLURM_CONF", self.conf()).output().unwrap().stdout)
    }

    /// A driver on this cluster.
    fn driver(&self, root: &Path, verb: &str, more: &[&str]) -> Command {
        let mut command = command(root, verb, "results", "6");
        command.env("SLURM_CONF", self.conf()).args(["--on", "slurm"]).args(more);
        command
    }

    /// `runner` as somebody at the cluster.
    fn runner(&self, root: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("runner"));
        command.current_dir(root).args(arguments).env("RUNNER_PATIENCE", "6");
        command.env("SLURM_CONF", self.conf()).output().unwrap()
    }

    /// Which node trains now: who has the lock of the task.
    fn node_of(&self, root: &Path, task: &str) -> String {
        let since = Instant::now();
        loop {
            for lock in files(&root.join(".runner/locks")) {
                let line = fs::read_to_string(lock).unwrap_or_default();
                let words: Vec<&str> = line.split_whitespace().collect();
                if let [_, _, _, host, what] = words.as_slice()
                    && *what == task
                {
                    return host.split('/').next().unwrap().to_owned();
                }
            }
            assert!(since.elapsed() < Duration::from_secs(120), "nobody has {task}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stopped = self.ask(&["stop"]);
        if !stopped.status.success() {
            eprintln!("the cluster does not stop: {}", text(&stopped.stderr));
        }
    }
}

/// Workers of one processor, `more` of their class.
fn workers(root: &Path, more: &str) {
    let text = format!(
        "engine = 'slurm'\n[workers.cpu]\ncpus = 1\nmemory = '400 MB'\nidle = '30s'\n{more}\n"
    );
    site(root, "slurm", &text);
}

/// Waits for a long time until it is so.
fn eventually(what: &str, seconds: u64, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(seconds), "not so after {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const LONG: [&str; 2] = ["--set", "stages.net.epochs=400"];

/// What one process makes of the long training, in a store of its own.
fn unbroken(root: &Path, set: &[&str]) -> Vec<(String, Vec<u8>)> {
    let run =
        output(command(root, "run", "alone", "60").args(set).args(["--store", "alone-store"]));
    assert!(run.status.success(), "{}", text(&run.stderr));
    lasting(&newest(root, "alone"))
}

/// Waits until a worker trains.
fn trains(root: &Path) {
    eventually("a worker trains", 120, || {
        of_workers(root)
            .iter()
            .flatten()
            .any(|event| event["event"] == "status" && event["task"] == 2)
    });
}

fn notes(root: &Path, words: &str) -> usize {
    let all = of_workers(root);
    let of = |event: &&Value| event["text"].as_str().is_some_and(|it| it.contains(words));
    all.iter().flatten().filter(of).count()
}

fn good((code, rest, said): &(Option<i32>, String, String)) {
    assert_eq!(*code, Some(0), "{said}\n{rest}");
}

fn drive(
    cluster: &Cluster,
    root: &Path,
    verb: &str,
    more: &[&str],
) -> (Child, BufReader<ChildStdout>) {
    spawn(&mut cluster.driver(root, verb, more))
}

#[test]
fn four_workers_on_two_nodes_build_twelve_trials_once_to_the_bytes_of_a_local_run() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let (_, wanted) = alone(root);
    // Two on each node.
    workers(root, "at_once = 4\noptions = ['--mem=2000M']");
    let driven = output(&mut cluster.driver(root, "sweep", &[]));
    let all = events(&driven);
    assert!(driven.status.success(), "{}\n{}", text(&driven.stderr), said(&all));
    assert_same(root, "results", &wanted);
    let times = begun(root);
    assert!(times.len() == 2 + 12 * 2 && times.values().all(|it| *it == 1), "{times:?}");
    let each: Vec<usize> = of_workers(root).iter().map(|it| started(it).len()).collect();
    assert!(each.iter().filter(|count| **count > 0).count() >= 4, "{each:?}");
    all_gone(root);
    assert_nothing_left(root);
    eventually("what was not started was taken back", 20, || {
        cluster.slurm(&["squeue", "--noheader"]).is_empty()
    });
}

#[test]
fn a_run_on_a_cluster_is_shown_stopped_and_taken_up_again() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let wanted = unbroken(root, &LONG);
    workers(root, "at_once = 1\nlives = 4");
    let (child, lines) = drive(&cluster, root, "run", &LONG);
    trains(root);
    let (id, _) = shared(root);
    let status = text(&cluster.runner(root, &["status"]).stdout);
    assert!(status.contains("class `cpu` in the queue: 1 started, 3 not started\n"), "{status}");
    let (node, worker) = (cluster.node_of(root, "net"), format!("run {id} of photos, by `cpu "));
    assert!(status.contains(&worker) && status.contains(&format!(" on {node}: net\n")), "{status}");
    let stopped = cluster.runner(root, &["stop", &id]);
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    let (code, _, said) = ended(child, lines);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("--on slurm --threads 1` takes it up again"), "{said}");
    all_gone(root);
    eventually("nothing is queued", 20, || cluster.slurm(&["squeue", "--noheader"]).is_empty());
    // The driver in the queue as well.
    let detached = output(&mut cluster.driver(root, "run", &[&LONG[..], &["--detach"]].concat()));
    assert!(detached.status.success(), "{}", text(&detached.stderr));
    eventually("the results are written", 120, || {
        root.join("results/photos/latest/score.csv").exists()
    });
    assert_same(root, "results", &wanted);
    assert!(notes(root, "goes on from a checkpoint") > 0);
    eventually("nothing is queued", 30, || cluster.slurm(&["squeue", "--noheader"]).is_empty());
}

#[test]
fn two_stores_with_one_plan_neither_count_nor_end_the_workers_of_each_other() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (first, second) = (first.path(), second.path());
    for root in [first, second] {
        with_sweep(root, "");
        workers(root, "at_once = 1\nlives = 2");
    }
    let long = ["--set", "stages.net.epochs=6000"];
    let one = drive(&cluster, first, "run", &long);
    trains(first);
    let (child, mut lines) = drive(&cluster, second, "run", &long);
    hears(&mut lines, "asked for 2 workers of class `cpu`");
    trains(second);
    assert!(!begun(first).contains_key("score"), "the first one is still at it");
    let stopped = cluster.runner(second, &["stop", &shared(second).0, "--now"]);
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    assert_eq!(ended(child, lines).0, Some(130));
    all_gone(second);
    let queued = || cluster.slurm(&["squeue", "--noheader", "--array", "--format=%T"]);
    eventually("the first one has its two lives", 20, || {
        queued() == "RUNNING\nPENDING\n" || queued() == "PENDING\nRUNNING\n"
    });
    assert!(cluster.runner(first, &["stop", &shared(first).0, "--now"]).status.success());
    assert_eq!(ended(one.0, one.1).0, Some(130));
}

#[test]
fn jobs_of_other_users_with_the_same_name_are_neither_counted_nor_ended() {
    let Some(cluster) = Cluster::of_mortals(&[]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    workers(root, "at_once = 1\nlives = 2");
    let planned = text(&cluster.runner(root, &["plan", "photos.toml", "--on", "slurm"]).stdout);
    let name = planned.lines().find_map(|line| line.strip_prefix("#SBATCH --job-name="));
    let name = name.unwrap_or_else(|| panic!("{planned}"));
    let of_nobody = ["--uid=nobody", "--hold", "--array=1-2", "--output=/dev/null", "--wrap=true"];
    cluster.slurm(&[&["sbatch", "--job-name", name, "--chdir=/"][..], &of_nobody].concat());
    let queued = || cluster.slurm(&["squeue", "--noheader", "--array", "--format=%u %j"]);
    let theirs = format!("nobody {name}\n").repeat(2);
    assert_eq!(queued(), theirs);
    let (child, mut lines) = drive(&cluster, root, "run", &[]);
    hears(&mut lines, "asked for 2 workers of class `cpu`");
    good(&ended(child, lines));
    eventually("only theirs are queued", 30, || queued() == theirs);
}

#[test]
fn a_setup_that_fails_ends_the_driver_with_the_end_of_its_log() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let of_site = "engine = 'slurm'\nsetup = ['echo no such module >&2', 'exit 1']\n\
                   [workers.cpu]\ncpus = 1\nmemory = '400 MB'\nlives = 4\n";
    site(root, "slurm", of_site);
    let driven = output(&mut cluster.driver(root, "run", &[]));
    assert_eq!(driven.status.code(), Some(1), "{}", text(&driven.stderr));
    let said = text(&driven.stderr);
    assert!(said.contains("workers ended before they came to work"), "{said}");
    assert!(said.contains(".log ends:\n    no such module"), "{said}");
}

#[test]
fn an_order_that_came_through_although_slurm_did_not_say_so_is_not_repeated() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    workers(root, "at_once = 1\nlives = 2");
    // What Slurm's own programs do when the controller is slow, without waiting ten seconds for it.
    let bin = root.join("bin");
    fs::create_dir(&bin).unwrap();
    let lie = "#!/bin/bash\nPATH=${PATH#*:}\necho once >> \"$ORDERS\"\nsbatch \"$@\" > /dev/null\n\
               echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2\nexit 1\n";
    fs::write(bin.join("sbatch"), lie).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(bin.join("sbatch"), mode).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let orders = root.join("orders");
    let driven =
        output(cluster.driver(root, "run", &LONG).env("PATH", path).env("ORDERS", &orders));
    assert!(driven.status.success(), "{}", text(&driven.stderr));
    let said = said(&events(&driven));
    assert!(said.contains("Socket timed out on send/recv operation"), "{said}");
    assert_eq!(fs::read_to_string(orders).unwrap(), "once\n");
}

#[test]
fn a_worker_that_never_starts_is_shown_with_the_reason_and_limits_are_kept() {
    let Some(cluster) = Cluster::start(&["MaxArraySize=10"]) else { return };
    for (class, reason) in [
        ("cpus = 64", "PartitionConfig"),
        ("cpus = 1\ntime = '9h'\noptions = ['--partition=short']", "PartitionTimeLimit"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        with_sweep(root, "");
        let of_site = format!("engine = 'slurm'\n[workers.cpu]\nlives = 64\n{class}\n");
        site(root, "slurm", &of_site);
        let (child, mut lines) = drive(&cluster, root, "run", &[]);
        let asked = hears(&mut lines, "asked for");
        assert_eq!(asked, "asked for 9 workers of class `cpu`, 1 at a time");
        let told = hears(&mut lines, "not started");
        assert_eq!(told, format!("0 workers at work, 9 not started ({reason})"));
        let term = Command::new("kill").arg(child.id().to_string()).status();
        assert!(term.unwrap().success());
        assert_eq!(ended(child, lines).0, Some(130));
        let (id, _) = shared(root);
        assert!(cluster.runner(root, &["stop", &id, "--now"]).status.success());
        assert_eq!(cluster.slurm(&["squeue", "--noheader"]), "");
    }
}

#[test]
fn a_store_that_the_nodes_do_not_see_ends_the_driver_with_its_path_and_a_worker_with_that_of_its_node()
 {
    let Some(cluster) = Cluster::of_mortals(&[]) else { return };
    let home = tempfile::tempdir().unwrap();
    let root = &home.path().join("project");
    fs::create_dir(root).unwrap();
    with_sweep(root, "");
    workers(root, "lives = 4");
    for node in ["node1", "node2"] {
        cluster.tell(&["node-hide", node, &home.path().display().to_string()]);
    }
    let driven = output(&mut cluster.driver(root, "run", &[]));
    assert_eq!(driven.status.code(), Some(1), "{}", text(&driven.stderr));
    let (id, folder) = shared(root);
    let said = text(&driven.stderr);
    let lives = fs::canonicalize(folder).unwrap().join("lives");
    let told = format!("came not to work and left no mark in {}", lives.display());
    assert!(said.contains(&told), "{said}");
    let project = fs::canonicalize(root).unwrap();
    assert!(said.contains(&format!("the folder {} at these paths", project.display())), "{said}");
    let own = assert_cmd::cargo::cargo_bin("runner").display().to_string();
    let store = project.join(".runner").display().to_string();
    let worker = ["srun", "--nodelist=node2", "--chdir=/", &own, "work", &id, "--store", &store];
    let mut command = Command::new(worker[0]);
    let worker = command.args(&worker[1..]).env("SLURM_CONF", cluster.conf()).output().unwrap();
    let said = text(&worker.stderr);
    assert!(said.contains(&format!("no store `{store}` on node2")), "{said}");
}

#[test]
fn a_node_of_another_backend_is_named_and_gets_no_more_workers() {
    let Some(cluster) = Cluster::of_two_backends() else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let (_, wanted) = alone(root);
    // The other node has to wait, or it might build everything before this one comes.
    let of_site = "engine = 'slurm'\nbackend = 'cpu avx512'\n\
                setup = ['if [ \"$SLURMD_NODENAME\" = node2 ]; then export RUNNER_ISA=avx2; \
                else until [ -e go ]; do sleep 0.1; done; fi']\n\
                [workers.cpu]\ncpus = 1\nmemory = '400 MB'\nat_once = 4\noptions = ['--mem=2000M']\n";
    site(root, "slurm", of_site);
    let (child, mut lines) = drive(&cluster, root, "sweep", &[]);
    let heard = hears(&mut lines, "it gets no more workers");
    assert_eq!(heard, "node2 computes by `cpu avx2`: it gets no more workers");
    fs::write(root.join("go"), "").unwrap();
    good(&ended(child, lines));
    assert_same(root, "results", &wanted);
    let logs = logs(root);
    let refused =
        |log: &&String| log.contains("node2 computes by `cpu avx2`, and the workers of run");
    assert!(logs.iter().any(|log| refused(&log)), "{logs:?}");
}

#[test]
fn a_cluster_whose_nodes_are_all_of_another_backend_ends_the_driver_with_their_names() {
    let Some(cluster) = Cluster::of_two_backends() else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let of_site = "engine = 'slurm'\nbackend = 'cpu avx512'\nsetup = ['export RUNNER_ISA=avx2']\n\
                   [workers.cpu]\ncpus = 1\nmemory = '400 MB'\nlives = 8\n";
    site(root, "slurm", of_site);
    let driven = output(&mut cluster.driver(root, "run", &[]));
    assert_eq!(driven.status.code(), Some(1), "{}", text(&driven.stdout));
    let said = text(&driven.stderr);
    assert!(
        said.contains("compute by another backend than the run is for: node1, node2"),
        "{said}"
    );
    eventually("nothing is queued", 30, || cluster.slurm(&["squeue", "--noheader"]).is_empty());
}

#[test]
fn a_failing_trial_is_tried_once_by_four_workers_and_the_search_decides_as_a_local_one() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(
        root,
        &format!(
            "[sweep]\nsearch = 'tpe'\ntrials = 8\nstartup = 4\nbatch = 4\n\
             axes = {{ '{LR}' = {{ log_uniform = [1e-4, 1e30] }} }}\n\
             [sweep.select]\nstage = 'net'\nby = 'validate.loss'\noracle = true\n"
        ),
    );
    let (local, wanted) = alone(root);
    workers(root, "at_once = 4");
    let driven = output(&mut cluster.driver(root, "sweep", &[]));
    assert_eq!(driven.status.code(), local.status.code(), "{}", text(&driven.stderr));
    assert_same(root, "results", &wanted);
    assert_eq!(begun(root), started(&events(&local)));
}

#[test]
#[ignore = "takes minutes"]
fn the_guide_followed_from_an_empty_folder_gives_the_table_of_a_local_run() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clusters.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, below) = page.split_once("## On Slurm").unwrap();
    let script = below.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let bin = root.join("bin");
    fs::create_dir(&bin).unwrap();
    let own = assert_cmd::cargo::cargo_bin("runner");
    std::os::unix::fs::symlink(own, bin.join("runner")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let folder = root.join("empty");
    fs::create_dir(&folder).unwrap();
    let followed = Command::new("bash")
        .args(["-e", "-c", script])
        .current_dir(&folder)
        .env("PATH", path)
        .env("SLURM_CONF", cluster.conf())
        .output()
        .unwrap();
    assert!(followed.status.success(), "{}", text(&followed.stderr));
    println!("{script}{}{}", text(&followed.stderr), text(&followed.stdout));
    let local = ["run", "finetune.toml", "--store", "a", "--results", "b"];
    let local = cluster.runner(&folder, &local);
    assert!(local.status.success(), "{}", text(&local.stderr));
    let of = |results: &str| {
        let run = fs::read_dir(folder.join(results)).unwrap().next().unwrap().unwrap().path();
        lasting(&fs::canonicalize(run.join("latest")).unwrap())
    };
    assert!(of("results") == of("b"));
}

#[test]
#[ignore = "takes minutes"]
fn the_tasks_of_a_node_whose_power_fails_are_taken_over_from_their_checkpoints() {
    let Some(cluster) = Cluster::of_mortals(&[]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let wanted = unbroken(root, &LONG);
    workers(root, "at_once = 2");
    let more = [&LONG[..], &["--checkpoint-every", "1"]].concat();
    let (child, lines) = drive(&cluster, root, "run", &more);
    trains(root);
    eventually("there is a checkpoint", 60, || {
        !files(&root.join(".runner/checkpoints")).is_empty()
    });
    let node = cluster.node_of(root, "net");
    let since = Instant::now();
    cluster.tell(&["node-die", &node]);
    eventually("another node goes on", 120, || notes(root, "goes on from a checkpoint") > 0);
    println!("the power of {node} failed: taken over after {:.1} s", since.elapsed().as_secs_f64());
    cluster.tell(&["node-start", &node]);
    good(&ended(child, lines));
    assert_same(root, "results", &wanted);
}

#[test]
#[ignore = "takes minutes"]
fn two_processes_of_one_job_do_not_build_the_same_task() {
    let Some(cluster) = Cluster::of_mortals(&[]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let long = ["--set", "stages.net.epochs=20000"];
    let wanted = unbroken(root, &long);
    workers(root, "at_once = 1\nlives = 1");
    let (child, lines) = drive(&cluster, root, "run", &long);
    trains(root);
    let node = cluster.node_of(root, "net");
    cluster.tell(&["node-kill", &node]);
    // The job lives on, and Slurm starts it once more.
    eventually("the job runs twice", 120, || files(&shared(root).1.join("workers")).len() == 2);
    let job = cluster.slurm(&["squeue", "--noheader", "--format=%A %N"]);
    println!("slurmd of {node} died: Slurm says `{}`, and two processes live", job.trim());
    eventually("the second one waits", 60, || {
        let all = of_workers(root);
        all.iter().flatten().any(|event| event["event"] == "waiting" && event["name"] == "net")
    });
    cluster.tell(&["node-start", &node]);
    good(&ended(child, lines));
    assert_same(root, "results", &wanted);
    assert!(begun(root)["net"] <= 2, "once more at most, from the checkpoint");
}

#[test]
#[ignore = "takes minutes"]
fn a_node_that_stood_still_and_returns_abandons_what_others_took_over() {
    let Some(cluster) = Cluster::of_mortals(&["SlurmdTimeout=300"]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let long = ["--set", "stages.net.epochs=4000"];
    let wanted = unbroken(root, &long);
    workers(root, "at_once = 2");
    let (child, lines) =
        drive(&cluster, root, "run", &[&long[..], &["--checkpoint-every", "1"]].concat());
    trains(root);
    eventually("there is a checkpoint", 60, || {
        !files(&root.join(".runner/checkpoints")).is_empty()
    });
    let node = cluster.node_of(root, "net");
    let since = Instant::now();
    cluster.tell(&["node-freeze", &node]);
    eventually("another node goes on", 120, || notes(root, "goes on from a checkpoint") > 0);
    let taken_over = since.elapsed();
    cluster.tell(&["node-thaw", &node]);
    let thawed = Instant::now();
    eventually("the one that returned abandons it", 60, || notes(root, "was taken over") > 0);
    println!(
        "{node} stood still: taken over after {:.1} s; it abandoned the task {:.1} s after it returned",
        taken_over.as_secs_f64(),
        thawed.elapsed().as_secs_f64()
    );
    good(&ended(child, lines));
    assert_same(root, "results", &wanted);
    let all = of_workers(root);
    let finished =
        all.iter().flatten().filter(|it| it["event"] == "finished" && it["name"] == "net");
    assert_eq!(finished.count(), 1);
}

#[test]
#[ignore = "takes minutes"]
fn a_training_longer_than_the_time_limit_goes_through_several_lives() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let long = ["--set", "stages.net.epochs=30000"];
    workers(root, "at_once = 1\nlives = 8\ntime = '1m'");
    let since = Instant::now();
    let (child, lines) = drive(&cluster, root, "run", &long);
    good(&ended(child, lines));
    let lives = notes(root, "goes on from a checkpoint") + 1;
    println!("a limit of 1 minute: {lives} lives in {:.0} s", since.elapsed().as_secs_f64());
    assert!(lives >= 2, "the training must be longer than a life to show anything");
    assert_same(root, "results", &unbroken(root, &long));
    for log in files(&shared(root).1.join("lives")) {
        let text = fs::read_to_string(log).unwrap();
        assert!(!text.contains("DUE TO TIME LIMIT"), "it left before Slurm ended it: {text}");
    }
}

#[test]
#[ignore = "takes minutes"]
fn a_worker_that_is_preempted_keeps_a_checkpoint_and_its_life_goes_on() {
    let preemption = [
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        "PartitionName=urgent Nodes=ALL PriorityTier=10 MaxTime=INFINITE State=UP PreemptMode=off GraceTime=0",
    ];
    let Some(cluster) = Cluster::start(&preemption) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let long = ["--set", "stages.net.epochs=4000"];
    let wanted = unbroken(root, &long);
    workers(root, "at_once = 1\nlives = 2\noptions = ['--nodelist=node1 --exclusive']");
    let (child, lines) = drive(&cluster, root, "run", &long);
    trains(root);
    let urgent = [
        "sbatch",
        "-p",
        "urgent",
        "-w",
        "node1",
        "--exclusive",
        "--output=/dev/null",
        "--wrap=sleep 5",
    ];
    cluster.slurm(&urgent);
    eventually("it goes on", 120, || notes(root, "goes on from a checkpoint") > 0);
    println!("preempted: {}", cluster.slurm(&["squeue", "--noheader", "--format=%j %T %r"]).trim());
    good(&ended(child, lines));
    assert_same(root, "results", &wanted);
}

#[test]
#[ignore = "takes minutes"]
fn a_controller_that_is_down_ends_neither_workers_nor_driver() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let long = ["--set", "stages.net.epochs=4000"];
    let wanted = unbroken(root, &long);
    workers(root, "at_once = 1\nlives = 2");
    let (child, mut lines) = drive(&cluster, root, "run", &long);
    trains(root);
    cluster.tell(&["ctld-kill"]);
    let heard = hears(&mut lines, "the queue does not answer");
    println!("controller down: {heard}");
    cluster.tell(&["ctld-start"]);
    good(&ended(child, lines));
    assert_same(root, "results", &wanted);
    // A controller that was killed may have forgotten the job, which it ends in order when it is back.
    assert!(begun(root)["net"] <= 2);
}

#[test]
#[ignore = "takes minutes"]
fn a_stage_that_is_killed_again_and_again_is_given_up_with_a_hint() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    workers(root, "at_once = 1\nlives = 8");
    let (child, lines) =
        spawn(cluster.driver(root, "run", &[]).env("RUNNER_FAIL_POINT", "stage done:1"));
    let (code, rest, said) = ended(child, lines);
    assert_eq!(code, Some(1), "{rest}\n{said}");
    assert!(rest.contains("it was begun 3 times and killed each time"), "{rest}");
}

#[test]
#[ignore = "takes minutes"]
fn a_queue_that_is_full_is_named_and_the_run_goes_on_with_what_it_has() {
    let Some(cluster) = Cluster::start(&["MaxJobCount=4"]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let (_, wanted) = alone(root);
    workers(root, "at_once = 4\nlives = 8");
    let mut driver = cluster.driver(root, "sweep", &[]);
    let (mut child, mut lines) = spawn(&mut driver);
    let heard = hears(&mut lines, "the queue took no order");
    println!("full queue: {heard}");
    child.kill().unwrap();
    child.wait().unwrap();
    workers(root, "at_once = 2\nlives = 2");
    let driven = output(&mut cluster.driver(root, "sweep", &[]));
    assert!(driven.status.success(), "{}", text(&driven.stderr));
    assert_same(root, "results", &wanted);
}

#[test]
#[ignore = "takes minutes"]
fn a_search_goes_on_as_a_local_one_when_nodes_die() {
    let Some(cluster) = Cluster::of_mortals(&[]) else { return };
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(
        root,
        &format!(
            "[sweep]\nsearch = 'tpe'\ntrials = 12\nstartup = 4\nbatch = 4\n\
             axes = {{ '{LR}' = {{ log_uniform = [1e-4, 1e-1] }} }}\n\
             [sweep.select]\nstage = 'net'\nby = 'validate.loss'\noracle = true\n\
             [sweep.halving]\nmin_epochs = 40\nfactor = 2\n"
        ),
    );
    let file = root.join("photos.toml");
    let long = fs::read_to_string(&file).unwrap().replacen("epochs = 4", "epochs = 300", 1);
    fs::write(&file, long).unwrap();
    let (_, wanted) = alone(root);
    workers(root, "at_once = 4");
    let (child, lines) = drive(&cluster, root, "sweep", &[]);
    trains(root);
    cluster.tell(&["node-die", "node2"]);
    eventually("node2 is missed", 120, || {
        cluster.slurm(&["sinfo", "-h", "-N", "-o", "%N %T"]).contains("down")
    });
    cluster.tell(&["node-start", "node2"]);
    good(&ended(child, lines));
    assert_same(root, "results", &wanted);
}
