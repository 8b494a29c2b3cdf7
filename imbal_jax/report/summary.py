"""First section: the result in two sentences, true positives per class, and caveats."""

from dataclasses import replace
from html import escape

import numpy as np

from imbal_jax.console import percent
from imbal_jax.metrics import Interval
from imbal_jax.metrics.labels import one_against_rest
from imbal_jax.report.decisions import Counts
from imbal_jax.report.html import alarms, before_anything, bracket, colour, figures, images, method
from imbal_jax.report.resampling import macro, percentile_interval
from imbal_jax.report.seeds import SeedStudy
from imbal_jax.report.study import NAMES, Study
from imbal_jax.report.use import said_first, shared_cautions

FEW = 50  # positives; with fewer, one image changes the sensitivity by more than two percentage points
CARDS = 6


def summary(study: Study, means: Study | None = None) -> str:
    """The section.

    study: a run of each method, whose decisions are counted. means: where methods have several seeds, the same with
    the means over them, which the first sentence gives.
    """
    means = means or study
    first, total = study.decided[0], len(study.images)
    counted = [(k, first.counts(k)) for k in study.shown]
    present = [(k, counts) for k, counts in counted if counts.positives]
    first_of_all = _first_of_all(study, means)
    if not present:
        return (
            f"{first_of_all}<p class=lead>The {total:,} test images hold no positive example: what share of "
            "the positives a method finds is undefined. Only the specificity can be read from this report.</p>"
        )
    counted_in = replace(study, winner=means.winner, key=means.key)
    lead = f"<p class=lead>{_reached(means, present)} {_counted(counted_in, present[0][0])}</p>"
    return first_of_all + lead + _found(study, present) + _cautions(study, present)


def _first_of_all(study: Study, means: Study) -> str:
    """The most important warnings: constraints that no checkpoint met, thresholds chosen on very few patients."""
    negative = next((name for k, name in enumerate(study.classes) if k not in study.shown), None)
    runs = [run for i in range(len(means.runs)) for run in means.seeds(i)]
    return before_anything([*said_first(runs), *shared_cautions(study.runs[0], study.classes, negative)])


def macro_interval(study: Study, i: int, key: str, less: int | None = None) -> Interval:
    """The interval of the macro value of a run, or of its difference from that of the run ``less``."""
    shown = list(study.shown)
    values = macro(study.replicates[i][key][:, shown])
    if less is not None:
        values = values - macro(study.replicates[less][key][:, shown])
    return percentile_interval(values)


def _reached(study: Study, present: list[tuple[int, Counts]]) -> str:
    best, key = study.runs[study.winner], study.key
    parts = [f"{escape(study.classes[k])} {percent(counts.prevalence)}" for k, counts in present[:3]]
    parts += [f"{len(present) - 3} more"] if len(present) > 3 else []
    prevalence = f"at the prevalence of the test set ({', '.join(parts)})"
    of = f" of {study.cohort.size:,} patients" if study.has_groups else ""
    value = study.value(study.winner, key)
    reached = (
        f"<b>{bracket(value, macro_interval(study, study.winner, key))}</b>{_seeds(study, study.winner, key)}"
    )
    start = f"On {len(study.images):,} test images{of} <b>{escape(best.method)}</b> reached "
    if len(study.runs) == 1:
        return f"{start}a macro {NAMES[key]} of {reached} {prevalence}."
    tied = sum(study.value(i, key) == value for i in range(len(study.runs))) > 1
    other = _rival(study)
    before = study.value(other, key)
    difference = bracket(value - before, macro_interval(study, study.winner, key, less=other), plus=True)
    return (
        f"{start}the highest macro {NAMES[key]}{' (shared)' if tied else ''}, {reached} against {figures(before)} "
        f"with {escape(study.runs[other].method)} (difference {difference}), {prevalence}."
    )


def _seeds(study: Study, i: int, key: str) -> str:
    """The number of seeds in a mean and their standard deviation; empty for one seed."""
    seeds = len(study.seeds(i))
    return f" (mean of {seeds} seeds, sd {figures(study.spread(i, key))})" if seeds > 1 else ""


def _rival(study: Study) -> int:
    """The run that the winner is compared with: the first run, or the next best if the first won."""
    others = [i for i in range(len(study.runs)) if i != study.winner]
    if study.winner:
        return 0
    return max(others, key=lambda i: np.nan_to_num(study.value(i, study.key), nan=-1))


