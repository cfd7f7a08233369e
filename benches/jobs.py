"""Times a sweep of small trials with one and with two stages at a time: `--jobs 1` and `--jobs 2`.

    cargo build --release && python3 benches/jobs.py [--rounds 5] [--threads 2]

Twelve trials of LeNet on the built-in digits, an epoch each in steps of 32 images. The two take turns;
every sweep begins with the images and nothing else in its store. Prints each time, the medians and their
ratio, and fails when the results differ.
"""

import argparse
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PIPELINE = """
[pipeline]
name = "small"
[stages.mnist]
kind = "download"
dataset = "mnist-10k"
[stages.images]
kind = "normalize"
input = "mnist"
[stages.net]
kind = "pretrain"
train = "images"
model = "lenet"
epochs = 1
batch_size = 32
optimizer = { kind = "adam", lr = 1e-3 }
[stages.score]
kind = "evaluate"
models = ["net"]
on = ["images.test"]
[sweep.axes]
"stages.net.optimizer.lr" = [3e-4, 1e-3, 3e-3, 1e-2]
"pipeline.seed" = [0, 1, 2]
[table]
rows = "stages.net.optimizer.lr"
columns = "model"
over = "pipeline.seed"
"""


def main():
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--runner", default=HERE.parent / "target" / "release" / "runner")
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--threads", type=int, default=2)
    args = words.parse_args()
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        (home / "small.toml").write_text(PIPELINE)
        (home / "images.toml").write_text(PIPELINE[: PIPELINE.index("[stages.net]")])
        runner = [args.runner, "--quiet", "--threads", str(args.threads)]

        def run(verb, file, folder, *more):
            command = [runner[0], verb, home / file, *runner[1:], *more]
            began = time.perf_counter()
            done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
            return time.perf_counter() - began, done.stdout

        base = home / "base"
        base.mkdir()
        run("run", "images.toml", base)
        times = {1: [], 2: []}
        tables = set()
        for number in range(args.rounds):
            for jobs in (1, 2) if number % 2 == 0 else (2, 1):
                folder = home / "work"
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(base / ".runner", folder / ".runner")
                seconds, table = run("sweep", "small.toml", folder, "--jobs", str(jobs))
                times[jobs].append(seconds)
                tables.add(table)
                print(f"--jobs {jobs}: {seconds:.2f} s", flush=True)
        assert len(tables) == 1, "the results differ"
        one, two = statistics.median(times[1]), statistics.median(times[2])
        print(f"medians {one:.2f} s and {two:.2f} s: {one / two:.2f} times the throughput")


main()
