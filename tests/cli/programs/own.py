"""Takes images for `red` where red outweighs blue: class scores of the target, which it sees no labels of."""
import os
import pathlib
import sys

import npy

source, target, out = map(pathlib.Path, sys.argv[1:4])
bias = float(sys.argv[4])
shape, labels = npy.read(source / "train" / "labels.npy")
assert shape == (40,) and set(labels) == {0, 1}, (shape, labels)
assert not list(target.rglob("labels.npy")), "the labels of the target"
assert set(os.listdir(".")) - {"__pycache__"} == {"npy.py", "own.py"}, os.listdir(".")
print(f"bias {bias}, arguments {sys.argv[5:]}")
means = npy.colours(target / "test")
rows = [number for red, blue in means for number in (0.0, (red - blue) / 64 + bias)]
npy.write(out / "target.test.npy", (len(means), 2), rows)
