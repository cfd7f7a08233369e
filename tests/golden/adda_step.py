"""Two steps of adversarial discriminative domain adaptation (Tzeng et al. 2017) on `dacnn` in PyTorch.

    python tests/golden/adda_step.py        # needs torch and safetensors; writes adda_step.safetensors

The source encoder S is a frozen copy of the features in evaluation mode. The target encoder T, which
learns, begins with the same weights and running averages and is in training mode. The classifier is
frozen and takes no part until the prediction. The domain classifier D, in training mode, reads
features. Those of S and of T go through it in separate passes, source first: no batch norm sees two
domains at once.

    D   domain_classifier   down the mean of CE over the rows of D(S(source)), label 0, and D(T(target)),
                            label 1
    T   features            down 1/2 the mean of CE over the rows of D(T(target)), label 0

Each phase makes fresh passes, and T's second one sees the D of the phase before. The half is the
authors': their graph takes the mean over the rows of both domains, of which only the target's depend
on T. T's running averages move in both phases, D's in all three of its passes.

`start/buffer ...` are the running averages that all networks begin with. `predicted` is the classifier
on T, both in evaluation mode, on the target images of the second step.
"""
import copy

import torch
from torch import nn

from dacnn import Dacnn
from several_steps import adam, aside, averages_of, batch, network, store

ROWS = 5
EPS = 1e-3
SETTINGS = dict(lr=2e-4, eps=EPS, betas=[0.5, 0.999], target_weight=0.5, source_rows=ROWS, target_rows=ROWS,
                source_bound=1.0, target_bound=0.5, sharpness=1,
                images="step s: source salt + 2 (s - 1), target salt + 2 (s - 1) + 1")
START = averages_of(network(Dacnn, torch.float32), batch(901, 12, 1.0, torch.float32))


def run(dtype, salt, record):
    model = network(Dacnn, dtype)
    record.begin(model)
    model.load_state_dict(START, strict=False)
    record.keep("start", **{f"buffer {name}": value for name, value in START.items()})
    frozen = copy.deepcopy(model).eval()
    domain, encoder = (
        {part: adam(getattr(model, part).parameters(), 2e-4, EPS, betas=(0.5, 0.999))}
        for part in ("domain_classifier", "features"))
    cross_entropy = nn.CrossEntropyLoss()
    zeros, ones = torch.zeros(ROWS, dtype=torch.long), torch.ones(ROWS, dtype=torch.long)
    for step in (1, 2):
        source = batch(salt + 2 * (step - 1), ROWS, 1.0, dtype)
        target = batch(salt + 2 * (step - 1) + 1, ROWS, 0.5, dtype)

        with aside():
            ours, theirs = frozen.extract(source), model.extract(target)
        logits = torch.cat([model.told_apart(ours), model.told_apart(theirs)])
        loss = cross_entropy(logits, torch.cat([zeros, ones]))
        record.keep(f"step {step}/D", logits=logits, domain_loss=loss)
        record.descend(f"step {step}/D", model, loss, domain)

        logits = model.told_apart(model.extract(target))
        loss = cross_entropy(logits, zeros)
        record.keep(f"step {step}/T", logits=logits, mapping_loss=loss)
        record.descend(f"step {step}/T", model, loss / 2, encoder)
        record.state(f"step {step}/after", model, ("features", "domain_classifier"))
    model.eval()
    with aside():
        record.keep("end", predicted=model.classify(model.extract(target)))
    for name, value in frozen.state_dict().items():
        begun = START.get(name)
        assert begun is None or torch.equal(value, begun.to(dtype)), name


store(__file__, run, SETTINGS)
