"""The pieces of work that `compare.py` times, PyTorch's side. Same protocol as `work.rs`: lines
`WORK TIMES` in, that many times in milliseconds out.

    python benches/work.py THREADS eager|channels-last|compile|graph [cpu|cuda:0 [bf16]]

With `bf16` networks and losses run under `torch.autocast`.
"""

import sys
import time

import torch
import torchvision
from torch import nn
from torch.nn import functional

from dann import Dacnn, Reverse


DEVICE = torch.device(sys.argv[3] if len(sys.argv) > 3 else "cpu")
IN_BF16 = sys.argv[4:] == ["bf16"]


def precision():
    return torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=IN_BF16)


class Lenet(nn.Module):
    """Ganin et al. 2016, figure 4a."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.classifier = nn.Sequential(
            nn.Linear(768, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
        self.domain_classifier = nn.Sequential(nn.Linear(768, 100), nn.ReLU(), nn.Linear(100, 2))


class Step:
    """One training step of `net`; domain-adversarial where `target` is given."""

    def __init__(self, net, shape, form, adversarial=False):
        self.net, self.target = net.to(DEVICE), None
        learning = [p for p in net.parameters() if p.requires_grad]
        if isinstance(net, Resnet):
            self.optimizer = torch.optim.SGD(learning, 1e-3, momentum=0.9)
        else:
            self.optimizer = torch.optim.Adam(learning, 1e-3, capturable=form == "graph")
        self.source = torch.randn(shape, device=DEVICE)
        self.labels = torch.arange(shape[0], device=DEVICE) % 10
        if adversarial:
            self.target = torch.randn(shape, device=DEVICE)
        if form != "eager":
            net.to(memory_format=torch.channels_last)
            self.source = self.source.contiguous(memory_format=torch.channels_last)
            if adversarial:
                self.target = self.target.contiguous(memory_format=torch.channels_last)
        self.loss = torch.compile(self.losses) if form == "compile" else self.losses
        self.graph = self.recorded() if form == "graph" else None

    def recorded(self):
        """A whole step, losses, gradients and optimizer, as one CUDA graph."""
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                self.once()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad()
        with torch.cuda.graph(graph):
            self.total = self.once()
        return graph

    def once(self):
        self.optimizer.zero_grad()
        total = self.loss()
        total.backward()
        self.optimizer.step()
        return total

    def losses(self):
        with precision():
            return self.losses_in_precision()

    def losses_in_precision(self):
        net = self.net
        features = net.features(self.source)
        total = functional.cross_entropy(net.classifier(features), self.labels)
        if self.target is not None:
            theirs = net.features(self.target)
            for part, domain in ((features, 0), (theirs, 1)):
                logits = net.domain_classifier(Reverse.apply(part, 0.5))
                labels = torch.full((len(part),), domain, device=DEVICE)
                total = total + functional.cross_entropy(logits, labels)
        return total

    def __call__(self):
        if self.graph:
            self.graph.replay()
            self.total.item()
            return
        self.optimizer.zero_grad()
        total = self.loss()
        total.item()
        total.backward()
        self.optimizer.step()


class Resnet(nn.Module):
    """A ResNet of torchvision's in two parts; with everything but `layer4` and `fc` frozen where it
    learns, frozen batch norm by its running statistics, unless `everything` learns."""

    def __init__(self, learns, layer4=True, net="resnet18", everything=False):
        super().__init__()
        net = getattr(torchvision.models, net)(weights=None, num_classes=10)
        self.frozen = nn.Sequential(
            net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3)
        self.features = nn.Sequential(self.frozen, net.layer4, net.avgpool, nn.Flatten())
        self.classifier = net.fc
        if learns and not everything:
            self.frozen.eval().requires_grad_(False)
        if not layer4:
            self.features.eval().requires_grad_(False)


class Epoch:
    """Steps on as many batches as an epoch has."""

    def __init__(self, step, steps):
        self.step, self.steps = step, steps

    def __call__(self):
        for _ in range(self.steps):
            self.step()


class Evaluate:
    """Logits of a batch, or of 10,000 images, 256 at a time."""

    def __init__(self, net, shape, form):
        self.net, self.images = net.eval().to(DEVICE), torch.randn(shape, device=DEVICE)
        if form != "eager":
            net.to(memory_format=torch.channels_last)
            self.images = self.images.contiguous(memory_format=torch.channels_last)
        forward = lambda images: net.classifier(net.features(images))
        self.forward = torch.compile(forward) if form == "compile" else forward

    def __call__(self):
        with torch.inference_mode(), precision():
            if len(self.images) < 256:
                self.forward(self.images)
                return
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
        case "lenet-dann":
            return Step(Lenet(), (64, 1, 28, 28), form, adversarial=True)
        case "lenet-supervised":
            return Step(Lenet(), (128, 1, 28, 28), form)
        case "resnet18-forward":
            return Evaluate(Resnet(learns=False), (32, 3, 224, 224), form)
        case "resnet18-frozen-epoch":
            return Epoch(Step(Resnet(True, layer4=False), (32, 3, 224, 224), form), 8)
        case "resnet18-layer4":
            return Step(Resnet(learns=True), (32, 3, 224, 224), form)
        case "resnet18-layer4-64":
            return Step(Resnet(learns=True), (64, 3, 224, 224), form)
        case "resnet18-all-256":
            return Step(Resnet(learns=True, everything=True), (256, 3, 224, 224), form)
        case "resnet50-all-32":
            return Step(Resnet(learns=True, net="resnet50", everything=True), (32, 3, 224, 224), form)
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
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            taken.append(f"{(time.perf_counter() - start) * 1e3:.3f}")
        print(*taken, flush=True)


if __name__ == "__main__":
    main()
