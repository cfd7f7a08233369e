"""A step of DIRT-T (Shu et al. 2018) in PyTorch, on `dacnn`.

    python tests/golden/dirt_t_step.py      # needs torch and safetensors; writes dirt_t_step.safetensors

The network begins with running averages. The teacher is a copy of it in evaluation mode. The network learns in
training mode, and only one of its passes moves its running averages: that from which the first two parts of
the loss come. It goes down

    0.7 (KL(teacher, p) + H(teacher)) + 0.5 H(p) + 0.4 VAT(target)

with a constant teacher and VAT as in vada_step.py. `average` is the network whose parameters become 0.9 of
themselves plus 0.1 of the new ones, and whose running averages are those of the network that learns;
`predicted` is what it then says of the images in evaluation mode.
"""
import copy

import torch
from torch import nn

from several_steps import OneHead, adam, aside, averages_of, batch, network, store
from vat import VAT, still

ROWS = 3
SHARPNESS = 4
KEEP = 0.9
EPS = 1e-2
VIRTUAL = VAT(xi=2.0, radius=0.5)
METHOD = (f"{{ kind = 'dirt_t', target = 'target.train', lambda = 0.7, entropy = 0.5, vat = 0.4, "
          f"keep = {KEEP}, {VIRTUAL.settings} }}")
SETTINGS = dict(lr=1e-3, eps=EPS, betas=[0.5, 0.999], target_rows=ROWS, target_bound=0.5, sharpness=SHARPNESS,
                method=METHOD, images="the salt")
START = averages_of(network(OneHead, torch.float32, SHARPNESS), batch(901, 12, 0.5, torch.float32))


def run(dtype, salt, record):
    model = network(OneHead, dtype, SHARPNESS)
    record.begin(model)
    model.load_state_dict(START, strict=False)
    record.keep("start", **{f"buffer {name}": value for name, value in START.items()})
    average, teacher = copy.deepcopy(model), copy.deepcopy(model).eval()
    optimizers = {part: adam(getattr(model, part).parameters(), 1e-3, EPS, betas=(0.5, 0.999))
                  for part in ("features", "classifier")}
    images = batch(salt, ROWS, 0.5, dtype)
    with aside(), still(model):
        p = model.classify(model.extract(images)).softmax(1)
    with aside():
        labels = teacher.classify(teacher.extract(images)).softmax(1)
    adversary = VIRTUAL.adversary(model, images, p, "target", 1)
    logits = model.classify(model.extract(images))
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    taught = nn.functional.kl_div(logits.log_softmax(1), labels, reduction="batchmean")
    taught = taught + torch.distributions.Categorical(labels).entropy().mean()
    smooth = VIRTUAL.loss(model, adversary, p)
    record.keep("step 1", teacher_loss=taught, target_entropy_loss=entropy, target_vat_loss=smooth)
    record.descend("step 1", model, 0.7 * taught + 0.5 * entropy + 0.4 * smooth, optimizers)
    with torch.no_grad():
        for mean, new in zip(average.parameters(), model.parameters()):
            mean.lerp_(new, 1 - KEEP)
        for mean, new in zip(average.buffers(), model.buffers()):
            mean.copy_(new)
    record.state("step 1/after", model)
    record.state("step 1/average", average)
    average.eval()
    with aside():
        record.keep("end", predicted=average.classify(average.extract(images)))


store(__file__, run, SETTINGS, salts=(4001,))  # of those that come near no tie, one that rounding moves little
