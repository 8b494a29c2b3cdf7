"""How often the 95 % intervals hold the truth, by simulation at prevalences of 10 %, 1 % and 0.1 %.

    python benchmarks/interval_coverage.py [--cases 20000] [--simulations 1000] [--samples 500]

Scores are binormal: normal with variance 1, mean 0 for negatives and ``SEPARATION`` for positives, so that the
AUROC is Phi(SEPARATION / sqrt 2) = 0.856 and the sensitivity at a threshold t is Phi(SEPARATION - t). Every
simulated study has the same number of positives: at 20,000 cases 2000, 200 and 20. Judged are, of the AUROC,
DeLong on the logit scale (the default) and as published, linear, and the stratified percentile bootstrap; of the
sensitivity at the threshold where specificity is 90 %, Wilson and Clopper-Pearson.

"patients": 1 in 10 of 500 patients is positive, each with 4 images whose scores share 60 % of their variance;
intervals that know the patients beside those that take the images for independent.

Coverage is printed with its Monte-Carlo error, one standard error sqrt(p (1 - p) / simulations) at p = 0.95,
and the median length, and stored in benchmarks/results/interval_coverage.json; about 12 minutes on a free core.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from environment import environment
from scipy.stats import norm

from imbal_jax import metrics

SEPARATION = 1.5
AUROC = float(norm.cdf(SEPARATION / np.sqrt(2)))
THRESHOLD = float(norm.ppf(0.9))
SENSITIVITY = float(norm.sf(THRESHOLD - SEPARATION))
PREVALENCES = (0.1, 0.01, 0.001)
PATIENTS, IMAGES, SHARED = 500, 4, 0.6

Bounds = tuple[float, float]
Intervals = dict[str, tuple[float, Bounds]]  # name -> (truth, bounds)


def independent(rng: np.random.Generator, cases: int, prevalence: float, samples: int) -> Intervals:
    """The intervals of one study of independent cases."""
    labels = (np.arange(cases) < round(prevalence * cases)).astype(int)
    scores = rng.normal(size=cases) + SEPARATION * labels
    found, positives = int((scores[labels == 1] >= THRESHOLD).sum()), int(labels.sum())
    return {
        "delong": (AUROC, metrics.delong(labels, scores)[2:]),
        "delong, linear": (AUROC, metrics.delong(labels, scores, scale="linear")[2:]),
        "bootstrap": (AUROC, bootstrap(rng, labels, scores, samples)),
        "wilson": (SENSITIVITY, metrics.wilson(found, positives)),
        "clopper_pearson": (SENSITIVITY, metrics.clopper_pearson(found, positives)),
    }


def of_patients(rng: np.random.Generator, samples: int) -> Intervals:
    """The intervals of one study of patients, whose images are alike and of one class."""
    groups = np.repeat(np.arange(PATIENTS), IMAGES)
    labels = (groups < PATIENTS // 10).astype(int)
    patient, image = rng.normal(size=PATIENTS), rng.normal(size=groups.size)
    scores = np.sqrt(SHARED) * patient[groups] + np.sqrt(1 - SHARED) * image + SEPARATION * labels
    return {
        "delong, patients": (AUROC, metrics.delong(labels, scores, groups=groups)[2:]),
        "bootstrap, patients": (AUROC, bootstrap(rng, labels, scores, samples, groups)),
        "delong, images": (AUROC, metrics.delong(labels, scores)[2:]),
        "bootstrap, images": (AUROC, bootstrap(rng, labels, scores, samples)),
    }


def bootstrap(
    rng: np.random.Generator,
    labels: np.ndarray,
    scores: np.ndarray,
    samples: int,
    groups: np.ndarray | None = None,
) -> Bounds:
    seed = int(rng.integers(2**31))
    return metrics.bootstrap(metrics.auroc, labels, scores, groups=groups, samples=samples, seed=seed)


def coverage(study: Callable[[], Intervals], simulations: int) -> dict[str, dict[str, float]]:
    """Of each interval: how often it holds the truth, and misses above and below it; and its median length."""
    truths: dict[str, float] = {}
    bounds: dict[str, list[Bounds]] = {}
    for _ in range(simulations):
        for name, (truth, interval) in study().items():
            truths[name] = truth
            bounds.setdefault(name, []).append(tuple(interval))
    rows = {}
    for name, truth in truths.items():
        low, high = np.array(bounds[name]).T
        rows[name] = {
            "truth": truth,
            "coverage": float(((low <= truth) & (truth <= high)).mean()),
            "too_high": float((low > truth).mean()),
            "too_low": float((high < truth).mean()),
            "median_length": float(np.median(high - low)),
        }
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--cases", type=int, default=20_000)
    options.add_argument("--simulations", type=int, default=1000)
    options.add_argument("--samples", type=int, default=500)
    results = Path(__file__).parent / "results"
    options.add_argument("--out", type=Path, default=results / "interval_coverage.json")
    options = options.parse_args()

    began = time.perf_counter()
    error = float(np.sqrt(0.95 * 0.05 / options.simulations))
    result = {**environment(), "confidence": 0.95, "cases": options.cases}
    result |= {"simulations": options.simulations, "bootstrap_samples": options.samples}
    result |= {"monte_carlo_error": error, "settings": {}}
    print(
        f"{options.simulations} simulations a setting: Monte-Carlo error of a coverage of 95 %: {error:.2%}"
    )
    rng = np.random.default_rng(0)
    studies: dict[str, Callable[[], Intervals]] = {
        f"{prevalence:.1%}": lambda p=prevalence: independent(rng, options.cases, p, options.samples)
        for prevalence in PREVALENCES
    }
    studies["patients"] = lambda: of_patients(rng, options.samples)
    for setting, study in studies.items():
        rows = result["settings"][setting] = coverage(study, options.simulations)
        print(f"{setting:20}{'coverage':>10}{'too high':>10}{'too low':>10}{'length':>10}")
        for name, row in rows.items():
            print(f"  {name:18}{row['coverage']:10.1%}{row['too_high']:10.1%}{row['too_low']:10.1%}"
                  f"{row['median_length']:10.4f}", flush=True)  # fmt: skip
    result["seconds"] = time.perf_counter() - began
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{result['seconds']:.0f} s; written to {options.out}")


if __name__ == "__main__":
    main()
