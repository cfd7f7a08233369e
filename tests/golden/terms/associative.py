"""Associative domain adaptation (Haeusser et al. 2017), step by step of its random walks."""
import torch

METHOD = "{ kind = 'associative', target = 'other.train', lambda = 4.0, visit = 0.6, temperature = 60.0 }"
ROWS = (12, 5)  # the last two images are of classes that came before


def walk(start, goals, temperature):
    """The probabilities of steps from one embedding to each of some others."""
    scores = torch.stack([(start * goal).sum() for goal in goals]) / temperature
    weights = (scores - scores.max()).exp()
    return weights / weights.sum()


def term(seen):
    source, target, labels = seen.source, seen.target, seen.labels
    there = [walk(row, target, 60.0) for row in source]
    back = [walk(row, source, 60.0) for row in target]
    walker = 0
    for steps, label in zip(there, labels):
        ends = sum(step * way for step, way in zip(steps, back))
        walker = walker - torch.log(ends[labels == label] + 1e-8).mean()
    walker = walker / len(source)
    visited = sum(there) / len(there)
    visit = -torch.log(visited + 1e-8).mean()
    return 4.0 * (walker + 0.6 * visit), {"walker_loss": walker, "visit_loss": visit}
