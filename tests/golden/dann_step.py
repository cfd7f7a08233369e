"""One domain-adversarial step of `dacnn` in PyTorch, a reference of tests/goldens/dann.rs.

    python tests/golden/dann_step.py        # needs torch and safetensors; writes dann_step.safetensors
"""
from dacnn import adversarial_losses, filled, images, step

model = filled()
source, target = images(model)
losses = adversarial_losses(model, source, target)
step(model, losses, sum(losses), __file__)
