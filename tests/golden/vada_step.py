"""A step of VADA (Shu et al. 2018) in PyTorch, on `dacnn`.

    python tests/golden/vada_step.py        # needs torch and safetensors; writes vada_step.safetensors

All passes are in training mode and separate by domain, source first. Of the passes through features and
classifier, only that of the target in `main` moves running averages.

    D       domain_classifier       down 1/2 (CE(D(source), 0) + CE(D(target), 1)), with constant features
    main    features, classifier    down CE(source) + 0.3 (CE(D(source), 1) + CE(D(target), 0)) / 2
                                    + 0.8 VAT(source) + 0.4 VAT(target) + 0.5 H(target)

VAT(x) = KL(p(x), p(x + r)) + H(p(x)), with a constant p(x) and r = RADIUS g / |g| per image, where g is
the gradient of KL(p(x), p(x + XI d)) by the images, at a random direction d of length 1. `average` is the
network whose parameters become 0.9 of themselves plus 0.1 of the new ones after each step, and whose running
averages are those of the network that learns; `predicted` is what it then says of the target in evaluation
mode.
"""
import copy

import torch
from torch import nn

from dacnn import Dacnn
from several_steps import adam, aside, batch, labels, network, store
from vat import VAT, still

ROWS, TARGET_ROWS = 3, 3
SHARPNESS = 4
KEEP = 0.9
EPS = 1e-2
VIRTUAL = VAT(xi=2.0, radius=0.5)
METHOD = (f"{{ kind = 'vada', target = 'target.train', lambda = 0.3, source_vat = 0.8, target_vat = 0.4, "
          f"entropy = 0.5, keep = {KEEP}, {VIRTUAL.settings} }}")
SETTINGS = dict(lr=1e-3, eps=EPS, betas=[0.5, 0.999], source_rows=ROWS, target_rows=TARGET_ROWS,
                source_bound=1.0, target_bound=0.5, sharpness=SHARPNESS, method=METHOD,
                images="source salt, target salt + 1")


def run(dtype, salt, record):
    model = network(Dacnn, dtype, SHARPNESS)
    record.begin(model)
    average = copy.deepcopy(model)
    optimizers = {part: adam(getattr(model, part).parameters(), 1e-3, EPS, betas=(0.5, 0.999))
                  for part in ("features", "classifier", "domain_classifier")}
    domain = {"domain_classifier": optimizers.pop("domain_classifier")}
    cross_entropy = nn.CrossEntropyLoss()
    zeros, ones = (torch.full((ROWS,), label) for label in (0, 1))
    source = batch(salt, ROWS, 1.0, dtype)
    target = batch(salt + 1, TARGET_ROWS, 0.5, dtype)

    with aside(), still(model.features, model.classifier):
        features = [model.extract(images) for images in (source, target)]
        certain = [model.classify(f).softmax(1) for f in features]
    of_source, of_target = (model.told_apart(f) for f in features)
    loss = (cross_entropy(of_source, zeros) + cross_entropy(of_target, ones[:TARGET_ROWS])) / 2
    record.keep("step 1/D", domain_loss=loss)
    record.descend("step 1/D", model, loss, domain)

    adversaries = [VIRTUAL.adversary(model, images, p, word, 1)
                   for images, p, word in zip((source, target), certain, ("source", "target"))]
    with still(model):
        features = model.extract(source)
        class_loss = cross_entropy(model.classify(features), labels(ROWS))
    of_target = model.extract(target)
    logits = model.classify(of_target)
    adversarial = (cross_entropy(model.told_apart(features), ones)
                   + cross_entropy(model.told_apart(of_target), zeros[:TARGET_ROWS])) / 2
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    of_source, of_target = (VIRTUAL.loss(model, *it) for it in zip(adversaries, certain))
    record.keep("step 1/main", class_loss=class_loss, adversarial_loss=adversarial,
                source_vat_loss=of_source, target_vat_loss=of_target, target_entropy_loss=entropy)
    loss = class_loss + 0.3 * adversarial + 0.8 * of_source + 0.4 * of_target + 0.5 * entropy
    record.descend("step 1/main", model, loss, optimizers)
    with torch.no_grad():
        for mean, new in zip(average.parameters(), model.parameters()):
            mean.lerp_(new, 1 - KEEP)
        for mean, new in zip(average.buffers(), model.buffers()):
            mean.copy_(new)
    record.state("step 1/after", model)
    record.state("step 1/average", average, ("features", "classifier"))
    average.eval()
    with aside():
        record.keep("end", predicted=average.classify(average.extract(target)))


store(__file__, run, SETTINGS, salts=(4531,))  # of those that come near no tie, one that rounding moves little
