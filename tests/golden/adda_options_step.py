"""Two steps of adversarial discriminative domain adaptation with other settings, on `dacnn` in PyTorch.

    python tests/golden/adda_options_step.py        # needs torch and safetensors

It writes adda_confusion_step.safetensors and adda_shared_step.safetensors. What is usual, and how the steps are taken,
adda_step.py says. A second domain classifier, `logits_domain_classifier`, has the layers of the first one and reads class
logits. Its salts come after those of all others. Sources have five images and targets four, and D's loss is the mean
over all rows.

confusion: S, T and D as in adda_step.py, with both domain classifiers. The classifier that the logits come from is in
evaluation mode.

    D   both domain classifiers   down the sum of their losses
    T   features                  down 1/2 of the sum over both of the mean over the target's rows of
                                  KL(both domains alike || p) + ln 2

shared: one encoder, in training mode for both domains as is the classifier; the logits' domain classifier alone.

    D   logits_domain_classifier  down the mean of CE over the rows of both domains
    T   features, classifier      down CE(class, source) + the mean of CE over the rows of both with the labels of the
                                  domains exchanged
"""
import copy
import pathlib

import torch
from torch import nn
from torch.nn import functional

from dacnn import Dacnn, relu
from several_steps import adam, aside, averages_of, batch, labels, network, store

SOURCE, TARGET = 5, 4
EPS = 1e-3
HERE = pathlib.Path(__file__)


class Both(Dacnn):
    def __init__(self):
        super().__init__()
        self.logits_domain_classifier = nn.ModuleDict({
            "fc1": nn.Linear(10, 100), "bn1": nn.BatchNorm1d(100), "fc2": nn.Linear(100, 2),
        })

    def told_by_logits(self, z):
        d = self.logits_domain_classifier
        return d["fc2"](relu(d["bn1"](d["fc1"](z))))


class Logits(Both):
    def __init__(self):
        super().__init__()
        del self.domain_classifier


def start(kind):
    """Running averages of one batch, as if the network were trained."""
    images = batch(901, 12, 1.0, torch.float32)
    averages = averages_of(network(kind, torch.float32), images)
    model = network(kind, torch.float32)
    norm = model.logits_domain_classifier["bn1"]
    norm.momentum = 1.0
    with aside():
        model.told_by_logits(model.classify(model.extract(images)))
    for word in ("running_mean", "running_var"):
        averages[f"logits_domain_classifier.bn1.{word}"] = getattr(norm, word).clone()
    return averages


def begun(kind, dtype, record):
    model = network(kind, dtype)
    record.begin(model)
    averages = STARTS[kind]
    model.load_state_dict(averages, strict=False)
    record.keep("start", **{f"buffer {name}": value for name, value in averages.items()})
    return model


def optimizers(model, *parts):
    return {part: adam(getattr(model, part).parameters(), 2e-4, EPS, betas=(0.5, 0.999)) for part in parts}


def images(salt, step, dtype):
    salt += 2 * (step - 1)
    return batch(salt, SOURCE, 1.0, dtype), batch(salt + 1, TARGET, 0.5, dtype)


def domains(first, other):
    return torch.tensor([first] * SOURCE + [other] * TARGET)


def even(logits):
    """The cross-entropy with both domains alike, as a divergence from them and their entropy."""
    half = torch.full_like(logits, 0.5)
    divergence = functional.kl_div(functional.log_softmax(logits, 1), half, reduction="batchmean")
    return divergence + torch.log(torch.tensor(2.0, dtype=logits.dtype))


def confusion(dtype, salt, record):
    model = begun(Both, dtype, record)
    model.classifier.eval()
    frozen = copy.deepcopy(model).eval()
    domain = optimizers(model, "domain_classifier", "logits_domain_classifier")
    encoder = optimizers(model, "features")
    for step in (1, 2):
        source, target = images(salt, step, dtype)
        with aside():
            ours, theirs = frozen.extract(source), model.extract(target)
            z_ours, z_theirs = frozen.classify(ours), model.classify(theirs)
        truth = domains(0, 1)
        told = torch.cat([model.told_apart(ours), model.told_apart(theirs)])
        one = functional.cross_entropy(told, truth)
        told = torch.cat([model.told_by_logits(z_ours), model.told_by_logits(z_theirs)])
        other = functional.cross_entropy(told, truth)
        record.keep(f"step {step}/D", domain_loss=one, logits_domain_loss=other)
        record.descend(f"step {step}/D", model, one + other, domain)

        features = model.extract(target)
        logits = model.classify(features)
        one, other = even(model.told_apart(features)), even(model.told_by_logits(logits))
        record.keep(f"step {step}/T", mapping_loss=one, logits_mapping_loss=other)
        record.descend(f"step {step}/T", model, (one + other) / 2, encoder)
        record.state(f"step {step}/after", model, ("features", *domain))
    predict(model, target, record)


def shared(dtype, salt, record):
    model = begun(Logits, dtype, record)
    domain = optimizers(model, "logits_domain_classifier")
    moving = optimizers(model, "features", "classifier")
    for step in (1, 2):
        source, target = images(salt, step, dtype)
        with aside():
            ours, theirs = model.extract(source), model.extract(target)
            ours, theirs = model.classify(ours), model.classify(theirs)
        told = torch.cat([model.told_by_logits(ours), model.told_by_logits(theirs)])
        loss = functional.cross_entropy(told, domains(0, 1))
        record.keep(f"step {step}/D", logits_domain_loss=loss)
        record.descend(f"step {step}/D", model, loss, domain)

        ours, theirs = model.extract(source), model.extract(target)
        ours, theirs = model.classify(ours), model.classify(theirs)
        class_loss = functional.cross_entropy(ours, labels(SOURCE))
        told = torch.cat([model.told_by_logits(ours), model.told_by_logits(theirs)])
        mapping = functional.cross_entropy(told, domains(1, 0))
        record.keep(f"step {step}/T", class_loss=class_loss, logits_mapping_loss=mapping)
        record.descend(f"step {step}/T", model, class_loss + mapping, moving)
        record.state(f"step {step}/after", model, ("features", "classifier", *domain))
    predict(model, target, record)


def predict(model, target, record):
    model.eval()
    with aside():
        record.keep("end", predicted=model.classify(model.extract(target)))


def settings(method, *parts):
    return dict(method=method, parts=parts, lr=2e-4, eps=EPS, betas=[0.5, 0.999], source_rows=SOURCE, target_rows=TARGET,
                source_bound=1.0, target_bound=0.5, sharpness=1,
                images="step s: source salt + 2 (s - 1), target salt + 2 (s - 1) + 1")


STARTS = {kind: start(kind) for kind in (Both, Logits)}
store(HERE.with_name("adda_confusion_step.py"), confusion, settings(
    '{ kind = "adda", target = "target.train", loss = "confusion", on = ["features", "logits"] }',
    "features", "domain_classifier", "logits_domain_classifier"))
store(HERE.with_name("adda_shared_step.py"), shared, settings(
    '{ kind = "adda", target = "target.train", encoder = "shared", on = ["logits"] }',
    "features", "classifier", "logits_domain_classifier"))
