"""Numbers without order that the tests compute as well, so that no input needs to be stored."""

import numpy as np


def array(salt, shape, bound):
    """Uniform in [-bound, bound), exactly representable, the same in every language."""
    n = int(np.prod(shape))
    h = np.arange(n, dtype=np.uint32) + np.uint32((salt * 0x9E3779B1) & 0xFFFFFFFF)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    unit = (h >> np.uint32(8)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return (unit * np.float32(bound)).reshape(shape)


def hashed(salt, shape, bound):
    """The same for PyTorch."""
    import torch

    return torch.from_numpy(array(salt, shape, bound))
