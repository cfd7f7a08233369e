"""Two steps of DELTA (Li et al. 2019) on `dacnn` in PyTorch.

    python tests/golden/delta_step.py       # needs torch and safetensors

The maps after each of the two rectified poolings are compared with those of a frozen copy in evaluation mode, while
the network is in training mode. Everything steps down

    CE + sum_l 1/2 sum_i sum_c C W_lc |FM_lc(x_i) - FM0_lc(x_i)|^2 / (H W) + 0.02 / 2 |w_classifier|^2

W_l is the softmax over the channels of a fifth of the standardised mean rise of the copy's cross-entropy when a
channel is zero, over the batches so far: of one batch in the first step, of two in the second. `start/buffer ...` are
the running averages to begin with. `predicted` are the logits of the last batch in evaluation mode.
"""
import copy

import torch
from torch import nn

from dacnn import pooled
from several_steps import OneHead, adam, aside, averages_of, batch, labels, network, store

ROWS, SHARPNESS, EPS = 6, 4, 1e-2
WEIGHT, DECAY = 1.0, 0.02
SETTINGS = dict(lr=1e-3, eps=EPS, betas=[0.9, 0.999], source_rows=ROWS, source_bound=1.0, sharpness=SHARPNESS,
                method=f"{{ kind = 'delta', weight = {WEIGHT}, head_decay = {DECAY}, "
                       "layers = ['features.relu2', 'features.relu1'], attention_batches = 2 }",
                images="step s: salt + s - 1")
START = averages_of(network(OneHead, torch.float32, SHARPNESS), batch(901, 24, 1.0, torch.float32))


def first(model, x):
    return pooled(model.features["bn1"](model.features["conv1"](x)))


def second(model, x):
    return pooled(model.features["bn2"](model.features["conv2"](x)))


def without(maps, channel):
    maps = maps.clone()
    maps[:, channel] = 0
    return maps


def rises(model, x):
    """How much the loss rises without each channel of both layers."""
    def loss(maps):
        return nn.functional.cross_entropy(model.classify(maps.flatten(1)), labels(ROWS))

    one = first(model, x)
    two = second(model, one)
    whole = loss(two)
    return [torch.stack([loss(second(model, without(one, c))) - whole for c in range(one.shape[1])]),
            torch.stack([loss(without(two, c)) - whole for c in range(two.shape[1])])]


def run(dtype, salt, record):
    model = network(OneHead, dtype, SHARPNESS)
    record.begin(model)
    model.load_state_dict(START, strict=False)
    record.keep("start", **{f"buffer {name}": value for name, value in START.items()})
    start = copy.deepcopy(model).eval()
    optimizers = {part: adam(getattr(model, part).parameters(), 1e-3, EPS)
                  for part in ("features", "classifier")}
    seen = []
    for step in (1, 2):
        images = batch(salt + step - 1, ROWS, 1.0, dtype)
        with aside():
            seen.append(rises(start, images))
            one0 = first(start, images)
            two0 = second(start, one0)
        one = first(model, images)
        two = second(model, one)
        loss = nn.functional.cross_entropy(model.classify(two.flatten(1)), labels(ROWS))
        distance = 0
        for of_layer, now, before in zip(zip(*seen), (one, two), (one0, two0)):
            rise = torch.stack(of_layer).mean(0)
            standard = (rise - rise.mean()) / rise.std(unbiased=False)
            weights = now.shape[1] * (standard / 5).softmax(0)
            away = (now - before).flatten(2)
            distance = distance + torch.einsum("c,ncs->", weights, away ** 2) / away.shape[2] / 2
        decay = sum(p.square().sum() for p in model.classifier.parameters()) / 2
        record.keep(f"step {step}", class_loss=loss, feature_map_loss=distance)
        record.descend(f"step {step}", model, loss + WEIGHT * distance + DECAY * decay, optimizers)
        record.state(f"step {step}", model)
    model.eval()
    with aside():
        record.keep("end", predicted=model.classify(model.extract(images)))


store(__file__, run, SETTINGS)
