"""Two steps of maximum classifier discrepancy with the sliced Wasserstein discrepancy (Lee et al. 2019) in
PyTorch, on `dacnn` with a second classifier.

    python tests/golden/swd_step.py         # needs torch and safetensors; writes swd_step.safetensors

The phases are those of mcd_step.py. `d` is the mean over directions and ranks of the squared difference of
both classifiers' projected probabilities for the target, each sorted over the rows of the batch. Directions
are drawn anew for each look, as stream.py draws them.
"""
import numpy as np
import torch
from torch import nn

from several_steps import TwoHeads, adam, aside, batch, labels, network, store
from stream import normal

REPEAT = 2
PROJECTIONS = 16
CLASSES = 10
SHARPNESS = 4
EPS = 1e-2
METHOD = (f"{{ kind = 'mcd', target = 'target.train', repeats = {REPEAT}, "
          f"discrepancy = 'sliced_wasserstein', projections = {PROJECTIONS} }}")
SETTINGS = dict(lr=2e-4, eps=EPS, weight_decay=5e-4, betas=[0.9, 0.999], repeat=REPEAT, source_rows=5,
                target_rows=4, source_bound=1.0, target_bound=0.5, sharpness=SHARPNESS, method=METHOD,
                images="step s: source salt + 2 (s - 1), target salt + 2 (s - 1) + 1")
HEADS = ("classifier", "classifier2")


def directions(step, look, dtype):
    drawn = normal(f"sliced wasserstein {look}", step - 1, PROJECTIONS * CLASSES).astype(np.float64)
    drawn = torch.from_numpy(drawn.reshape(PROJECTIONS, CLASSES))
    return nn.functional.normalize(drawn, dim=1).float().to(dtype)


def discrepancy(record, model, features, along):
    ranked = []
    for head in HEADS:
        projected = model.classify(features, head).softmax(1) @ along.T
        ranked.append(projected.sort(0).values)
        record.apart(ranked[-1].diff(dim=0), 1e-5)
    return nn.functional.mse_loss(*ranked)


def run(dtype, salt, record):
    model = network(TwoHeads, dtype, SHARPNESS)
    record.begin(model)
    optimizers = {part: adam(getattr(model, part).parameters(), 2e-4, EPS, weight_decay=5e-4)
                  for part in ("features", *HEADS)}
    of_heads = {part: optimizers[part] for part in HEADS}
    cross_entropy = nn.CrossEntropyLoss()
    for step in (1, 2):
        source = batch(salt + 2 * (step - 1), 5, 1.0, dtype)
        target = batch(salt + 2 * (step - 1) + 1, 4, 0.5, dtype)

        def class_losses(features):
            return [cross_entropy(model.classify(features, head), labels(5)) for head in HEADS]

        one, two = class_losses(model.extract(source))
        record.keep(f"step {step}/A", class_loss=one, class_loss_2=two)
        record.descend(f"step {step}/A", model, one + two, optimizers)

        with aside():
            features = model.extract(source)
        one, two = class_losses(features)
        with aside():
            features = model.extract(target)
        d = discrepancy(record, model, features, directions(step, 0, dtype))
        record.keep(f"step {step}/B", class_loss=one, class_loss_2=two, discrepancy=d)
        record.descend(f"step {step}/B", model, one + two - d, of_heads)

        for turn in range(1, REPEAT + 1):
            d = discrepancy(record, model, model.extract(target), directions(step, turn, dtype))
            record.keep(f"step {step}/C{turn}", discrepancy=d)
            record.descend(f"step {step}/C{turn}", model, d, {"features": optimizers["features"]})
        record.state(f"step {step}/after", model)


store(__file__, run, SETTINGS)
