"""Minimum class confusion (Jin et al. 2020), class by class as the paper's equations have it."""
import torch

METHOD = "{ kind = 'mcc', target = 'other.train', lambda = 0.7, temperature = 2.5 }"


def term(seen):
    p = (seen.target_logits / 2.5).softmax(1)
    n, classes = p.shape
    entropy = -(p * (p + 1e-5).log()).sum(1)
    weights = (1 + (-entropy).exp()).detach()
    weights = n * weights / weights.sum()
    together = torch.einsum("ij,i,ik->jk", p, weights, p)
    together = together / together.sum(1, keepdim=True)
    confusion = (together.sum() - together.trace()) / classes
    return 0.7 * confusion, {"confusion_loss": confusion}