def _counted(study: Study, rarest: int) -> str:
    now = study.decided[study.winner].counts(rarest)
    at = "At the operating points, of" if study.decided[study.winner].at_points else "Of"
    who = escape(study.runs[study.winner].method) if isinstance(study, SeedStudy) else "it"
    plural = "" if now.positives == 1 else "s"
    text = f"{at} {now.positives:,} {escape(study.classes[rarest])} image{plural} {who} found <b>{now.found:,}</b>"
    if len(study.runs) == 1:
        return f"{text}, with {alarms(now.false_alarms)} in {now.negatives:,} others."
    before = study.decided[_rival(study)].counts(rarest)
    return (
        f"{text} instead of {before.found:,}, with {alarms(now.false_alarms)} instead of "
        f"{before.false_alarms:,} in {now.negatives:,} others."
    )


def _found(study: Study, present: list[tuple[int, Counts]]) -> str:
    cards = []
    for k, counts in present[:CARDS]:
        bars = ""
        for i in range(len(study.runs)):
            here = study.decided[i].counts(k)
            bars += (
                f"<li>{method(study.runs, i)}<span class=bar><span style='width:"
                f"{100 * here.found / here.positives:.1f}%;background:{colour(study.runs, i)}'></span></span>"
                f"<span class=count><b>{here.found:,}</b> of {here.positives:,} found, "
                f"{alarms(here.false_alarms)}</span></li>"
            )
        cards.append(
            f"<div class=card><h3>{escape(study.classes[k])} <small>{counts.positives:,} of "
            f"{images(counts.known)} ({percent(counts.prevalence)})</small></h3><ul class=bars>{bars}</ul></div>"
        )
    rest = len(present) - len(cards)
    more = f"<p class=muted>The {rest} more frequent classes follow in the tables.</p>" if rest else ""
    return f'<div class="grid cards">{"".join(cards)}</div>{more}'


def _cautions(study: Study, present: list[tuple[int, Counts]]) -> str:
    cautions = [_of_intervals(study)]
    few = [(study.classes[k], counts.positives) for k, counts in present if counts.positives < FEW]
    if few:
        named = ", ".join(f"{escape(name)} {positives}" for name, positives in few[:6])
        named += f" and {len(few) - 6} more" if len(few) > 6 else ""
        name, positives = few[0]
        cautions.append(
            f"Few positives ({named}): one {escape(name)} image more or less found moves its sensitivity by "
            f"{100 / positives:.0f} percentage points, and bootstrap intervals are too short."
        )
    cautions += _of_validation(study)
    if len(study.runs) > 1:
        cautions.append(
            "The best method was chosen on these same test images: expect somewhat less on new ones."
        )
    skipped = [f"{escape(run.method)} {run.skipped_steps:,}" for run in study.runs if run.skipped_steps]
    if skipped:
        cautions.append(f"Training steps left out because a gradient was not finite: {', '.join(skipped)}.")
    items = "".join(f"<li>{caution}</li>" for caution in cautions)
    return f"<aside><b>Read with care</b><ul>{items}</ul></aside>"


def _of_validation(study: Study) -> list[str]:
    """Positives and patients that checkpoints, calibrations and thresholds were chosen on."""
    run = study.runs[0]
    if run.validation_labels is None:
        return []
    truth = one_against_rest(run.validation_labels, len(study.classes))
    groups = np.arange(len(truth)) if run.validation_groups is None else np.asarray(run.validation_groups)
    counts = []
    for k in study.shown:
        positive = truth[:, k] == 1
        if positive.sum() < FEW:
            patients = len(np.unique(groups[positive]))
            counts.append(f"{escape(study.classes[k])} {positive.sum():,} of {patients:,} patients")
    if not counts:
        return []
    named = ", ".join(counts[:6]) + (f" and {len(counts) - 6} more" if len(counts) > 6 else "")
    return [
        f"Few validation positives ({named}): checkpoint, calibration and thresholds were chosen on them, and would "
        "differ on others."
    ]


def _of_intervals(study: Study) -> str:
    text = (
        "Numbers in brackets are two-sided 95&nbsp;% intervals of the sampling of test patients; another "
        "training run would differ too."
    )
    if study.has_groups:
        return text
    return f"{text} The patients were not recorded: if they have several images each, the intervals are too short."
