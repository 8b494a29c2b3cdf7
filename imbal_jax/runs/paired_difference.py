"""What finished runs score on the same test images, and how far they differ: intervals and p-values.

They tell the chance in which patients the test set holds, not that in training. Of that tell several seeds of one
method: their mean and standard deviation.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.errors import InputError
from imbal_jax.metrics import (
    DECISION_METRICS,
    auroc,
    average_precision,
    delong_difference,
    paired_bootstrap,
)
from imbal_jax.metrics.averages import average_of, ratio
from imbal_jax.runs.claim import DEFINITIONS

METRICS = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "f_score": "F-score",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
}
RANKED: dict[str, Callable[..., Any]] = {"auroc": auroc, "average_precision": average_precision}
DECIDED = ("sensitivity", "specificity", "f_score", "balanced_accuracy")
MACRO = "macro"
# of config.data: what decides which images are the test set
SPLIT = (
    "source",
    "split_seed",
    "validation_share",
    "test_share",
    "phantom_images",
    "phantom_imbalance",
    "detectability",
    "signal_places",
    "signal_positives",
    "signal_imbalance",
)
PIXELS = ("image_size", "voi")  # and what decides how they were read
NAMES = {"groups": "patients", "digests": "pixels"}
SAMPLES = 2000  # replicates: no p-value below 2 / 2001


@dataclass(frozen=True)
class Run:
    """Test outputs of one run, by finding: the K classes but the negative one.

    name: as shown. method, config: its name, and the config that names it.
    labels: as stored. truth: int8 [N, K], 1, 0 or -1 (unknown). probabilities: float64 [N, K], calibrated.
    called: bool [N, K], at the operating points. groups: [N], whose each image is. digests: [N], of its pixels.
    """

    name: str
    method: str
    config: Mapping[str, Any]
    labels: np.ndarray
    truth: np.ndarray
    probabilities: np.ndarray
    called: np.ndarray
    findings: tuple[str, ...]
    groups: np.ndarray
    digests: np.ndarray

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows that have metrics: the mean over the findings (if several), and each finding."""
        return (MACRO, *self.findings) if len(self.findings) > 1 else self.findings


@dataclass(frozen=True)
class Difference:
    """A metric of ``run`` less that of the first run, of one finding or of their macro mean."""

    run: str
    finding: str
    metric: str
    first_value: float
    run_value: float
    difference: float
    low: float
    high: float
    p_value: float
    method: str  # "DeLong" or "bootstrap"
    p_holm: float


def check_same_test(first: Run, run: Run) -> None:
    """InputError unless both are of the same test images and classes."""
    remedy = "compare runs of the same data, classes and --data.split-seed"
    if first.findings != run.findings:
        named = [", ".join(r.findings) for r in (first, run)]
        raise InputError(f"{first.name} is judged by {named[0]} and {run.name} by {named[1]}: {remedy}")
    shapes = [list(r.labels.shape) for r in (first, run)]
    if shapes[0] != shapes[1]:
        raise InputError(f"{first.name} has test labels {shapes[0]} and {run.name} {shapes[1]}: {remedy}")
    for what in ("groups", "labels"):
        _refuse_others(first, run, what, remedy)
    if np.array_equal(first.digests, run.digests):
        return
    # equal labels and patients alone do not show that the images are the same
    data = [r.config["data"] for r in (first, run)]
    for key in SPLIT:
        one, other = (of.get(key) for of in data)
        if one != other:
            option = "--data." + key.replace("_", "-")
            raise InputError(f"{first.name} has {option} {one} and {run.name} {other}: {remedy}")
    if all(data[0].get(key) == data[1].get(key) for key in PIXELS):
        _refuse_others(first, run, "digests", remedy)


def _refuse_others(first: Run, run: Run, what: str, remedy: str) -> None:
    one, other = getattr(first, what), getattr(run, what)
    differ = (one != other).reshape(len(one), -1).any(axis=1)
    if differ.any():
        raise InputError(
            f"the {NAMES.get(what, what)} of {differ.sum()} of {len(one)} test images differ between {first.name} "
            f"and {run.name}, first at image {int(differ.argmax())}: {remedy}"
        )


