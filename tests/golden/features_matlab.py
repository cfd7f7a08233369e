#!/usr/bin/env python3
"""Writes MATLAB's files as scipy writes them to the folder features/, and what scipy reads of them to features_matlab.json:
tests/goldens/features.rs reads them.

    python3 features_matlab.py       # numpy 2.4 and scipy 1.17

Each has arrays of more than two dimensions, whole numbers of 64 bits as labels, and beside them what is no array of real numbers.
"""
import json
import pathlib

import numpy
import scipy.io
import scipy.sparse

HERE = pathlib.Path(__file__).parent
OUT = HERE / "features"

rng = numpy.random.default_rng(1)
others = {
    "note": "made by hand",
    "names": numpy.array(["a", "bcd"], dtype=object),
    "settings": {"rate": 0.1, "steps": numpy.arange(3)},
    "adjacency": scipy.sparse.eye(4).tocsc(),
    "spectrum": numpy.array([1 + 2j, 3 - 1j]),
}
arrays = {
    "maps.mat": ({"fts": rng.normal(size=(5, 2, 3)), "labels": numpy.array([2, 0, 1, 1, 0])}, False),
    "volumes.mat": (
        {
            "fts": rng.integers(-9, 9, (4, 3, 2, 2)),
            "labels": numpy.array([[7], [5], [5], [7]], dtype="uint64"),
        },
        True,
    ),
}
held = {}
for name, (content, is_packed) in arrays.items():
    scipy.io.savemat(OUT / name, {**others, **content}, do_compression=is_packed)
    read = scipy.io.loadmat(OUT / name)
    rows = read["fts"].reshape(len(content["fts"]), -1).astype("float32")
    held[name] = {"features": rows.tolist(), "labels": read["labels"].ravel().tolist()}
(HERE / "features_matlab.json").write_text(json.dumps(held, indent=1) + "\n")
