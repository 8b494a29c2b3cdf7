"""Which method to use and what it costs: both errors of each method, with intervals by patient."""

import math
from dataclasses import dataclass
from html import escape

import numpy as np

from imbal_jax.metrics import Interval
from imbal_jax.report.decisions import Counts
from imbal_jax.report.html import (
    Group,
    Html,
    bracket,
    counted,
    figures,
    first_shown,
    images,
    listed,
    method,
    share,
)
from imbal_jax.report.rates import opposite, rates
from imbal_jax.report.resampling import macro, percentile_interval
from imbal_jax.report.study import Study

SHOWN = 3  # classes on the first screen, the rarest; the others are folded
BALANCED = "balanced accuracy"
CHANCE = 0.5  # the balanced accuracy of a method that calls every image, or none, or guesses

LITTLE = 0.6  # below it both error rates add up to 0.8 or more, where guessing has 1

Rate = tuple[float, Interval]


@dataclass(frozen=True)
class Errors:
    """Share of the cases that are found, and of the images without the finding that are called."""

    found: Rate
    alarms: Rate


def macro_interval(study: Study, i: int, key: str, less: int | None = None) -> Interval:
    """The interval of the macro value of a run, or of its difference from that of the run ``less``."""
    shown = list(study.shown)
    values = macro(study.replicates[i][key][:, shown])
    if less is not None:
        values = values - macro(study.replicates[less][key][:, shown])
    return percentile_interval(values)


def errors_of(study: Study, i: int, k: int) -> Errors:
    """Of run ``i`` in class ``k``, by the counts of the images."""
    here = rates(study, i, k)
    return Errors(here["sensitivity"], opposite(here["specificity"]))


def mean_errors(study: Study, i: int) -> Errors:
    """Of run ``i``, the mean over the classes, each counting the same."""
    found, spared = (
        (study.value(i, key), macro_interval(study, i, key)) for key in ("sensitivity", "specificity")
    )
    return Errors(found, opposite(spared))


# In words


def recommended(study: Study, present: list[tuple[int, Counts]]) -> str:
    """Two sentences: the method of the highest balanced accuracy with both its errors, and the margin of the others.

    Balanced accuracy counts both errors: a method that calls everything, or nothing, has 0.5 and is never ahead.
    """
    best = study.winner
    name = f"<b>{escape(study.runs[best].method)}</b>"
    value = study.value(best, "balanced_accuracy")
    interval = macro_interval(study, best, "balanced_accuracy")
    reached = f"{BALANCED} {bracket(value, interval)}{_seeds(study, best)}"
    shown = interval.low > CHANCE
    works = shown and value >= LITTLE
    if not works:
        reached += f", {'little' if shown else 'not shown to be'} better than guessing ({CHANCE})"
    where = _where(study)
    if len(study.runs) == 1:
        return f"{name} {_cost(study, best, present)}. Its {reached}, {where}."
    rival = study.rival
    other = escape(study.runs[rival].method)
    change = value - study.value(rival, "balanced_accuracy")
    apart = macro_interval(study, best, "balanced_accuracy", less=rival)
    before = figures(study.value(rival, "balanced_accuracy"))
    margin = f"{reached}; {other} has {before} (difference {bracket(change, apart, plus=True)}), {where}."
    if change == 0 and apart.low == apart.high == 0:
        alike = f"<b>No difference: {escape(study.runs[best].method)} and {other} decide alike.</b>"
        return f"{alike} Each {_cost(study, best, present)}: {reached}, {where}."
    if not works:
        none = "No method works well" if shown else "No method is shown to be better than guessing"
        return f"<b>{none}.</b> {name}, the best of them, {_cost(study, best, present)}: {margin}"
    if apart.low <= 0:
        ahead = f"{name} is ahead, and the test set cannot tell it from {other}"
        start = f"<b>No clear winner:</b> {ahead if change else f'{name} and {other} reach the same'}."
        return f"{start} It {_cost(study, best, present)}: {margin}"
    return f"Use {name}: it {_cost(study, best, present)}. Its {margin}"


