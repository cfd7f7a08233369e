"""Writes primitives.safetensors: the operations that losses are composed of, forward and backward as
PyTorch computes them in double precision from inputs in single precision.

    python tests/golden/primitives.py       # needs torch and safetensors

Names are `case/tensor`: the inputs `a`, `b`, `c` in order, the output `y`, a gradient of it `dy`, and
`da`, `db`, `dc`. What an operation is and its settings are in the file's metadata. Rows are reduced to
`[1, columns]`, columns to `[rows, 1]`, everything to `[1]`. No input is near a tie or an edge, except
in the cases whose name says so.
"""
import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from hashed import hashed

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
tensors, cases = {}, {}
SALT = iter(range(1, 10000))


def some(*shape, bound=2.0):
    return hashed(next(SALT), shape, bound)


def positive(*shape):
    return some(*shape, bound=1.0) + 1.25


def case(name, op, compute, *inputs, has_gradient=True, **settings):
    assert name not in cases
    cases[name] = dict(op=op, inputs=len(inputs), **settings)
    leaves = [x.double().requires_grad_() for x in inputs]
    y = compute(*leaves)
    y = y.reshape(y.shape or (1,))
    kept = dict(zip("abc", inputs), y=y)
    if has_gradient:
        dy = some(*y.shape, bound=1.0)
        gradients = torch.autograd.grad(y, leaves, dy.double())
        kept.update({f"d{letter}": g for letter, g in zip("abc", gradients)}, dy=dy)
    for key, value in kept.items():
        assert value.isfinite().all(), (name, key)
        tensors[f"{name}/{key}"] = value.detach().float().contiguous().clone()


# Value by value, the second input being a tensor, a row, a column or one number.
for op, compute in (("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("div", torch.div)):
    for form, shape in (("", (5, 7)), ("_a_row", (1, 7)), ("_a_column", (5, 1)), ("_a_number", (1,))):
        other = positive(*shape) if op == "div" else some(*shape)
        case(op + form, op, compute, some(5, 7), other)

for op, compute, x in (("square", torch.square, some(5, 7)), ("abs", torch.abs, some(5, 7)),
                       ("exp", torch.exp, some(5, 7)), ("log", torch.log, positive(5, 7)),
                       ("sqrt", torch.sqrt, positive(5, 7)),
                       ("reciprocal", torch.reciprocal, positive(5, 7)),
                       ("sigmoid", torch.sigmoid, some(5, 7, bound=6.0))):
    assert x.abs().min() > 1e-3, op
    case(op, op, compute, x)
at_zero = some(4, 5)
at_zero.flatten()[::3] = 0.0
case("abs_at_zero", "abs", torch.abs, at_zero)
case("sigmoid_far_out", "sigmoid", torch.sigmoid, some(3, 8, bound=90.0))

for op, by, compute in (("scale", -0.3, lambda x: -0.3 * x), ("div_by", 0.7, lambda x: x / 0.7),
                        ("shift", 0.4, lambda x: x + 0.4)):
    case(op, op, compute, some(5, 7), by=by)
x = some(5, 7)
assert min((x + 0.5).abs().min(), (x - 1.0).abs().min()) > 1e-3
case("clamp", "clamp", lambda x: x.clamp(-0.5, 1.0), x, low=-0.5, high=1.0)
x = some(5, 7)
assert (x - 0.25).abs().min() > 1e-3
case("above", "above", lambda x: (x > 0.25).double(), x, has_gradient=False, threshold=0.25)

for name, bound in (("", 3.0), ("_of_large_logits", 80.0)):
    case(f"softmax{name}", "softmax", lambda x: x.softmax(1), some(6, 10, bound=bound))
    case(f"log_softmax{name}", "log_softmax", lambda x: x.log_softmax(1), some(6, 10, bound=bound))

x = some(6, 10)
top = x.topk(2, dim=1).values
assert (top[:, 0] - top[:, 1]).min() > 1e-3
case("row_max", "row_max", lambda x: x.max(1, keepdim=True).values, x)
case("sum", "sum", torch.sum, some(6, 9))
case("mean", "mean", torch.mean, some(6, 9))
case("sum_of_rows", "sum_of_rows", lambda x: x.sum(0, keepdim=True), some(6, 9))
case("mean_of_rows", "mean_of_rows", lambda x: x.mean(0, keepdim=True), some(6, 9))
case("row_sums", "row_sums", lambda x: x.sum(1, keepdim=True), some(6, 9))
case("row_means", "row_means", lambda x: x.mean(1, keepdim=True), some(6, 9))

case("matmul", "matmul", torch.matmul, some(6, 11), some(11, 4))
case("matmul_larger", "matmul", torch.matmul, some(37, 70), some(70, 19))
case("matmul_transposed", "matmul_transposed", lambda a, b: a @ b.T, some(6, 11), some(9, 11))
case("gram", "gram", lambda a: a @ a.T, some(6, 11))
case("transposed", "transposed", lambda a: a.T, some(6, 11))

case("concat_rows", "concat_rows", lambda a, b: torch.cat([a, b], 0), some(4, 7), some(5, 7))
case("concat_columns", "concat_columns", lambda *x: torch.cat(x, 1), some(6, 3), some(6, 5))
case("concat_columns_of_three", "concat_columns", lambda *x: torch.cat(x, 1), some(6, 3), some(6, 5),
     some(6, 1))
case("slice_rows", "slice_rows", lambda x: x[2:6], some(9, 5), start=2, end=6)
for name, rows in (("in_another_order", [3, 0, 4, 1, 2]), ("with_repeats", [3, 0, 3, 8, 1, 3, 8])):
    case(f"gather_rows_{name}", "gather_rows", lambda x: x[rows], some(9 if 8 in rows else 5, 5),
         rows=rows)

# What the losses compose of these.
case("row_entropies", "row_entropies",
     lambda p: -(p * torch.log(p + 1e-5)).sum(1, keepdim=True), some(6, 10, bound=3.0).softmax(1),
     eps=1e-5)
case("normalize_rows", "normalize_rows", lambda x: F.normalize(x, dim=1), some(6, 11))
case("pair_distances", "pair_distances",
     lambda a, b: (a[:, None] - b[None]).square().sum(2), some(6, 11), some(9, 11))
case("pair_distances_of_one_batch", "pair_distances_of_one_batch",
     lambda a: (a[:, None] - a[None]).square().sum(2), some(6, 11))
case("covariance_gap", "covariance_gap",
     lambda a, b: torch.linalg.matrix_norm(torch.cov(a.T) - torch.cov(b.T)).square() / (4 * 7 ** 2),
     some(12, 7), some(9, 7, bound=1.0))

save_file(tensors, pathlib.Path(__file__).with_suffix(".safetensors"),
          metadata={"cases": json.dumps(cases)})
print(len(cases), "cases")
