"""CDAN in PyTorch as a stage of runner: conditional domain-adversarial training (Long et al. 2018, "Conditional Adversarial
Domain Adaptation", equations 3 and 4, without entropy weights), of the network that runner calls `dacnn`.

It reads the arrays that `kind = "command"` hands over, keeps a checkpoint after every epoch in a folder that outlives it when
it is killed, and writes the weights under the names that runner's network has. `tests/torch/cdan.toml` runs it.
"""
import argparse
import json
import math
import os
import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

CLASSES = 10


class Network(nn.Module):
    """`dacnn`: its parameters have the names and shapes of runner's."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential()
        layers = [
            ("conv1", nn.Conv2d(3, 64, 5, padding=1)), ("bn1", nn.BatchNorm2d(64)), ("pool1", nn.MaxPool2d(2)),
            ("relu1", nn.ReLU()), ("conv2", nn.Conv2d(64, 50, 5, padding=1)), ("bn2", nn.BatchNorm2d(50)),
            ("pool2", nn.MaxPool2d(2)), ("relu2", nn.ReLU()), ("drop2", nn.Dropout2d(0.5)), ("flatten", nn.Flatten()),
        ]
        for name, layer in layers:
            self.features.add_module(name, layer)
        self.classifier = nn.Sequential()
        layers = [
            ("fc1", nn.Linear(1250, 100)), ("bn1", nn.BatchNorm1d(100)), ("relu1", nn.ReLU()),
            ("fc2", nn.Linear(100, 100)), ("bn2", nn.BatchNorm1d(100)), ("relu2", nn.ReLU()),
            ("fc3", nn.Linear(100, CLASSES)),
        ]
        for name, layer in layers:
            self.classifier.add_module(name, layer)

    def forward(self, images):
        features = self.features(images)
        return features, self.classifier(features)


class Reversed(torch.autograd.Function):
    """Hands a tensor on, and its gradient with the sign turned and scaled."""

    @staticmethod
    def forward(context, value, scale):
        context.scale = scale
        return value.view_as(value)

    @staticmethod
    def backward(context, gradient):
        return -context.scale * gradient, None


def images(folder, split):
    """The images of a split as runner normalises them, [N, C, H, W]."""
    meta = json.loads((folder / "meta.json").read_text())
    pixels = torch.from_numpy(np.load(folder / split / "images.npy")).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(meta[key]).view(1, -1, 1, 1) for key in ["mean", "std"])
    return (pixels - mean) / std


def save(path, value):
    """Whole or not at all: a program may be killed at any moment."""
    torch.save(value, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def accuracy(network, data, labels):
    network.eval()
    with torch.no_grad():
        answers = torch.cat([network(part)[1].argmax(1) for part in data.split(500)])
    network.train()
    return (answers == labels).float().mean().item()


def main():
    parser = argparse.ArgumentParser()
    for name in ["source", "target", "out", "state"]:
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    x = images(options.source, "train")
    y = torch.from_numpy(np.load(options.source / "train" / "labels.npy"))
    target = images(options.target, "train")
    assert not list(options.target.rglob("labels.npy")), "an unsupervised method sees no labels of the target"

    network = Network()
    domain = nn.Sequential(nn.Linear(1250 * CLASSES, 100), nn.ReLU(), nn.Linear(100, 1))
    optimizer = torch.optim.Adam([*network.parameters(), *domain.parameters()], options.lr)
    first, rows, kept = 1, [], options.state / "checkpoint.pt"
    if kept.exists():
        found = torch.load(kept, weights_only=False)
        network.load_state_dict(found["network"])
        domain.load_state_dict(found["domain"])
        optimizer.load_state_dict(found["optimizer"])
        torch.set_rng_state(found["random"])
        first, rows = found["epoch"] + 1, found["rows"]
        print(f"resumes after epoch {found['epoch']}")

    steps = len(x) // options.batch
    for epoch in range(first, options.epochs + 1):
        sums = {"class_loss": 0.0, "domain_loss": 0.0}
        orders = [torch.randperm(len(data)).split(options.batch) for data in (x, target)]
        for step, (ours, theirs) in enumerate(zip(orders[0][:steps], orders[1])):
            progress = (step + (epoch - 1) * steps) / (options.epochs * steps)
            scale = 2 / (1 + math.exp(-10 * progress)) - 1
            features, logits = network(torch.cat([x[ours], target[theirs]]))
            class_loss = F.cross_entropy(logits[:len(ours)], y[ours])
            # What the domain classifier sees: features and class probabilities, multiplied with each other.
            probabilities = logits.softmax(1).detach()
            joint = torch.bmm(probabilities.unsqueeze(2), features.unsqueeze(1)).flatten(1)
            is_source = torch.cat([torch.ones(len(ours)), torch.zeros(len(theirs))])
            guess = domain(Reversed.apply(joint, scale)).squeeze(1)
            domain_loss = F.binary_cross_entropy_with_logits(guess, is_source)
            optimizer.zero_grad()
            (class_loss + domain_loss).backward()
            optimizer.step()
            sums["class_loss"] += class_loss.item() / steps
            sums["domain_loss"] += domain_loss.item() / steps
        rows += [f"{epoch},{epoch * steps},train,{name},{value!r}" for name, value in sums.items()]
        state = {"network": network, "domain": domain, "optimizer": optimizer}
        state = {name: part.state_dict() for name, part in state.items()}
        save(kept, {**state, "epoch": epoch, "rows": rows, "random": torch.get_rng_state()})
        print(f"epoch {epoch}/{options.epochs}: " + ", ".join(f"{name} {value:.4f}" for name, value in sums.items()))

    # Of the source, whose labels it has: runner scores the same weights, and must find the same.
    held = torch.from_numpy(np.load(options.source / "test" / "labels.npy"))
    print(f"source accuracy {accuracy(network, images(options.source, 'test'), held):.6f}")
    torch.save(network.state_dict(), options.out / "weights.pth")
    header = "epoch,step,split,metric,value"
    (options.out / "metrics.csv").write_text("\n".join([header, *rows]) + "\n")


if __name__ == "__main__":
    main()
