"""Writes bf16.safetensors: convolutions and linear layers whose factors are rounded to bfloat16, forward and backward, of the inputs
of ops.safetensors.

Run: python tests/golden/bf16.py (torch, numpy and safetensors), after ops.py. Names are `case/form/tensor`. The form `exact` has sums in
double precision of factors that PyTorch rounded: what a kernel computes but for the rounding of its sums. `autocast` is what
`torch.autocast` gives: it also rounds a bias and every result. Its gradient of a bias, a sum of such results, is left out.
"""

import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

here = pathlib.Path(__file__)
kept = {}


def compute(case, x, weight, bias):
    if case["op"] == "linear":
        return F.linear(x, weight, bias)
    return F.conv2d(x, weight, bias, case["stride"], case["padding"], 1, case["groups"])


def keep(name, form, y, dx, dweight, dbias):
    results = dict(y=y, dx=dx, dweight=dweight, dbias=dbias)
    for tensor, value in results.items():
        if value is not None:
            kept[f"{name}/{form}/{tensor}"] = value.detach().float().contiguous()


def leaf(value):
    return None if value is None else value.detach().clone().requires_grad_()


with safe_open(here.with_name("ops.safetensors"), "pt") as file:
    names = set(file.keys())
    for name, case in json.loads(file.metadata()["cases"]).items():
        if case["op"] not in ("conv2d", "linear"):
            continue
        x, weight, dy = (file.get_tensor(f"{name}/{tensor}") for tensor in ("x", "weight", "dy"))
        bias = file.get_tensor(f"{name}/bias") if f"{name}/bias" in names else None

        rounded = [leaf(it.bfloat16().double()) for it in (x, weight)]
        y = compute(case, *rounded, None if bias is None else bias.double())
        dx, dweight = torch.autograd.grad(y, rounded, dy.bfloat16().double())
        others = [at for at in range(dy.dim()) if at != 1]
        keep(name, "exact", y, dx, dweight, None if bias is None else dy.double().sum(others))

        leaves = [leaf(it) for it in (x, weight, bias)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = compute(case, *leaves)
        assert y.dtype == torch.bfloat16
        dx, dweight = torch.autograd.grad(y, leaves[:2], dy.bfloat16())
        keep(name, "autocast", y, dx, dweight, None)

save_file(kept, here.with_suffix(".safetensors"))
