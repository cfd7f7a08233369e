"""Two steps of batch spectral shrinkage (Chen et al. 2019) on `dacnn` in PyTorch.

    python tests/golden/bss_step.py         # needs torch and safetensors

The network steps down

    CE + 0.02 (s_5^2 + s_6^2)

where s_5 and s_6 are the smallest of the six singular values of the features `[6, 1250]` of a batch, as `svdvals`
finds and differentiates them. `predicted` are the logits of the last batch in evaluation mode.
"""
import torch
from torch import nn

from several_steps import OneHead, adam, aside, batch, labels, network, store

ROWS, SHARPNESS, EPS = 6, 4, 1e-2
ETA, VALUES = 0.02, 2
SETTINGS = dict(lr=1e-3, eps=EPS, betas=[0.9, 0.999], source_rows=ROWS, source_bound=1.0, sharpness=SHARPNESS,
                method=f"{{ kind = 'bss', eta = {ETA}, values = {VALUES} }}", images="step s: salt + s - 1")


def run(dtype, salt, record):
    model = network(OneHead, dtype, SHARPNESS)
    record.begin(model)
    optimizers = {part: adam(getattr(model, part).parameters(), 1e-3, EPS)
                  for part in ("features", "classifier")}
    for step in (1, 2):
        images = batch(salt + step - 1, ROWS, 1.0, dtype)
        features = model.extract(images)
        loss = nn.functional.cross_entropy(model.classify(features), labels(ROWS))
        smallest = torch.linalg.svdvals(features)[-VALUES:]
        penalty = smallest.square().sum()
        record.keep(f"step {step}", class_loss=loss, shrinkage_loss=penalty)
        record.descend(f"step {step}", model, loss + ETA * penalty, optimizers)
        record.state(f"step {step}", model)
    model.eval()
    with aside():
        record.keep("end", predicted=model.classify(model.extract(images)))


store(__file__, run, SETTINGS)
