"""Times pieces of work with runner and with PyTorch, alternating in one run, and prints ratios.

    python -m venv venv && venv/bin/pip install torch torchvision numpy safetensors
    venv/bin/python benches/compare.py [--threads 1,2] [--rounds 6] [--times 3] [WORK ...]
    venv/bin/python benches/compare.py --device cuda:0 --executable DEVICE_BENCH [WORK ...]

Each program stays alive and sleeps while another works. A round asks every program for a few steps
of every piece of work; the table holds medians over all rounds. Forms of PyTorch:

- eager: as a user writes it;
- eager + huge pages, channels last + huge pages, compiled + huge pages: `GLIBC_TUNABLES` makes
  glibc's allocations huge pages, the largest single gain there is for PyTorch here.

"best" is the fastest of all forms for that piece of work.

On a GPU the program is the bench `device`, built elsewhere (`benches/gpu.sh`, `benches/device.sh`), and PyTorch's forms are
eager, channels last, the whole step as one CUDA graph (channels last), and compiled (channels last), with its default
precision (TF32 in convolutions). `--precision bf16` compares `precision = "bf16"` there with PyTorch's under `torch.autocast`; without
a GPU runner has no bf16, and is timed as it is against PyTorch's.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
WORKS = ["dacnn-dann", "dacnn-supervised", "dacnn-evaluate", "lenet-supervised",
         "resnet18-forward", "resnet18-layer4", "resnet18-frozen-epoch"]
PAUSE = 0.3  # seconds
# Short steps are asked for more at a time, so that most of them run warm, as in training.
MORE = {"lenet-supervised": 10}
FORMS = [("eager", False), ("eager", True), ("channels-last", True), ("compile", True)]


class Worker:
    def __init__(self, name, command, **environment):
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **environment})

    def ask(self, work, times):
        self.process.stdin.write(f"{work} {times}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended during {work}")
        return [float(word) for word in answer.split()]


def build():
    """The bench's executable."""
    command = ["cargo", "bench", "--bench", "work", "--no-run", "--message-format", "short"]
    said = subprocess.run(command, cwd=HERE.parent, check=True, capture_output=True, text=True)
    line = next(line for line in said.stderr.splitlines() if "Executable" in line)
    return HERE.parent / line[line.index("(") + 1:line.index(")")]


def workers(executable, threads, device, forms, precision):
    given = [precision] if precision else []
    command = [executable, str(threads)] if device == "cpu" else [executable, device, "times", *given]
    all_ = [Worker("runner", command, RAYON_NUM_THREADS=str(threads))]
    for form, huge in forms:
        name = f"{form} + huge pages" if huge else form
        tunables = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"} if huge else {}
        # PyTorch has no other name for a GPU's other kernels.
        command = [sys.executable, HERE / "work.py", str(threads), form, device.removeprefix("dfdx-"), *given]
        all_.append(Worker(name, command, OMP_NUM_THREADS=str(threads), **tunables))
    return all_


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda:N or dfdx-cuda:N with --executable")
    parser.add_argument("--executable", help="the bench, if it is not to be built here")
    parser.add_argument("--forms", default="eager,channels-last,graph,compile", help="PyTorch's, on a GPU")
    parser.add_argument("--precision", choices=["bf16"], help="if not each program's default")
    parser.add_argument("works", nargs="*", default=WORKS)
    args = parser.parse_args()
    executable, forms = args.executable or build(), FORMS
    if args.device != "cpu":
        # Huge pages are memory of the host: nothing on a GPU.
        forms = [(form, False) for form in args.forms.split(",")]
    print("| threads | work | runner ms | eager ms | best PyTorch ms | eager / ours | best / ours |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for threads in map(int, args.threads.split(",")):
        all_ = workers(executable, threads, args.device, forms, args.precision)
        for work in args.works:
            taken = {worker.name: [] for worker in all_}
            for _ in range(args.rounds):
                for worker in all_:
                    # OpenMP's threads spin for a while after their work: let them fall asleep.
                    time.sleep(PAUSE)
                    taken[worker.name] += worker.ask(work, args.times * MORE.get(work, 1))
            medians = {name: statistics.median(times) for name, times in taken.items()}
            ours = medians.pop("runner")
            name, best = min(medians.items(), key=lambda item: item[1])
            eager = medians["eager"]
            digits = ".1f" if ours > 10 else ".2f"
            print(f"| {threads} | {work} | {ours:{digits}} | {eager:{digits}} | {best:{digits}} ({name}) "
                  f"| {eager / ours:.2f} | {best / ours:.2f} |", flush=True)
        for worker in all_:
            worker.process.kill()


if __name__ == "__main__":
    main()
