"""One domain-adversarial step of `dacnn` in PyTorch, a reference of tests/goldens/dann.rs.

    python tests/golden/dann_step.py        # needs torch and safetensors; writes dann_step.safetensors
"""
import torch
from torch import nn

from dacnn import LABELS, filled, images, step

model = filled()
source, target = images(model)
lam = 0.6
cross_entropy = nn.CrossEntropyLoss()

features = model.extract(source)
class_loss = cross_entropy(model.classify(features), LABELS)
source_loss = cross_entropy(model.domain(features, lam), torch.zeros(6, dtype=torch.long))
target_loss = cross_entropy(model.domain(model.extract(target), lam), torch.ones(5, dtype=torch.long))
losses = [class_loss, source_loss, target_loss]
step(model, losses, sum(losses), __file__)
