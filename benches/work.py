"""The pieces of work that `compare.py` times, PyTorch's side. Same protocol as `work.rs`: lines
`WORK TIMES` in, that many times in milliseconds out.

    python benches/work.py THREADS eager|channels-last|compile
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional

from dann import Dacnn, Reverse


class Lenet(nn.Module):
    """Ganin et al. 2016, figure 4a."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.classifier = nn.Sequential(
            nn.Linear(768, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))


class Step:
    """One training step of `net`; domain-adversarial where `target` is given."""

    def __init__(self, net, shape, form, adversarial=False):
        self.net, self.target = net, None
        self.optimizer = torch.optim.Adam(net.parameters(), 1e-3)
        self.source = torch.randn(shape)
        self.labels = torch.arange(shape[0]) % 10
        if adversarial:
            self.target = torch.randn(shape)
        if form != "eager":
            net.to(memory_format=torch.channels_last)
            self.source = self.source.contiguous(memory_format=torch.channels_last)
            if adversarial:
                self.target = self.target.contiguous(memory_format=torch.channels_last)
        self.loss = torch.compile(self.losses) if form == "compile" else self.losses

    def losses(self):
        net = self.net
        features = net.features(self.source)
        total = functional.cross_entropy(net.classifier(features), self.labels)
        if self.target is not None:
            theirs = net.features(self.target)
            for part, domain in ((features, 0), (theirs, 1)):
                logits = net.domain_classifier(Reverse.apply(part, 0.5))
                labels = torch.full((len(part),), domain)
                total = total + functional.cross_entropy(logits, labels)
        return total

    def __call__(self):
        self.optimizer.zero_grad()
        total = self.loss()
        total.item()
        total.backward()
        self.optimizer.step()


class Evaluate:
    """Logits of 10,000 images, 256 at a time."""

    def __init__(self, net, shape, form):
        self.net, self.images = net.eval(), torch.randn(shape)
        if form != "eager":
            net.to(memory_format=torch.channels_last)
            self.images = self.images.contiguous(memory_format=torch.channels_last)
        forward = lambda images: net.classifier(net.features(images))
        self.forward = torch.compile(forward) if form == "compile" else forward

    def __call__(self):
        with torch.inference_mode():
            for _ in range(39):
                self.forward(self.images)
            self.forward(self.images[:16])


def make(work, form):
    match work:
        case "dacnn-dann":
            return Step(Dacnn(), (256, 3, 28, 28), form, adversarial=True)
        case "dacnn-supervised":
            return Step(Dacnn(), (256, 3, 28, 28), form)
        case "dacnn-evaluate":
            return Evaluate(Dacnn(), (256, 3, 28, 28), form)
        case "lenet-supervised":
            return Step(Lenet(), (128, 1, 28, 28), form)
    raise SystemExit(f"there is no work `{work}`")


def main():
    threads, form = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    benches = {}
    for line in sys.stdin:
        work, times = line.split()
        if work not in benches:
            benches[work] = make(work, form)
            for _ in range(3):
                benches[work]()
        taken = []
        for _ in range(int(times)):
            start = time.perf_counter()
            benches[work]()
            taken.append(f"{(time.perf_counter() - start) * 1e3:.3f}")
        print(*taken, flush=True)


if __name__ == "__main__":
    main()
