"""Variance of the AUROC, and of the difference between two on the same cases (DeLong)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, ndtr, ndtri, stdtrit

from imbal_jax.metrics.cases import Cases, Column, check_cases, columns
from imbal_jax.metrics.clusters import patient_numbers
from imbal_jax.metrics.intervals import check_confidence, normal_quantile

SCALES = ("logit", "linear")


class DeLong(NamedTuple):
    """An AUROC with its variance and interval; floats, or float64 [K]."""

    auroc: float | np.ndarray
    variance: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray


class DeLongDifference(NamedTuple):
    """The first AUROC less the second; floats, or float64 [K]."""

    difference: float | np.ndarray
    variance: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray
    p_value: float | np.ndarray


def delong(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
    scale: str = "logit",
    mask: ArrayLike | None = None,
) -> DeLong:
    """The AUROC with the variance of DeLong, DeLong and Clarke-Pearson (Biometrics 1988), in O(N log N).

        var = var(V+) / P + var(V-) / N

    V+ is, for a positive, the share of the N negatives that it outranks, ties half; V- is, for a negative, the
    share of the P positives that outrank it: differences of midranks (Sun and Xu, IEEE Signal Processing
    Letters 2014). With ``groups`` they are summed by patient first (Obuchowski, Biometrics 1997), who may
    bring positives and negatives both.

    Args:
      labels, scores, mask: as in the package's docstring; each class against the rest.
      groups: [N], whose a case is; None where every case has its own patient.
      confidence: coverage of the interval.
      scale: "logit", symmetric in log(A / (1 - A)), with Student's quantile at the degrees of freedom of
        Satterthwaite (Biometrics Bulletin 1946), as Brunner and Munzel (Biometrical Journal 2000) have them for
        the same variance: it never leaves (0, 1), and covers better near 1 and with few positives. Or
        "linear", A -+ z sd as published, cut at 0 and 1.

    Returns:
      auroc, variance, low, high: floats, or float64 [K]. NaN without a positive or without a negative, and
      but for the AUROC also where only one patient has positives, or negatives. An AUROC of 1 or 0 has
      variance 0, which says nothing: its other bound is that of Clopper and Pearson for as many wins in
      disjoint pairs, a positive and a negative of two patients each: tail^(1 / pairs), on either scale.

    Raises:
      ValueError: as the metrics; groups that are not [N]; a confidence not in (0, 1); an unknown scale.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}: expected one of {', '.join(SCALES)}")
    tail = (1 - check_confidence(confidence)) / 2
    cases = check_cases(labels, scores, mask)
    patients = patient_numbers(groups, cases.kept)

    def row(column: Column) -> tuple[float, ...]:
        placed = _place([column], patients)
        area, (variance, freedom) = placed.areas[0], _variance(placed, np.ones(1))
        if area in (0, 1) and placed.pairs:
            bound = tail ** (1 / placed.pairs)
            return area, variance, *((bound, 1.0) if area == 1 else (0.0, 1 - bound))
        if scale == "linear":
            half = -ndtri(tail) * np.sqrt(variance)
            return area, variance, *np.clip([area - half, area + half], 0, 1)
        half = -stdtrit(freedom, tail) * np.sqrt(variance) / (area * (1 - area))
        return area, variance, expit(logit(area) - half), expit(logit(area) + half)

    return DeLong(*_by_column(cases, [row(column) for column in columns(cases)], 4))


