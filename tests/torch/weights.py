"""torchvision's weights into runner and back: every network of both, through `download` and `export`,
in both pickled forms and as safetensors; what comes back is loaded by torchvision's own
`load_state_dict` and equals what went in, bit for bit. Files that are refused, because they hold more
than weights, are read after the command that the refusal advises was run.

    python tests/torch/weights.py [RUNNER]     # needs torch, torchvision, safetensors
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import torch
import torchvision
from safetensors.torch import load_file, save_file

NETWORKS = ["resnet18", "resnet34", "resnet50", "mobilenet_v2", "squeezenet1_1", "vgg11_bn"]


def save(state, path, form):
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")


def pipeline(folder, name, source):
    (folder / "one.toml").write_text(
        f'[pipeline]\nname = "one"\n[stages.net]\nkind = "download"\n'
        f'source = "file:{source}"\nformat = "weights"\n'
        f'model = {{ arch = "{name}", classes = 10 }}\n')


def refused(runner, folder):
    """Whole networks and objects of the script's own: the command in the help gets their weights."""
    name = "squeezenet1_1"
    net = getattr(torchvision.models, name)(weights=None, num_classes=10)
    saves = {
        "whole": lambda path: torch.save(net, path),
        "scripted": lambda path: torch.jit.save(torch.jit.script(net), path),
        "with arguments": lambda path: torch.save(
            {"model": net.state_dict(), "args": argparse.Namespace(lr=0.1)}, path),
    }
    environment = {**os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"}
    for what, save in saves.items():
        save(folder / f"{what}.pth")
        pipeline(folder, name, f"{what}.pth")
        run = [runner, "run", "one.toml"]
        said = subprocess.run(run, cwd=folder, capture_output=True, text=True)
        assert said.returncode == 1, said.stderr
        command = re.search("python3 -c .*", said.stderr).group()
        subprocess.run(command, shell=True, cwd=folder, check=True, env=environment,
                       capture_output=True)
        pipeline(folder, name, "weights.pth")
        subprocess.run(run, cwd=folder, check=True, capture_output=True)
        (folder / "weights.pth").unlink()
        print(f"{name} ({what}): refused, and read after the advised command")


def main():
    runner = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/runner").resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for number, name in enumerate(NETWORKS):
            torch.manual_seed(number)
            net = getattr(torchvision.models, name)(weights=None, num_classes=10)
            form = ["zip", "legacy", "safetensors"][number % 3]
            save(net.state_dict(), folder / "weights", form)
            pipeline(folder, name, "weights")
            run = [runner, "run", "one.toml"]
            subprocess.run(run, cwd=folder, check=True, capture_output=True)
            export = [runner, "export", "results/one/latest", "net", f"out-{name}"]
            subprocess.run(export, cwd=folder, check=True, capture_output=True)
            back = load_file(folder / f"out-{name}" / "weights.safetensors")
            other = getattr(torchvision.models, name)(weights=None, num_classes=10)
            other.load_state_dict(back)
            for key, value in net.state_dict().items():
                assert torch.equal(value, other.state_dict()[key]), f"{name}: {key}"
            print(f"{name} ({form}): {len(back)} tensors, the same there and back")
        refused(runner, folder)


if __name__ == "__main__":
    main()
