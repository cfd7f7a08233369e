"""torchvision's ResNet18 with weights that the test computes as well, the reference of
tests/goldens/resnet.rs: logits at 224 pixels, and five fine-tuning steps with `layer4` and `fc`
thawed, frozen batch norm in both modes.

    python tests/golden/resnet.py        # needs torch, torchvision, safetensors; writes resnet.safetensors
"""
import pathlib

import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from hashed import hashed


def network():
    net = torchvision.models.resnet18(weights=None, num_classes=10)
    with torch.no_grad():
        for salt, (name, tensor) in enumerate(net.named_parameters()):
            shape = tuple(tensor.shape)
            if len(shape) > 1:
                tensor.copy_(hashed(salt, shape, (6 / tensor[0].numel()) ** 0.5))
            elif name.endswith("weight"):
                # The second half of a block adds to what comes in: halved, values stay of one size.
                scale = 0.5 if "bn2" in name else 1.0
                tensor.copy_(scale * (1 + hashed(salt, shape, 0.25)))
            else:
                tensor.copy_(hashed(salt, shape, 0.1))
        for salt, (name, tensor) in enumerate(net.named_buffers()):
            if name.endswith("running_mean"):
                tensor.copy_(hashed(1000 + salt, tuple(tensor.shape), 0.1))
            elif name.endswith("running_var"):
                tensor.copy_(1 + hashed(1000 + salt, tuple(tensor.shape), 0.25))
    return net


def sampled(tensor):
    flat = tensor.detach().flatten()
    every = -(-flat.numel() // 512)
    return flat[::every].clone()


def finetune(mode):
    """Five steps of the course's recipe."""
    net = network()
    for name, parameter in net.named_parameters():
        parameter.requires_grad = name.startswith(("layer4.", "fc."))
    net.train()
    if mode == "eval":
        for name, module in net.named_modules():
            if isinstance(module, nn.BatchNorm2d) and not name.startswith("layer4."):
                module.eval()
    learning = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.01, momentum=0.9)
    losses = []
    for step in range(5):
        images = hashed(2000 + step, (6, 3, 64, 64), 2.0)
        labels = (torch.arange(6) * 3 + step) % 10
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    tensors = {f"{mode}.losses": torch.tensor(losses)}
    for name, tensor in net.state_dict().items():
        if name.startswith(("layer4.", "fc.")) or "running" in name:
            tensors[f"{mode}.{name}"] = sampled(tensor.float())
    return tensors


def main():
    torch.manual_seed(0)
    net = network().eval()
    with torch.no_grad():
        logits = net(hashed(3000, (3, 3, 224, 224), 2.0))
    tensors = {"logits": logits, **finetune("eval"), **finetune("train")}
    print(logits, tensors["eval.losses"], tensors["train.losses"])
    save_file(tensors, pathlib.Path(__file__).parent / "resnet.safetensors")


if __name__ == "__main__":
    main()
