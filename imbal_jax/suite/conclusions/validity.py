"""Checks that a suite measures what others measured: effects that are known must show.

Each check takes the lines of a ledger and says whether its claim holds (None: the lines do not tell), with the
figures. The published ones are in ``CHECKS``; CIFAR-10-LT and NIH-CXR-LT at ratio 100, one seed.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from imbal_jax.suite.conclusions.claims import Cell, Claim, Side, Verdict, judged, mean_of_runs
from imbal_jax.suite.conclusions.runs import Line, counted, number

RARE = 50.0  # ratio; the published effects are those at 100
ABOVE_BAYES = 0.001  # rounding
ONE_TEST_SET = 0.01  # what a method may be above the ideal observer by the accident of few test sets
MANY_DRAWS = 6
BAYES_METRICS = ("auroc", "average_precision", "balanced_accuracy")


def _is_rare(cell: Cell) -> bool:
    return cell.ratio >= RARE


def _is_long_tail(cell: Cell) -> bool:
    return cell.classes >= 3 and _is_rare(cell)


def _is_chest_tail(cell: Cell) -> bool:
    return cell.classes >= 3 and "nih" in cell.set.lower()


LONG_TAIL = (_is_long_tail, f"three or more classes and a ratio of {RARE:.0f} or more")
RARE_CLASS = (_is_rare, f"a ratio of {RARE:.0f} or more")
CHEST_TAIL = (_is_chest_tail, "NIH chest X-rays with three or more classes")


def drw_rescues_weighting(lines: Iterable[Line]) -> Verdict:
    """Inverse weights from the last stage only are better than from the start (0.7482 against 0.6830)."""
    return judged(lines, [Claim(Side("inverse_drw"), Side("weighted_ce"), 0.0326)], *LONG_TAIL)


def drs_rescues_resampling(lines: Iterable[Line]) -> Verdict:
    """Balanced batches in the last stage only are better than from the start (0.7507 against 0.7245)."""
    return judged(lines, [Claim(Side("ce_drs"), Side("stratified"), 0.0131)], *LONG_TAIL)


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

    return judged(lines, claims, *RARE_CLASS)


def focal_alone_does_nothing(lines: Iterable[Line]) -> Verdict:
    """The focal loss is as good as plain cross-entropy (0.7156 against 0.7195)."""
    return judged(lines, [Claim(Side("focal"), Side("ce"), None)], *LONG_TAIL)


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
    return judged(lines, claims, *CHEST_TAIL)


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
        low = mean_of_runs(values, 1 - 2 * 0.05 / len(excesses)).low
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


class Judgement(NamedTuple):
    """A check on lines. result: "pass", "fail" or "cannot be judged". figures: the evidence, or why there is none."""

    name: str
    claim: str
    result: str
    figures: str

    def __str__(self) -> str:
        return f"{self.result}: {self.name} ({self.claim}): {self.figures}"


def judge(lines: Sequence[Line]) -> list[Judgement]:
    """The six checks on the lines of a ledger, each to be printed as a line."""
    words = {True: "pass", False: "fail", None: "cannot be judged"}
    found = []
    for check in CHECKS:
        holds, figures = check.holds(lines)
        found.append(Judgement(check.name, check.claim, words[holds], figures))
    return found
