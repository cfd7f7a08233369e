"""Clusters and two steps of CAN (Kang et al. 2019) on `dacnn` in PyTorch.

    python tests/golden/can_step.py          # needs torch and safetensors; writes can_step.safetensors

All 24 images of either domain pass through the network in evaluation mode. Rows of features are divided by their
norms. The centres of the source's classes are where spherical k-means of the target begins, which goes on until no
row changes. A row keeps the class of its cluster where half of 1 minus its cosine with the centre is at most
`max_distance`, and at least `min_images` rows do so (`labelling/classes`, -1 for the others).

In the two steps, source and target pass separately, in training mode. The network steps down

    CE(source) + 0.8 sum over features and probabilities of (mean_c D(c, c) - mean_{c != k} D(c, k))

where c and k are the classes of both domains in the batch, and D(c, k) is the biased squared maximum mean
discrepancy of the source's rows of class c and the target's of class k, with five Gaussians around the mean
squared distance of their different rows, which is a constant. The rows of a batch are `source_at` and
`target_at` of the sets. `start/buffer ...` are the running averages to begin with. `predicted` are the logits of all
target images in evaluation mode.
"""
import itertools

import torch
from torch import nn

from hashed import hashed
from several_steps import OneHead, TooClose, adam, aside, averages_of, labels, network, store

COUNT, PATTERNS = 24, 6
SHARPNESS = 4
WEIGHT, MAX_DISTANCE, MIN_IMAGES = 0.8, 0.023, 3
NOISE = 0.5
EPS = 1e-2
SOURCE_AT = ([1, 7, 3, 9, 4, 2], [5, 11, 3, 15, 10, 0])
TARGET_AT = ([1, 13, 3, 21, 16, 7], [5, 17, 9, 15, 4, 22])
Y = labels(PATTERNS).repeat(COUNT // PATTERNS)
SETTINGS = dict(lr=1e-3, eps=EPS, betas=[0.9, 0.999], lambda_max=WEIGHT, max_distance=MAX_DISTANCE,
                min_images=MIN_IMAGES, noise=NOISE, sharpness=SHARPNESS, source_at=SOURCE_AT, target_at=TARGET_AT,
                images="image i of the source: row i mod 6 of the hash [6, 3, 28, 28] of salt, in [-1, 1), plus row i "
                       "of the hash [24, 3, 28, 28] of salt + 1, in [-0.5, 0.5); of the target the hash of salt + 2 in "
                       "its place, in [-noise, noise) times (4 + 7 i mod 24) / 32, and (5 i mod 19) / 32 of the way from "
                       "that row to the next one")


def images(salt):
    patterns, own = hashed(salt, (PATTERNS, 3, 28, 28), 1.0), hashed(salt + 1, (COUNT, 3, 28, 28), 0.5)
    return patterns[[i % PATTERNS for i in range(COUNT)]] + own


def target_images(salt):
    patterns, own = hashed(salt, (PATTERNS, 3, 28, 28), 1.0), hashed(salt + 2, (COUNT, 3, 28, 28), NOISE)
    here, there = (patterns[[(i + by) % PATTERNS for i in range(COUNT)]] for by in (0, 1))
    way, share = (torch.tensor(it)[:, None, None, None] for it in (
        [5 * i % 19 / 32 for i in range(COUNT)], [(4 + 7 * i % 24) / 32 for i in range(COUNT)]))
    return here + way * (there - here) + share * own


START = averages_of(network(OneHead, torch.float32, SHARPNESS), images(901))


def unit(rows):
    return rows / rows.norm(dim=1, keepdim=True)


def clusters(model, source, target, record):
    """The class of each target image, -1 for one that keeps none."""
    model.eval()
    with aside():
        source, target = unit(model.extract(source)), unit(model.extract(target))
    model.train()
    present = Y.unique()
    begun = unit(torch.stack([source[Y == c].sum(0) for c in present]))
    centres, history = begun, []
    while len(history) < 2 or not torch.equal(history[-1], history[-2]):
        likeness = target @ centres.T
        top = likeness.topk(2, dim=1).values
        record.apart(top[:, 0] - top[:, 1], 5e-5)
        history.append(likeness.argmax(1))
        members = nn.functional.one_hot(history[-1], len(present)).to(target.dtype)
        sums = members.T @ target
        centres = torch.where(members.sum(0)[:, None] > 0, unit(sums), begun)
    distance = (1 - likeness.gather(1, history[-1][:, None]).squeeze(1)) / 2
    record.apart(distance - MAX_DISTANCE, 5e-5)
    classes = present[history[-1]].clone()
    classes[distance > MAX_DISTANCE] = -1
    for c in present:
        if (classes == c).sum() < MIN_IMAGES:
            classes[classes == c] = -1
    far, few = (distance > MAX_DISTANCE).sum(), (classes == -1).sum()
    if record.checks and (torch.equal(history[0], history[-1]) or not 2 <= far < few <= 14):
        raise TooClose
    record.keep("labelling", classes=classes.to(target.dtype))
    return classes


def apart(rows, others, record):
    both, n = torch.cat([rows, others]), len(rows)
    squares = (both[:, None] - both[None]).square().sum(2)
    mean = squares.detach().sum() / (len(both) * (len(both) - 1))
    record.apart(mean / 4 - 1e-5, 1e-5)
    kernel = sum((-squares / (mean * 2.0**u)).exp() for u in range(-2, 3))
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def run(dtype, salt, record):
    model = network(OneHead, dtype, SHARPNESS)
    record.begin(model)
    model.load_state_dict(START, strict=False)
    record.keep("start", **{f"buffer {name}": value for name, value in START.items()})
    optimizers = {part: adam(getattr(model, part).parameters(), 1e-3, EPS)
                  for part in ("features", "classifier")}
    everything = [images(salt).to(dtype), target_images(salt).to(dtype)]
    classes = clusters(model, *everything, record)
    for step, (of_source, of_target) in enumerate(zip(SOURCE_AT, TARGET_AT), 1):
        source, target = model.extract(everything[0][of_source]), model.extract(everything[1][of_target])
        logits = model.classify(source), model.classify(target)
        y, guess = Y[of_source], classes[of_target]
        shared = sorted(set(y.tolist()) & set(guess.tolist()))
        known = sum(it in shared for it in guess.tolist())
        if record.checks and not (len(shared) > 1 and 2 < known < len(guess)):
            raise TooClose
        within, between = [], []
        for s, t in ((source, target), (logits[0].softmax(1), logits[1].softmax(1))):
            distance = {(c, k): apart(s[y == c], t[guess == k], record)
                        for c, k in itertools.product(shared, repeat=2)}
            within.append(torch.stack([distance[c, c] for c in shared]).mean())
            between.append(torch.stack([d for (c, k), d in distance.items() if c != k]).mean())
        intra, inter = sum(within), sum(between)
        # A loss near 0 would be nothing but the rounding of the means that it is made of.
        record.apart(torch.stack([intra, inter, intra - inter]).detach(), 0.1)
        class_loss = nn.functional.cross_entropy(logits[0], y)
        record.keep(f"step {step}", class_loss=class_loss, cdd_loss=intra - inter,
                    intra_class_discrepancy=intra, inter_class_discrepancy=inter)
        record.descend(f"step {step}", model, class_loss + WEIGHT * (intra - inter), optimizers)
        record.state(f"step {step}", model)
    model.eval()
    with aside():
        record.keep("end", predicted=model.classify(model.extract(everything[1])))


# Not the first salt that comes near no tie: with it a maximum of the first pooling is near one in step 2.
store(__file__, run, SETTINGS, salts=range(1501, 9001, 10))
