"""Times a run that has nothing to do, with runner, DVC and Snakemake, on the same graph.

    python -m venv venv && venv/bin/pip install dvc snakemake
    venv/bin/python benches/noop.py [--stages 1000] [--rounds 10] [--only-runner]

The graph is a binary tree: every stage but the first reads the stage with half its number. Each tool
builds it once, which is not timed; then they are asked in turn to bring it up to date again. The
table holds medians of seconds. runner's stages split a small data set; those of the other two copy
a file of one line, the least that they can do.
"""

import argparse
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib

HERE = pathlib.Path(__file__).parent
BIN = pathlib.Path(sys.executable).parent


def png(path, level):
    """A gray 4x4 image."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    rows = b"".join(b"\0" + bytes([level] * 4) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                     + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def runner(folder, stages):
    for name in "ab":
        for at in range(4):
            png(folder / "few" / "train" / name / f"{at}.png", 40 * at + (name == "b"))
    lines = ['[pipeline]', 'name = "many"', '[stages.s0]', 'kind = "download"',
             'source = "file:few"', 'format = "image-folder"']
    for at in range(1, stages):
        lines += [f"[stages.s{at}]", 'kind = "split"', f'input = "s{(at - 1) // 2}"',
                  "per_class = 2", f"seed = {at}"]
    (folder / "many.toml").write_text("\n".join(lines) + "\n")
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=HERE.parent, check=True)
    return [HERE.parent / "target" / "release" / "runner", "run", "many.toml", "--quiet"]


def dvc(folder, stages):
    (folder / "s0.txt").write_text("0\n")
    lines = ["stages:"]
    for at in range(1, stages):
        before = f"s{(at - 1) // 2}.txt"
        lines += [f"  s{at}:", f"    cmd: cp {before} s{at}.txt", "    deps:", f"      - {before}",
                  "    outs:", f"      - s{at}.txt"]
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
    subprocess.run([BIN / "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)
    return [BIN / "dvc", "repro", "--quiet"]


def snakemake(folder, stages):
    (folder / "s0.txt").write_text("0\n")
    leaves = ", ".join(f'"s{at}.txt"' for at in range(stages) if 2 * at + 1 >= stages)
    lines = [f"rule all:\n    input: {leaves}"]
    for at in range(1, stages):
        lines.append(f'rule s{at}:\n    input: "s{(at - 1) // 2}.txt"\n    output: "s{at}.txt"\n'
                     '    shell: "cp {input} {output}"')
    (folder / "Snakefile").write_text("\n".join(lines) + "\n")
    return [BIN / "snakemake", "--cores", "2", "--quiet", "all"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stages", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only-runner", action="store_true")
    args = parser.parse_args()
    tools = [runner] if args.only_runner else [runner, dvc, snakemake]
    with tempfile.TemporaryDirectory() as root:
        commands = {}
        for tool in tools:
            folder = pathlib.Path(root) / tool.__name__
            folder.mkdir()
            command = tool(folder, args.stages)
            start = time.perf_counter()
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
            print(f"{tool.__name__}: built in {time.perf_counter() - start:.1f} s", flush=True)
            commands[tool.__name__] = (command, folder)
        taken = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, (command, folder) in commands.items():
                start = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env={**os.environ, "DVC_NO_ANALYTICS": "1"})
                taken[name].append(time.perf_counter() - start)
    ours = statistics.median(taken["runner"])
    print(f"\n| {args.stages} stages, nothing to do | seconds | times ours |\n| --- | --- | --- |")
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"| {name} | {median:.3f} | {median / ours:.0f} |")


if __name__ == "__main__":
    main()
