"""Two steps of self-ensembling (French et al. 2018) on `dacnn` in PyTorch, for two thresholds.

    python tests/golden/self_ensembling_step.py     # needs torch and safetensors

The teacher begins as a copy of the student. A step has three passes, all in training mode, in this
order: student on the source, student on the first view of the target, teacher on the second view. Two
batches of images stand for the views. The student's running averages move in both of its passes, the
teacher's in its own pass only. The student steps down

    CE(source) + 3 mean_i m_i mean_k (p_student - p_teacher)^2 + 0.005 balance

where m_i is 1 where the teacher's largest probability exceeds the threshold, the mean is over all rows,
balance is K mean_k BCE(mean_i p_student, 1/K) mean_i m_i, and BCE(p, t) is the authors'
-t ln(p + 1e-6) - (1 - t) ln(1 - p + 1e-6). Then each of the teacher's parameters, but not its running
averages, becomes 0.99 of itself plus 0.01 of the student's. The authors' code multiplies the balance
by 3 as well; here the weight of the balance stands alone.

`usual/...` is a training with the threshold of the paper, `low/...` one with a lower threshold, which
more rows pass. `predicted` is the teacher in evaluation mode on the first view of the second step.
"""
import copy

import torch
from torch import nn

from several_steps import OneHead, TooClose, adam, aside, batch, labels, network, store

ROWS = 5
SHARPNESS = 8
THRESHOLDS = dict(usual=0.96837722, low=0.6)
EPS = 1e-2
SETTINGS = dict(lr=1e-3, eps=EPS, betas=[0.9, 0.999], decay=0.99, consistency_weight=3.0, balance_weight=0.005,
                balance_eps=1e-6, thresholds=THRESHOLDS, source_rows=ROWS, target_rows=ROWS,
                source_bound=1.0, target_bound=0.5, sharpness=SHARPNESS,
                images="step s: source salt + 3 (s - 1), views of the target 1 and 2 more")


def binary_cross_entropy(p, t):
    return -t * torch.log(p + 1e-6) - (1 - t) * torch.log(1 - p + 1e-6)


def train(name, dtype, salt, record):
    student = network(OneHead, dtype, SHARPNESS)
    record.begin(student)
    teacher = copy.deepcopy(student)
    optimizers = {part: adam(getattr(student, part).parameters(), 1e-3, EPS)
                  for part in ("features", "classifier")}
    masks = []
    for step in (1, 2):
        at = f"{name}/step {step}"
        source = batch(salt + 3 * (step - 1), ROWS, 1.0, dtype)
        views = [batch(salt + 3 * (step - 1) + i, ROWS, 0.5, dtype) for i in (1, 2)]
        logits = student.classify(student.extract(source))
        class_loss = nn.functional.cross_entropy(logits, labels(ROWS))
        ours = student.classify(student.extract(views[0])).softmax(1)
        with aside():
            theirs = teacher.classify(teacher.extract(views[1])).softmax(1)
        confidence = theirs.max(1).values
        record.apart(confidence - THRESHOLDS[name], 1e-3)
        mask = (confidence > THRESHOLDS[name]).to(dtype)
        consistency = ((ours - theirs).square().mean(1) * mask).mean()
        balance = 10 * binary_cross_entropy(ours.mean(0), 1 / 10).mean() * mask.mean()
        record.keep(at, class_loss=class_loss, consistency_loss=consistency, balance_loss=balance,
                    mask_rate=mask.mean(), mask=mask, student_probabilities=ours,
                    teacher_probabilities=theirs)
        if record.checks and not 0 < mask.sum() < ROWS:
            raise TooClose
        record.descend(at, student, class_loss + 3 * consistency + 0.005 * balance, optimizers)
        with torch.no_grad():
            for mean, new in zip(teacher.parameters(), student.parameters()):
                mean.mul_(0.99).add_(new * (1 - 0.99))
        record.state(f"{at}/student", student)
        record.state(f"{at}/teacher", teacher)
        masks.append(mask)
    teacher.eval()
    with aside():
        record.keep(f"{name}/end", predicted=teacher.classify(teacher.extract(views[0])))
    return masks


def run(dtype, salt, record):
    usual, low = (train(name, dtype, salt, record) for name in THRESHOLDS)
    if record.checks and any(torch.equal(a, b) for a, b in zip(usual, low)):
        raise TooClose


store(__file__, run, SETTINGS)
