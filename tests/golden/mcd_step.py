"""Two steps of maximum classifier discrepancy (Saito et al. 2018) in PyTorch, on `dacnn` with a second
classifier.

    python tests/golden/mcd_step.py         # needs torch and safetensors; writes mcd_step.safetensors

A step has these phases, with fresh passes in each; `d` is the mean over rows and classes of |p1 - p2|.

    A       features, classifier, classifier2   down CE1(source) + CE2(source)
    B       classifier, classifier2             down CE1(source) + CE2(source) - d(target)
    C1..C4  features                            down d(target)

All passes are in training mode and separate by domain, source first, so that the running averages of
all batch norms that a pass goes through move in every phase, stepped or not. A phase passes the source
through features, classifier, classifier2, then the target. Each part has an Adam of its own that
steps in some of the phases only; Adam's moments and count of steps are per parameter, so one Adam that
skips the parts that are not stepped does the same. Its weight decay is L2, added to the stored
gradient.
"""
import torch
from torch import nn

from several_steps import TwoHeads, adam, aside, batch, labels, network, store

REPEAT = 4
SHARPNESS = 4
EPS = 1e-2
SETTINGS = dict(lr=2e-4, eps=EPS, weight_decay=5e-4, betas=[0.9, 0.999], repeat=REPEAT, source_rows=5,
                target_rows=4, source_bound=1.0, target_bound=0.5, sharpness=SHARPNESS,
                images="step s: source salt + 2 (s - 1), target salt + 2 (s - 1) + 1")
HEADS = ("classifier", "classifier2")


def discrepancy(record, model, features):
    p1, p2 = (model.classify(features, head).softmax(1) for head in HEADS)
    record.apart(p1 - p2, 1e-4)
    return (p1 - p2).abs().mean()


def run(dtype, salt, record):
    model = network(TwoHeads, dtype, SHARPNESS)
    record.begin(model)
    optimizers = {part: adam(getattr(model, part).parameters(), 2e-4, EPS, weight_decay=5e-4)
                  for part in ("features", *HEADS)}
    of_heads = {part: optimizers[part] for part in HEADS}
    cross_entropy = nn.CrossEntropyLoss()
    for step in (1, 2):
        source = batch(salt + 2 * (step - 1), 5, 1.0, dtype)
        target = batch(salt + 2 * (step - 1) + 1, 4, 0.5, dtype)

        def class_losses(features):
            return [cross_entropy(model.classify(features, head), labels(5)) for head in HEADS]

        one, two = class_losses(model.extract(source))
        record.keep(f"step {step}/A", class_loss=one, class_loss_2=two)
        record.descend(f"step {step}/A", model, one + two, optimizers)

        with aside():
            features = model.extract(source)
        one, two = class_losses(features)
        with aside():
            features = model.extract(target)
        d = discrepancy(record, model, features)
        record.keep(f"step {step}/B", class_loss=one, class_loss_2=two, discrepancy=d)
        record.descend(f"step {step}/B", model, one + two - d, of_heads)

        for turn in range(1, REPEAT + 1):
            d = discrepancy(record, model, model.extract(target))
            record.keep(f"step {step}/C{turn}", discrepancy=d)
            record.descend(f"step {step}/C{turn}", model, d, {"features": optimizers["features"]})
        record.state(f"step {step}/after", model)


store(__file__, run, SETTINGS)
