#!/usr/bin/env python3
"""Makes resize.safetensors, which tests/goldens/images.rs compares with: torchvision's antialiased
bilinear resize of uint8 tensors, and its grayscale.

    python3 resize.py         # needs torch, torchvision and safetensors

Tensors: N.from and N.to, uint8 [H, W, C], for each case N; gray.from [1, P, 3], gray.to [1, P, 1].
"""
import pathlib

import torch
from safetensors.torch import save_file
from torchvision.transforms.v2 import functional

# (height, width) from and to, channels
CASES = [
    ((28, 28), (32, 32), 1),
    ((32, 32), (28, 28), 3),
    ((48, 64), (28, 28), 3),
    ((28, 28), (14, 14), 1),
    ((17, 23), (51, 40), 3),
    ((100, 20), (7, 33), 3),
    ((5, 5), (1, 1), 1),
    ((1, 1), (4, 3), 3),
]

torch.manual_seed(0)
tensors = {}
for number, (before, after, channels) in enumerate(CASES):
    # Noise, edges and a ramp: each shows another mistake.
    image = torch.randint(0, 256, (channels, *before), dtype=torch.uint8)
    image[:, : before[0] // 2, : before[1] // 2] = 255
    ramp = torch.linspace(0, 255, before[1]).to(torch.uint8)
    image[:, before[0] - before[0] // 3 :, :] = ramp
    resized = functional.resize(image, list(after), antialias=True)
    tensors[f"{number}.from"] = image.permute(1, 2, 0).contiguous()
    tensors[f"{number}.to"] = resized.permute(1, 2, 0).contiguous()
colours = torch.randint(0, 256, (3, 1, 2000), dtype=torch.uint8)
tensors["gray.from"] = colours.permute(1, 2, 0).contiguous()
tensors["gray.to"] = functional.rgb_to_grayscale(colours).permute(1, 2, 0).contiguous()
save_file(tensors, pathlib.Path(__file__).with_suffix(".safetensors"))
