"""Two steps of Wasserstein distance guided representation learning (Shen et al. 2018) in PyTorch, on `dacnn`
with a critic.

    python tests/golden/wdgrl_step.py       # needs torch and safetensors; writes wdgrl_step.safetensors

The source and then the target pass through the features once per step. The critic, a layer of `HIDDEN`
rectified values and one of a single value, goes down

    mean c(target) - mean c(source) + 10 gp

`CRITIC_STEPS` times with the features as they are, where gp is the mean over the rows of the source, of the
target and of points between them of (|grad c| - 1)^2. Gradients of c and of its gradients are PyTorch's own.
Points lie between the first rows of both domains, as many as the smaller one has, at random shares as
stream.py draws them. Then features and classifier go down CE(source) + LAMBDA (mean c(source) - mean
c(target)), with the critic as it is by then.
"""
import torch
from torch import nn

from dacnn import relu
from several_steps import OneHead, adam, batch, labels, network, store
from stream import uniform

HIDDEN = 30
CRITIC_STEPS = 3
LAMBDA = 0.7
PENALTY = 10.0
EPS = 1e-2
METHOD = (f"{{ kind = 'wdgrl', target = 'target.train', hidden = {HIDDEN}, critic_steps = {CRITIC_STEPS}, "
          f"penalty = {PENALTY}, lambda = {LAMBDA} }}")
SETTINGS = dict(lr=1e-3, eps=EPS, betas=[0.9, 0.999], critic_steps=CRITIC_STEPS, source_rows=5, target_rows=4,
                source_bound=1.0, target_bound=0.5, sharpness=1, method=METHOD,
                images="step s: source salt + 2 (s - 1), target salt + 2 (s - 1) + 1")


class WithCritic(OneHead):
    def __init__(self):
        super().__init__()
        self.critic = nn.ModuleDict({"0": nn.Linear(1250, HIDDEN), "2": nn.Linear(HIDDEN, 1)})

    def judge(self, x):
        return self.critic["2"](relu(self.critic["0"](x))).squeeze(1)


def run(dtype, salt, record):
    model = network(WithCritic, dtype)
    record.begin(model)
    optimizers = {part: adam(getattr(model, part).parameters(), 1e-3, EPS)
                  for part in ("features", "classifier", "critic")}
    critic = {"critic": optimizers.pop("critic")}
    for step in (1, 2):
        source = model.extract(batch(salt + 2 * (step - 1), 5, 1.0, dtype))
        target = model.extract(batch(salt + 2 * (step - 1) + 1, 4, 0.5, dtype))
        for turn in range(1, CRITIC_STEPS + 1):
            share = torch.from_numpy(uniform(f"critic {turn}", step - 1, 4)).to(dtype)[:, None]
            h_s, h_t = source.detach(), target.detach()
            points = torch.cat([h_s, h_t, torch.lerp(h_t[:4], h_s[:4], share)]).requires_grad_()
            judged = model.judge(points)
            slopes, = torch.autograd.grad(judged.sum(), points, create_graph=True)
            penalty = (slopes.norm(dim=1) - 1).square().mean()
            distance = judged[:5].mean() - judged[5:9].mean()
            loss = PENALTY * penalty - distance
            at = f"step {step}/critic {turn}"
            record.keep(at, critic_loss=loss, gradient_penalty=penalty)
            record.descend(at, model, loss, critic)
        distance = model.judge(source).mean() - model.judge(target).mean()
        class_loss = nn.functional.cross_entropy(model.classify(source), labels(5))
        at = f"step {step}/main"
        record.keep(at, class_loss=class_loss, critic_distance=distance)
        record.descend(at, model, class_loss + LAMBDA * distance, optimizers)
        record.state(f"step {step}/after", model)


store(__file__, run, SETTINGS)
