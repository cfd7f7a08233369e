"""Writes ops.safetensors: every operation forward and backward as PyTorch computes it.

Run: python tests/golden/ops.py (torch and numpy). Names are `case/tensor`; settings of a case are
in the file's metadata. Inputs of max pooling and ReLU keep away from ties.
"""

import json
import pathlib
import struct

import numpy as np
import torch
import torch.nn.functional as F

torch.manual_seed(20240607)
tensors, cases = {}, {}


def keep(case, **values):
    for name, value in values.items():
        tensors[f"{case}/{name}"] = value.detach().to(torch.float32).contiguous().clone()


def distinct(*shape):
    """Values at least 0.004 apart and away from 0, in random order."""
    count = int(np.prod(shape))
    return ((torch.randperm(count) - count / 2 + 0.5) * 0.01).reshape(shape)


def backward(case, y, x, **parameters):
    dy = torch.randn_like(y)
    grads = torch.autograd.grad(y, [x, *parameters.values()], dy)
    keep(case, x=x, y=y, dy=dy, dx=grads[0])
    for (name, value), grad in zip(parameters.items(), grads[1:]):
        keep(case, **{name: value, f"d{name}": grad})


def leaf(value):
    return value.detach().clone().requires_grad_()


def conv(name, n, c, h, w, o, kernel, stride=(1, 1), padding=(0, 0), groups=1, bias=True):
    case = f"conv2d_{name}"
    cases[case] = dict(op="conv2d", input=[c, h, w], filters=o, kernel=kernel, stride=stride,
                       padding=padding, groups=groups)
    x = leaf(torch.randn(n, c, h, w))
    weight = leaf(torch.randn(o, c // groups, *kernel))
    parameters = dict(weight=weight)
    if bias:
        parameters["bias"] = leaf(torch.randn(o))
    y = F.conv2d(x, weight, parameters.get("bias"), stride, padding, 1, groups)
    backward(case, y, x, **parameters)


conv("5x5_padded", 3, 3, 14, 14, 8, (5, 5), padding=(1, 1))
conv("5x5_many_channels", 5, 16, 6, 6, 10, (5, 5), padding=(1, 1))
conv("3x3_over_a_chunk", 37, 2, 5, 5, 3, (3, 3), padding=(1, 1))
conv("3x3_stride_2", 3, 4, 9, 9, 6, (3, 3), (2, 2), (1, 1), bias=False)
conv("7x7_stride_2", 2, 3, 17, 17, 6, (7, 7), (2, 2), (2, 2))
conv("1x1", 5, 6, 4, 5, 7, (1, 1))
conv("1x1_stride_2", 3, 6, 5, 5, 4, (1, 1), (2, 2), bias=False)
conv("groups_of_2", 3, 8, 7, 7, 6, (3, 3), padding=(1, 1), groups=2)
conv("1x1_groups", 3, 8, 4, 4, 6, (1, 1), groups=2)
conv("depthwise", 3, 6, 8, 8, 6, (3, 3), padding=(1, 1), groups=6)
conv("uneven", 4, 2, 9, 23, 5, (3, 2), (1, 2), (2, 0))
conv("wide", 2, 2, 4, 40, 3, (2, 3), padding=(0, 2))


def pool(name, n, c, h, w, kernel, stride, padding=(0, 0)):
    for op in ("max_pool2d", "avg_pool2d"):
        case = f"{op}_{name}"
        cases[case] = dict(op=op, input=[c, h, w], kernel=kernel, stride=stride, padding=padding)
        x = leaf(distinct(n, c, h, w))
        backward(case, getattr(F, op)(x, kernel, stride, padding), x)


pool("2x2", 3, 4, 8, 7, (2, 2), (2, 2))
pool("2x2_stride_1", 2, 3, 5, 6, (2, 2), (1, 1))
pool("3x3_stride_2", 3, 2, 9, 9, (3, 3), (2, 2), (1, 1))
pool("overlapping", 2, 3, 6, 7, (3, 2), (1, 1), (0, 1))
pool("gaps", 2, 3, 9, 9, (2, 2), (3, 3))

cases["global_avg_pool"] = dict(op="global_avg_pool", input=[5, 4, 3])
x = leaf(torch.randn(3, 5, 4, 3))
backward("global_avg_pool", x.mean((2, 3)), x)

for name, shape in dict(images=(19, 6, 5, 4), features=(20, 7)).items():
    for train in (True, False):
        case = f"batch_norm_{'train' if train else 'eval'}_{name}"
        cases[case] = dict(op="batch_norm", train=train, channels=shape[1], eps=1e-5)
        x = leaf(torch.randn(shape) * 1.7 + 3.0)
        weight, bias = leaf(torch.randn(shape[1])), leaf(torch.randn(shape[1]))
        mean, var = torch.randn(shape[1]), torch.rand(shape[1]) + 0.5
        keep(case, mean=mean, var=var)
        y = F.batch_norm(x, mean, var, weight, bias, train, 0.1, 1e-5)
        keep(case, mean_after=mean, var_after=var)
        backward(case, y, x, weight=weight, bias=bias)

for name, n, i, o, with_bias in (("bias", 70, 13, 9, True), ("plain", 5, 4, 3, False),
                                 ("many_outputs", 3, 6, 130, True)):
    case = f"linear_{name}"
    cases[case] = dict(op="linear", outputs=o)
    x = leaf(torch.randn(n, i))
    parameters = dict(weight=leaf(torch.randn(o, i)))
    if with_bias:
        parameters["bias"] = leaf(torch.randn(o))
    backward(case, F.linear(x, parameters["weight"], parameters.get("bias")), x, **parameters)

cases["relu"] = dict(op="relu")
x = leaf(distinct(4, 31))
backward("relu", F.relu(x), x)

for name, channels in (("channels", 4), ("values", 4 * 6)):
    case = f"scale_channels_{name}"
    cases[case] = dict(op="scale_channels", channels=channels)
    x = leaf(torch.randn(5, 4, 6))
    scale = (torch.rand(5, channels) > 0.5) * 2.0
    keep(case, scale=scale)
    backward(case, (x.reshape(5, channels, -1) * scale[:, :, None]).reshape(x.shape), x)


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, dy):
        return -0.7 * dy


cases["grad_reverse"] = dict(op="grad_reverse", **{"lambda": 0.7})
x = leaf(torch.randn(6, 11))
backward("grad_reverse", Reverse.apply(x), x)

labels = torch.randint(0, 10, (13,))
cases["cross_entropy"] = dict(op="cross_entropy", labels=labels.tolist())
x = leaf(torch.randn(13, 10) * 4)
backward("cross_entropy", F.cross_entropy(x, labels), x)

cases["cross_entropy_smoothed"] = dict(op="cross_entropy", labels=labels.tolist(), smoothing=0.1)
backward("cross_entropy_smoothed", F.cross_entropy(x, labels, label_smoothing=0.1), x)
others = torch.randint(0, 10, (13,))
cases["cross_entropy_mixed"] = dict(op="cross_entropy", labels=labels.tolist(), smoothing=0.2,
                                    others=others.tolist(), share=0.3)
mixed = [F.cross_entropy(x, it, label_smoothing=0.2) for it in (labels, others)]
backward("cross_entropy_mixed", 0.7 * mixed[0] + 0.3 * mixed[1], x)

cases["relu6"] = dict(op="relu6")
x = leaf(distinct(4, 31) * 8)
backward("relu6", F.relu6(x), x)
for name, size, kernel, stride, padding in (("even", (8, 7), (2, 2), (2, 2), (0, 0)),
                                            ("odd", (9, 10), (3, 3), (2, 2), (0, 0)),
                                            ("padded", (8, 6), (3, 3), (2, 3), (1, 1)),
                                            ("far", (5, 5), (2, 2), (4, 4), (0, 0))):
    case = f"max_pool2d_ceil_{name}"
    cases[case] = dict(op="max_pool2d", input=[3, *size], kernel=kernel, stride=stride,
                       padding=padding, ceil=True)
    x = leaf(distinct(2, 3, *size))
    backward(case, F.max_pool2d(x, kernel, stride, padding, ceil_mode=True), x)

header, offset = {"__metadata__": {"cases": json.dumps(cases)}}, 0
for name, value in tensors.items():
    size = value.numel() * 4
    header[name] = dict(dtype="F32", shape=list(value.shape), data_offsets=[offset, offset + size])
    offset += size
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(pathlib.Path(__file__).with_suffix(".safetensors"), "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    for value in tensors.values():
        file.write(value.numpy().astype("<f4").tobytes())
