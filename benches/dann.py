"""The main job, `pipelines/dann.toml`, as a PyTorch user writes it: the peer of `runner run`.

Takes the images that runner made (safetensors in its store), so that both train on the same bytes.

    python benches/dann.py STORE_DATASETS_SOURCE STORE_DATASET_TARGET [--seeds 0,1,2] [--threads 2] [--device cuda:0]

where both arguments are artifact folders of the stages `source` and `target` (`run.json` of a run
holds their fingerprints). Needs torch. Prints a line a model and seed with test accuracies in percent,
then seconds and the peak of resident memory.
"""

import argparse
import json
import math
import resource
import time

import torch
from torch import nn

EPOCHS, BATCH, LR = 10, 256, 1e-3


class Reverse(torch.autograd.Function):
    """Identity whose gradient is -lambda times the output's (Ganin et al. 2016)."""

    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -ctx.strength * grad, None


class Dacnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 5, padding=1), nn.BatchNorm2d(64), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(64, 50, 5, padding=1), nn.BatchNorm2d(50), nn.MaxPool2d(2), nn.ReLU(),
            nn.Dropout2d(0.5), nn.Flatten())
        self.classifier = nn.Sequential(
            nn.Linear(1250, 100), nn.BatchNorm1d(100), nn.ReLU(),
            nn.Linear(100, 100), nn.BatchNorm1d(100), nn.ReLU(), nn.Linear(100, 10))
        self.domain_classifier = nn.Sequential(
            nn.Linear(1250, 100), nn.BatchNorm1d(100), nn.ReLU(), nn.Linear(100, 2))


def load_file(path):
    """The tensors of a safetensors file: the length of a header, the header in JSON, the values."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        values = bytearray(file.read())
    header.pop("__metadata__", None)
    types = {"U8": torch.uint8, "I64": torch.int64, "F32": torch.float32}
    return {name: torch.frombuffer(values[slice(*of["data_offsets"])], dtype=types[of["dtype"]]).reshape(of["shape"])
            for name, of in header.items() if of["dtype"] in types}


def split(folder, name, device):
    tensors = load_file(f"{folder}/{name}.safetensors")
    images = tensors["images"].permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.5)
    return images.contiguous().to(device), tensors["labels"].long().to(device)


def train(net, source, target=None):
    """Ten epochs of Adam; domain-adversarial where there are target images."""
    loss = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), LR)
    count, device = len(source[0]), source[0].device
    steps = math.ceil(count / BATCH)
    net.train()
    for epoch in range(EPOCHS):
        order = torch.randperm(count, device=device)
        other = torch.randperm(len(target[0]), device=device) if target else None
        for step in range(steps):
            rows = order[step * BATCH:(step + 1) * BATCH]
            images, labels = source[0][rows], source[1][rows]
            features = net.features(images)
            total = loss(net.classifier(features), labels)
            if target:
                progress = (epoch * steps + step) / (EPOCHS * steps)
                strength = 2 / (1 + math.exp(-10 * progress)) - 1
                foreign = target[0][other[step * BATCH:(step + 1) * BATCH]]
                theirs = net.features(foreign)
                for part, domain in ((features, 0), (theirs, 1)):
                    logits = net.domain_classifier(Reverse.apply(part, strength))
                    total = total + loss(logits, torch.full((len(part),), domain, device=device))
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
    return net


def accuracy(net, images, labels):
    net.eval()
    with torch.no_grad():
        found = [net.classifier(net.features(part)).argmax(1) for part in images.split(500)]
    return 100 * (torch.cat(found) == labels).float().mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    began = time.perf_counter()
    source, target = (split(of, "train", args.device) for of in (args.source, args.target))
    tests = [split(of, "test", args.device) for of in (args.source, args.target)]

    def report(seed, name, net):
        scores = " ".join(f"{accuracy(net, *test):.2f}" for test in tests)
        print(f"seed {seed} {name}: source.test target.test {scores}", flush=True)

    for seed in map(int, args.seeds.split(",")):
        torch.manual_seed(seed)
        net = train(Dacnn().to(args.device), source)
        report(seed, "source_only", net)
        report(seed, "dann", train(net, source, target))
        report(seed, "target_trained", train(Dacnn().to(args.device), target))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{time.perf_counter() - began:.1f} s, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
