"""The results table of the terminal: one line per method and class."""

import math
from collections.abc import Iterable, Mapping

from rich.table import Table
from rich.text import Text

from imbal_jax.console import UNDEFINED, WIDE, number, percent
from imbal_jax.metrics.own import TAKEN

SHORT = {
    "sensitivity": "sens.",
    "specificity": "spec.",
    "f_score": "F",
    "auroc": "AUROC",
    "average_precision": "AP",
}
COLUMNS = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "f_score": "F-score",
    "auroc": "AUROC",
    "average_precision": "average precision",
}
OF_MASKS = {
    "iou": "IoU",
    "dice": "Dice",
    "sensitivity": "sensitivity",
    "precision": "precision",
    "average_precision": "average precision",
    "dice_by_image": "Dice by image",
}
MOST_COLUMNS = 6  # of metrics that are not built in: more do not fit a line

Tables = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Method -> row (class or "macro") -> metric -> value."""


def columns_of(tables: Tables, width: int = WIDE) -> dict[str, str]:
    """Metric -> heading of its column: those of decisions, where there are such, and the first of the user's own."""
    keys = list(dict.fromkeys(key for summary in tables.values() for key in summary.get("macro", {})))
    if {"dice", "dice_by_image"} <= set(keys):
        return OF_MASKS
    usual = COLUMNS if width >= WIDE else SHORT
    standard = usual if not keys or set(COLUMNS) & set(keys) else {}
    return {**standard, **{key: key.replace("_", " ") for key in own_metrics(keys)[:MOST_COLUMNS]}}


def own_metrics(keys: Iterable[str]) -> list[str]:
    """The metrics that are not built in."""
    return [key for key in keys if key not in TAKEN and not key.endswith("_classes")]


def results_table(
    tables: Tables, width: int = WIDE, deviations: Tables | None = None, *, how: str = ""
) -> Table:
    """The end of a run as a rich table: for each row (classes, then "macro") one line per method.

    Args:
      tables: method -> row -> metrics, as ``metrics.classification_summary`` gives them. The best method
        of each column is bold in the macro rows; undefined numbers are a dash, with a footnote.
      width: of the console, characters; on a narrow one the headings are short, with a footnote.
      deviations: of methods with several seeds, whose ``tables`` are means over them, the standard deviations.
      how: images are called.
    """
    deviations = deviations or {}
    columns = columns_of(tables, width)
    at = ", at its own prevalence" if "sensitivity" in columns else ""  # of tasks without classes: none
    table = Table(title=f"Results on the test set{at}{f', {how}' if how else ''}")
    table.add_column("class", overflow="fold", min_width=5)
    table.add_column("method", overflow="fold", min_width=10)
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    counted = any("positives" in row for summary in tables.values() for row in summary.values())
    if counted:
        table.add_column("positives" if width < WIDE else "positives (prevalence)", justify="right")
    first = next(iter(tables.values()), {})
    rows = [row for row in first if row != "macro"] + ["macro"] * ("macro" in first)
    footnotes: set[str] = set()
    for row in rows:
        for method, summary in tables.items():
            metrics = summary.get(row, {})
            cells = []
            for key in columns:
                value = metrics.get(key, math.nan)
                if not math.isfinite(value):
                    lacking = "negative" if metrics.get("positives", 0) > 0 else "positive"
                    why = f": no {lacking} example" if counted else ""
                    footnotes.add(f"{UNDEFINED} undefined{why}")
                best = row == "macro" and method in best_methods(tables, key)
                text = number(value)
                if method in deviations:
                    text += f" ± {number(deviations[method].get(row, {}).get(key, math.nan))}"
                cells.append(Text(text, style="bold" if best else ""))
            held = "" if row == "macro" else _positives(metrics)  # a total is no count of images
            table.add_row(Text(row), Text(method), *cells, *([held] if counted else []))
        table.add_section()
    if "macro" in rows and counted:
        footnotes.add("macro: the mean over the classes, but the negative one")
    if width < WIDE and set(SHORT) <= set(columns):
        footnotes.add(
            ", ".join(f"{SHORT[key]} {COLUMNS[key]}" for key in SHORT if SHORT[key] != COLUMNS[key])
        )
    if deviations:
        footnotes.add("± standard deviation over the seeds")
    table.caption = "\n".join(sorted(footnotes)) or None
    return table


def seeds_table(
    tables: Tables, steps: Mapping[str, int], averages: Tables | None = None, width: int = WIDE
) -> Table:
    """Each run of methods with several seeds: its checkpoint's step and its macro metrics.

    tables: run -> row -> metrics. steps: of the same runs. averages: method -> row -> metrics of the
    mean of its seeds' probabilities, which come last.
    """
    table = Table(title="Each seed, macro values on the test set")
    table.add_column("run")
    columns = columns_of(tables, width)
    for heading in ("step", *columns.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    for run, summary in tables.items():
        values = [number(summary.get("macro", {}).get(key, math.nan)) for key in columns]
        table.add_row(Text(run), f"{steps[run]:,}", *values)
    for method, summary in (averages or {}).items():
        values = [number(summary.get("macro", {}).get(key, math.nan)) for key in columns]
        table.add_row(Text(f"{method}, probabilities averaged"), "", *values)
    if averages:
        table.caption = "predict averages the probabilities of the seeds"
    return table


def best_methods(tables: Mapping[str, Mapping[str, Mapping[str, float]]], key: str) -> set[str]:
    """The methods whose macro value of ``key`` is highest; empty when there is nothing to compare."""
    values = {method: summary.get("macro", {}).get(key, math.nan) for method, summary in tables.items()}
    finite = [value for value in values.values() if math.isfinite(value)]
    if len(values) < 2 or not finite:
        return set()
    return {method for method, value in values.items() if value == max(finite)}


def _positives(metrics: Mapping[str, float]) -> str:
    positives, prevalence = metrics.get("positives", math.nan), metrics.get("prevalence", math.nan)
    if not math.isfinite(positives):
        return ""
    return f"{positives:,.0f}" + (f" ({percent(prevalence)})" if math.isfinite(prevalence) else "")
