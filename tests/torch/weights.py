"""torchvision's weights into runner and back: every network of both, through `download` and `export`,
in both pickled forms and as safetensors; what comes back is loaded by torchvision's own
`load_state_dict` and equals what went in, bit for bit.

    python tests/torch/weights.py [RUNNER]     # needs torch, torchvision, safetensors
"""
import pathlib
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


def main():
    runner = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/runner").resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for number, name in enumerate(NETWORKS):
            torch.manual_seed(number)
            net = getattr(torchvision.models, name)(weights=None, num_classes=10)
            form = ["zip", "legacy", "safetensors"][number % 3]
            save(net.state_dict(), folder / "weights", form)
            (folder / "one.toml").write_text(
                f'[pipeline]\nname = "one"\n[stages.net]\nkind = "download"\n'
                f'source = "file:weights"\nformat = "weights"\n'
                f'model = {{ arch = "{name}", classes = 10 }}\n')
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


if __name__ == "__main__":
    main()
