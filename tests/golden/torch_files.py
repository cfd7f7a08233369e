"""Files of `torch.save` in its three forms, and files that must be refused: the reference of
src/nn/torch_file/tests.rs.

    python tests/golden/torch_files.py     # needs torch; writes torch_files/
"""
import collections
import io
import json
import os
import pathlib
import pickle
import struct
import tarfile
import warnings

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


def main():
    HERE.mkdir(exist_ok=True)
    state = tensors()
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
