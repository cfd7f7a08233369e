"""torchvision's networks with weights that the test computes as well, the reference of
tests/goldens/zoo.rs: logits at 64 pixels, and one step of SGD over everything but dropout.

    python tests/golden/zoo.py        # needs torch, torchvision, safetensors; writes zoo.safetensors
"""
import pathlib

import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from hashed import hashed

# The images of the step: how many, how large, from which salt. They are picked so that no rectifier
# is so near its edge that PyTorch's own single and double precision disagree. VGG is too large to keep
# its gradients in a test.
NETWORKS = {
    "resnet34": (3, 48, 2006),
    "resnet50": (3, 48, 2006),
    "mobilenet_v2": (3, 48, 2000),
    "squeezenet1_1": (3, 48, 2006),
    "vgg11_bn": None,
}


def network(arch):
    net = getattr(torchvision.models, arch)(weights=None, num_classes=10)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        for salt, (name, tensor) in enumerate(net.named_parameters()):
            shape = tuple(tensor.shape)
            if len(shape) > 1:
                tensor.copy_(hashed(salt, shape, (6 / tensor[0].numel()) ** 0.5))
            elif name.endswith("weight"):
                # What the last part of a block adds to its input is small, so that roundings stay so.
                scale = 0.1 if "bn3" in name else 0.7
                tensor.copy_(scale * (1 + hashed(salt, shape, 0.25)))
            else:
                tensor.copy_(hashed(salt, shape, 0.1))
        norms = [it for it in net.modules() if isinstance(it, nn.BatchNorm2d)]
        for at, norm in enumerate(norms):
            shape = tuple(norm.running_mean.shape)
            norm.running_mean.copy_(hashed(1000 + 2 * at, shape, 0.1))
            norm.running_var.copy_(1 + hashed(1001 + 2 * at, shape, 0.25))
    return net


def sampled(tensor, most):
    flat = tensor.detach().flatten()
    every = -(-flat.numel() // most)
    return flat[::every].clone()


def main():
    tensors = {}
    for name, step in NETWORKS.items():
        net = network(name).eval()
        with torch.no_grad():
            tensors[f"{name}.logits"] = net(hashed(3000, (3, 3, 64, 64), 2.0))
        if step is None:
            continue
        count, side, salt = step
        net.train()
        loss = functional.cross_entropy(net(hashed(salt, (count, 3, side, side), 2.0)),
                                        torch.arange(count) * 3 % 10)
        loss.backward()
        tensors[f"{name}.loss"] = loss.detach().reshape(1)
        for key, parameter in net.named_parameters():
            tensors[f"{name}.d.{key}"] = sampled(parameter.grad, 32)
        for key, buffer in net.named_buffers():
            if "running" in key:
                tensors[f"{name}.{key}"] = sampled(buffer, 16)
        print(name, tensors[f"{name}.logits"][0, :3], loss.item())
    save_file(tensors, pathlib.Path(__file__).parent / "zoo.safetensors")


if __name__ == "__main__":
    main()
