"""Information maximisation (Krause et al. 2010; Shi and Sha 2012), with the logarithms of SHOT."""
import torch

METHOD = "{ kind = 'info_max', target = 'other.train', lambda = 0.9 }"


def entropy(p):
    return -torch.einsum("...k,...k->...", p, (p + 1e-5).log())


def term(seen):
    p = seen.target_logits.softmax(1)
    diversity = entropy(p.mean(0))
    loss = entropy(p).mean() - diversity
    return 0.9 * loss, {"info_max_loss": loss, "target_diversity": diversity}
