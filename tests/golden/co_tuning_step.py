"""The relation and two steps of Co-Tuning (You et al. 2020) on `dacnn` in PyTorch.

    python tests/golden/co_tuning_step.py       # needs torch and safetensors

`source_classifier` is a second classifier with weights of its own, which stands for the one that came in. `relation`
is, for each of the ten classes, the mean over the images of that class among 24 of the softmax of its logits divided
by a temperature, in evaluation mode. In the two steps all is in training mode, and everything steps down

    CE(classifier, y) + 2.3 mean_i -sum_s relation[y_i, s] ln softmax(source_classifier)_s

`start/buffer ...` are the running averages to begin with. `predicted` are the logits of the last batch in
evaluation mode.
"""
import copy

import torch
from torch import nn

from hashed import hashed
from several_steps import OneHead, adam, aside, batch, labels, network, store

COUNT, PATTERNS = 24, 6
ROWS, SHARPNESS, EPS = 6, 4, 1e-2
WEIGHT, TEMPERATURE = 2.3, 1.5
SETTINGS = dict(lr=1e-3, eps=EPS, betas=[0.9, 0.999], source_rows=ROWS, source_bound=1.0, sharpness=SHARPNESS,
                method=f"{{ kind = 'co_tuning', lambda = {WEIGHT}, temperature = {TEMPERATURE} }}",
                images="set: as in shot_step.py, of salt; step s: salt + 1 + s")


class Both(OneHead):
    def __init__(self):
        super().__init__()
        self.source_classifier = copy.deepcopy(self.classifier)


def images(salt):
    patterns = hashed(salt, (PATTERNS, 3, 28, 28), 1.0)
    own = hashed(salt + 1, (COUNT, 3, 28, 28), 0.5)
    return patterns[[i % PATTERNS for i in range(COUNT)]] + own


def averages(model):
    """The statistics of a set as running averages, as if the network were trained."""
    norms = [m for m in model.modules() if hasattr(m, "running_mean")]
    for norm in norms:
        norm.momentum = 1.0
    with aside():
        features = model.extract(images(901))
        for head in ("classifier", "source_classifier"):
            model.classify(features, head)
    return {name: b.clone() for name, b in model.named_buffers() if "running" in name}


START = averages(network(Both, torch.float32, SHARPNESS))


def run(dtype, salt, record):
    model = network(Both, dtype, SHARPNESS)
    record.begin(model)
    model.load_state_dict(START, strict=False)
    record.keep("start", **{f"buffer {name}": value for name, value in START.items()})
    model.eval()
    with aside():
        logits = model.classify(model.extract(images(salt).to(dtype)), "source_classifier")
        of_images = torch.exp(logits / TEMPERATURE - torch.logsumexp(logits / TEMPERATURE, 1, keepdim=True))
        of_class = nn.functional.one_hot(labels(COUNT), 10).to(dtype)
        relation = of_class.T @ of_images / of_class.sum(0)[:, None]
    record.keep("labelling", relation=relation)
    model.train()
    optimizers = {part: adam(getattr(model, part).parameters(), 1e-3, EPS)
                  for part in ("features", "classifier", "source_classifier")}
    for step in (1, 2):
        source = batch(salt + 1 + step, ROWS, 1.0, dtype)
        features = model.extract(source)
        loss = nn.functional.cross_entropy(model.classify(features), labels(ROWS))
        old = model.classify(features, "source_classifier")
        # Soft targets, which PyTorch's own cross-entropy takes too.
        of_old = nn.functional.cross_entropy(old, relation[labels(ROWS)])
        record.keep(f"step {step}", class_loss=loss, source_classifier_loss=of_old)
        record.descend(f"step {step}", model, loss + WEIGHT * of_old, optimizers)
        record.state(f"step {step}", model)
    model.eval()
    with aside():
        record.keep("end", predicted=model.classify(model.extract(source)))


store(__file__, run, SETTINGS)
