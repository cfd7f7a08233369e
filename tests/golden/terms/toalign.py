"""Task-oriented alignment (Wei et al. 2021) on a classifier of several layers: what stands for the row of
its weights is the gradient of the logit of an image's class."""
import copy

import torch
from torch import nn

from dacnn import Dacnn, Reverse
from several_steps import aside

METHOD = "{ kind = 'toalign', target = 'other.train', lambda = 8.0 }"
NETWORK = Dacnn


def term(seen):
    features = seen.source.detach().requires_grad_()
    # The classifier goes by running averages, and has only seen the source.
    model = copy.deepcopy(seen.model)
    for norm in ("bn1", "bn2"):
        model.classifier[norm].reset_running_stats()
    with aside():
        model.classify(features)
    own = model.eval().classify(features)[range(len(features)), seen.labels].sum()
    weights, = torch.autograd.grad(own, features)
    product = seen.source * weights
    aligned = nn.functional.normalize(product, dim=1) * seen.source.norm(dim=1, keepdim=True)
    losses = [nn.functional.cross_entropy(seen.model.told_apart(Reverse.apply(x, 8.0)),
                                          torch.full((len(x),), label))
              for label, x in enumerate([aligned, seen.target])]
    return sum(losses), {"source_domain_loss": losses[0], "target_domain_loss": losses[1]}
