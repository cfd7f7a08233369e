"""Two steps of FixMatch (Sohn et al. 2020) on `dacnn` in PyTorch, with the target as the images without labels.

    python tests/golden/fixmatch_step.py     # needs torch and safetensors

A step has three passes, all in training mode, in this order: the weak view of the target without
gradients, the source, the strong view. Two batches of images stand for the views. The network steps down

    CE(source) + 1.5 mean_i m_i CE(strong_i, y_i)

where y_i is the likeliest class of the weak view, m_i is 1 where its probability exceeds the threshold, and
the mean is over all rows. The threshold is lower than the paper's, for some rows to pass it. `predicted` are the
logits of the last weak view in evaluation mode.
"""
import torch
from torch import nn

from several_steps import OneHead, TooClose, adam, aside, batch, labels, network, store

ROWS, TARGET_ROWS = 5, 6
SHARPNESS = 8
THRESHOLD, WEIGHT = 0.6, 1.5
EPS = 1e-2
SETTINGS = dict(lr=1e-3, eps=EPS, betas=[0.9, 0.999], threshold=THRESHOLD, lambda_max=WEIGHT, source_rows=ROWS,
                target_rows=TARGET_ROWS, source_bound=1.0, target_bound=0.5, sharpness=SHARPNESS,
                images="step s: source salt + 3 (s - 1), weak and strong view 1 and 2 more")


def run(dtype, salt, record):
    model = network(OneHead, dtype, SHARPNESS)
    record.begin(model)
    optimizers = {part: adam(getattr(model, part).parameters(), 1e-3, EPS)
                  for part in ("features", "classifier")}
    masks = []
    for step in (1, 2):
        source = batch(salt + 3 * (step - 1), ROWS, 1.0, dtype)
        weak, strong = (batch(salt + 3 * (step - 1) + i, TARGET_ROWS, 0.5, dtype) for i in (1, 2))
        with aside():
            sure, classes = model.classify(model.extract(weak)).softmax(1).max(1)
        class_loss = nn.functional.cross_entropy(model.classify(model.extract(source)), labels(ROWS))
        logits = model.classify(model.extract(strong))
        record.apart(sure - THRESHOLD, 1e-3)
        kept = (sure > THRESHOLD).nonzero().flatten()
        loss = nn.functional.cross_entropy(logits[kept], classes[kept], reduction="sum") / TARGET_ROWS
        rate = torch.tensor(len(kept) / TARGET_ROWS, dtype=dtype)
        record.keep(f"step {step}", class_loss=class_loss, pseudo_label_loss=loss, mask_rate=rate)
        # Above 0.5 no other class can be as likely.
        if record.checks and not (1 < len(kept) < TARGET_ROWS and len(classes[kept].unique()) > 1):
            raise TooClose
        record.descend(f"step {step}", model, class_loss + WEIGHT * loss, optimizers)
        record.state(f"step {step}", model)
        masks.append(tuple(kept.tolist()))
    if record.checks and masks[0] == masks[1]:
        raise TooClose
    model.eval()
    with aside():
        record.keep("end", predicted=model.classify(model.extract(weak)))


store(__file__, run, SETTINGS)
