"""Reference values for src/report/stats.rs: python tests/golden/stats.py > tests/golden/stats.json

Written with numpy, scipy and statsmodels; the versions are in the file.
"""

import json

import numpy
import scipy
import statsmodels
from scipy import stats
from statsmodels.stats.multitest import multipletests

rng = numpy.random.default_rng(6)
samples = []
for n in (2, 3, 4, 5, 8, 12, 16):
    for shift in (0.0, 0.02, 0.3):
        a = numpy.round(0.5 + 0.05 * rng.standard_normal(n), 4)
        b = numpy.round(0.5 + shift + 0.05 * rng.standard_normal(n), 4)
        d = b - a
        mean = b.mean()
        low, high = stats.t.interval(0.95, n - 1, loc=mean, scale=stats.sem(b))
        flips = stats.permutation_test(
            (b, a),
            lambda x, y, axis: (x - y).mean(axis=axis),
            permutation_type="samples",
            n_resamples=numpy.inf,
            vectorized=True,
        )
        samples.append(
            {
                "a": a.tolist(),
                "b": b.tolist(),
                "mean": float(mean),
                "sd": float(b.std(ddof=1)),
                "low": float(low),
                "high": float(high),
                "t_p": float(stats.ttest_rel(b, a).pvalue),
                "permutation_p": float(flips.pvalue),
            }
        )

# More pairs than every choice of signs is looked at of: the exact value, for the drawn one to be near.
n = 20
d = numpy.round(0.02 + 0.05 * rng.standard_normal(n), 4)
units = numpy.round(d * 10000).astype(int)
sums = {0: 1}
for unit in units:
    turned = {}
    for total, ways in sums.items():
        for sign in (1, -1):
            key = total + sign * int(unit)
            turned[key] = turned.get(key, 0) + ways
    sums = turned
far = sum(ways for total, ways in sums.items() if abs(total) >= abs(int(units.sum())))
many = {"differences": d.tolist(), "permutation_p": far / 2**n}

corrections = []
for m in (1, 2, 5, 9):
    p = numpy.round(rng.uniform(0, 1, m) ** 3, 5)
    corrections.append({"p": p.tolist(), "holm": multipletests(p, method="holm")[1].tolist()})
corrections.append({"p": [0.01, 0.01, 0.04, 0.9], "holm": multipletests([0.01, 0.01, 0.04, 0.9], method="holm")[1].tolist()})

quantiles = [{"n": n, "t": float(stats.t.ppf(0.975, n - 1))} for n in (2, 3, 4, 5, 10, 31, 1000)]

print(
    json.dumps(
        {
            "made_with": {
                "numpy": numpy.__version__,
                "scipy": scipy.__version__,
                "statsmodels": statsmodels.__version__,
            },
            "samples": samples,
            "many": many,
            "corrections": corrections,
            "quantiles": quantiles,
        },
        indent=1,
    )
)
