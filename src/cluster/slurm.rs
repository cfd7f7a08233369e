//! Slurm: one job array for an order, whose elements are the lives. Slurm itself starts the next one where one ends, so
//! nothing here looks after them.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::call::call;
use super::engine::{DRIVER, Engine, JobCounts, Order, Which};
use super::script;
use crate::config::{Keys, Noted};

/// How long before the end of its time a worker is told.
const NOTICE: Duration = Duration::from_secs(120);

/// Reasons for waiting that pass by themselves.
const USUAL: &[&str] = &["Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "None"];

/// Options that every order has: with others its workers would not be found.
const SET_HERE: &[&str] = &[
    "--job-name",
    "-J",
    "--array",
    "-a",
    "--output",
    "-o",
    "--signal",
    "--clusters",
    "-M",
    "--chdir",
    "-D",
    "--open-mode",
];

/// What to say of an option that chooses clusters.
const NO_CLUSTERS: &str = "`--clusters` would send the workers where nothing else looks: set `SLURM_CLUSTERS` in the environment, which counts for all";

/// A cluster with Slurm.
#[derive(Debug, Default)]
struct Slurm {
    /// What `scontrol` said once.
    most_lives: OnceLock<Option<u32>>,
}

#[expect(clippy::unnecessary_wraps, reason = "an engine's reader may fail")]
pub(super) fn read(_keys: &mut Keys) -> Result<Box<dyn Engine>, Noted> {
    Ok(Box::new(Slurm::default()))
}

impl Engine for Slurm {
    fn typed(&self, order: &Order) -> String {
        format!("sbatch --parsable <<'EOF'\n{}EOF\n", job(order))
    }

    fn submit(&self, order: &Order) -> Result<(), String> {
        let mut sbatch = Command::new("sbatch");
        sbatch.arg("--parsable");
        call(sbatch, &job(order)).map(|_| ())
    }

    fn look(&self, names: &[String]) -> Result<Option<Vec<JobCounts>>, String> {
        let mut squeue = Command::new("squeue");
        squeue.args(["--noheader", "--array", "--format=%j|%T|%r|%i", "--name", &names.join(",")]);
        squeue.args(of_this_user());
        call(squeue, "").map(|text| Some(queues(names, &text)))
    }

    fn cancel(&self, names: &[String], reach: Which) -> Result<(), String> {
        let mut failed = None;
        for name in names {
            let mut scancel = Command::new("scancel");
            scancel.args(["--quiet", "--name", name]).args(of_this_user());
            match reach {
                Which::Pending => drop(scancel.arg("--state=PENDING")),
                Which::All => {}
            }
            failed = failed.or(call(scancel, "").err());
        }
        failed.map_or(Ok(()), Err)
    }

    fn refuses(&self, option: &str) -> Option<String> {
        let mut names =
            option.split_whitespace().map(|word| word.split('=').next().unwrap_or(word));
        let name = names.find(|name| {
            SET_HERE.iter().any(|it| match name.starts_with("--") {
                // Slurm takes the beginning of a name for it.
                true => name.len() > 4 && it.starts_with(name),
                false => it.len() == 2 && name.starts_with(it),
            })
        })?;
        Some(match name {
            name if name.starts_with("-M") || "--clusters".starts_with(name) => {
                NO_CLUSTERS.to_owned()
            }
            name => {
                format!("`{name}` is set by runner, which finds its workers by it: leave it out")
            }
        })
    }

    fn most_lives(&self) -> Option<u32> {
        *self.most_lives.get_or_init(|| {
            let mut scontrol = Command::new("scontrol");
            scontrol.args(["show", "config"]);
            most_lives(&call(scontrol, "").ok()?)
        })
    }

    fn can_exclude(&self) -> bool {
        true
    }

    fn replaces(&self) -> bool {
        true
    }
}

/// Has Slurm's programs see what this user has, and nothing of others.
fn of_this_user() -> Option<String> {
    #[cfg(unix)]
    {
        // SAFETY: it has no conditions and cannot fail.
        Some(format!("--user={}", unsafe { libc::getuid() }))
    }
    #[cfg(not(unix))]
    None
}

/// The options of a class, without the machines that they exclude, which are returned beside them: only the last list
/// of an order counts.
fn without_excluded(options: &[String]) -> (Vec<String>, Vec<String>) {
    let mut excluded = Vec::new();
    let mut rest = Vec::new();
    for option in options {
        let words = option.split_whitespace();
        let (out, left): (Vec<&str>, Vec<&str>) =
            words.partition(|word| word.starts_with("--exclude=") && !word.contains(['"', '\'']));
        excluded.extend(out.iter().map(|word| word["--exclude=".len()..].to_owned()));
        match out.is_empty() {
            true => rest.push(option.clone()),
            false if left.is_empty() => {}
            false => rest.push(left.join(" ")),
        }
    }
    (rest, excluded)
}

/// The script of an order.
fn job(order: &Order) -> String {
    let Order { class, lives, at_once, exclude, folder, logs, .. } = order;
    let has = class.has;
    let (class_options, mut excluded) = without_excluded(&class.options);
    excluded.extend(exclude.iter().cloned());
    let mut options = vec![
        format!("--job-name={}", order.name()),
        format!("--array=1-{lives}%{at_once}"),
        "--requeue".into(),
        "--open-mode=append".into(),
        "--nodes=1".into(),
        "--ntasks=1".into(),
    ];
    if has.cpus > 0 {
        options.push(format!("--cpus-per-task={}", has.cpus));
    }
    if has.memory > 0 {
        options.push(format!("--mem={}M", has.memory.div_ceil(1 << 20)));
    }
    if has.gpus > 0 {
        options.push(format!("--gres=gpu:{}", has.gpus));
    }
    if !has.time.is_zero() {
        options.push(format!("--time={}", time(has.time)));
    }
    let notice = if has.time.is_zero() { NOTICE } else { NOTICE.min(has.time / 3) };
    // To the script alone, which by then is the worker.
    options.push(format!("--signal=B:TERM@{}", notice.as_secs().max(1)));
    let literal = |path: &std::path::Path| path.display().to_string().replace('%', "%%");
    // No class has a dot in its name.
    let whose = if order.is_for_workers() { String::new() } else { format!("{DRIVER}.") };
    options.push(format!("--output={}/{whose}%A_%a.log", literal(logs)));
    options.push(format!("--chdir={}", folder.display()));
    if !excluded.is_empty() {
        options.push(format!("--exclude={}", excluded.join(",")));
    }
    let mut text = String::from("#!/bin/bash\n");
    for option in &options {
        text += &format!("#SBATCH {}\n", quoted(option));
    }
    // These are written as a line of a script takes them.
    for option in &class_options {
        text += &format!("#SBATCH {option}\n");
    }
    if has.gpus == 0 {
        // Where no cgroup hides them, a job without GPUs sees all.
        text += "export CUDA_VISIBLE_DEVICES=\n";
    }
    let threads = order.threads.map(|count| count.to_string());
    // Processors of the machine that are not the job's are others'. A driver computes nothing, and hands on what it is
    // told to its workers.
    let of_the_job = order.is_for_workers().then_some("\"$SLURM_CPUS_ON_NODE\"");
    let life = "\"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}\"";
    text + &script::lines(order, life, threads.as_deref().or(of_the_job))
}

/// An option as a line of a script takes it.
fn quoted(option: &str) -> String {
    if !option.contains(|it: char| it.is_whitespace() || "\"'\\#".contains(it)) {
        return option.to_owned();
    }
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `D-HH:MM:SS`.
fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    let days = if days > 0 { format!("{days}-") } else { String::new() };
    format!("{days}{hours:02}:{minutes:02}:{seconds:02}")
}

/// What `squeue` said of these names, a line for each element: name, state, reason, number.
fn queues(names: &[String], text: &str) -> Vec<JobCounts> {
    let mut queues = vec![JobCounts::default(); names.len()];
    for line in text.lines() {
        let mut parts = line.split('|');
        let (Some(name), Some(state)) = (parts.next(), parts.next()) else { continue };
        let reason = parts.next().unwrap_or("None");
        let Some(at) = names.iter().position(|it| it == name) else { continue };
        let queue = &mut queues[at];
        match state {
            // Slurm starts these once more.
            "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT" => {
                queue.pending += 1;
                if USUAL.contains(&reason) {
                    continue;
                }
                match queue.reasons.iter_mut().find(|it| it.0 == reason) {
                    Some((_, count)) => *count += 1,
                    None => queue.reasons.push((reason.to_owned(), 1)),
                }
            }
            // These are over in a moment.
            "COMPLETING" | "COMPLETED" | "CANCELLED" | "FAILED" | "TIMEOUT" | "NODE_FAIL"
            | "PREEMPTED" | "OUT_OF_MEMORY" | "BOOT_FAIL" | "DEADLINE" => {}
            _ => {
                queue.running += 1;
                queue.lives.extend(parts.next().map(str::to_owned));
            }
        }
    }
    queues
}

/// What `scontrol show config` says of the largest array: its highest index is one less.
fn most_lives(config: &str) -> Option<u32> {
    let value = config.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "MaxArraySize").then(|| value.trim())
    });
    value?.parse::<u32>().ok()?.checked_sub(1).filter(|most| *most > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::WorkerClass;
    use crate::plan::resources::Resources;

    fn order(class: WorkerClass) -> Order {
        Order {
            run: "3f2a91c0".into(),
            label: "3f2a91c0-77d01c5e".into(),
            id: "gpu-0123456789ab".into(),
            class,
            lives: 64,
            at_once: 8,
            exclude: Vec::new(),
            setup: Vec::new(),
            folder: "/shared/project".into(),
            logs: "/shared/project/.runner/runs/3f2a91c0/lives".into(),
            threads: None,
            work: ["/opt/runner", "work", "3f2a91c0"].map(str::to_owned).into(),
        }
    }

    #[test]
    fn the_script_of_an_order_asks_for_what_its_class_has() {
        let class = WorkerClass {
            options: vec!["--partition=main --account=vision".into()],
            has: Resources {
                gpus: 1,
                cpus: 16,
                memory: 32 << 30,
                time: Duration::from_secs(30 * 3600),
            },
            ..WorkerClass::plain("gpu", 1)
        };
        let order = Order {
            exclude: vec!["node7".into(), "node9".into()],
            setup: vec!["module load cuda/13.0".into()],
            folder: "/shared/my project".into(),
            ..order(class)
        };
        insta::assert_snapshot!(job(&order), @r##"
        #!/bin/bash
        #SBATCH --job-name=runner-3f2a91c0-77d01c5e-gpu
        #SBATCH --array=1-64%8
        #SBATCH --requeue
        #SBATCH --open-mode=append
        #SBATCH --nodes=1
        #SBATCH --ntasks=1
        #SBATCH --cpus-per-task=16
        #SBATCH --mem=32768M
        #SBATCH --gres=gpu:1
        #SBATCH --time=1-06:00:00
        #SBATCH --signal=B:TERM@120
        #SBATCH --output=/shared/project/.runner/runs/3f2a91c0/lives/%A_%a.log
        #SBATCH --chdir="/shared/my project"
        #SBATCH --exclude=node7,node9
        #SBATCH --partition=main --account=vision
        runner_life="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
        trap ': > /shared/project/.runner/runs/3f2a91c0/lives/"$runner_life".ended' EXIT
        module load cuda/13.0
        /opt/runner --version > /dev/null || exit
        exec /opt/runner work 3f2a91c0 --threads "$SLURM_CPUS_ON_NODE" --life "$runner_life"
        "##);
    }

    #[test]
    fn what_a_class_leaves_open_is_left_to_slurm_and_gpus_of_others_are_hidden() {
        let text = job(&order(WorkerClass::plain("cpu", 0)));
        for left in ["--cpus-per-task", "--mem", "--time", "--gres", "--exclude"] {
            assert!(!text.contains(left), "{text}");
        }
        assert!(text.contains("--signal=B:TERM@120\n"), "{text}");
        assert!(text.contains("export CUDA_VISIBLE_DEVICES=\n"), "{text}");
        let mut short = WorkerClass::plain("cpu", 0);
        short.has.time = Duration::from_secs(60);
        let text = job(&order(short));
        assert!(text.contains("--time=00:01:00\n#SBATCH --signal=B:TERM@20\n"), "{text}");
        let odd = Order { logs: "/a%b".into(), ..order(WorkerClass::plain("cpu", 0)) };
        assert!(job(&odd).contains("--output=/a%%b/%A_%a.log\n"));
    }

    #[test]
    fn options_that_runner_sets_are_refused_and_excluded_machines_add_up() {
        let slurm = Slurm::default();
        for option in
            ["--job-name=mine", "-J mine", "--account=a --job-n=mine", "--array=1-2", "-M east"]
        {
            assert!(slurm.refuses(option).is_some(), "{option}");
        }
        for option in ["--partition=main --account=vision", "--mem=2G", "--cluster-constraint=a"] {
            assert_eq!(slurm.refuses(option), None, "{option}");
        }
        let mut class = WorkerClass::plain("cpu", 0);
        class.options = vec!["--exclude=node1 --qos=low".into()];
        let text = job(&Order { exclude: vec!["node7".into()], ..order(class) });
        assert!(text.contains("#SBATCH --exclude=node1,node7\n#SBATCH --qos=low\n"), "{text}");
    }

    /// What Slurm 22.05 printed.
    #[test]
    fn elements_of_arrays_are_counted_by_name() {
        let names = ["runner-1-cpu", "runner-1-gpu"].map(str::to_owned);
        let said = "runner-1-cpu|PENDING|JobArrayTaskLimit|7_4\n\
                    runner-1-cpu|PENDING|JobArrayTaskLimit|7_3\n\
                    runner-1-cpu|RUNNING|None|7_2\nrunner-1-cpu|COMPLETING|None|7_1\n\
                    runner-1-gpu|PENDING|PartitionConfig|8_3\n\
                    runner-1-gpu|PENDING|PartitionConfig|8_2\n\
                    runner-1-gpu|CONFIGURING|None|8_1\nrunner-1-gpu-old|RUNNING|None|6_1\n";
        let [cpu, gpu] = queues(&names, said).try_into().unwrap();
        let lives = |life: &str| vec![life.to_owned()];
        let counts = JobCounts { pending: 2, running: 1, lives: lives("7_2"), reasons: Vec::new() };
        assert_eq!(cpu, counts);
        let reasons = vec![("PartitionConfig".to_owned(), 2)];
        assert_eq!(gpu, JobCounts { pending: 2, running: 1, lives: lives("8_1"), reasons });
        assert_eq!(queues(&names[..1], ""), [JobCounts::default()]);
    }

    #[test]
    fn the_largest_array_is_one_smaller_than_slurm_says() {
        let config = "MaxArraySize            = 1001\nMaxDBDMsgs              = 20016\n";
        assert_eq!(most_lives(config), Some(1000));
        assert_eq!(most_lives("MaxJobCount = 10000"), None);
        assert_eq!(most_lives("MaxArraySize = 0"), None);
    }
}
