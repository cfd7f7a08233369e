"""CDAN+E (Long et al. 2018) with the outer product, its weighted loss as TLLib has it but for the factor
that makes it the sum of both domains' means."""
import torch
from torch import nn

from dacnn import Dacnn, Reverse

METHOD = "{ kind = 'cdan', target = 'other.train', lambda = 8.0, map = 'outer', entropy = true }"


class NETWORK(Dacnn):
    """The domain classifier takes in the products of 1250 features and 10 probabilities."""

    def __init__(self):
        super().__init__()
        self.domain_classifier["fc1"] = nn.Linear(12500, 100)


def term(seen):
    domains = [(seen.source, seen.source_logits), (seen.target, seen.target_logits)]
    logits, certainties = [], []
    for features, class_logits in domains:
        p = class_logits.softmax(1).detach()
        together = torch.bmm(p.unsqueeze(2), features.unsqueeze(1)).flatten(1)
        logits.append(seen.model.told_apart(Reverse.apply(together, 8.0)))
        entropy = -(p * torch.log(p + 1e-5)).sum(1)
        certainties.append(1 + torch.exp(-entropy))
    weights = torch.cat(certainties)
    weights = weights / weights.sum() * len(weights)
    # Two logits are the binary cross-entropy of their difference.
    losses = []
    for label, (own, weight) in enumerate(zip(logits, weights.split([len(it) for it in logits]))):
        logit, wanted = own[:, 1] - own[:, 0], torch.full_like(weight, float(label))
        losses.append(nn.functional.binary_cross_entropy_with_logits(logit, wanted, weight))
    return sum(losses), {"source_domain_loss": losses[0], "target_domain_loss": losses[1]}
