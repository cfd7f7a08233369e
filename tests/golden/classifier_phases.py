"""The phases that mcd_step.py and swd_step.py share: two steps, in which two classifiers go up a distance between
them on the target and the features go down it. mcd_step.py describes them."""
from torch import nn

from several_steps import TwoHeads, adam, aside, batch, labels, network

SHARPNESS = 4
EPS = 1e-2
HEADS = ("classifier", "classifier2")


def settings(repeat, **more):
    return dict(lr=2e-4, eps=EPS, weight_decay=5e-4, betas=[0.9, 0.999], repeat=repeat, source_rows=5,
                target_rows=4, source_bound=1.0, target_bound=0.5, sharpness=SHARPNESS, **more,
                images="step s: source salt + 2 (s - 1), target salt + 2 (s - 1) + 1")


def phases(discrepancy, repeat):
    """What `store` runs. `discrepancy(record, model, features, step, look)` is the distance on features of the
    target; looks are numbered from 0 in each step."""
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
            d = discrepancy(record, model, features, step, 0)
            record.keep(f"step {step}/B", class_loss=one, class_loss_2=two, discrepancy=d)
            record.descend(f"step {step}/B", model, one + two - d, of_heads)

            for turn in range(1, repeat + 1):
                d = discrepancy(record, model, model.extract(target), step, turn)
                record.keep(f"step {step}/C{turn}", discrepancy=d)
                record.descend(f"step {step}/C{turn}", model, d, {"features": optimizers["features"]})
            record.state(f"step {step}/after", model)

    return run