def differences(
    first: Run, run: Run, groups: ArrayLike | None = None, samples: int = SAMPLES
) -> list[Difference]:
    """Every metric of ``run`` less that of ``first``, of each of ``Run.rows``; p-values not adjusted (NaN).

    groups: [N], whose each image is; None where all are independent. Interval (95 %) and p-value are those of
    DeLong for the AUROC of a finding (with ``groups``, of Obuchowski), and for all else those of a paired bootstrap
    over patients with ``samples`` replicates. In 1,000 simulated studies of two equally good scores, 15 patients
    with and 150 without the finding and two images each, DeLong's p-value was below 0.05 in 6 %, the bootstrap's
    in 8 %.
    """
    bootstrap = partial(paired_bootstrap, groups=groups, samples=samples)
    pair = (first.truth, run.probabilities, first.probabilities)
    change, _, *chance = delong_difference(*pair, groups=groups)
    found: dict[str, Sequence[Any]] = {
        "auroc": (change, *chance),
        "average_precision": bootstrap(partial(average_precision, average="none"), *pair),
    }
    if len(first.findings) > 1:
        for name, metric in RANKED.items():
            parts = zip(bootstrap(metric, *pair), found[name], strict=True)
            found[name] = tuple(np.append(macro, each) for macro, each in parts)
    of_calls: Any = bootstrap(decided, first.truth, evidence_of(run), evidence_of(first))
    found |= {name: tuple(part[m] for part in of_calls) for m, name in enumerate((*DECIDED, "brier"))}

    one, other = metrics_of(first), metrics_of(run)

    def row(name: str, r: int, finding: str) -> Difference:
        difference, low, high, p_value = (float(part[r]) for part in found[name])
        return Difference(
            run.name,
            finding,
            name,
            float(one[name][r]),
            float(other[name][r]),
            difference,
            low,
            high,
            p_value,
            method="DeLong" if name == "auroc" and finding != MACRO else "bootstrap",
            p_holm=np.nan,
        )

    return [row(name, r, finding) for name in METRICS for r, finding in enumerate(first.rows)]


def metrics_of(run: Run) -> dict[str, np.ndarray]:
    """Each of ``METRICS``, float64, one for each of ``Run.rows``."""
    ranked = {
        name: _with_mean(metric(run.truth, run.probabilities, average="none"))
        for name, metric in RANKED.items()
    }
    return ranked | dict(zip((*DECIDED, "brier"), decided(run.truth, evidence_of(run)), strict=True))


def evidence_of(run: Run) -> np.ndarray:
    """[N, K, 2]: what was called, and the squared error of the probability."""
    return np.stack([run.called, (run.probabilities - (run.truth == 1)) ** 2], axis=-1)


def decided(truth: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Metrics of decisions, then the mean squared error, [5, rows], of cases of ``evidence_of``."""
    called, known = evidence[..., 0] > 0, truth >= 0
    counts = [((truth == t) & (called == c)).sum(axis=0) for t in (0, 1) for c in (False, True)]
    tables = np.stack(counts, axis=-1).reshape(-1, 2, 2)
    values = [DECISION_METRICS[name](tables) for name in DECIDED]
    values.append(ratio((evidence[..., 1] * known).sum(axis=0), known.sum(axis=0)))
    return _with_mean(np.stack(values))


def _with_mean(each: np.ndarray) -> np.ndarray:
    """Values [..., K] with the mean of those that are defined before them, where there are several."""
    if each.shape[-1] == 1:
        return each
    mean = average_of(each, np.ones(each.shape[-1]), MACRO)
    return np.concatenate([np.asarray(mean)[..., None], each], axis=-1)


def adjusted(rows: Sequence[Difference]) -> list[Difference]:
    """With ``p_holm``, metric by metric: over the runs and findings together; of macro means, over the runs."""
    found = list(rows)
    families = [(row.metric, row.finding == MACRO) for row in rows]
    for family in set(families):
        places = [n for n, of in enumerate(families) if of == family]
        for n, p in zip(places, holm([rows[n].p_value for n in places]), strict=True):
            found[n] = dataclasses.replace(rows[n], p_holm=float(p))
    return found


def holm(p_values: ArrayLike) -> np.ndarray:
    """p-values [m] adjusted so that the chance of any false alarm among them is kept (Holm, Scand J Stat 1979).

    In ascending order the largest so far of (m - i + 1) p_i, at most 1. NaN, which counts not, stays NaN.
    """
    p_values = np.asarray(p_values, np.float64)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    result = np.full(p_values.shape, np.nan)
    result[order] = np.maximum.accumulate(np.arange(len(order), 0, -1) * p_values[order]).clip(max=1)
    return result


def seed_spread(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Of each method with several seeds: ``method``, ``runs`` (names), and ``mean`` and ``sd`` by metric.

    Of the macro mean where there are several findings. sd: of a sample, over n - 1.
    """
    by_setting: dict[str, dict[int, Run]] = {}
    for run in runs:
        by_setting.setdefault(_settings(run), {}).setdefault(run.config["seed"], run)
    found = []
    for seeds in by_setting.values():
        if len(seeds) < 2:
            continue
        of = list(seeds.values())
        tables = [metrics_of(run) for run in of]
        values = {name: np.array([table[name][0] for table in tables]) for name in METRICS}
        found.append(
            {
                "method": of[0].method,
                "runs": [run.name for run in of],
                "mean": {name: float(v.mean()) for name, v in values.items()},
                "sd": {name: float(v.std(ddof=1)) for name, v in values.items()},
            }
        )
    return found


def _settings(run: Run) -> str:
    """The config as text, less what differs between seeds of a method and where its data lie."""
    left_out = {"seed", "seeds", "name", "title", "methods", DEFINITIONS}
    values = {key: value for key, value in run.config.items() if key not in left_out}
    values["data"] = {k: v for k, v in values["data"].items() if k not in ("dir", "download")}
    values["train"] = {k: v for k, v in values["train"].items() if k != "devices"}
    options = [method for method in run.config["methods"] if method["name"] == run.method]
    return json.dumps([values, options], sort_keys=True)
