"""Methods with several seeds side by side: differences of their metrics' means over the seeds.

The intervals are paired, over patients, of those means. How far single seeds lie apart is ``seed_spread``.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics import paired_bootstrap
from imbal_jax.runs.paired_difference import (
    DECIDED,
    METRICS,
    RANKED,
    SAMPLES,
    Difference,
    Run,
    decided,
    differences,
    evidence_of,
    metrics_of,
)


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: the runs of one method, which differ in their seed, or one run alone."""

    name: str
    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        return self.runs[0]

    def metrics(self) -> dict[str, np.ndarray]:
        """Each of ``METRICS``, the mean over the seeds, float64, one for each of ``Run.rows``."""
        tables = [metrics_of(run) for run in self.runs]
        return {name: np.mean([table[name] for table in tables], axis=0) for name in METRICS}


def arm_differences(
    first: Arm, arm: Arm, groups: ArrayLike | None = None, samples: int = SAMPLES
) -> list[Difference]:
    """Every metric of ``arm`` less that of ``first``, as ``differences`` where each has one run.

    With several, interval and p-value of every metric are those of a paired bootstrap over patients of the means over
    the seeds, with ``samples`` replicates.
    """
    if len(first.runs) == len(arm.runs) == 1:
        return differences(first.first, arm.first, groups, samples)
    bootstrap = partial(paired_bootstrap, groups=groups, samples=samples)
    columns = math.lcm(
        len(first.runs), len(arm.runs)
    )  # as many of each side, which leaves the means as they are
    sides = [[one.runs[n % len(one.runs)] for n in range(columns)] for one in (arm, first)]
    truth = first.first.truth

    # the mean over findings and seeds is the macro mean of their columns, which the bootstrap does not sort again
    found: dict[str, list[np.ndarray]] = {}
    single = [slice(k, k + 1) for k in range(truth.shape[1])]
    parts = [slice(None), *single] if len(single) > 1 else single
    for name, metric in RANKED.items():
        rows = []
        for part in parts:
            scores = [np.concatenate([run.probabilities[:, part] for run in side], axis=1) for side in sides]
            rows.append(bootstrap(metric, np.tile(truth[:, part], (1, columns)), *scores))
        found[name] = [np.array(values, np.float64) for values in zip(*rows, strict=True)]

    def mean_decided(labels: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        return np.mean([decided(labels, evidence[..., n]) for n in range(columns)], axis=0)

    stacked = [np.stack([evidence_of(run) for run in side], axis=-1) for side in sides]
    called = bootstrap(mean_decided, truth, *stacked)
    for m, name in enumerate((*DECIDED, "brier")):
        found[name] = [np.asarray(part)[m] for part in called]

    one, other = first.metrics(), arm.metrics()
    return [
        Difference(
            run=arm.name,
            finding=finding,
            metric=name,
            first_value=float(one[name][r]),
            run_value=float(other[name][r]),
            difference=float(found[name][0][r]),
            low=float(found[name][1][r]),
            high=float(found[name][2][r]),
            p_value=float(found[name][3][r]),
            method="bootstrap",
            p_holm=np.nan,
        )
        for name in METRICS
        for r, finding in enumerate(first.first.rows)
    ]
