"""A method in PyTorch as a stage of runner, from arrays to a table: `tests/torch/cdan.toml` runs `cdan.py`, is stopped in
between and resumed, and its weights are scored. What PyTorch measured of them on the source's test images is what runner
measures. A second run has nothing to do.

    python tests/torch/commands.py [RUNNER] [EPOCHS]     # needs torch, numpy
"""
import csv
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time


def main():
    runner = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/runner").resolve()
    epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    file = pathlib.Path(__file__).with_name("cdan.toml").resolve()
    # `python3` is the one that runs this.
    environment = {**os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [runner, "run", file, "--set", f"stages.cdan.params.epochs={epochs}"]
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
        for line in run.stderr:
            if f"epoch 1/{epochs}" in line:
                run.send_signal(signal.SIGINT)
                break
        run.stderr.read()
        assert run.wait() == 130, "it was asked to stop"
        since = time.monotonic()
        said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
        assert "resumes after epoch 1" in said.stderr, said.stderr
        print(f"stopped after the first epoch and resumed; the other {epochs - 1} took {time.monotonic() - since:.0f} s")
        results = pathlib.Path(folder) / "results" / "torch-cdan" / "latest"
        rows = list(csv.DictReader(open(results / "score.csv")))
        found = {row["dataset"]: float(row["value"]) for row in rows if row["metric"] == "accuracy"}
        measured = float(re.search(r"source accuracy ([0-9.]+)", said.stderr).group(1))
        assert abs(found["source.test"] - measured) < 5e-4, (found, measured)
        print(f"accuracy on the source: {measured:.4f} by PyTorch, {found['source.test']:.4f} by runner")
        print(f"accuracy on the target, whose labels the program never saw: {found['target.test']:.4f}")
        curve = list(csv.DictReader(open(results / "cdan.csv")))
        assert len(curve) == 2 * epochs, curve
        again = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert "0 ran, 6 cached" in again.stderr, again.stderr
        print("a second run had nothing to do")


if __name__ == "__main__":
    main()
