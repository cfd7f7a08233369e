"""`pipelines/dann-sweep.toml` as a careful user of Hydra and PyTorch writes it: the peer of `runner sweep`.

    python benches/hydra/train.py --multirun source=FOLDER target=FOLDER [epochs=10] [threads=2]

The folders are artifacts of runner's stages `source` and `target`, so that both train on the same bytes.
The network that is trained on the source alone is kept in a checkpoint, once for each seed; all trials
run in one process, which reads the images once. Writes accuracies to scores.csv in the sweep's folder.
"""

import csv
import functools
import math
import pathlib
import sys

import hydra
import torch
from hydra.core.hydra_config import HydraConfig

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from dann import Dacnn, Reverse, accuracy, split  # noqa: E402

cached_split = functools.lru_cache(maxsize=None)(split)


def coral(ours, theirs):
    """|C_S - C_T|^2 / (4 d^2) of the logits (Sun and Saenko 2016)."""
    apart = torch.cov(ours.T) - torch.cov(theirs.T)
    return apart.square().sum() / (4 * ours.shape[1] ** 2)


def train(net, source, target, cfg, method):
    """Adam on the source's labels; with `method`, toward the target's images as well."""
    loss = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), cfg.lr)
    steps = math.ceil(len(source[0]) / cfg.batch)
    net.train()
    for epoch in range(cfg.epochs):
        order = torch.randperm(len(source[0]))
        other = torch.randperm(len(target[0]))
        for step in range(steps):
            rows = slice(step * cfg.batch, (step + 1) * cfg.batch)
            images, labels = source[0][order[rows]], source[1][order[rows]]
            features = net.features(images)
            logits = net.classifier(features)
            total = loss(logits, labels)
            if method:
                progress = (epoch * steps + step) / (cfg.epochs * steps)
                strength = cfg.lambda_max * (2 / (1 + math.exp(-cfg.gamma * progress)) - 1)
                theirs = net.features(target[0][other[rows]])
            if method == "dann":
                for part, domain in ((features, 0), (theirs, 1)):
                    found = net.domain_classifier(Reverse.apply(part, strength))
                    total = total + loss(found, torch.full((len(part),), domain))
            elif method == "coral":
                total = total + strength * coral(logits, net.classifier(theirs))
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
    return net


def source_only(source, target, cfg):
    """The network that every trial of a seed begins with."""
    file = pathlib.Path(cfg.checkpoints) / f"seed-{cfg.seed}-epochs-{cfg.epochs}.pt"
    torch.manual_seed(cfg.seed)
    net = Dacnn()
    if file.exists():
        net.load_state_dict(torch.load(file))
        return net
    train(net, source, target, cfg, None)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), file)
    return net


@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    torch.set_num_threads(cfg.threads)
    source, target = cached_split(cfg.source, "train"), cached_split(cfg.target, "train")
    tests = {name: cached_split(folder, "test")
             for name, folder in (("source.test", cfg.source), ("target.test", cfg.target))}
    rows = []

    def score(model, net):
        for name, test in tests.items():
            found = accuracy(net, *test)
            rows.append([cfg.method, cfg.lambda_max, cfg.seed, model, name, f"{found:.2f}"])

    net = source_only(source, target, cfg)
    score("source_only", net)
    torch.manual_seed(cfg.seed + 1)
    score("adapted", train(net, source, target, cfg, cfg.method))
    folder = pathlib.Path(HydraConfig.get().sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "scores.csv", "a", newline="") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
