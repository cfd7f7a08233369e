#!/usr/bin/env python3
"""Writes files of features as numpy and scipy write them, to the folder features/, and what they hold to
features.json: tests/goldens/features.rs reads them.

    python3 features.py       # numpy 2.4, scipy 1.17, scikit-learn 1.9, safetensors 0.8 and torch 2.15

`moments` in features.json are the means and the deviations of numpy, which scikit-learn's StandardScaler has, too.
"""
import json
import pathlib

import numpy
import scipy.io
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file
from sklearn.datasets import make_moons

HERE = pathlib.Path(__file__).parent
OUT = HERE / "features"
OUT.mkdir(exist_ok=True)

rng = numpy.random.default_rng(0)
x = rng.normal(3.0, [0.5, 20.0, 1e-3], (7, 3))
y = numpy.array([2, 0, 1, 1, 0, 2, 2])
words = numpy.array(["zebra", "ant", "bee", "bee", "ant", "zebra", "zebra"])
domains = numpy.array(["amazon", "amazon", "dslr", "amazon", "dslr", "dslr", "amazon"])

numpy.savez(OUT / "doubles.npz", features=x, labels=y)
numpy.savez_compressed(OUT / "words.npz", X=x.astype("float32"), y=words, domain=domains)
numpy.savez_compressed(OUT / "bytes.npz", X=x.astype("float32"), y=words.astype("S"))
# As Keras calls the arrays of a data set.
numpy.savez(OUT / "splits.npz", x_train=x[:4], y_train=y[:4], x_test=x[4:], y_test=y[4:].astype("uint8"))
(OUT / "npy").mkdir(exist_ok=True)
numpy.save(OUT / "npy" / "X_train.npy", x[:4])
numpy.save(OUT / "npy" / "y_train.npy", y[:4].astype("int32"))
numpy.save(OUT / "npy" / "X_test.npy", x[4:].astype("float32"))
numpy.save(OUT / "npy" / "y_test.npy", y[4:])
numpy.savez(OUT / "fortran.npz", features=numpy.asfortranarray(x), labels=y)
numpy.savez(OUT / "objects.npz", features=x, labels=words.astype(object))
# The layouts of Office-Caltech: labels count from 1, in doubles, as a column.
column = (y + 1.0)[:, None]
scipy.io.savemat(OUT / "amazon_SURF_L10.mat", {"fts": x, "labels": column}, do_compression=True)
scipy.io.savemat(OUT / "amazon_decaf.mat", {"feas": x.astype("float32"), "labels": column})
save_file({"features": x.astype("float32"), "labels": y}, OUT / "features.safetensors")
# As networks that compute in half precision leave them.
numpy.savez(OUT / "half.npz", features=x.astype("float16"), labels=y)
save_file({"features": x.astype("float16"), "labels": y}, OUT / "half.safetensors")
brain = torch.tensor(x).to(torch.bfloat16)
save_torch_file({"features": brain, "labels": torch.tensor(y)}, OUT / "brain.safetensors")
# Those of the ResNet-50 features of Office-31: no names, the label last.
numpy.savetxt(OUT / "amazon_amazon.csv", numpy.hstack([x, y[:, None]]), delimiter=",")
numpy.savetxt(OUT / "spaces.txt", numpy.hstack([x, y[:, None]]), fmt="%.9g", header="a b c label")
# pandas' to_csv: numbers of the rows in front, without a name.
with open(OUT / "pandas.csv", "w") as file:
    file.write(",a,b,c,species,domain\n")
    for row, (values, word, domain) in enumerate(zip(x, words, domains)):
        file.write(",".join([str(row), *map(repr, values.tolist()), word, domain]) + "\n")

single = x.astype("float32")
moments = {"mean": single.astype("float64").mean(0).tolist(), "std": single.astype("float64").std(0).tolist()}
held = {
    "features": single.tolist(),
    "half": x.astype("float16").astype("float32").tolist(),
    "brain": brain.float().tolist(),
    "labels": y.tolist(),
    "words": words.tolist(),
    "domains": domains.tolist(),
    "moments": moments,
    # x, y and class of scikit-learn's moons, without noise.
    "moons": numpy.hstack([m[:, None] if m.ndim == 1 else m for m in make_moons(9, shuffle=False)]).tolist(),
}
(HERE / "features.json").write_text(json.dumps(held, indent=1) + "\n")
