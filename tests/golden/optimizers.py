"""Parameters under PyTorch's optimizers and rates under its schedules: the reference of
tests/goldens/optimizers.rs.

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


def walk_groups(make, l2_sp=None):
    """As `walk`, with the first 16 values and the last 2 as parameters of their own. The penalty
    alpha / 2 |w - w0|^2 over the first and beta / 2 |w|^2 over the second is part of the loss."""
    start = hashed(1, (LEN,), 1.0)
    weight, bias = (it.clone().requires_grad_() for it in (start[:16], start[16:]))
    optimizer = make(weight, bias)
    rows = []
    for step in range(STEPS):
        gradient = hashed(2 + step, (LEN,), 1.0) * 0.001 ** (torch.arange(LEN) / (LEN - 1))
        loss = (weight * gradient[:16]).sum() + (bias * gradient[16:]).sum()
        if l2_sp:
            alpha, beta = l2_sp
            loss = loss + alpha / 2 * (weight - start[:16]).square().sum()
            loss = loss + beta / 2 * bias.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rows.append([float(value) for value in torch.cat([weight, bias]).detach()])
    return rows


GROUPS = {
    "sgd, groups": lambda w, b: torch.optim.SGD(
        [{"params": [w]}, {"params": [b], "lr": 0.01, "weight_decay": 0}],
        lr=0.05, momentum=0.9, weight_decay=0.1),
    "adam, lr 0": lambda w, b: torch.optim.Adam(
        [{"params": [w], "lr": 0.0}, {"params": [b]}], lr=0.01),
    "sgd, l2_sp": lambda w, b: torch.optim.SGD([w, b], lr=0.05, momentum=0.9),
    "adam, l2_sp": lambda w, b: torch.optim.Adam([w, b], lr=0.01),
}

# Validation losses that fall, stand still, rise and fall again.
LOSSES = [round(2 / (1 + 0.3 * at) + 0.2 * abs((at * 7) % 5 - 2) / 5 + 0.004 * max(0, at - 20), 6)
          for at in range(EPOCHS)]


def plateau(values, **settings):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **settings)
    found = []
    for value in values:
        found.append(optimizer.param_groups[0]["lr"])
        schedule.step(value)
    return found


def one_cycle(**settings):
    """Rates and momenta, one step after the other."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, EPOCHS, **settings)
    found = []
    for step in range(EPOCHS):
        found.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        if step + 1 < EPOCHS:
            schedule.step()
    return found


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
    # One step an epoch: TLLib's train scripts make it of LambdaLR in the same way.
    "inverse": lambda o: torch.optim.lr_scheduler.LambdaLR(
        o, lambda step: (1 + 0.002 * step) ** -0.7),
    "inverse, defaults": lambda o: torch.optim.lr_scheduler.LambdaLR(
        o, lambda step: (1 + 0.001 * step) ** -0.75),
    "multi_step": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [4, 5, 30], 0.3),
    "exponential": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
    "warm-up": lambda o: torch.optim.lr_scheduler.LinearLR(o, 1 / 20, 1.0, 19),
}

if __name__ == "__main__":
    golden = {
        "gradients": [1.0 * 0.001 ** (at / (LEN - 1)) for at in range(LEN)],
        "optimizers": {name: walk(make) for name, make in OPTIMIZERS.items()},
        "groups": {name: walk_groups(make, (0.3, 0.05) if "l2_sp" in name else None)
                   for name, make in GROUPS.items()},
        "losses": LOSSES,
        "momentum": [momentum for _, momentum in one_cycle()],
        "schedules": {
            **{name: rates(make) for name, make in SCHEDULES.items()},
            "one_cycle": [rate for rate, _ in one_cycle()],
            "one_cycle, other": [rate for rate, _ in one_cycle(
                pct_start=0.5, div_factor=10, final_div_factor=100)],
            "plateau": plateau(LOSSES, factor=0.5, patience=2),
            "plateau, cooldown": plateau(LOSSES, factor=0.3, patience=1, cooldown=3,
                                         threshold=0.02, min_lr=1e-3),
            "plateau, max": plateau([1 - loss / 4 for loss in LOSSES], mode="max", patience=0,
                                    threshold=0.03, threshold_mode="abs", eps=1e-4),
            "plateau, course": plateau(LOSSES, factor=0.05, patience=5),
        },
    }
    path = pathlib.Path(__file__).with_name("optimizers.json")
    path.write_text(json.dumps(golden, indent=None, separators=(",", ":")) + "\n")
