"""Margin disparity discrepancy (Zhang et al. 2019), as TLLib bounds its logarithm."""
import torch
from torch import nn

from dacnn import Reverse
from several_steps import TwoHeads

METHOD = "{ kind = 'mdd', target = 'other.train', lambda = 0.3, margin = 3.0 }"
NETWORK = TwoHeads


def likeliest(seen, logits):
    top = logits.detach().topk(2, dim=1).values
    seen.record.apart(top[:, 0] - top[:, 1], 0.01)
    return logits.argmax(1)


def term(seen):
    source, target = (seen.model.classify(Reverse.apply(features, 0.3), "classifier2")
                      for features in (seen.source, seen.target))
    agreement = nn.functional.nll_loss(source.log_softmax(1), likeliest(seen, seen.source_logits))
    others = torch.log(torch.clamp(1 - target.softmax(1) + 1e-6, max=1))
    classes = likeliest(seen, seen.target_logits)
    difference = -others[range(len(classes)), classes].mean()
    return 3 * agreement + difference, {"source_disparity_loss": agreement,
                                        "target_disparity_loss": difference}
