"""Label-free scores and the weighted Spearman correlation, in numpy: the reference of tests/goldens/metrics.rs
beside metrics.json, for what scikit-learn is not needed for.

    python tests/golden/scores.py        # needs numpy; writes scores.json
"""
import json
import pathlib

import numpy as np

from hashed import array

N, CLASSES, WIDTH, TRAIN, HELD = 300, 5, 12, 260, 120


def clouds(salt, count, shift):
    """As in metrics.py."""
    rows = array(salt, (count, WIDTH), 1.0)
    rows[np.arange(count), np.arange(count) % CLASSES] += np.float32(2)
    rows[:, WIDTH - 1] += np.float32(shift)
    return rows.astype(np.float64)


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def entropy(p):
    return -np.sum(p * np.log(p), axis=-1)


def far(a, b):
    """All distances between rows."""
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))


features = clouds(1, N, 0.5)
logits = array(2, (N, CLASSES), 3.0).astype(np.float64)
logits[np.arange(N), np.arange(N) % CLASSES] += 2
p = softmax(logits)
predicted = p.argmax(1)

train, held = clouds(3, TRAIN, -0.5), clouds(4, HELD, -0.5)
labels = np.arange(TRAIN) % CLASSES
# Probabilities of the held-out images that have the losses of metrics.py.
losses = np.abs(array(5, (HELD,), 2.0)).astype(np.float64)
held_labels = np.arange(HELD) % CLASSES
held_p = np.exp(array(6, (HELD, CLASSES), 3.0).astype(np.float64))
held_p[np.arange(HELD), held_labels] = 0
held_p *= ((1 - np.exp(-losses)) / held_p.sum(1))[:, None]
held_p[np.arange(HELD), held_labels] = np.exp(-losses)

# Class confusion: batch weights with mean 1, as published.
certainty = 1 + np.exp(-entropy(p))
confusion = np.einsum("ij,i,ik->jk", p, certainty / certainty.mean(), p)
confusion /= confusion.sum(1, keepdims=True)

gram = np.einsum("ij,ik->jk", p, p)


def rankme(rows):
    singular = np.linalg.svd(rows, compute_uv=False)
    share = singular / singular.sum() + 1e-7
    return np.exp(entropy(share))


apart = far(features, features)
silhouettes = []
for at in range(N):
    means = [apart[at][(predicted == k) & (np.arange(N) != at)].mean() for k in range(CLASSES)]
    own, others = means[predicted[at]], np.delete(means, predicted[at]).min()
    silhouettes.append((others - own) / max(others, own))

# MMD as a quadratic form in the kernel of both domains.
both = np.concatenate([train, features])
squares = far(both, both) ** 2
pairs = np.sort(squares[np.triu_indices(len(both), 1)])
kernel = np.exp(-squares / (2 * pairs[len(pairs) // 2]))
sign = np.concatenate([np.full(TRAIN, 1 / TRAIN), np.full(N, -1 / N)])

centroids = [
    np.linalg.norm(train[labels == k].mean(0) - features[predicted == k].mean(0))
    for k in range(CLASSES)]

sure, right = -entropy(held_p), held_p.argmax(1) == held_labels
wrong = np.count_nonzero(~right)
threshold = np.partition(sure, wrong - 1)[wrong - 1]
assert 0 < wrong < HELD and np.isclose(np.mean(sure > threshold), right.mean())


# Mixed samples: one mix per image with a partner, for a network whose logits of a mix are not those of its images.
partner = (7 * np.arange(N) + 3) % N
mixed = (0.55 * logits + 0.45 * logits[partner] + array(9, (N, CLASSES), 3.0)).argmax(1)
alike = mixed == predicted
same = predicted == predicted[partner]
intra, inter = alike[same].mean(), alike[~same].mean()
assert 0 < intra < 1 and 0 < inter < intra and 0 < same.sum() < N

# Four candidates, each of which differs from the mean of all of them.
candidates = np.stack([softmax(logits + array(10 + at, (N, CLASSES), 2.0 + at)) for at in range(4)])
consensus = candidates.mean(0).argmax(1)
ensv = (candidates.argmax(2) == consensus).mean(1)


def weighted_spearman(scores, accuracies):
    """Ranks by comparing every pair; see src/metrics/weighted_spearman.rs."""
    scores = np.where(np.isfinite(scores), scores, np.min(scores[np.isfinite(scores)]))
    dense = lambda x: np.unique(x, return_inverse=True)[1] + 1
    v, t = (dense(x) / dense(x).max() for x in (scores, accuracies))
    w = np.maximum(v, t) ** 2

    def ranks(x):
        below, equal = x[None] < x[:, None], x[None] == x[:, None]
        return below @ w + (equal.sum(1) + 1) / 2 * (equal @ w) / equal.sum(1)

    covariance = np.cov(ranks(scores), ranks(accuracies), aweights=w)
    return covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])


MODELS = 40
accuracies = (array(7, (MODELS,), 1.0) + np.float32(1)) / np.float32(2)
noise = array(8, (MODELS,), 1.0)
noisy = accuracies + noise
# Ties in both, from rounding to eighths.
ties = np.floor(noisy * np.float32(8)), np.floor(accuracies * np.float32(8))
odd = noisy.astype(np.float64)
odd[[3, 11, 20]] = np.nan, np.inf, -np.inf

golden = {
    "diversity": entropy(p.mean(0)),
    "fbnm": np.linalg.norm(p, axis=0).sum() / np.sqrt(N * CLASSES),
    "fbnm_of_3_rows": np.sort(np.linalg.norm(p[:3], axis=0))[-3:].sum() / 3,
    "mano": np.linalg.norm(p.ravel(), 4) / p.size ** 0.25,
    "corr_c": np.trace(gram) / np.linalg.norm(gram, "fro"),
    "mcc": (confusion.sum() - np.trace(confusion)) / CLASSES,
    "rankme": rankme(features),
    "rankme_of_7_rows": rankme(features[:7]),
    "class_ss": np.mean(silhouettes),
    "mmd": sign @ kernel @ sign,
    "centroid_distance": np.mean(centroids),
    "atc": np.mean(-entropy(p) > threshold),
    "mixval": (intra + inter) / 2,
    "mixval_intra": intra,
    "mixval_inter": inter,
    "ensv": ensv.tolist(),
    "weighted_spearman": {
        "noisy": weighted_spearman(noisy, accuracies),
        "ties": weighted_spearman(*ties),
        "odd": weighted_spearman(odd, accuracies),
        "against": weighted_spearman(-noisy, accuracies),
    },
}
path = pathlib.Path(__file__).with_name("scores.json")
path.write_text(json.dumps(golden, indent=1) + "\n")