def delong_difference(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
    mask: ArrayLike | None = None,
) -> DeLongDifference:
    """AUROC of ``first`` less that of ``second``, two scores of the same cases (DeLong et al. 1988).

    var = var(A1) + var(A2) - 2 cov(A1, A2): the variance in ``delong`` of the differences of V+ and V-.

    Returns:
      difference, variance, low, high, p_value: floats, or float64 [K]. The interval is difference -+ z sd,
      cut at -1 and 1; the p-value is two-sided, of no difference. Scores of the same ranks differ by 0 with
      variance 0 and p-value 1; where another difference has variance 0, interval and p-value are NaN.

    Arguments and errors as ``delong``.
    """
    z = normal_quantile(confidence)
    one, other = (check_cases(labels, scores, mask) for scores in (first, second))
    if one.scores.shape != other.scores.shape:
        raise ValueError(f"scores {list(np.shape(first))} and {list(np.shape(second))} must have one shape")
    patients = patient_numbers(groups, one.kept)

    def row(pair: Sequence[Column]) -> tuple[float, ...]:
        placed = _place(pair, patients)
        difference = placed.areas[0] - placed.areas[1]
        variance, _ = _variance(placed, np.array([1.0, -1.0]))
        if variance == 0 and difference == 0:
            return 0.0, 0.0, 0.0, 0.0, 1.0
        sd = np.sqrt(variance) if variance > 0 else np.nan
        low, high = np.clip([difference - z * sd, difference + z * sd], -1, 1)
        return difference, variance, low, high, 2 * ndtr(-abs(difference) / sd)

    pairs = zip(columns(one), columns(other), strict=True)
    return DeLongDifference(*_by_column(one, [row(pair) for pair in pairs], 5))


def _by_column(cases: Cases, rows: list[tuple[float, ...]], width: int) -> list[float] | list[np.ndarray]:
    if cases.is_binary:
        return [float(value) for value in rows[0]]
    return list(np.array(rows, np.float64).reshape(-1, width).T)


class _Placed(NamedTuple):
    """Contribution of each patient to the error of the areas of S scores of the same cases."""

    areas: np.ndarray  # [S]
    up: np.ndarray  # [S, G]: sum over the patient's positives of V+ - A, over P
    down: np.ndarray  # [S, G]: sum over his negatives of V- - A, over N
    with_positive: int  # patients
    with_negative: int
    either: int

    @property
    def pairs(self) -> int:
        """Disjoint pairs of a patient with a positive and another with a negative."""
        return min(self.with_positive, self.with_negative, self.either // 2)


def _place(scored: Sequence[Column], patients: np.ndarray) -> _Placed:
    number = int(patients.max(initial=-1)) + 1
    owner = [patients[side] for side in (scored[0].positive, scored[0].negative)]
    P, N = (side.size for side in owner)
    holds = [np.bincount(side, minlength=number) > 0 for side in owner]
    held = int(holds[0].sum()), int(holds[1].sum()), int((holds[0] | holds[1]).sum())
    if not (P and N):
        undefined = np.full((len(scored), number), np.nan)
        return _Placed(np.full(len(scored), np.nan), undefined, undefined, *held)
    areas, up, down = [], [], []
    for scores, positive, negative in scored:
        wins = _beaten(scores[positive], scores[negative])
        losses = _beaten(scores[negative], scores[positive])
        area = int(wins.sum()) / (2 * P * N)
        areas.append(area)
        up.append(np.bincount(owner[0], (wins / (2 * N) - area) / P, number))
        down.append(np.bincount(owner[1], (1 - losses / (2 * P) - area) / N, number))
    return _Placed(np.array(areas), np.array(up), np.array(down), *held)


def _beaten(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Twice the others below each score, and once those level with it: int64."""
    others = np.sort(others)
    return np.searchsorted(others, scores, side="left") + np.searchsorted(others, scores, side="right")


def _variance(placed: _Placed, contrast: np.ndarray) -> tuple[float, float]:
    """Variance of ``contrast`` @ areas, and its degrees of freedom; NaN where they cannot be estimated."""
    held = np.array([placed.with_positive, placed.with_negative])
    if held.min() < 2:
        return np.nan, np.nan
    up, down = contrast @ placed.up, contrast @ placed.down
    # Obuchowski (1997); a patient who holds one side only adds nothing to ``both``
    apart = held / (held - 1) * np.array([up @ up, down @ down])
    both = placed.either / (placed.either - 1) * 2 * (up @ down)
    if not apart.any():
        return 0.0, np.inf
    freedom = apart.sum() ** 2 / (apart**2 / (held - 1)).sum()
    return max(float(apart.sum() + both), 0.0), float(freedom)  # ``both`` may be negative
