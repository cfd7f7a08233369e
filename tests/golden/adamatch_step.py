"""Two steps of AdaMatch (Berthelot et al. 2022) on `dacnn` in PyTorch.

    python tests/golden/adamatch_step.py    # needs torch and safetensors

A step has two passes with batch statistics: the weak and the strong view of the source, which move no running
average, and then all views of both domains together, which move them. Logits of the source are drawn between
those of the two passes, by the random numbers of src/random.rs. With these logits of the weak views as
constants, a is an exponential moving average of the source's mean probabilities (share 0.001 of the newest) and
b the mean of the target's over the last 128 steps. The network steps down

    (CE(weak source) + CE(strong source)) / 2 + 0.7 mean_i m_i CE(strong_i, y_i)

where y_i is the likeliest class of the target's weak view by its probabilities times (1e-6 + a) / (1e-6 + b), and
m_i is 1 where it is at least 0.9 times as likely as the likeliest classes of the weak source are on the mean.
Then each parameter and running average of a second network becomes 0.9 of itself plus 0.1 of the first one's;
`predicted` is what it says of the last weak view of the target in evaluation mode.

`start/source_classes` is the a and `start/target_classes` the 128 means that the training begins with, which are
as they would be after many steps, and `step 2/...` those that it ends with.
"""
import copy

import torch
from torch import nn

from hashed import hashed
from several_steps import OneHead, TooClose, adam, aside, batch, labels, network, store
from stream import uniform
from vat import still

ROWS, TARGET_ROWS = 3, 4
SHARPNESS = 8
WEIGHT, THRESHOLD, KEEP = 0.7, 0.9, 0.9
EPS = 1e-2
METHOD = (f"{{ kind = 'adamatch', target = 'other.train', lambda = {WEIGHT}, threshold = {THRESHOLD}, "
          f"keep = {KEEP} }}")
SETTINGS = dict(lr=1e-3, eps=EPS, betas=[0.9, 0.999], method=METHOD, source_rows=ROWS, target_rows=TARGET_ROWS,
                source_bound=1.0, target_bound=0.5, sharpness=SHARPNESS,
                images="step s: weak source salt + 4 (s - 1), then strong source, weak target, strong target")


def run(dtype, salt, record):
    model = network(OneHead, dtype, SHARPNESS)
    record.begin(model)
    average = copy.deepcopy(model)
    optimizers = {part: adam(getattr(model, part).parameters(), 1e-3, EPS)
                  for part in ("features", "classifier")}
    a = hashed(7, (10,), 2.0).to(dtype).softmax(0)
    history = list(hashed(8, (128, 10), 2.0).to(dtype).softmax(1))
    record.keep("start", source_classes=a, target_classes=torch.stack(history))
    cross_entropy = nn.functional.cross_entropy
    decisions = []
    for step in (1, 2):
        at = f"step {step}"
        numbers = [(ROWS, 1.0), (ROWS, 1.0), (TARGET_ROWS, 0.5), (TARGET_ROWS, 0.5)]
        views = [batch(salt + 4 * (step - 1) + i, rows, bound, dtype) for i, (rows, bound) in enumerate(numbers)]
        with still(model):
            alone = model.classify(model.extract(torch.cat(views[:2])))
        together = model.classify(model.extract(torch.cat(views)))
        together, of_target = together[:2 * ROWS], together[2 * ROWS:]
        drawn = torch.from_numpy(uniform("logit interpolation", step - 1, 2 * ROWS * 10)).view(-1, 10).to(dtype)
        weak, strong = torch.lerp(together, alone, drawn).split(ROWS)
        class_loss = (cross_entropy(weak, labels(ROWS)) + cross_entropy(strong, labels(ROWS))) / 2
        with torch.no_grad():
            p, q = weak.softmax(1), of_target[:TARGET_ROWS].softmax(1)
            a = 0.999 * a + 0.001 * p.mean(0)
            history = history[1:] + [q.mean(0)]
            aligned = nn.functional.normalize(q * (1e-6 + a) / (1e-6 + sum(history) / 128), p=1, dim=1, eps=0)
            least = THRESHOLD * p.amax(1).mean()
            first, second = aligned.topk(2).values.T
            record.apart(first - second, 1e-3)
            record.apart(first - least, 1e-3)
            kept = (first >= least).nonzero().flatten()
            classes = aligned.argmax(1)
        loss = cross_entropy(of_target[TARGET_ROWS:][kept], classes[kept], reduction="sum") / TARGET_ROWS
        record.keep(at, class_loss=class_loss, pseudo_label_loss=loss, confidence_threshold=least,
                    mask_rate=torch.tensor(len(kept) / TARGET_ROWS, dtype=dtype))
        if record.checks and not 0 < len(kept) < TARGET_ROWS:
            raise TooClose
        # Whether the classes would be others without the ratio.
        decisions.append(not torch.equal(classes[kept], q.argmax(1)[kept]))
        record.descend(at, model, class_loss + WEIGHT * loss, optimizers)
        with torch.no_grad():
            for mean, new in zip([*average.parameters(), *average.buffers()],
                                 [*model.parameters(), *model.buffers()]):
                if mean.is_floating_point():
                    mean.mul_(KEEP).add_(new * (1 - KEEP))
        record.state(at, model)
        record.state(f"{at}/average", average)
    if record.checks and not any(decisions):
        raise TooClose
    record.keep("step 2", source_classes=a, target_classes=torch.stack(history))
    average.eval()
    with aside():
        record.keep("end", predicted=average.classify(average.extract(views[2])))


store(__file__, run, SETTINGS)
