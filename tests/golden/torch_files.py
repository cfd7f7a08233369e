"""Files of `torch.save` in its three forms, checkpoints with everything that
`torch.load(weights_only=True)` accepts, and files that must be refused: the reference of
src/nn/torch_file/tests.rs.

    python tests/golden/torch_files.py     # needs torch; writes torch_files/
"""
import argparse
import collections
import io
import json
import os
import pathlib
import pickle
import struct
import tarfile
import warnings
import zipfile

import torch

warnings.filterwarnings("ignore")
HERE = pathlib.Path(__file__).with_name("torch_files")


def tensors():
    base = torch.arange(12, dtype=torch.float32) / 8 - 0.5
    grid = base.reshape(3, 4)
    return collections.OrderedDict([
        ("conv.weight", grid),
        ("turned", grid.t()),
        ("column", grid[:, 1]),
        ("tail", base[7:]),
        ("double", torch.tensor([1 / 3, -2.5e10], dtype=torch.float64)),
        ("half", torch.tensor([0.1, -65504.0, 6e-8, float("inf")], dtype=torch.float16)),
        ("bfloat16", torch.tensor([3.140625, -1e30], dtype=torch.bfloat16)),
        ("bn.num_batches_tracked", torch.tensor(7)),
        ("ints", torch.tensor([-3, 2 ** 31 - 1], dtype=torch.int32)),
        ("bytes", torch.tensor([[0], [255]], dtype=torch.uint8)),
        ("flags", torch.tensor([True, False])),
        ("nothing", torch.zeros(0, 3)),
        ("parameter", torch.nn.Parameter(torch.tensor([1.5]))),
    ])


class Evil:
    def __reduce__(self):
        return os.system, ("echo this must never run",)


def tar_form(path, state):
    """As torch/serialization.py's legacy_load reads it; nothing writes it any more."""
    def pickled(value):
        return pickle.dumps(value, protocol=2)

    storages, views, order = b"", b"", []
    for number, (name, tensor) in enumerate(state.items()):
        key, view = b"K" + bytes([100 + number]), b"K" + bytes([200 + number])
        order.append((name, str(200 + number)))
        # A class by its name only, as torch's own pickles have it.
        kind = b"\x80\x02(" + key + b"X\x03\x00\x00\x00cpuctorch\nFloatStorage\nt."
        storages += kind + struct.pack("<q", tensor.numel()) + tensor.contiguous().numpy().tobytes()
        # The last one is a part of the first one's storage.
        part = number + 1 == len(state)
        storage = b"K\x63" if part else key
        views += b"\x80\x02(" + view + storage + b"ctorch\nFloatTensor\nt."
        stride = tensor.contiguous().stride()
        views += struct.pack("<ii", tensor.dim(), 0)
        views += struct.pack(f"<{tensor.dim()}q", *tensor.shape)
        views += struct.pack(f"<{tensor.dim()}q", *stride) + struct.pack("<q", 0)
    body = b"\x80\x02ccollections\nOrderedDict\n]("
    for name, key in order:
        body += b"]X" + struct.pack("<I", len(name)) + name.encode() + b"aX\x03\x00\x00\x00" + \
            key.encode() + b"Qa"
    body += b"e\x85R."
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in (("sys_info", pickled({"little_endian": True})),
                              ("storages", pickled(len(state)) + storages + pickled([(99, 100, 7, 5)])),
                              ("tensors", pickled(len(state)) + views),
                              ("pickle", body)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


class Scripted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))

    def forward(self, x):
        return x * self.weight


def with_attribute(tensor):
    tensor = tensor.clone()
    tensor.note = "an attribute"
    return tensor


