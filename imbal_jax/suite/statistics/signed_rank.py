"""The exact two-sided signed-rank test (Wilcoxon, Biometrics Bulletin 1945), with ties and zeros."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata


class SignedRank(NamedTuple):
    """p_value: two-sided. least: the smallest p-value that as many differences can have. pairs: differences."""

    p_value: float
    least: float
    pairs: int


def signed_rank(differences: ArrayLike) -> SignedRank:
    """The probability, under random signs, of a rank sum as far from its middle as that of ``differences`` [n].

    The distribution is that of the ranks at hand, ties sharing their mean rank, so that it is exact with ties too.
    Zeros are ranked and then left out (Pratt, JASA 1959). A difference may be -inf or inf: a run that gave no value
    is ranked below, or above, all others (Lachin, Controlled Clinical Trials 20, 1999). NaN is left out.
    """
    values = np.asarray(differences, np.float64)
    values = values[~np.isnan(values)]
    doubled = np.rint(2 * rankdata(np.abs(values))).astype(int)  # mean ranks are whole halves
    doubled, positive = doubled[values != 0], values[values != 0] > 0
    chances = _rank_sums(doubled)
    found = int(doubled[positive].sum())
    p_value = min(1.0, 2 * min(chances[: found + 1].sum(), chances[found:].sum()))
    return SignedRank(float(p_value), least_p_value(len(values)), len(values))


def least_p_value(pairs: int) -> float:
    """2 / 2^n, the smallest two-sided p-value of n pairs: 0.0625 of 5, 0.031 of 6, 0.0005 of 12; 1 of none."""
    return min(1.0, 2.0 / 2.0**pairs)


def critical_rank_sum(pairs: int, level: float) -> int:
    """The largest rank sum of the rarer sign that is significant at ``level``, without ties; -1 if none is."""
    p_values = 2 * np.cumsum(_rank_sums(2 * np.arange(1, pairs + 1))[::2])
    return int(np.searchsorted(p_values, level, side="right")) - 1


def attainable_level(pairs: int, level: float) -> float:
    """The largest p-value of ``pairs`` differences without ties that is at most ``level``; 0 if there is none."""
    p_values = 2 * np.cumsum(_rank_sums(2 * np.arange(1, pairs + 1))[::2])
    return float(max(p_values[p_values <= level], default=0.0))


def _rank_sums(doubled_ranks: np.ndarray) -> np.ndarray:
    """Probability of each sum of the doubled ranks of positive differences, [sum of all + 1]."""
    chances = np.ones(1)
    for rank in doubled_ranks:
        longer = np.zeros(len(chances) + rank)
        longer[: len(chances)] += chances / 2
        longer[rank:] += chances / 2
        chances = longer
    return chances
