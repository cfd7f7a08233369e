"""Two steps of masked image consistency (Hoyer et al. 2023) on `dacnn` in PyTorch.

    python tests/golden/mic_step.py     # needs torch and safetensors

The teacher begins as a copy of the network. A step has four passes with batch statistics, in this order: the
source, the target, the teacher on the same images of the target, and their masked view, for which other images
stand. The first two move running averages, the others move none. The network steps down

    CE(source) + 0.8 mean_i w_i CE(masked_i, y_i)

where y_i is the teacher's likeliest class and w_i its probability. After step t, from 1, each of the
teacher's parameters becomes a of itself and 1 - a of the network's, with a = min(1 - 1 / (t + 1), KEEP): half of
each after the first step, and what KEEP says after the second. The gradient of the target's plain images is none.
"""
import copy

import torch
from torch import nn

from several_steps import OneHead, adam, aside, batch, labels, network, store
from vat import still

ROWS, TARGET_ROWS = 5, 6
SHARPNESS = 4
WEIGHT, KEEP = 0.8, 0.6
EPS = 1e-2
METHOD = f"{{ kind = 'mic', target = 'other.train', lambda = {WEIGHT}, keep = {KEEP} }}"
SETTINGS = dict(lr=1e-3, eps=EPS, betas=[0.9, 0.999], method=METHOD, source_rows=ROWS, target_rows=TARGET_ROWS,
                source_bound=1.0, target_bound=0.5, sharpness=SHARPNESS,
                images="step s: source salt + 3 (s - 1), target 1 more and its masked view 2 more")


def run(dtype, salt, record):
    model = network(OneHead, dtype, SHARPNESS)
    record.begin(model)
    teacher = copy.deepcopy(model)
    optimizers = {part: adam(getattr(model, part).parameters(), 1e-3, EPS)
                  for part in ("features", "classifier")}
    for step in (1, 2):
        at = f"step {step}"
        source = batch(salt + 3 * (step - 1), ROWS, 1.0, dtype)
        target, masked = (batch(salt + 3 * (step - 1) + i, TARGET_ROWS, 0.5, dtype) for i in (1, 2))
        class_loss = nn.functional.cross_entropy(model.classify(model.extract(source)), labels(ROWS))
        with aside():
            own = model.classify(model.extract(target))
            with still(teacher):
                answers = teacher.classify(teacher.extract(target)).softmax(1)
        with still(model):
            logits = model.classify(model.extract(masked))
        sure, classes = answers.max(1)
        first, second = answers.topk(2).values.T
        record.apart(first - second, 1e-3)
        losses = nn.functional.cross_entropy(logits, classes, reduction="none")
        loss = torch.dot(sure, losses) / TARGET_ROWS
        # A network that taught itself would be found out.
        if step > 1:
            record.apart(own.softmax(1).amax(1).mean() / sure.mean() - 1, 1e-3)
        record.keep(at, class_loss=class_loss, masked_loss=loss, teacher_confidence=sure.mean())
        record.descend(at, model, class_loss + WEIGHT * loss, optimizers)
        kept = min(1 - 1 / (step + 1), KEEP)
        with torch.no_grad():
            for mean, new in zip(teacher.parameters(), model.parameters()):
                mean.copy_(kept * mean + (1 - kept) * new)
        record.state(at, model)
        record.state(f"{at}/teacher", teacher)
    model.eval()
    with aside():
        record.keep("end", predicted=model.classify(model.extract(target)))


store(__file__, run, SETTINGS)
