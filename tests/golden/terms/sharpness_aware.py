"""Smooth domain-adversarial training (Rangwani et al. 2022) on DANN and minimum class confusion."""
import torch
from torch import nn

from dacnn import Dacnn, Reverse
from mcc import term as confusion

METHOD = ("{ kind = 'dann', target = 'other.train', lambda = 0.6, sharpness_aware = 0.05, "
          "plus = [{ kind = 'mcc', lambda = 0.7, temperature = 2.5 }] }")
NETWORK = Dacnn
RHO = 0.05


def task(seen):
    return confusion(seen)[0]


def term(seen):
    more, readings = confusion(seen)
    cross_entropy = nn.functional.cross_entropy
    for name, features, label in (("source", seen.source, 0), ("target", seen.target, 1)):
        logits = seen.model.told_apart(Reverse.apply(features, 0.6))
        loss = cross_entropy(logits, torch.full((len(logits),), label))
        readings[f"{name}_domain_loss"] = loss
        more = more + loss
    return more, readings
