"""Two steps of stochastic normalisation (Kou et al. 2020) on `dacnn` in PyTorch.

    python tests/golden/stochastic_norm_step.py     # needs torch, safetensors and numpy

In each batch norm layer a channel whose number of the stream `stochastic norm LAYER source` is below p is normalised
by the running averages as they are before the step, which are constants; all others by the batch. The averages of
every channel then move toward the batch, by 0.1 and with the unbiased variance. The loss is the cross-entropy.
`start/buffer ...` are the running averages to begin with. `predicted` are the logits of the last batch in
evaluation mode.
"""
import torch
from torch import nn

import stream
from several_steps import OneHead, adam, aside, averages_of, batch, labels, network, store

ROWS, SHARPNESS, EPS = 6, 4, 1e-2
P = 0.4
SETTINGS = dict(lr=1e-3, eps=EPS, betas=[0.9, 0.999], source_rows=ROWS, source_bound=1.0, sharpness=SHARPNESS,
                method="'supervised'", stochastic_norm=P, images="step s: salt + s - 1")
START = averages_of(network(OneHead, torch.float32, SHARPNESS), batch(901, 24, 1.0, torch.float32))


def stochastic(norm, layer, step, x):
    axes = [0, *range(2, x.dim())]
    shape = [1, -1] + [1] * (x.dim() - 2)
    chosen = torch.from_numpy(stream.uniform(f"stochastic norm {layer} source", step - 1, x.shape[1]) < P)
    assert chosen.any() and not chosen.all()
    mean, var = x.mean(axes), x.var(axes, unbiased=False)
    used_mean = torch.where(chosen, norm.running_mean.clone(), mean)
    used_var = torch.where(chosen, norm.running_var.clone(), var)
    with torch.no_grad():
        values = x.numel() // x.shape[1]
        norm.running_mean.lerp_(mean, 0.1)
        norm.running_var.lerp_(var * values / (values - 1), 0.1)
    normal = (x - used_mean.view(shape)) / (used_var.view(shape) + norm.eps).sqrt()
    return normal * norm.weight.view(shape) + norm.bias.view(shape)


def run(dtype, salt, record):
    model = network(OneHead, dtype, SHARPNESS)
    record.begin(model)
    model.load_state_dict(START, strict=False)
    record.keep("start", **{f"buffer {name}": value for name, value in START.items()})
    norms = {name: m for name, m in model.named_modules() if hasattr(m, "running_mean")}
    optimizers = {part: adam(getattr(model, part).parameters(), 1e-3, EPS)
                  for part in ("features", "classifier")}
    for step in (1, 2):
        images = batch(salt + step - 1, ROWS, 1.0, dtype)
        for name, norm in norms.items():
            norm.forward = lambda x, norm=norm, name=name, step=step: stochastic(norm, name, step, x)
        loss = nn.functional.cross_entropy(model.classify(model.extract(images)), labels(ROWS))
        record.keep(f"step {step}", class_loss=loss)
        record.descend(f"step {step}", model, loss, optimizers)
        record.state(f"step {step}", model)
    for norm in norms.values():
        del norm.forward
    model.eval()
    with aside():
        record.keep("end", predicted=model.classify(model.extract(images)))


store(__file__, run, SETTINGS)
