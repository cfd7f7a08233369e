"""Nuclear-norm Wasserstein discrepancy (Chen et al. 2022) by the nuclear norm of PyTorch."""
import torch

from dacnn import Reverse

METHOD = "{ kind = 'nwd', target = 'other.train', lambda = 4.0, reversal = 0.7 }"
ROWS = (3, 6)


def term(seen):
    norms = []
    for features in (seen.source, seen.target):
        p = seen.model.classify(Reverse.apply(features, 0.7)).softmax(1)
        # The gradient divides by the least singular value.
        seen.record.apart(torch.linalg.svdvals(p.detach()), 0.02)
        norms.append(torch.linalg.matrix_norm(p, "nuc") / len(p))
    discrepancy = norms[0] - norms[1]
    return -4 * discrepancy, {"wasserstein_loss": discrepancy}
