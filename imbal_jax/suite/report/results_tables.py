"""Tables of what was measured: over the conditions, and condition by condition."""

import math
from collections.abc import Callable

import numpy as np

from imbal_jax.console import UNDEFINED
from imbal_jax.report.html import figures
from imbal_jax.suite.conclusions.overall import TIMES
from imbal_jax.suite.report.blocks import Block, Fold, Table, Text, folded_rows, one_table
from imbal_jax.suite.report.class_curves import hardest, initial_drop, mean_curve, rare_and_common
from imbal_jax.suite.report.cost import costs
from imbal_jax.suite.report.evidence import Evidence
from imbal_jax.suite.report.failures import tallies
from imbal_jax.suite.report.metric_words import NAMES, meaning, named, sentence
from imbal_jax.suite.report.numbers import digits
from imbal_jax.suite.report.view import View, label, mean

MEASURED = (
    "balanced_accuracy", "worst_class", "sensitivity_at_90", "average_precision", "auroc", "calibration_error",
)  # fmt: skip
SHOWN = 16  # rows that are not folded
Value = Callable[[str, str], float]


def columns(view: View) -> list[tuple[str, Value]]:
    """Heading and value (of a method in a cell) of each column: the primary metric first, with its variants."""

    def of(metric: str, part: str = "metrics") -> Value:
        return lambda method, cell: view.mean(method, cell, metric, part)

    found = [(named(view.primary), of(view.primary))]
    found += [(f"{named(view.primary)}, plain call", of(view.primary, "raw"))]
    found += [(f"{named(view.primary)}, logit-adjusted after", of(view.primary, "post_hoc"))]
    found += [(named(metric), of(metric)) for metric in MEASURED if metric != view.primary]
    return [(name, value) for name, value in found if _known(view, value)]


def _known(view: View, value: Value) -> bool:
    return any(math.isfinite(value(method, place.cell)) for method in view.methods for place in view.places)


def over_conditions(view: View, caption: str) -> Table:
    """A row a method: means over the conditions in which every finished method has a value."""
    found = columns(view)
    methods = [m for m in view.methods if any(view.runs(m, p.cell) for p in view.places)]
    rows = []
    shared = shared_cells(view, view.primary)
    for method in methods:
        cells = [digits(mean(value(method, cell) for cell in shared)) for _, value in found]
        rows.append((method, *cells))
    return one_table(("method", *(name for name, _ in found)), rows, caption)


def shared_cells(view: View, metric: str) -> list[str]:
    """The cells in which every method that was measured anywhere has a value; all of them where none is shared."""
    measured = [m for m in view.methods if any(view.values(m, p.cell, metric) for p in view.places)]
    shared = [p.cell for p in view.places if all(view.values(m, p.cell, metric) for m in measured)]
    return shared or [place.cell for place in view.places]


def by_condition(view: View) -> Table:
    """A part a condition, a row a method: means over the seeds, the primary metric with its standard deviation."""
    found = columns(view)
    groups = []
    for place in view.places:
        rows = []
        for method in view.methods:
            values = view.values(method, place.cell, view.primary)
            if values:
                rest = [digits(value(method, place.cell)) for _, value in found[1:]]
                rows.append((method, f"{len(values)}", _with_spread(values), *rest))
        groups.append((f"{place.set} {label(place)}", tuple(rows)))
    return Table(("method", "seeds", *(name for name, _ in found)), tuple(groups))


def measured(view: View, caption: str) -> tuple[Block, ...]:
    """Both tables, the second folded."""
    summary = over_conditions(view, caption)
    detail = Fold("Condition by condition: mean ± standard deviation over the seeds", (by_condition(view),))
    return (*folded_rows(summary, SHOWN, f"{caption}: {len(summary.rows)} methods"), detail)


