"""One step of each term that a method adds to the cross-entropy of the source, on `dacnn`, in PyTorch.

    python tests/golden/terms.py            # needs torch and safetensors; writes terms/*.safetensors
    python tests/golden/terms.py mcc bnm    # those alone

A file terms/NAME.py has `METHOD`, the method as a pipeline file has it, and `term(seen)`, which gives what
is added to the cross-entropy, with its weight, and the numbers that a step reports of it. It may have
`NETWORK`, a class of several_steps.py or of its own, where the method trains other heads; `ROWS`, the
numbers of source and target images; `SHARPNESS`, by which the weights of the last layers are multiplied; and
`RHO` with `task(seen)`, for steps whose gradient is taken where features and classifier have moved by RHO up
the cross-entropy and `task`.

Source and target pass through features and classifier separately, in training mode. What is stored is
described in several_steps.py; of these steps only the gradients, as the optimizers have tests of their own.
"""
import importlib.util
import pathlib
import sys
from types import SimpleNamespace

import torch
from torch import nn

from several_steps import OneHead, batch, labels, network, store

FOLDER = pathlib.Path(__file__).with_suffix("")


def write(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    term = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(term)
    kind, rows = getattr(term, "NETWORK", OneHead), getattr(term, "ROWS", (6, 5))
    sharpness = getattr(term, "SHARPNESS", 4)

    def run(dtype, salt, record):
        model = network(kind, dtype, sharpness)
        seen = SimpleNamespace(model=model, labels=labels(rows[0]), record=record)
        domains = [batch(salt, rows[0], 1.0, dtype), batch(salt + 1, rows[1], 0.5, dtype)]

        def class_loss_of():
            seen.source, seen.target = (model.extract(images) for images in domains)
            seen.source_logits, seen.target_logits = map(model.classify, (seen.source, seen.target))
            return nn.functional.cross_entropy(seen.source_logits, seen.labels)

        if hasattr(term, "RHO"):
            moved = [p for name, p in model.named_parameters() if not name.startswith("domain")]
            gradients = torch.autograd.grad(class_loss_of() + term.task(seen), moved)
            length = sum(g.square().sum() for g in gradients).sqrt()
            with torch.no_grad():
                for p, g in zip(moved, gradients):
                    p.add_(term.RHO * g / length)
        class_loss = class_loss_of()
        more, readings = term.term(seen)
        record.keep("step", class_loss=class_loss, **readings)
        record.gradients("step", model, class_loss + more)

    settings = dict(method=term.METHOD, source_rows=rows[0], target_rows=rows[1], source_bound=1.0,
                    target_bound=0.5, sharpness=sharpness)
    store(path, run, settings, most=500)


sys.path.insert(0, str(FOLDER))
for path in sorted(FOLDER.glob("*.py")):
    if len(sys.argv) < 2 or path.stem in sys.argv[1:]:
        write(path)
