#!/usr/bin/env python3
"""Makes the files of the built-in data set `mnist-10k` from MNIST's four IDX files.

    python3 make.py FOLDER    # with train-images-idx3-ubyte, train-labels-idx1-ubyte,
                              # t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte (unpacked)

The first 11,000 training images (10,000 to train, 1,000 to validate) and all 10,000 test images,
unchanged and in their order. Prints the sha256 of each unpacked result, which
src/data/catalog/mnist_10k.rs checks.
"""
import gzip
import hashlib
import pathlib
import struct
import sys

KNOWN = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
KEEP = {"train": 11_000, "t10k": 10_000}


def main(folder):
    here = pathlib.Path(__file__).parent
    for name, sha256 in KNOWN.items():
        raw = (folder / name).read_bytes()
        found = hashlib.sha256(raw).hexdigest()
        if found != sha256:
            sys.exit(f"{folder / name}: sha256 is {found}, not {sha256}")
        count = KEEP[name.split("-")[0]]
        if "images" in name:
            head, item = struct.pack(">IIII", 0x803, count, 28, 28), 28 * 28
            body = raw[16 : 16 + count * item]
        else:
            head, item = struct.pack(">II", 0x801, count), 1
            body = raw[8 : 8 + count]
        assert len(body) == count * item
        (here / f"{name}.gz").write_bytes(gzip.compress(head + body, 9, mtime=0))
        print(name, hashlib.sha256(head + body).hexdigest())


main(pathlib.Path(sys.argv[1]))