def explanations(view: View) -> Block:
    """What each column means."""
    known = [meaning(metric) for metric in (view.primary, *MEASURED) if metric in NAMES]
    texts = [f"{sentence(text)}." for text in dict.fromkeys(known)]
    texts.append(
        "Plain call: the class of the highest probability, without a chosen threshold. Logit-adjusted after: the "
        "same network, its probabilities moved to equal priors, without training again."
    )
    return Fold("What the columns mean", (Text(" ".join(texts)),))


def cost_table(view: View) -> Table:
    """Time, memory and speed beside the reference."""
    rows = []
    for cost in costs(view):
        runs = [line for line in view.done if line["method"] == cost.method]
        speed = [float(line["images_per_second"]) for line in runs if line.get("images_per_second")]
        compiled = [
            float(line["compile_seconds"]) for line in runs if line.get("compile_seconds") is not None
        ]
        rows.append((
            cost.method, figures(cost.seconds, 2), figures(cost.memory, 2), digits(_median(speed)),
            digits(_median(compiled)), figures(cost.gain, 3), "yes" if cost.front else "no",
        ))  # fmt: skip
    headings = (
        "method", "training time, times reference", "peak memory, times reference", "images/s, median",
        "seconds to compile, median", "mean difference", "on the front",
    )  # fmt: skip
    return one_table(headings, rows)


def failure_table(view: View) -> Table:
    """Every method: runs in trouble, and what was un-learned."""
    rows = [
        (row.method, f"{row.runs:,}", f"{row.diverged}", f"{row.failed}", f"{row.missed}", f"{row.skipped}",
         digits(_median(list(row.unlearned))))
        for row in tallies(view)
    ]  # fmt: skip
    headings = (
        "method", "runs", "diverged", "failed", "missed the target", "left out a step", "un-learning, median",
    )  # fmt: skip
    return one_table(headings, rows)


def profile_table(view: View) -> Table:
    """Every method: area under its time-to-target profile from 1 to 4, and where it reached the target."""
    rows = []
    profiles = {profile.unit: profile for profile in view.table.profiles}
    for method in view.trained:
        cells = []
        for unit in TIMES:
            known = profiles[unit].methods
            cells.append(
                digits(float(profiles[unit].scores[known.index(method)])) if method in known else UNDEFINED
            )
        steps = profiles["steps"]
        times = steps.times[steps.methods.index(method)] if method in steps.methods else np.array([])
        cells.append(f"{int(np.isfinite(times).sum())} of {len(view.places)}")
        rows.append((method, *cells))
    headings = (
        "method",
        "score by steps",
        "score by seconds",
        "conditions in which half of the runs reached it",
    )
    return one_table(headings, rows, "Score: area under the line from 1 to 4 times the fastest; 1 is best")


def drop_table(evidence: Evidence) -> Table | None:
    """The initial drop of every method in the condition of the per-class curves."""
    view = evidence.main
    place = hardest(view)
    if place is None:
        return None
    rows = []
    for method in view.trained:
        lines = view.finished(method, place.cell)
        recorded = [line for line in lines if line.get("curve")]
        if not recorded:
            continue
        steps, values, _ = mean_curve(recorded, f"recall/{rare_and_common(recorded[0])[0]}")
        drop = initial_drop(steps, values)
        cells = [UNDEFINED] * 4
        if drop:
            back = "never" if math.isinf(drop.regained) else f"{drop.regained:,.0f}"
            cells = [digits(drop.at_first), digits(drop.lowest), f"{drop.step:,}", back]
        cosine = [mean_curve(recorded, name)[1] for name in ("gradient_cosine", "head_cosine")]
        rows.append((method, *cells, *(digits(float(c[-1])) if len(c) else UNDEFINED for c in cosine)))
    headings = (
        "method", "recall before the fall", "lowest recall", "at step", "regained at step",
        "cosine of the classes' gradients at the end", "cosine of their head vectors at the end",
    )  # fmt: skip
    return one_table(headings, rows)


def _with_spread(values: list[float]) -> str:
    if len(values) < 2:
        return digits(values[0])
    return f"{digits(float(np.mean(values)))} ± {digits(float(np.std(values, ddof=1)))}"


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else math.nan
