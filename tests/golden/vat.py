"""Virtual adversarial training (Miyato et al. 2018) of `dacnn` in PyTorch, for vada_step.py and
dirt_t_step.py. Its passes are in training mode and move no running average."""
import contextlib

import torch
from torch import nn

from stream import normal


@contextlib.contextmanager
def still(*modules):
    """Passes that move no running average of the batch norms in `modules`."""
    norms = [norm for module in modules for norm in module.modules() if hasattr(norm, "running_mean")]
    for norm in norms:
        norm.momentum = 0.0
    yield
    for norm in norms:
        norm.momentum = 0.1


class VAT:
    def __init__(self, xi, radius):
        self.xi, self.radius = xi, radius
        self.settings = f"xi = {xi}, radius = {radius}"

    def adversary(self, model, images, p, word, step):
        """The images moved to where the classes `p` change most; the first direction is the stream's."""
        drawn = torch.from_numpy(normal(f"vat {word}", step - 1, images.numel())).view(len(images), -1)
        first = nn.functional.normalize(drawn.double(), dim=1).float().to(images).view_as(images)
        near = (images + self.xi * first).requires_grad_()
        with still(model):
            q = model.classify(model.extract(near)).log_softmax(1)
        slope, = torch.autograd.grad(nn.functional.kl_div(q, p, reduction="batchmean"), near)
        return images + self.radius * nn.functional.normalize(slope.flatten(1), dim=1, eps=0).view_as(images)

    def loss(self, model, adversary, p):
        with still(model):
            q = model.classify(model.extract(adversary)).log_softmax(1)
        return torch.distributions.Categorical(p).entropy().mean() + nn.functional.kl_div(q, p, reduction="batchmean")
