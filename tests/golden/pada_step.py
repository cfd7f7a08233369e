"""Two steps of PADA (Cao et al. 2018) on `dacnn` in PyTorch, with weights of the classes between them.

    python tests/golden/pada_step.py         # needs torch and safetensors; writes pada_step.safetensors

Source and target pass separately, in training mode, through features, classifier and domain classifier. The
network steps down

    mean_i g(y_i) CE(class, source_i) + mean_i g(y_i) CE(domain, source_i) + mean_j CE(domain, target_j)

where the gradient from the domain classifier into the features is multiplied by -0.6. All g are 1 in the first
step. Then all 24 images of the target pass in evaluation mode, and g becomes the mean of softmax(z / T) over them
(`labelling/class_weights`), divided by its largest value. T is larger than usual, for rounding to stay small.
`predicted` are the logits of all images in evaluation mode after the second step.
"""
import torch
from torch import nn

from dacnn import Dacnn
from hashed import hashed
from several_steps import TooClose, adam, aside, batch, labels, network, store

COUNT, PATTERNS = 24, 6
ROWS, TARGET_ROWS = 6, 5
SHARPNESS = 4
TEMPERATURE, REVERSAL = 0.25, 0.6
EPS = 1e-2
SETTINGS = dict(lr=1e-3, eps=EPS, betas=[0.9, 0.999], temperature=TEMPERATURE, lambda_max=REVERSAL,
                source_rows=ROWS, target_rows=TARGET_ROWS, source_bound=1.0, target_bound=0.5, sharpness=SHARPNESS,
                images="step s: source salt + 2 (s - 1), target 1 more; of the whole target image i is row "
                       "i mod 6 of the hash [6, 3, 28, 28] of salt + 4, in [-1, 1), plus row i of the hash "
                       "[24, 3, 28, 28] of salt + 5, in [-0.5, 0.5)")


def run(dtype, salt, record):
    model = network(Dacnn, dtype, SHARPNESS)
    record.begin(model)
    optimizers = {part: adam(getattr(model, part).parameters(), 1e-3, EPS)
                  for part in ("features", "classifier", "domain_classifier")}
    patterns = hashed(salt + 4, (PATTERNS, 3, 28, 28), 1.0)
    everything = patterns[[i % PATTERNS for i in range(COUNT)]] + hashed(salt + 5, (COUNT, 3, 28, 28), 0.5)
    everything = everything.to(dtype)
    weights, y = torch.ones(10, dtype=dtype), labels(ROWS)
    for step in (1, 2):
        source, target = (batch(salt + 2 * (step - 1) + i, rows, bound, dtype)
                          for i, rows, bound in ((0, ROWS, 1.0), (1, TARGET_ROWS, 0.5)))
        source, target = model.extract(source), model.extract(target)
        each = nn.functional.cross_entropy(model.classify(source), y, reduction="none")
        class_loss = torch.dot(each, weights[y]) / ROWS
        own = model.domain(source, REVERSAL).softmax(1)[:, 0]
        from_source = torch.einsum("i,i->", -own.log(), weights[y]) / ROWS
        from_target = nn.functional.cross_entropy(model.domain(target, REVERSAL), torch.ones(TARGET_ROWS).long())
        record.keep(f"step {step}", class_loss=class_loss, source_domain_loss=from_source,
                    target_domain_loss=from_target, effective_classes=weights.sum())
        record.descend(f"step {step}", model, class_loss + from_source + from_target, optimizers)
        record.state(f"step {step}", model)
        if step == 2:
            break
        model.eval()
        with aside():
            weights = (model.classify(model.extract(everything)) / TEMPERATURE).softmax(1).mean(0)
        record.keep("labelling", class_weights=weights)
        weights = weights / weights.max()
        if record.checks and ((weights[y] > 0.02).sum() < 4 or (weights[y] > 0.9).sum() > 2):
            raise TooClose
        model.train()
    model.eval()
    with aside():
        record.keep("end", predicted=model.classify(model.extract(everything)))


store(__file__, run, SETTINGS)
