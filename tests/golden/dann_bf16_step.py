"""The step of dann_step.py with the factors of convolutions and linear layers rounded to bfloat16, and their sums and everything else in
single precision: a reference of tests/goldens/dann.rs for `precision = "bf16"`.

    python tests/golden/dann_bf16_step.py        # needs torch and safetensors; writes dann_bf16_step.safetensors
"""
import torch
from torch import nn
from torch.nn import functional

from dacnn import adversarial_losses, filled, images, step


class Rounded(torch.autograd.Function):
    """Its value is rounded, its gradient is not."""

    @staticmethod
    def forward(ctx, x):
        return x.bfloat16().float()

    @staticmethod
    def backward(ctx, dy):
        return dy


class GradientRounded(torch.autograd.Function):
    """Its gradient is rounded, its value is not."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, dy):
        return dy.bfloat16().float()


class Conv2d(nn.Conv2d):
    def forward(self, x):
        product = functional.conv2d(Rounded.apply(x), Rounded.apply(self.weight), None, self.stride, self.padding)
        return GradientRounded.apply(product) + self.bias[:, None, None]


class Linear(nn.Linear):
    def forward(self, x):
        return GradientRounded.apply(functional.linear(Rounded.apply(x), Rounded.apply(self.weight))) + self.bias


model = filled()
# The images of the step in single precision.
source, target = images(model)
for layer in model.modules():
    for kind in (Conv2d, Linear):
        if type(layer) is kind.__base__:
            layer.__class__ = kind
losses = adversarial_losses(model, source, target)
step(model, losses, sum(losses), __file__, most=1024)
