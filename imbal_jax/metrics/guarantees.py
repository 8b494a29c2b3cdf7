"""Guaranteed rates: one-sided lower confidence bounds that count patients, not images.

Images of one patient succeed and fail together, so a hundred images of ten patients show about what ten patients
show. A rule's "with 95 % confidence" and a criterion's "lower bound 95 %" are these bounds; the intervals in tables
are two-sided (``intervals``).
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import betaincinv

from imbal_jax.metrics.averages import plain
from imbal_jax.metrics.intervals import check_confidence

NODES, WEIGHTS = np.polynomial.legendre.leggauss(96)
PANELS = 6
CHUNK = 256  # distinct counts in memory at a time
CERTAIN = 40.0  # standard deviations: farther out the probability is below 1e-15


def clopper_pearson_lower(
    successes: ArrayLike, trials: ArrayLike, confidence: float = 0.95
) -> float | np.ndarray:
    """The lower bound of a rate of independent cases: the 1 - confidence quantile of Beta(k, n - k + 1).

    Clopper and Pearson (Biometrika 1934): with at least this confidence the true rate is not below it; 0 at k = 0.
    successes, trials: k of n, whole numbers of shapes that broadcast. Returns float64.
    """
    check_confidence(confidence)
    successes, trials = np.broadcast_arrays(np.asarray(successes), np.asarray(trials))
    some = successes > 0
    k = np.where(some, successes, 1)
    return plain(np.where(some, betaincinv(k, np.maximum(trials - k + 1, 1), 1 - confidence), 0.0))


def patient_lower(successes: ArrayLike, images: ArrayLike, confidence: float = 0.95) -> float:
    """The lower bound of the rate of images that succeed, from counts by patient.

    Patients get Dirichlet(1, ..., 1) weights, and so does one patient more, all of whose images fail; the bound is
    the 1 - confidence quantile of the weighted rate sum(w k) / sum(w n). That patient has as many images as the root
    mean square of the others; with the plain mean, patients of very different sizes broke the promise in
    simulations (0.89 instead of 0.95). With one image each, or images that always agree, it is the bound of Clopper
    and Pearson on patients. For patients of equal size it is Gaffke's bound (Math. Methods Stat. 2005) of a mean in
    [0, 1], whose coverage is conjectured for any distribution (Learned-Miller and Thomas, arXiv 1905.06208). It falls
    when an image fails that succeeded, so it also holds at a threshold that was chosen by it.

    successes, images: int [G], k and n of each patient, n of 1 or more. NaN where there is no patient.
    """
    k, n = _counts(successes, images)
    check_confidence(confidence)
    if not k.size:
        return math.nan
    if not k.any():
        return 0.0
    if (n == n[0]).all() and ((k == 0) | (k == n)).all():
        return float(clopper_pearson_lower(int((k > 0).sum()), k.size, confidence))
    return float(brentq(lambda rate: _doubt(k, n, rate) - (1 - confidence), 1e-9, 1 - 1e-12, xtol=1e-10))


def shows(successes: ArrayLike, images: ArrayLike, target: float, confidence: float) -> bool:
    """Whether ``patient_lower`` is ``target`` or more, without looking for where it is."""
    k, n = _counts(successes, images)
    if not k.size or not k.any():
        return False
    if (n == n[0]).all() and ((k == 0) | (k == n)).all():
        return bool(clopper_pearson_lower(int((k > 0).sum()), k.size, confidence) >= target)
    return _doubt(k, n, target) <= 1 - confidence


def _doubt(k: np.ndarray, n: np.ndarray, rate: float) -> float:
    """P(weighted rate <= rate), which is P(sum a E <= 0) for a = k - rate n and E independent exponentials.

    By inversion of the characteristic function prod 1 / (1 - i a t) (Gil-Pelaez, Biometrika 1951).
    """
    pairs, count = np.unique(np.stack([k, n], axis=1), axis=0, return_counts=True)
    a = np.append(pairs[:, 0] - rate * pairs[:, 1], -rate * np.sqrt(n @ n / n.size))
    count = np.append(count, 1)
    a = a / np.sqrt(count @ a**2)
    mean = float(count @ a)
    if abs(mean) > CERTAIN:
        return float(mean < 0)
    # t = tan(u): the product falls off like a power of t for few patients, like exp(-t^2 / 2) for many
    edges = np.linspace(0, np.pi / 2, PANELS + 1)
    half = np.diff(edges)[:, None] / 2
    u = (edges[:-1, None] + half + half * NODES).ravel()
    t = np.tan(u)
    size, angle = np.zeros(t.size), np.zeros(t.size)
    for start in range(0, len(a), CHUNK):
        part, times = np.outer(a[start : start + CHUNK], t), count[start : start + CHUNK]
        size -= times @ np.log1p(part**2) / 2
        angle += times @ np.arctan(part)
    values = np.exp(size) * np.sin(angle) / (np.sin(u) * np.cos(u))  # dt / t
    return float(np.clip(0.5 - ((half * WEIGHTS).ravel() @ values) / np.pi, 0, 1))


def _counts(successes: ArrayLike, images: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    k, n = np.asarray(successes, np.float64), np.asarray(images, np.float64)
    if k.ndim != 1 or k.shape != n.shape:
        raise ValueError(
            f"successes {list(k.shape)} and images {list(n.shape)}: expected one of each a patient"
        )
    wrong = ~((k >= 0) & (k <= n) & (n >= 1) & (k == np.rint(k)) & (n == np.rint(n)))
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"patient {at} has {k[at]:g} successes in {n[at]:g} images: expected 0 to 1 or more")
    return k, n