def _cost(study: Study, i: int, present: list[tuple[int, Counts]]) -> str:
    """Both errors, as the end of a sentence; of several seeds their mean, and no counts."""
    if len(present) == 1 and len(study.seeds(i)) == 1:
        k, counts = present[0]
        now, of = study.decided[i].counts(k), errors_of(study, i, k)
        what = escape(study.classes[k])
        return (
            f"finds <b>{now.found:,} of {counts.positives:,}</b> {what} images ({share(*of.found)}) at the cost of "
            f"<b>{counted(now.false_alarms, 'false alarm')}</b> in {now.negatives:,} others ({share(*of.alarms)})"
        )
    of = mean_errors(study, i)
    return (
        f"finds <b>{share(*of.found)}</b> of the cases and raises a false alarm in <b>{share(*of.alarms)}</b> of the "
        f"images without the finding{_averaged(study, len(present), ', on average over ')}"
    )


def _averaged(study: Study, classes: int, start: str) -> str:
    """What the macro values of the runs are means over, after ``start``; empty where that is nothing."""
    seeds = max(len(study.seeds(i)) for i in range(len(study.runs)))
    over = [counted(classes, "class")] * (classes > 1) + [counted(seeds, "seed")] * (seeds > 1)
    return f"{start}{listed(over)}" if over else ""


def _where(study: Study) -> str:
    of = f" of {counted(study.cohort.size, study.grouped_by)}" if study.has_groups else ""
    at_points = all(decided.at_points for decided in study.decided)
    how = "at the operating points that were chosen on validation" if at_points else f"called by {study.rule}"
    return f"on {counted(len(study.images), 'test image')}{of}, {how}"


def _seeds(study: Study, i: int) -> str:
    """The number of seeds in a mean and their standard deviation; empty for one seed."""
    seeds = len(study.seeds(i))
    spread = figures(study.spread(i, "balanced_accuracy"))
    return f" (mean of {seeds} seeds, sd {spread})" if seeds > 1 else ""


# As a table


def both_errors(study: Study, means: Study, present: list[tuple[int, Counts]]) -> str:
    """Cases found and false alarms, class by class, the methods beside each other."""
    groups = [_of_class(study, k, counts) for k, counts in present]
    shown = SHOWN
    if over := _averaged(means, len(present), "Mean over "):
        groups, shown = [_of_mean(means, over, len(present)), *groups], SHOWN + 1
    headings = ["method", "cases found", "false alarms"]
    tables = first_shown(headings, groups, shown, "Both errors in", "errors")
    return tables + DEFINED


FOUND, ALARMS = "var(--accent)", "var(--wrong)"
DEFINED = (
    "<p class=muted>Found: images that have the finding and are called, of all that have it. False alarms: images "
    "that do not have it and are called all the same, of all that do not.</p>"
)


def _of_mean(study: Study, over: str, classes: int) -> Group:
    rows = []
    for i in range(len(study.runs)):
        of = mean_errors(study, i)
        found, alarms = (
            _bar(share(*rate), rate[0], fill) for rate, fill in ((of.found, FOUND), (of.alarms, ALARMS))
        )
        rows.append([method(study.runs, i), found, alarms])
    equal = " <small>each class counts the same, however rare</small>" if classes > 1 else ""
    return Html(f"{over}{equal}"), rows


def _of_class(study: Study, k: int, counts: Counts) -> Group:
    rows = []
    for i in range(len(study.runs)):
        here, of = study.decided[i].counts(k), errors_of(study, i, k)
        found = f"<b>{here.found:,}</b> of {here.positives:,}, {share(*of.found)}"
        alarms = f"<b>{here.false_alarms:,}</b> of {here.negatives:,}, {share(*of.alarms)}"
        name = method(study.runs, i)
        called = here.found + here.false_alarms
        if called in (0, here.known):
            name = Html(f"{name} <small class=tag>calls {'every' if called else 'no'} image</small>")
        rows.append([name, _bar(found, of.found[0], FOUND), _bar(alarms, of.alarms[0], ALARMS)])
    positive = study.cohort.truth[:, k] == 1
    patients = counted(len(np.unique(study.cohort.patients[positive])), study.grouped_by)
    of_patients = f" of {patients}" if study.has_groups else ""
    held = f"{images(counts.positives)}{of_patients} among {counts.known:,}"
    named = f"{escape(study.classes[k])} <small>{held}"
    return Html(f"{named} ({share(counts.prevalence)})</small>"), rows


def _bar(text: str, value: float, fill: str) -> Html:
    width = 100 * value if math.isfinite(value) else 0.0
    bar = f'<i class="bar" aria-hidden="true"><i style="width:{width:.1f}%;background:{fill}"></i></i>'
    return Html(f"{text}{bar}")
