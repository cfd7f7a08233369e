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
from classifier_phases import HEADS, phases, settings
from several_steps import store

REPEAT = 4


def discrepancy(record, model, features, step, look):
    p1, p2 = (model.classify(features, head).softmax(1) for head in HEADS)
    record.apart(p1 - p2, 1e-4)
    return (p1 - p2).abs().mean()


store(__file__, phases(discrepancy, REPEAT), settings(REPEAT))
