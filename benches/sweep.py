"""Times a sweep of 2 methods x 4 lambdas x 3 seeds: `runner sweep` and Hydra's multirun with PyTorch.

    python -m venv venv && venv/bin/pip install torch hydra-core numpy safetensors
    venv/bin/python benches/sweep.py [--rounds 3] [--epochs 10] [--jobs 2] [--threads 2] [--quick]

Both train the same networks on the same images: pipelines/dann-sweep.toml, without what the peer does not do, and benches/hydra. The two
take turns; every round begins with nothing trained. The images are made beforehand, for both: ours
begins with a store that holds them, theirs reads what `runner export` copies out of it. Prints each time, the medians and their
ratio, and whether the accuracies on the target agree (means over the seeds).
"""

import argparse
import csv
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PIPELINE = HERE.parent / "pipelines" / "dann-sweep.toml"
STAGES = ("source_only", "adapted")
OURS_QUICK = ["--set", 'sweep.axes={ "stages.adapted.method.kind" = ["dann", "coral"], '
              '"stages.adapted.method.lambda.max" = [1.0], "pipeline.seed" = [0] }']
THEIRS_QUICK = ["lambda_max=1.0", "seed=0"]


def timed(command, folder):
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def ours(runner, work, args):
    """One sweep on a copy of the store that holds only the images."""
    folder = work / "ours"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(work / "images" / ".runner", folder / ".runner")
    (folder / "sweep.toml").write_text(same_work(PIPELINE.read_text()))
    return timed([runner, "sweep", "sweep.toml", "--quiet", "--jobs", str(args.jobs),
                  "--threads", str(args.threads), *epochs(args), *few(args, OURS_QUICK)], folder)


def same_work(text):
    """The pipeline without what the peer does not do: the upper bound, scores of the target during
    training, selection, embeddings, and the tables of these."""
    text = text[: text.index("[sweep.select]")]
    text = re.sub(r"\[stages\.(looks|target_trained)\].*?(?=\n\[|\n# ---)", "", text, flags=re.S)
    text = re.sub(r"target_scores = .*\n", "", text)
    return text.replace(', "target_trained"]', "]")


def theirs(work, folders, args):
    folder = work / "theirs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return timed([sys.executable, HERE / "hydra" / "train.py", "--multirun",
                  f"source={folders['source']}", f"target={folders['target']}",
                  f"checkpoints={folder / 'checkpoints'}", f"epochs={args.epochs}",
                  f"threads={args.threads}", *few(args, THEIRS_QUICK)], folder)


def epochs(args):
    return [word for stage in STAGES for word in ("--set", f"stages.{stage}.epochs={args.epochs}")]


def few(args, words):
    return words if args.quick else []


def accuracies(work):
    """Mean accuracy of `adapted` on the target in percent by method and lambda, ours and theirs."""
    def means(rows):
        cells = {}
        for method, strength, value in rows:
            cells.setdefault((method, float(strength)), []).append(value)
        return {cell: statistics.mean(values) for cell, values in sorted(cells.items())}

    hydra = [(row[0], row[1], float(row[5]))
             for row in csv.reader(open(work / "theirs" / "multirun" / "scores.csv"))
             if row[3:5] == ["adapted", "target.test"]]
    run = work / "ours" / "results" / "dann-sweep" / "latest"
    mine = []
    for trial in csv.DictReader(open(run / "trials.csv")):
        [folder] = [path for path in (run / "trials").iterdir() if int(path.name) == int(trial["trial"])]
        mine += [(trial["stages.adapted.method.kind"], trial["stages.adapted.method.lambda.max"],
                  100 * float(row["value"]))
                 for row in csv.DictReader(open(folder / "score.csv"))
                 if (row["model"], row["dataset"], row["metric"])
                 == ("adapted", "target.test", "accuracy")]
    return means(mine), means(hydra)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one lambda, one seed: does it work?")
    parser.add_argument("--runner", type=pathlib.Path, help="a release binary; built when left out")
    args = parser.parse_args()
    runner = args.runner
    if runner is None:
        subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=HERE.parent, check=True)
        runner = HERE.parent / "target" / "release" / "runner"
    runner = runner.resolve()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as work:
        work = pathlib.Path(work)
        images = work / "images"
        images.mkdir()
        # A file with the data alone makes the images, and nothing else, for both sides.
        text = PIPELINE.read_text().split("# --- models")[0]
        (images / "images.toml").write_text(text)
        timed([runner, "run", "images.toml", "--quiet"], images)
        folders = {name: images / name for name in ("source", "target")}
        for name, folder in folders.items():
            timed([runner, "export", "dann-sweep", name, folder], images)
        times = {"runner": [], "hydra": []}
        for _ in range(args.rounds):
            times["runner"].append(ours(runner, work, args))
            print(f"runner {times['runner'][-1]:.1f} s", flush=True)
            times["hydra"].append(theirs(work, folders, args))
            print(f"hydra {times['hydra'][-1]:.1f} s", flush=True)
        mine, hydra = accuracies(work)
    print("\ntarget accuracy, mean over the seeds: runner, hydra")
    for cell in mine:
        print(f"  {cell[0]:5} {cell[1]:6}  {mine[cell]:5.1f}  {hydra.get(cell, float('nan')):5.1f}")
    medians = {name: statistics.median(found) for name, found in times.items()}
    print(f"\nmedians: runner {medians['runner']:.1f} s, hydra {medians['hydra']:.1f} s; "
          f"ratio {medians['hydra'] / medians['runner']:.2f}")


if __name__ == "__main__":
    main()
