"""One step of Deep CORAL on the logits of `dacnn` in PyTorch, a reference of tests/goldens/dann.rs.

    python tests/golden/coral_step.py       # needs torch and safetensors; writes coral_step.safetensors

The covariances are torch's own (`torch.cov`), not the formula that ours is written from.
"""
import torch
from torch import nn

from dacnn import LABELS, filled, images, step

model = filled()
source, target = images(model)
for p in model.domain_classifier.parameters():
    p.requires_grad = False
for name, norm in model.domain_classifier.named_modules():
    if isinstance(norm, nn.BatchNorm1d):
        norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
lam = 300.0  # the loss is small: its gradient must weigh as much as that of the classes

ours = model.classify(model.extract(source))
theirs = model.classify(model.extract(target))
class_loss = nn.functional.cross_entropy(ours, LABELS)
apart = torch.cov(ours.T) - torch.cov(theirs.T)
coral_loss = torch.linalg.matrix_norm(apart) ** 2 / (4 * 10 ** 2)
step(model, [class_loss, coral_loss], class_loss + lam * coral_loss, __file__, most=1024)
