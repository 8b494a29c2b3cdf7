"""The results table of the terminal: one line per method and class."""

import math
from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from imbal_jax.console import UNDEFINED, WIDE, number, percent

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


def results_table(tables: Mapping[str, Mapping[str, Mapping[str, float]]], width: int = WIDE) -> Table:
    """The end of a run as a rich table: for each row (classes, then "macro") one line per method.

    Args:
      tables: method -> row -> metrics, as ``metrics.classification_summary`` gives them. The best method
        of each column is bold in the macro rows; undefined numbers are a dash, with a footnote.
      width: of the console, characters; on a narrow one the headings are short, with a footnote.
    """
    table = Table(title="Results on the test set, at its own prevalence")
    table.add_column("class")
    table.add_column("method")
    headings = COLUMNS.values() if width >= WIDE else SHORT.values()
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("positives" if width < WIDE else "positives (prevalence)", justify="right")
    first = next(iter(tables.values()), {})
    rows = [row for row in first if row != "macro"] + ["macro"] * ("macro" in first)
    footnotes: set[str] = set()
    for row in rows:
        for method, summary in tables.items():
            metrics = summary.get(row, {})
            cells = []
            for key in COLUMNS:
                value = metrics.get(key, math.nan)
                if not math.isfinite(value):
                    lacking = "negative" if metrics.get("positives", 0) > 0 else "positive"
                    footnotes.add(f"{UNDEFINED} undefined: no {lacking} example")
                best = row == "macro" and method in best_methods(tables, key)
                cells.append(Text(number(value), style="bold" if best else ""))
            table.add_row(Text(row), Text(method), *cells, _positives(metrics))
        table.add_section()
    if width < WIDE:
        footnotes.add(
            ", ".join(f"{SHORT[key]} {COLUMNS[key]}" for key in SHORT if SHORT[key] != COLUMNS[key])
        )
    table.caption = "\n".join(sorted(footnotes)) or None
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
