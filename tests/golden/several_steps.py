"""What terms.py, mcd_step.py, adda_step.py, self_ensembling_step.py and shot_step.py share: a record of several
training steps of `dacnn`, the search for images that come near no tie, and the error of PyTorch's own
single precision.

Every script follows its method twice, in single and in double precision. It stores the first and
prints how far the two are apart, so that the tests can choose their tolerances. A ReLU or a pooling
that rounding decides otherwise would move a gradient by far more than that, so images are taken whose
nearest tie, in all passes that a gradient goes through, is `MARGIN` away, and for which the two agree
within `ERRORS`. Rounding moves few of the values by more than half of the margin; a wider one is not to
be had where a training compares several hundred thousand windows.

Names in the files are `step 1/A/gradient features.conv1.weight`. Of a tensor with more values than
`MOST` every k-th is stored, and, as `sums NAME` in double precision, the sum and the sum of squares of
them all; what begins with `labelling/` is stored whole. The text `settings` in the metadata holds every
number that a test needs: salts, rates, weights.
"""
import contextlib
import copy
import json
import pathlib

import torch
from safetensors.torch import save_file

from dacnn import GAPS, Dacnn, filled
from hashed import hashed

torch.use_deterministic_algorithms(True)

MOST = 2500
MARGIN = 8e-6
ERRORS = dict(gradient=3e-5, value=2e-5)  # of single precision, relative


class TooClose(Exception):
    """Rounding could decide a tie: try other images."""


class OneHead(Dacnn):
    """Without the domain classifier."""

    def __init__(self):
        super().__init__()
        del self.domain_classifier


class TwoHeads(OneHead):
    """With a second classifier, `classifier2`, whose salts go on where the first one's end."""

    def __init__(self):
        super().__init__()
        self.classifier2 = copy.deepcopy(self.classifier)


def network(kind, dtype, sharpness=1):
    """The network with hashed weights. Those of each classifier's last layer are `sharpness` times as
    large, as those of a trained network would be."""
    model = filled(kind)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(".fc3.weight"):
                p.mul_(sharpness)
    return model.to(dtype)


def averages_of(model, images):
    """Gives each batch norm the statistics of a batch as its running averages, as if it were trained."""
    norms = [m for m in model.modules() if hasattr(m, "running_mean")]
    for norm in norms:
        norm.momentum = 1.0
    with aside():
        features = model.extract(images)
        for head in ("classifier", "classifier2"):
            if hasattr(model, head):
                model.classify(features, head)
        if hasattr(model, "domain_classifier"):
            model.told_apart(features)
    for norm in norms:
        norm.momentum = 0.1
    return {name: b.clone() for name, b in model.named_buffers() if "running" in name}


def batch(salt, count, bound, dtype):
    return hashed(salt, (count, 3, 28, 28), bound).to(dtype)


def labels(count):
    return torch.tensor([(7 * i + 3) % 10 for i in range(count)])


def adam(parameters, lr, eps, **settings):
    """Adam, whose `eps` should be above the rounding noise of the gradients: see `step` of dacnn.py."""
    return torch.optim.Adam(parameters, lr=lr, eps=eps, foreach=False, **settings)


@contextlib.contextmanager
def aside():
    """A pass that no gradient goes through: its ties decide nothing."""
    noted = len(GAPS)
    with torch.no_grad():
        yield
    del GAPS[noted:]


