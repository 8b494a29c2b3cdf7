"""The ideal observer of ``signals``, in closed form: no classifier of these images scores higher.

Barrett and Myers, Foundations of Image Science, Wiley 2004, sections 13.2 and 13.3.
Nolte and Jaarsma, More on the detection of one of M orthogonal signals, JASA 41, 1967.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, logsumexp
from scipy.stats import norm

from imbal_jax.config import Data
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.sources.signals import BACKGROUND, NOISE, NORMAL, class_counts, signals_of
from imbal_jax.metrics import auroc, average_precision

VARIANCE = NOISE**2 + 1 / 12
"""Variance of a pixel's noise, in squared grey levels: rounding adds 1/12."""
ROWS = 8192  # images whose float64 copy is in memory at a time


def log_likelihood_ratios(options: Data, images: np.ndarray) -> np.ndarray:
    """float64 [N, C], log p(g | c) / p(g | normal) of each image g and class c, in the order of the classes.

        log (1/K) sum_k exp(s_ck . (g - b) / v - |s_ck|^2 / (2 v)),   0 for normal

    s_ck: the signal of class c at place k, in grey levels; b: the background; v: the variance of a pixel's noise.
    This is the mean of the likelihood ratios of the K places (Nolte and Jaarsma 1967), each of them an exponential of
    the matched filter (Barrett and Myers 2004, section 13.2).

    options: those that the images were made with. images: uint8 [N, H, W, 1]. Raises InputError for options that
    cannot be had and ValueError for images of another shape.
    """
    signals = signals_of(options)
    if images.shape[1:] != (signals.size, signals.size, 1):
        raise ValueError(
            f"images {list(images.shape)}, expected [N, {signals.size}, {signals.size}, 1] of these options"
        )
    templates = signals.templates().reshape(-1, signals.size**2)
    half_energy = 0.5 * (templates**2).sum(1) / VARIANCE
    ratios = np.empty((len(images), len(signals.classes)))
    for start in range(0, len(images), ROWS):
        pixels = images[start : start + ROWS].reshape(-1, signals.size**2) - BACKGROUND
        by_place = (pixels @ templates.T / VARIANCE - half_energy).reshape(len(pixels), -1, signals.places)
        ratios[start : start + ROWS] = logsumexp(by_place, axis=2) - np.log(signals.places)
    return ratios


def ideal_observer(options: Data, priors: ArrayLike | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """``images -> posteriors``: p(c | g) of every class by Bayes' theorem, for the images that ``options`` describe.

        p(c | g) = pi_c L_c(g) / sum_j pi_j L_j(g),   L_c the ratio of ``log_likelihood_ratios``

    priors: pi, [C], the share of each class; None: those of the test images. The function takes uint8 [N, H, W, 1]
    and returns float64 [N, C] in the order of the classes, rows that sum to 1. Raises ValueError for priors that are
    no such shares, and as ``log_likelihood_ratios`` does.

    >>> from imbal_jax.config import Data
    >>> from imbal_jax.data.sources.signals import read_signals
    >>> options = Data(source="signals", image_size=16, phantom_images=300, phantom_imbalance=9)
    >>> data, split = read_signals(options)
    >>> ideal_observer(options)(data.images[split["test"]]).shape
    (16500, 4)
    """
    counts = class_counts(options)["test"]
    shares = counts / counts.sum() if priors is None else np.asarray(priors, np.float64)
    if shares.shape != counts.shape or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"priors {shares.tolist()}: expected {len(counts)} shares above 0 with sum 1")

    def posteriors(images: np.ndarray) -> np.ndarray:
        return np.exp(log_softmax(log_likelihood_ratios(options, images) + np.log(shares), axis=1))

    return posteriors


def bayes_ceiling(options: Data, data: Dataset) -> dict[str, dict[str, float]]:
    """What the ideal observer scores on ``data``: of each finding, and "macro", their mean.

    AUROC and average precision are those of the posterior at the shares of the classes in ``data``, a finding against
    the rest. Balanced accuracy, sensitivity and specificity are those of the call with the highest expected balanced
    accuracy, which is where the posterior of the finding is above its share: p(c | g) / p(rest | g) > pi_c / pi_rest.

    options: those that ``data`` were made with. A network can exceed these only by chance, by as much as a sample of
    the set's size allows. Raises ValueError where a class has no image.
    """
    shares = np.bincount(data.labels, minlength=len(data.classes)) / len(data)
    posteriors = ideal_observer(options, shares)(np.asarray(data.images[:]))
    rows: dict[str, dict[str, float]] = {}
    for c, name in enumerate(data.classes):
        if name == NORMAL:
            continue
        truth, scores = (data.labels == c).astype(np.int32), posteriors[:, c]
        called = scores > shares[c]
        sensitivity, specificity = called[truth == 1].mean(), 1 - called[truth == 0].mean()
        rows[name] = {
            "auroc": float(auroc(truth, scores)),
            "average_precision": float(average_precision(truth, scores)),
            "balanced_accuracy": float((sensitivity + specificity) / 2),
            "sensitivity": float(sensitivity),
            "specificity": float(specificity),
        }
    macro = {
        metric: float(np.mean([row[metric] for row in rows.values()])) for metric in next(iter(rows.values()))
    }
    return {**rows, "macro": macro}


def known_place_auroc(detectability: float) -> float:
    """Bayes AUROC of one finding at one known place: Phi(d' / sqrt 2) (Barrett and Myers 2004, section 13.2)."""
    return float(norm.cdf(detectability / np.sqrt(2)))


def known_place_balanced_accuracy(detectability: float) -> float:
    """Highest balanced accuracy of one finding at one known place: Phi(d' / 2), at equal error rates."""
    return float(norm.cdf(detectability / 2))


def known_place_average_precision(detectability: float, prevalence: float) -> float:
    """Average precision of one finding at one known place in infinitely many images.

        integral of the precision over the sensitivity, precision = pi S(t) / (pi S(t) + (1 - pi) F(t)),
        with sensitivity S(t) = Phi(d' - t) and false positives F(t) = Phi(-t) of the matched filter above t

    prevalence: pi, the share of the finding, between 0 and 1. By the trapezoidal rule, to 1e-6.
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence {prevalence}: expected a share between 0 and 1")
    sensitivity = np.linspace(0, 1, 200_001)[1:-1]
    threshold = detectability - norm.ppf(sensitivity)
    true, false = prevalence * sensitivity, (1 - prevalence) * norm.sf(threshold)
    return float((true / (true + false)).mean())
