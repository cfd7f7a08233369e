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

from classifier_phases import HEADS, phases, settings
from several_steps import store
from stream import normal

REPEAT = 2
PROJECTIONS = 16
CLASSES = 10
METHOD = (f"{{ kind = 'mcd', target = 'target.train', repeats = {REPEAT}, "
          f"discrepancy = 'sliced_wasserstein', projections = {PROJECTIONS} }}")


def directions(step, look, dtype):
    drawn = normal(f"sliced wasserstein {look}", step - 1, PROJECTIONS * CLASSES).astype(np.float64)
    drawn = torch.from_numpy(drawn.reshape(PROJECTIONS, CLASSES))
    return nn.functional.normalize(drawn, dim=1).float().to(dtype)


def discrepancy(record, model, features, step, look):
    along = directions(step, look, features.dtype)
    ranked = []
    for head in HEADS:
        projected = model.classify(features, head).softmax(1) @ along.T
        ranked.append(projected.sort(0).values)
        record.apart(ranked[-1].diff(dim=0), 1e-5)
    return nn.functional.mse_loss(*ranked)


store(__file__, phases(discrepancy, REPEAT), settings(REPEAT, method=METHOD))