class Record:
    """What a training did."""

    def __init__(self, checks):
        self.tensors, self.checks, self.nearest, self.begun = {}, checks, float("inf"), {}
        GAPS.clear()

    def keep(self, at, **values):
        for name, value in values.items():
            name = f"{at}/{name}"
            assert name not in self.tensors, name
            self.tensors[name] = value.detach().clone().reshape(value.shape or (1,))

    def begin(self, model):
        """Notes the parameters that the training begins with, to know how far they move."""
        self.begun = {name: p.detach().clone() for name, p in model.named_parameters()}

    def apart(self, distances, margin):
        """No decision may hang on a distance below `margin`."""
        if self.checks and distances.abs().min().item() < margin:
            raise TooClose

    def gradients(self, at, model, loss, parts=None):
        """The gradients of `loss` by the parameters of `parts`, or of the whole `model`."""
        model.zero_grad(set_to_none=True)
        loss.backward()
        for name, p in model.named_parameters():
            if parts is None or name.split(".")[0] in parts:
                self.keep(at, **{f"gradient {name}": p.grad})
        self.nearest = min(self.nearest, *GAPS)
        GAPS.clear()
        if self.checks and self.nearest < MARGIN:
            raise TooClose

    def descend(self, at, model, loss, optimizers):
        """One step down `loss` of the parts that `optimizers` names; other gradients are dropped."""
        self.gradients(at, model, loss, optimizers)
        others = {name: (p, p.detach().clone()) for name, p in model.named_parameters()
                  if name.split(".")[0] not in optimizers}
        for optimizer in optimizers.values():
            optimizer.step()
        assert all(torch.equal(p, before) for p, before in others.values())
        model.zero_grad(set_to_none=True)

    def state(self, at, model, parts=None):
        """Every parameter and every running statistic of `model`, or of its `parts`."""
        buffers = [(name, b) for name, b in model.named_buffers() if "running" in name]
        for kind, values in (("parameter", model.named_parameters()), ("buffer", buffers)):
            for name, value in values:
                if parts is None or name.split(".")[0] in parts:
                    self.keep(at, **{f"{kind} {name}": value})


def kind_of(name):
    last = name.split("/")[-1]
    return last.split(" ")[0] if " " in last else "value"


def errors(single, double):
    """The largest relative distance of each kind of tensor, and of the moves of the parameters since
    the beginning. A gradient that is but rounding noise, of a bias before batch norm, is measured by
    the gradient of all parameters, and its parameter's moves are left out."""
    whole, worst = {}, {}

    def measure(kind, name, ours, theirs, scale=None):
        off, scale = (ours.double() - theirs).norm().item(), scale or theirs.norm().item()
        worst[kind] = max(worst.get(kind, (0, "")), (off / scale if scale else off, name))

    for name, value in double.tensors.items():
        if kind_of(name) == "gradient":
            at = name.rsplit("/", 1)[0]
            whole[at] = whole.get(at, 0) + value.square().sum().item()
    for name, value in double.tensors.items():
        kind, ours = kind_of(name), single.tensors[name]
        at, parameter = name.rsplit("/", 1)[0], name.split(" ")[-1]
        if kind == "gradient" and value.norm().item() < 1e-6 * whole[at] ** 0.5:
            measure("noise", name, ours, value, whole[at] ** 0.5)
            continue
        measure(kind, name, ours, value)
        before_norm = parameter.endswith((".conv1.bias", ".conv2.bias", ".fc1.bias", ".fc2.bias"))
        if kind == "parameter" and not (before_norm and parameter != "domain_classifier.fc2.bias"):
            begun = double.begun[parameter]
            moved = "teacher's move" if "teacher" in name else "move"
            measure(moved, name, ours.double() - begun, value - begun)
    return worst


def store(path, run, settings, salts=range(101, 5001, 10), most=MOST):
    """Stores what `run(dtype, salt, record)` records for the first salt that comes near no tie."""
    for salt in salts:
        record, double = Record(checks=True), Record(checks=False)
        try:
            run(torch.float32, salt, record)
        except TooClose:
            continue
        run(torch.float64, salt, double)
        worst = errors(record, double)
        if all(worst[kind][0] < limit for kind, limit in ERRORS.items()):
            break
    else:
        raise SystemExit("every salt comes near a tie")
    print(f"{pathlib.Path(path).name}: salt {salt}, nearest tie {record.nearest:.1e}")
    for kind, (error, name) in sorted(worst.items()):
        print(f"  {kind}: single precision is off by at most {error:.1e} ({name})")
    out = {}
    for name, value in record.tensors.items():
        flat = value.float().flatten()
        out[name] = value.float()
        if len(flat) > most and not name.startswith("labelling/"):
            out[name] = flat[::-(-len(flat) // most)].clone()
            out[f"sums {name}"] = torch.stack([flat.double().sum(), flat.double().square().sum()])
    text = json.dumps(dict(settings, salt=salt, most=most))
    save_file(out, pathlib.Path(path).with_suffix(".safetensors"), metadata={"settings": text})
    size = pathlib.Path(path).with_suffix(".safetensors").stat().st_size
    print(f"  {len(out)} tensors, {size} bytes")