def accepted(state):
    """What stands beside weights in checkpoints, all of it accepted by `weights_only=True`."""
    beside = {
        "best_acc1": torch.tensor([69.7]), "epoch": 90, "arch": "x", "accuracy": 95.0, "none": None,
        "counter": collections.Counter({10: 1, 20: 2}), "ordered": collections.OrderedDict(a=1),
        "set": {"a", "b"}, "empty set": set(), "dtype": torch.float32, "bool": torch.bool,
        "float8": torch.float8_e4m3fn, "size": torch.Size([2, 3]), "device": torch.device("cpu"),
        "layout": torch.strided, "scheme": torch.per_tensor_affine, "complex": 1 + 2j,
        "bytes": b"raw \x00\xff", "bytearray": bytearray(b"raw"), "huge": 1 << 80,
        "list": [1, (2, [3.5, True])],
    }
    strange = {
        "uint16": torch.tensor([1, 65535], dtype=torch.uint16),
        "uint64": torch.tensor([1], dtype=torch.uint64),
        "float8": torch.tensor([1.0]).to(torch.float8_e4m3fn),
        "complex": torch.tensor([1 + 2j]),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "sparse": torch.eye(2).to_sparse(),
        "quantised": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "meta": torch.empty(2, device="meta"),
    }
    two = {name: state[name].clone() for name in ("conv.weight", "turned")}
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [10])
    scaler = {"scale": 65536.0, "_growth_tracker": 0}
    training = {"optimizer": optimizer.state_dict(), "scheduler": schedule.state_dict(),
                "scaler": scaler, "rng": torch.get_rng_state()[:8].clone()}
    ones = {name: torch.ones_like(tensor) for name, tensor in two.items()}
    files = {
        "imagenet.pth.tar": {"state_dict": {f"module.{name}": it for name, it in two.items()},
                             **beside, **training},
        "net.pth": {"net": two, "acc": 95.0, "epoch": 1},
        "only.pth": {"encoder": two, "epoch": 1},
        "deep.pth": {"checkpoint": {"model": two, "epoch": 1}, "epoch": 1},
        "teacher.pth": {"student": ones, "teacher": two, "epoch": 1},
        "ema.pth": {"model": two, "model_ema": ones},
        "parameters.pth": {"conv.weight": torch.nn.Parameter(two["conv.weight"]),
                           "turned": with_attribute(two["turned"])},
        "strange.pth": {**two, **strange},
    }
    for name, content in files.items():
        for form, new in (("", True), ("legacy-", False)):
            if name == "strange.pth" and not new:
                continue
            path = HERE / (form + name)
            torch.save(content, path, _use_new_zipfile_serialization=new)
            torch.load(path, weights_only=True)
    torch.serialization.set_crc32_options(False)
    torch.save(two, HERE / "no-checksums.pth")
    torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(HERE / "net.pth") as whole, \
            zipfile.ZipFile(HERE / "deflated.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    torch.load(HERE / "deflated.pth", weights_only=True)
    torch.jit.save(torch.jit.script(Scripted()), HERE / "scripted.pt")
    torch.save({"model": two, "args": argparse.Namespace(lr=0.1)}, HERE / "namespace.pth")


def networks():
    """Checkpoints of the network `model = { layers = [], classes = 2 }` on images of 3x1x1."""
    net = {"classifier.0.weight": torch.arange(6.0).reshape(2, 3) / 4,
           "classifier.0.bias": torch.tensor([0.5, -0.5])}
    zeros = {name: torch.zeros_like(tensor) for name, tensor in net.items()}
    # As https://github.com/pytorch/examples/blob/main/imagenet/main.py has it.
    torch.save({"epoch": 90, "arch": "x", "best_acc1": torch.tensor([69.7]),
                "state_dict": {f"module.{name}": it for name, it in net.items()}},
               HERE / "network.pth.tar")
    torch.save({"student": zeros, "teacher": net}, HERE / "network-teacher.pth")
    torch.save({"model": net, "args": argparse.Namespace(lr=0.1)}, HERE / "network-args.pth")
    broken = net["classifier.0.weight"].clone()
    broken[1, 2] = float("nan")
    torch.save({**net, "classifier.0.weight": broken}, HERE / "network-nan.pth")


def main():
    HERE.mkdir(exist_ok=True)
    networks()
    state = tensors()
    accepted(state)
    expected = {
        name: {"shape": list(it.shape),
               "values": it.detach().flatten().to(torch.float64 if it.is_floating_point() else
                                                  torch.int64).tolist()}
        for name, it in state.items()
    }
    expected["half"]["values"][3] = "inf"
    (HERE / "expected.json").write_text(json.dumps(expected) + "\n")
    torch.save(state, HERE / "zip.pth")
    torch.save(state, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    floats = collections.OrderedDict((name, state[name].contiguous()) for name in
                                     ("conv.weight", "turned", "tail"))
    tar_form(HERE / "tar.pth", floats)
    for name, tensor in torch.load(HERE / "tar.pth", weights_only=False).items():
        assert torch.equal(tensor, floats[name]), name
    wrapped = {f"module.{name}": state[name] for name in ("conv.weight", "turned")}
    torch.save({"epoch": 3, "state_dict": wrapped, "lr": 0.1}, HERE / "checkpoint.pth")
    for form, new in (("zip", True), ("legacy", False)):
        torch.save({"weight": torch.ones(1), "evil": Evil()}, HERE / f"evil-{form}.pth",
                   _use_new_zipfile_serialization=new)
    torch.save(torch.nn.Linear(1, 1), HERE / "module.pth")
    torch.save({"epoch": 3, "lr": 0.1}, HERE / "no-tensors.pth")
    torch.save(torch.ones(2), HERE / "one-tensor.pth")


if __name__ == "__main__":
    main()
