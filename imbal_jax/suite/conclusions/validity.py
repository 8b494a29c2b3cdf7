"""Checks that a suite measures what others measured: effects that are known must show.

Each check takes the lines of a ledger and says whether its claim holds (None: the lines do not tell), with the
figures. The published ones are in ``CHECKS``; CIFAR-10-LT and NIH-CXR-LT at ratio 100, one seed.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from imbal_jax.suite.conclusions.runs import Line, Runs, by_run, counted, is_trial, number
from imbal_jax.suite.statistics import Estimate, hierarchical_bootstrap

Verdict = tuple[bool | None, str]

RARE = 50.0  # ratio; the published effects are those at 100
SEED_DEVIATION = (
    0.005  # assumed of the accuracy of a single run: that of CIFAR-10-LT over seeds is 0.3 to 0.6 points
)
ALIKE = 0.02  # accuracy; the published differences of what is alike are 0.004 and 0.006
ABOVE_BAYES = 0.001  # rounding
ONE_TEST_SET = 0.01  # what a method may be above the ideal observer by the accident of few test sets
MANY_DRAWS = 6
BAYES_METRICS = ("auroc", "average_precision", "balanced_accuracy")


class Side(NamedTuple):
    """A method, and a number of its lines: ``raw`` (highest probability), ``post_hoc``, ``metrics`` (deployed)."""

    method: str
    part: str = "raw"


class Cell(NamedTuple):
    """The runs of a cell at one stage and setting, by method."""

    name: str
    set: str
    ratio: float
    classes: int
    runs: Mapping[str, Runs]


class Claim(NamedTuple):
    """One part of a check: ``more`` less ``less`` is above 0, or (least is None) both are alike.

    least: the smallest difference that counts as the published effect, half of it. metric: of raw calls.
    """

    more: Side
    less: Side
    least: float | None
    metric: str = "accuracy"


def drw_rescues_weighting(lines: Iterable[Line]) -> Verdict:
    """Inverse weights from the last stage only are better than from the start (0.7482 against 0.6830)."""
    return _judged(lines, [Claim(Side("inverse_drw"), Side("weighted_ce"), 0.0326)], _is_long_tail)


def drs_rescues_resampling(lines: Iterable[Line]) -> Verdict:
    """Balanced batches in the last stage only are better than from the start (0.7507 against 0.7245)."""
    return _judged(lines, [Claim(Side("ce_drs"), Side("stratified"), 0.0131)], _is_long_tail)


def adjustment_in_the_loss_equals_post_hoc(lines: Iterable[Line]) -> Verdict:
    """Logit adjustment, in the loss or afterwards, is far better than none (0.7789, 0.7732, 0.7136).

    That both are alike is claimed of long tails only.
    """
    plain, loss, after = Side("ce"), Side("logit_adjusted"), Side("ce", "post_hoc")

    def claims(cell: Cell) -> list[Claim]:
        tail = _is_long_tail(cell)
        metric = "accuracy" if tail else "balanced_accuracy"
        better = [Claim(loss, plain, 0.0327, metric), Claim(after, plain, 0.0298, metric)]
        return [*better, Claim(loss, after, None)] if tail else better

    return _judged(lines, claims, _is_rare)


def focal_alone_does_nothing(lines: Iterable[Line]) -> Verdict:
    """The focal loss is as good as plain cross-entropy (0.7156 against 0.7195)."""
    return _judged(lines, [Claim(Side("focal"), Side("ce"), None)], _is_long_tail)


def chest_x_rays_are_in_the_published_order(lines: Iterable[Line]) -> Verdict:
    """Mean sensitivity of cRT > weighted LDAM-DRW > weighted > focal = softmax (.294, .289, .260, .122, .115).

    The first two are as close as two seeds of one method, and are claimed to be alike.
    """
    crt, ldam, weighted, focal, plain = map(Side, ("crt", "ldam_drw", "weighted_ce", "focal", "ce"))
    claims = [
        Claim(crt, ldam, None, "sensitivity"),
        Claim(ldam, weighted, 0.0145, "sensitivity"),
        Claim(weighted, focal, 0.069, "sensitivity"),
        Claim(focal, plain, None, "sensitivity"),
    ]
    return _judged(lines, claims, _is_chest_tail)


def no_method_beats_the_ideal_observer(lines: Iterable[Line]) -> Verdict:
    """No method's mean exceeds that of the ideal observer on the same test images, by more than chance.

    For each method, cell and metric the differences to "bayes" of the same line; false where the lower end of a
    one-sided interval with Bonferroni's level over all of them is above 0.001; above 0.01 where fewer than 6 draws
    tell, because resampled seeds do not show the accident of one test set.
    """
    kept = [line for line in counted(lines) if line["outcome"] == "done" and line.get("bayes")]
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in kept:
        groups.setdefault((line["cell"], line["method"], line["stage"], line["setting"]), []).append(line)
    excesses: dict[tuple[str, ...], tuple[np.ndarray, int]] = {}
    for key, group in groups.items():
        draws = len({line["draw"] for line in group})
        for metric in BAYES_METRICS:
            found = np.array([number(line, metric) - number(line, metric, "bayes") for line in group])
            if not np.isnan(found).all():
                excesses[*key, metric] = found[~np.isnan(found)], draws
    if not excesses:
        return None, "no finished run has the scores of an ideal observer (phantoms with a likelihood)"
    beaten = []
    for key, (values, draws) in excesses.items():
        low = _estimate(values, 1 - 2 * 0.05 / len(excesses)).low
        if low > (ABOVE_BAYES if draws >= MANY_DRAWS else ONE_TEST_SET):
            beaten.append(f"{key[1]} on {key[0]}, {key[-1]} {values.mean():+.3f}, from {low:+.3f}")
    highest = max(excesses, key=lambda key: excesses[key][0].mean())
    mean = excesses[highest][0].mean()
    nearest = f"nearest {highest[1]} on {highest[0]}, {highest[-1]} {mean:+.3f} ({len(kept)} runs)"
    return not beaten, "; ".join(beaten) or nearest


class PublishedCheck(NamedTuple):
    """name: as printed. claim: in words, with the published figures. holds: of lines, whether, and the figures."""

    name: str
    claim: str
    holds: Callable[[Iterable[Line]], Verdict]


CHECKS = (
    PublishedCheck(
        "DRW rescues weighting",
        "inverse weights: error 31.70 from the start, 25.18 deferred (BagofTricks, CIFAR-10-LT 100)",
        drw_rescues_weighting,
    ),
    PublishedCheck(
        "DRS rescues resampling",
        "balanced batches: error 27.55 from the start, 24.93 deferred (BagofTricks, CIFAR-10-LT 100)",
        drs_rescues_resampling,
    ),
    PublishedCheck(
        "logit adjustment: loss = post-hoc >> none",
        "accuracy .7789, .7732 and .7136 (Menon et al. 2021, CIFAR-10-LT 100)",
        adjustment_in_the_loss_equals_post_hoc,
    ),
    PublishedCheck(
        "focal alone = nothing",
        "error 28.44 against 28.05 of cross-entropy (BagofTricks, CIFAR-10-LT 100)",
        focal_alone_does_nothing,
    ),
    PublishedCheck(
        "chest X-rays: cRT, LDAM-DRW > weighted >> focal = softmax",
        "balanced accuracy .294, .289, .260, .122, .115 (Holste et al. 2022, NIH-CXR-LT)",
        chest_x_rays_are_in_the_published_order,
    ),
    PublishedCheck(
        "no method beats the ideal observer",
        "on phantoms with a likelihood, AUROC, average precision and balanced accuracy",
        no_method_beats_the_ideal_observer,
    ),
)


def _is_rare(cell: Cell) -> bool:
    return cell.ratio >= RARE


def _is_long_tail(cell: Cell) -> bool:
    return cell.classes >= 3 and _is_rare(cell)


def _is_chest_tail(cell: Cell) -> bool:
    return cell.classes >= 3 and "nih" in cell.set.lower()


KINDS: dict[Callable[[Cell], bool], str] = {
    _is_long_tail: f"three or more classes and a ratio of {RARE:.0f} or more",
    _is_rare: f"a ratio of {RARE:.0f} or more",
    _is_chest_tail: "NIH chest X-rays with three or more classes",
}


def _judged(
    lines: Iterable[Line],
    claims: Sequence[Claim] | Callable[[Cell], Sequence[Claim]],
    fits: Callable[[Cell], bool],
) -> Verdict:
    """Claims in every cell that fits: false where one is refuted, true where all of a cell hold, else None."""
    cells = [cell for cell in _cells(lines) if fits(cell)]
    if not cells:
        return None, f"no cell of the kind: {KINDS[fits]}"
    results: list[bool | None] = []
    figures = []
    missing = set()
    for cell in cells:
        answers: list[bool | None] = []
        for claim in claims(cell) if callable(claims) else claims:
            estimate, runs = _difference(cell, claim)
            if math.isnan(estimate.value):
                missing |= {s.method for s in (claim.more, claim.less) if not cell.runs.get(s.method)}
                answers.append(None)
                continue
            answers.append(_answer(claim, estimate))
            figures.append(_figure(cell, claim, estimate, runs))
        results.append(False if False in answers else None if None in answers else True)
    verdict = False if False in results else True if True in results else None
    lacking = f"no runs of {', '.join(sorted(missing))}" if missing else ""
    return verdict, "; ".join(filter(None, [*figures, lacking])) or "no pair of finished runs"


def _cells(lines: Iterable[Line]) -> list[Cell]:
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in counted(lines):
        if not is_trial(line):
            groups.setdefault((line["cell"], line["stage"], line["setting"]), []).append(line)
    found = []
    for (name, _, _), group in groups.items():
        classes = max((len(line.get("classes") or ()) for line in group), default=0)
        runs = {method: of for (_, method), of in by_run(group).items()}
        found.append(Cell(name, group[0]["set"], float(group[0]["ratio"]), classes, runs))
    return found


def _difference(cell: Cell, claim: Claim) -> tuple[Estimate, int]:
    """``more`` less ``less`` over the units that both have, with the number of them."""
    more, less = (
        {u: number(line, claim.metric, s.part) for u, line in cell.runs.get(s.method, {}).items()}
        for s in (claim.more, claim.less)
    )
    values = np.array([more[unit] - less[unit] for unit in more.keys() & less.keys()], np.float64)
    values = values[~np.isnan(values)]
    return _estimate(values, 0.95), len(values)


def _estimate(values: np.ndarray, confidence: float) -> Estimate:
    """Mean with its interval over seeds; of a single run that of two runs of the assumed deviation."""
    if len(values) != 1:
        return hierarchical_bootstrap(values, confidence=confidence)
    half = 1.96 * math.sqrt(2) * SEED_DEVIATION
    return Estimate(float(values[0]), float(values[0]) - half, float(values[0]) + half, math.nan)


def _answer(claim: Claim, estimate: Estimate) -> bool | None:
    _, low, high, _ = estimate
    if claim.least is None:
        inside, outside = low > -ALIKE and high < ALIKE, low > ALIKE or high < -ALIKE
        return True if inside else False if outside else None
    return True if low > 0 else False if high < claim.least else None


def _figure(cell: Cell, claim: Claim, estimate: Estimate, runs: int) -> str:
    names = [s.method if s.part == "raw" else f"{s.method} {s.part.replace('_', '-')}" for s in claim[:2]]
    assumed = ", seed deviation 0.005 assumed" if runs == 1 else ""
    counted_runs = "1 run" if runs == 1 else f"{runs} runs"
    return (
        f"{cell.name}: {names[0]} less {names[1]} {estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}] "
        f"({counted_runs}{assumed})"
    )
