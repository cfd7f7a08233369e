"""Open set domain adaptation by backpropagation (Saito et al. 2018), with the probability of the last class as a
sigmoid of its distance to the others."""
import torch

from dacnn import Reverse

METHOD = "{ kind = 'osbp', target = 'other.train', lambda = 1.5, boundary = 0.4 }"
ROWS = (5, 6)


def term(seen):
    logits = seen.model.classify(Reverse.apply(seen.target, 1.0))
    unknown = torch.sigmoid(logits[:, -1] - logits[:, :-1].logsumexp(1))
    loss = -(0.4 * torch.log(unknown + 1e-6) + 0.6 * torch.log(1 - unknown + 1e-6)).mean()
    return 1.5 * loss, {"boundary_loss": loss, "unknown_probability": unknown.mean()}
