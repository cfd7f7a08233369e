"""Metrics as numpy, scipy and scikit-learn have them: the reference of tests/goldens/metrics.rs.

    python tests/golden/metrics.py        # needs scikit-learn; writes metrics.json
"""
import json
import pathlib

import numpy as np
from scipy.special import log_softmax
from scipy.stats import entropy
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE, trustworthiness
from sklearn.metrics import adjusted_mutual_info_score, f1_score

from hashed import array

N, CLASSES, WIDTH, TRAIN, HELD = 300, 5, 12, 260, 120


def clouds(salt, count, shift):
    """Rows around a centre for each class, the class being the row's number modulo CLASSES."""
    rows = array(salt, (count, WIDTH), 1.0)
    for at in range(count):
        rows[at, at % CLASSES] += np.float32(2)
    rows[:, WIDTH - 1] += np.float32(shift)
    return rows


features = clouds(1, N, 0.5)
logits = array(2, (N, CLASSES), 3.0).astype(np.float64)
for at in range(N):
    logits[at, at % CLASSES] += 2
labels = np.arange(N) % CLASSES
logs = log_softmax(logits, axis=1)
p = np.exp(logs)
predicted = p.argmax(1)
confidence = p.max(1)

bins = np.clip(np.ceil(confidence * 15), 1, 15)
ece = sum(
    (bins == m).mean() * abs((predicted == labels)[bins == m].mean() - confidence[bins == m].mean())
    for m in range(1, 16) if (bins == m).any())

unit = p / np.linalg.norm(p, axis=1, keepdims=True)
similar = unit @ unit.T / 0.05
np.fill_diagonal(similar, -np.inf)
soft = np.exp(similar - similar.max(1, keepdims=True))
soft /= soft.sum(1, keepdims=True)

train, held = clouds(3, TRAIN, -0.5), clouds(4, HELD, -0.5)
losses = np.abs(array(5, (HELD,), 2.0)).astype(np.float64)
both = np.concatenate([train, features]).astype(np.float64)
mean, std = both.mean(0), both.std(0)
scaled = lambda rows: (rows - mean) / std / np.sqrt(WIDTH)
domains = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000)
domains.fit(scaled(both), np.arange(len(both)) >= TRAIN)
odds = domains.decision_function(scaled(held.astype(np.float64)))
weights = TRAIN / N * np.exp(odds)
weighted = weights * losses
eta = -np.cov(weighted, weights)[0, 1] / np.var(weights, ddof=1)

clusters = KMeans(CLASSES, n_init=10, random_state=0).fit_predict(features)
plane = PCA(2, svd_solver="full").fit_transform(features.astype(np.float64))
near = TSNE(perplexity=30, init="pca", random_state=0).fit(features)

# The held-out half of the proxy A-distance: every other row, of domains of as many rows.
count = TRAIN
rows = np.concatenate([train[:count:2], features[:count:2]]).astype(np.float64)
rest = np.concatenate([train[1:count:2], features[1:count:2]]).astype(np.float64)
mean, std = rows.mean(0), rows.std(0)
domain = np.arange(count) >= count // 2
apart = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000).fit(scaled(rows), domain)

golden = {
    "macro_f1": f1_score(labels, predicted, average="macro"),
    "ece": ece,
    "entropy": entropy(p, axis=1).mean(),
    "info_max": entropy(p.mean(0)) - entropy(p, axis=1).mean(),
    "snd": entropy(soft, axis=1).mean(),
    "bnm": np.linalg.norm(p, "nuc") / np.sqrt(N * CLASSES),
    "class_ami": adjusted_mutual_info_score(predicted, clusters),
    "ami": [
        adjusted_mutual_info_score(labels, predicted),
        adjusted_mutual_info_score(labels, labels),
        adjusted_mutual_info_score(labels, np.arange(N) % 7),
        adjusted_mutual_info_score(labels, np.zeros(N, int)),
    ],
    "dev": weighted.mean() + eta * weights.mean() - eta,
    "iwv": weighted.mean(),
    "weights": weights[:10].tolist(),
    "proxy_a_distance": 2 * (1 - 2 * (1 - apart.score(scaled(rest), domain))),
    "pca": plane[:10].tolist(),
    "tsne": {
        "trustworthiness": trustworthiness(features, near.embedding_, n_neighbors=10),
    },
}
path = pathlib.Path(__file__).with_name("metrics.json")
path.write_text(json.dumps(golden, indent=1) + "\n")
