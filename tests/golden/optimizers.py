"""Parameters under PyTorch's optimizers and rates under its schedules: the reference of
tests/golden_optimizers.rs.

    python tests/golden/optimizers.py        # needs torch; writes optimizers.json
"""
import json
import pathlib

import torch

from hashed import hashed

LEN, STEPS, EPOCHS = 18, 8, 50

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd, momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "sgd, nesterov, decay": lambda p: torch.optim.SGD(
        p, lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam, decay": lambda p: torch.optim.Adam(
        p, lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.2),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, eps=1e-12),
    "rmsprop, momentum, decay": lambda p: torch.optim.RMSprop(
        p, lr=0.01, alpha=0.9, eps=1e-12, momentum=0.7, weight_decay=0.1),
}


def walk(make):
    """The parameters after each step, gradients and start from the hash that the test has too."""
    parameter = hashed(1, (LEN,), 1.0).requires_grad_()
    optimizer = make([parameter])
    rows = []
    for step in range(STEPS):
        # From 1 down to 1e-3: small gradients show where epsilon stands.
        parameter.grad = hashed(2 + step, (LEN,), 1.0) * 0.001 ** (torch.arange(LEN) / (LEN - 1))
        optimizer.step()
        rows.append([float(value) for value in parameter.detach()])
    return rows


def rates(make):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = make(optimizer)
    found = []
    for _ in range(EPOCHS):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


SCHEDULES = {
    "step": lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.5),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, EPOCHS, 0.1),
    "constant": lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0),
    # One step an epoch: progress p is epoch / epochs (Ganin et al. 2016, section 5.2.2).
    "ganin": lambda o: torch.optim.lr_scheduler.LambdaLR(
        o, lambda epoch: (1 + 10 * epoch / EPOCHS) ** -0.75),
    "warm-up": lambda o: torch.optim.lr_scheduler.LinearLR(o, 1 / 20, 1.0, 19),
}

if __name__ == "__main__":
    golden = {
        "gradients": [1.0 * 0.001 ** (at / (LEN - 1)) for at in range(LEN)],
        "optimizers": {name: walk(make) for name, make in OPTIMIZERS.items()},
        "schedules": {name: rates(make) for name, make in SCHEDULES.items()},
    }
    path = pathlib.Path(__file__).with_name("optimizers.json")
    path.write_text(json.dumps(golden, indent=None, separators=(",", ":")) + "\n")
