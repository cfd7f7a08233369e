"""The network `dacnn` with weights from an integer hash, and batches of images that come near no tie of
its pooling: what dann_step.py and coral_step.py take one training step of, and what the scripts of
several_steps.py take more of.

Weights and images can be computed by the tests as well, so that only what PyTorch made of them is
stored. Of a tensor with more values than `most` every k-th is stored. Dropout is off (p = 0): its
masks are ours.
"""
import pathlib

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from hashed import hashed

torch.set_num_threads(1)


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, lam):
        ctx.lam = lam
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -ctx.lam * grad, None


GAPS = []


def pooled(x):
    """ReLU of the 2x2 maximum. Notes how near the nearest tie is: rounding must not decide one."""
    n, c, h, w = x.shape
    windows = x[..., : h // 2 * 2, : w // 2 * 2].unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    top = windows.detach().topk(2, dim=4).values
    live = top[..., 0] > 0
    GAPS.append((top[..., 0] - top[..., 1])[live].min().item())
    GAPS.append(top[..., 0].abs().min().item())
    return torch.relu(torch.max_pool2d(x, 2))


def relu(x):
    """ReLU. Notes how near the nearest edge is."""
    GAPS.append(x.detach().abs().min().item())
    return torch.relu(x)


class Dacnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.ModuleDict({
            "conv1": nn.Conv2d(3, 64, 5, padding=1), "bn1": nn.BatchNorm2d(64),
            "conv2": nn.Conv2d(64, 50, 5, padding=1), "bn2": nn.BatchNorm2d(50),
        })
        self.classifier = nn.ModuleDict({
            "fc1": nn.Linear(1250, 100), "bn1": nn.BatchNorm1d(100),
            "fc2": nn.Linear(100, 100), "bn2": nn.BatchNorm1d(100), "fc3": nn.Linear(100, 10),
        })
        self.domain_classifier = nn.ModuleDict({
            "fc1": nn.Linear(1250, 100), "bn1": nn.BatchNorm1d(100), "fc2": nn.Linear(100, 2),
        })

    def extract(self, x):
        f = self.features
        x = pooled(f["bn1"](f["conv1"](x)))
        x = pooled(f["bn2"](f["conv2"](x)))
        return x.flatten(1)

    def classify(self, x, head="classifier"):
        c = getattr(self, head)
        x = relu(c["bn1"](c["fc1"](x)))
        return c["fc3"](relu(c["bn2"](c["fc2"](x))))

    def domain(self, x, lam):
        return self.told_apart(Reverse.apply(x, lam))

    def told_apart(self, x):
        d = self.domain_classifier
        return d["fc2"](relu(d["bn1"](d["fc1"](x))))


def filled(kind=Dacnn):
    """The network with hashed weights, ready to train."""
    model = kind().train()
    with torch.no_grad():
        for at, (name, p) in enumerate(model.named_parameters()):
            is_norm = ".bn" in name
            fan = 1 if is_norm or p.dim() == 1 else p[0].numel()
            bound = 0.25 if p.dim() == 1 else 1 / np.sqrt(fan)
            p.copy_(hashed(at + 1, p.shape, np.float32(bound)))
            if is_norm and name.endswith("weight"):
                p.add_(1.0)
    return model


def images(model):
    """Six source and five target images: those of the first salt that come near no tie."""
    for salt in range(101, 401, 2):
        GAPS.clear()
        source, target = hashed(salt, (6, 3, 28, 28), 1.0), hashed(salt + 1, (5, 3, 28, 28), 0.5)
        with torch.no_grad():
            model.extract(source), model.extract(target)
        if min(GAPS) > 8e-6:
            break
    else:
        raise SystemExit("every salt comes near a tie")
    print("salt", salt, "nearest tie", min(GAPS))
    for norm in ("bn1", "bn2"):
        model.features[norm].reset_running_stats()
    return source, target


LABELS = torch.tensor([(7 * i + 3) % 10 for i in range(6)])


def adversarial_losses(model, source, target):
    """Those of a domain-adversarial step: of the classes, and of either domain."""
    lam = 0.6
    cross_entropy = nn.CrossEntropyLoss()
    features = model.extract(source)
    class_loss = cross_entropy(model.classify(features), LABELS)
    source_loss = cross_entropy(model.domain(features, lam), torch.zeros(6, dtype=torch.long))
    target_loss = cross_entropy(model.domain(model.extract(target), lam), torch.ones(5, dtype=torch.long))
    return [class_loss, source_loss, target_loss]


def step(model, losses, total, path, most=4096):
    """One step of Adam down `total`; stores `losses`, gradients, parameters and running statistics."""
    def sampled(tensor):
        flat = tensor.detach().flatten()
        return flat[::-(-flat.numel() // most)].clone()

    # eps above rounding noise: a bias before batch norm has no gradient but noise, and Adam with a
    # tiny eps would blow that up to a full step of either sign.
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.Adam(parameters.values(), lr=1e-3, eps=1e-4)
    total.backward()
    out = {"losses": torch.stack(losses).detach()}
    for name, p in parameters.items():
        out[f"gradient {name}"] = sampled(p.grad)
    optimizer.step()
    for name, p in parameters.items():
        out[f"parameter {name}"] = sampled(p)
    for name, b in model.named_buffers():
        if "running" in name:
            out[f"buffer {name}"] = b.clone()
    save_file(out, pathlib.Path(path).with_suffix(".safetensors"))
    print([loss.item() for loss in losses])
