"""Labelling and two steps of SHOT (Liang et al. 2020) on `dacnn` in PyTorch, without any source.

    python tests/golden/shot_step.py        # needs torch and safetensors; writes shot_step.safetensors

The labelling passes all 24 images through the network in evaluation mode. A row's features get a 1
appended and are divided by their norm. `first_centroids` are the means of the rows weighted by their
probabilities. A row gets the class of the nearest centroid by cosine (`first_labels`), among the
classes that are the likeliest one of some row (`candidates`). `centroids` are then the means of the
rows with that label, and `labels` the nearest of them, among the same classes.

In the two steps the features are in training mode and step alone; the classifier is frozen and, as the
authors' is, in evaluation mode: its batch norms go by their running averages and keep them. The loss of
the rows `rows` is

    0.1 CE(p, labels) + mean_i H(p_i) - H(mean_i p_i),    H(p) = -sum_k p ln(p + 1e-5)

`start/buffer ...` are the running averages to begin with. The rate is constant. `predicted` are the
logits of all images in evaluation mode.
"""
import torch
from torch import nn

from hashed import hashed
from several_steps import OneHead, TooClose, aside, averages_of, network, store

COUNT, PATTERNS = 24, 6
SHARPNESS = 8
ROWS = ([3, 17, 8, 22, 5, 12], [20, 1, 14, 9, 23, 6])
SETTINGS = dict(lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-3, class_weight=0.1, eps=1e-5,
                centroid_eps=1e-8, sharpness=SHARPNESS, rows=ROWS,
                images="image i: row i mod 6 of the hash [6, 3, 28, 28] of salt, in [-1, 1), "
                       "plus row i of the hash [24, 3, 28, 28] of salt + 1, in [-0.5, 0.5)")


def images(salt):
    patterns = hashed(salt, (PATTERNS, 3, 28, 28), 1.0)
    own = hashed(salt + 1, (COUNT, 3, 28, 28), 0.5)
    return patterns[[i % PATTERNS for i in range(COUNT)]] + own


START = averages_of(network(OneHead, torch.float32, SHARPNESS), images(901))


def entropy(p):
    return -(p * torch.log(p + 1e-5)).sum(-1)


def nearest(rows, centroids, candidates, record):
    """The nearest centroid's class by cosine."""
    likeness = rows @ centroids[candidates].T / centroids[candidates].norm(dim=1)
    top = likeness.topk(2, dim=1).values
    record.apart(top[:, 0] - top[:, 1], 1e-3)
    return candidates[likeness.argmax(1)]


def labelled(model, everything, record):
    model.eval()
    with aside():
        features = model.extract(everything)
        probabilities = model.classify(features).softmax(1)
    top = probabilities.topk(2, dim=1).values
    record.apart(top[:, 0] - top[:, 1], 1e-3)
    rows = torch.cat([features, torch.ones_like(features[:, :1])], 1)
    rows = rows / rows.norm(dim=1, keepdim=True)
    candidates = probabilities.argmax(1).unique()
    is_candidate = torch.zeros(10)
    is_candidate[candidates] = 1
    record.keep("labelling", features=features, probabilities=probabilities, candidates=is_candidate)
    found, shares = [], probabilities
    for _ in range(2):
        centroids = shares.T @ rows / (1e-8 + shares.sum(0)[:, None])
        if record.checks and (shares.sum(0)[candidates] == 0).any():
            raise TooClose
        label = nearest(rows, centroids, candidates, record)
        found.append((centroids, label))
        shares = nn.functional.one_hot(label, 10).to(rows.dtype)
    (first_centroids, first_labels), (centroids, label) = found
    if record.checks and (torch.equal(first_labels, label) or len(label.unique()) < 3
                          or torch.equal(label, probabilities.argmax(1)) or len(candidates) == 10):
        raise TooClose
    record.keep("labelling", first_centroids=first_centroids, first_labels=first_labels.to(rows.dtype),
                centroids=centroids, labels=label.to(rows.dtype))
    return label


def run(dtype, salt, record):
    model = network(OneHead, dtype, SHARPNESS)
    record.begin(model)
    model.load_state_dict(START, strict=False)
    record.keep("start", **{f"buffer {name}": value for name, value in START.items()})
    everything = images(salt).to(dtype)
    label = labelled(model, everything, record)
    before = {name: b.clone() for name, b in model.classifier.named_buffers()}
    optimizer = torch.optim.SGD(model.features.parameters(), lr=0.01, momentum=0.9, nesterov=True,
                                weight_decay=1e-3, foreach=False)
    for step, rows in enumerate(ROWS, 1):
        model.features.train()
        logits = model.classify(model.extract(everything[rows]))
        p = logits.softmax(1)
        class_loss = nn.functional.cross_entropy(logits, label[rows])
        certainty, diversity = entropy(p).mean(), entropy(p.mean(0))
        record.keep(f"step {step}", class_loss=class_loss, entropy=certainty, diversity=diversity)
        record.descend(f"step {step}", model, 0.1 * class_loss + certainty - diversity,
                       {"features": optimizer})
        record.state(f"step {step}", model, ("features",))
    assert all(torch.equal(b, before[name]) for name, b in model.classifier.named_buffers())
    model.eval()
    with aside():
        record.keep("end", predicted=model.classify(model.extract(everything)))


store(__file__, run, SETTINGS)
