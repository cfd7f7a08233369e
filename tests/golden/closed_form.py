"""Closed-form alignment of features and the linear classifier that is fitted to it, in numpy, scipy and scikit-learn: the
reference of tests/goldens/closed_form.rs.

    python tests/golden/closed_form.py        # needs numpy, scipy and scikit-learn; writes closed_form.json

Every map is computed in another form than the program's: principal axes as singular vectors of the rows, roots of matrices
by Schur decomposition, transfer components from kernel matrices of all rows, the map between two Gaussians as a
geometric mean, plans by scaling rows and columns of exp(-cost). The classifiers are scikit-learn's, and their logits are
stored less the mean of each row, which no probability depends on.
"""
import json
import pathlib

import numpy as np
from scipy.linalg import eigh, inv, sqrtm
from sklearn.linear_model import LogisticRegression

from hashed import array

SOURCE, TARGET, WIDTH, CLASSES = 45, 33, 6, 3


def rows(salt, count, shift, stretch):
    """Coordinates that hang together, around the class of the row."""
    own = array(salt, (count, WIDTH), 1.0).astype(np.float64)
    mix = np.eye(WIDTH) + array(salt + 1, (WIDTH, WIDTH), 0.6)
    x = own @ mix * np.linspace(1, stretch, WIDTH) + shift
    x[np.arange(count), np.arange(count) % CLASSES] += 1.2
    return x.astype(np.float32)


SOURCE_ROWS, TARGET_ROWS = rows(11, SOURCE, 0.3, 1.5), rows(21, TARGET, -0.4, 0.6)
LABELS = np.arange(SOURCE) % CLASSES


def scored(x, by):
    return (x - by.mean(0)) / by.std(0, ddof=1)


def apart():
    """Each domain z-scored by itself."""
    return tuple(scored(x, x) for x in map(np.float64, (SOURCE_ROWS, TARGET_ROWS)))


def together():
    """Both domains z-scored alike."""
    both = np.float64(np.concatenate([SOURCE_ROWS, TARGET_ROWS]))
    return tuple(scored(np.float64(x), both) for x in (SOURCE_ROWS, TARGET_ROWS))


def subspaces(dimensions):
    source, target = apart()
    p, q = (np.linalg.svd(x, full_matrices=False)[2][:dimensions].T for x in (source, target))
    return source @ p @ (p.T @ q), target @ q


def coral(regularisation):
    source, target = apart()
    one, other = (np.cov(x.T) + regularisation * np.eye(WIDTH) for x in (source, target))
    return source @ inv(sqrtm(one).real) @ sqrtm(other).real, target


def tca(dimensions, mu):
    x = np.concatenate(together())
    n = SOURCE + TARGET
    kernel = x @ x.T
    centring = np.eye(n) - 1 / n
    e = np.concatenate([np.full(SOURCE, 1 / SOURCE), np.full(TARGET, -1 / TARGET)])
    variance = kernel @ centring @ kernel
    distance = kernel @ np.outer(e, e) @ kernel + mu * np.eye(n)
    _, w = eigh((variance + variance.T) / 2, (distance + distance.T) / 2)
    z = kernel @ w[:, ::-1][:, :dimensions]
    z /= z.std(0, ddof=1)
    return z[:SOURCE], z[SOURCE:]


def between_gaussians():
    source, target = together()
    one, other = np.cov(source.T), np.cov(target.T)
    root = sqrtm(other).real
    mean = root @ inv(sqrtm(root @ one @ root).real) @ root
    return (source - source.mean(0)) @ mean + target.mean(0), target


def scaled(costs, regularisation):
    """The plan, by scaling rows and columns until both have their sums."""
    kernel = np.exp(-costs / regularisation)
    v = np.ones(TARGET)
    for _ in range(200_000):
        u = 1 / SOURCE / (kernel @ v)
        v = 1 / TARGET / (kernel.T @ u)
        plan = u[:, None] * kernel * v
        if np.abs(plan.sum(1) - 1 / SOURCE).sum() < 1e-13:
            break
    return plan


def transported(regularisation, class_weight):
    source, target = together()
    costs = ((source[:, None] - target[None]) ** 2).sum(-1)
    costs /= np.sort(costs.ravel())[costs.size // 2]
    plan = scaled(costs, regularisation)
    for _ in range(9 if class_weight else 0):
        slopes = np.empty_like(costs)
        for k in range(CLASSES):
            share = TARGET * plan[LABELS == k].sum(0)
            slopes[LABELS == k] = 1 / (2 * np.sqrt(share + 1e-3))
        plan = scaled(costs + class_weight * slopes, regularisation)
    return SOURCE * plan @ target, target


def entropy(p):
    return -np.sum(p * np.log(p), axis=1)


def fitted(method, pair, readings):
    source, target = pair
    regression = LogisticRegression(C=1.0, solver="newton-cg", tol=1e-12, max_iter=10_000).fit(source, LABELS)
    logits = regression.decision_function(target)
    p = regression.predict_proba(source)
    return {
        "method": method,
        "logits": (logits - logits.mean(1, keepdims=True)).tolist(),
        "readings": {
            "class_loss": -np.log(p[np.arange(SOURCE), LABELS]).mean(),
            "accuracy": (p.argmax(1) == LABELS).mean(),
            "target_entropy": entropy(regression.predict_proba(target)).mean(),
            **readings,
        },
    }


def line(kind, more=""):
    return f'{{ kind = "{kind}", target = "target.train"{more} }}'


SAMPLES = dict(source_samples=SOURCE, target_samples=TARGET)
METHODS = [
    fitted(line("subspace_alignment", ", dimensions = 3"), subspaces(3), dict(dimensions=3)),
    fitted(line("feature_coral"), coral(1.0), {}),
    fitted(line("feature_coral", ", regularisation = 0.0"), coral(0.0), {}),
    fitted(line("tca", ", dimensions = 3, mu = 0.5"), tca(3, 0.5), dict(dimensions=3)),
    fitted(line("optimal_transport", ', form = "linear"'), between_gaussians(), {}),
    fitted(line("optimal_transport", ", regularisation = 0.2, class_weight = 0.0"), transported(0.2, 0.0), SAMPLES),
    fitted(line("optimal_transport", ", regularisation = 0.1, class_weight = 0.2"), transported(0.1, 0.2), SAMPLES),
]
for one in METHODS:
    print(one["method"], {name: round(float(value), 4) for name, value in one["readings"].items()})
golden = {
    "source": SOURCE_ROWS.tolist(),
    "labels": LABELS.tolist(),
    "target": TARGET_ROWS.tolist(),
    "methods": METHODS,
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(golden, default=float) + "\n")
