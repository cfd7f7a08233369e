"""Deep adaptation networks (Long et al. 2015) from PyTorch's own pair distances: those within a domain come
as a list of pairs of different images, whose mean is the unbiased estimate."""
import torch

METHOD = "{ kind = 'dan', target = 'other.train', lambda = 20.0 }"
ROWS = (5, 4)


def kernel(distances, mean):
    return sum(torch.exp(-distances.square() / (2 * 2.0**u * mean)) for u in range(-3, 2))


def between(x, y):
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def term(seen):
    source, target = seen.source, seen.target
    both = torch.cat([source, target]).detach()
    mean = between(both, both).square().mean()
    within = [kernel(torch.pdist(x), mean).mean() for x in (source, target)]
    discrepancy = sum(within) - 2 * kernel(between(source, target), mean).mean()
    # A loss near 0 would be nothing but the rounding of the means that it is made of.
    seen.record.apart(discrepancy.detach(), 0.05)
    return 20 * discrepancy, {"mk_mmd_loss": discrepancy}
