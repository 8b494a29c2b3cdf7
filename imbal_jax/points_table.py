"""The table of operating points at the end of a run: what each threshold is worth on the test images."""

import math
from collections.abc import Sequence

import numpy as np
from rich.table import Table
from rich.text import Text

from imbal_jax.operating import OperatingPoint, decide
from imbal_jax.probabilities import one_against_rest
from imbal_jax.report import RunResult
from imbal_jax.report.resampling import rate_interval
from imbal_jax.tracking import UNDEFINED, WIDE, number

HEADINGS = ("threshold", "sensitivity", "specificity", "PPV", "called of 1,000")
SHORT = ("from", "sens.", "spec.", "PPV", "per 1,000")
BOUNDS = len("(0.00–1.00)")  # of an interval, which may stand in a second line


def points_table(
    results: Sequence[RunResult], classes: Sequence[str], negative_class: str | None, width: int = WIDE
) -> Table:
    """One row a class, but the negative one, and method; rates with 95 % intervals, by patient.

    width: of the console, characters; on a narrow one the headings are short. The results have operating points.
    Raises ValueError where one has none.
    """
    table = Table(
        title="At the operating points, which were chosen on validation (95 % intervals)",
        padding=(0, 1) if width >= WIDE else 0,
    )
    table.add_column("class", overflow="fold")
    table.add_column("method")
    rates = HEADINGS[1:4] if width >= WIDE else SHORT[1:4]
    for heading in HEADINGS if width >= WIDE else SHORT:
        table.add_column(heading, justify="right", min_width=BOUNDS if heading in rates else None)
    rules: dict[str, list[str]] = {}
    for c, name in enumerate(classes):
        if name == negative_class:
            continue
        for result in results:
            if result.points is None:
                raise ValueError(f"{result.method} has no operating points")
            point = result.points[c]
            rules.setdefault(point.rule, []).append(name)
            table.add_row(Text(name), Text(result.method), *_cells(result, c, point, classes, negative_class))
        table.add_section()
    asked = [f"{rule}: {', '.join(dict.fromkeys(names))}" for rule, names in rules.items()]
    table.caption = Text("\n".join(asked) if len(rules) > 1 else next(iter(rules), ""))
    return table


def threshold_text(point: OperatingPoint) -> str:
    return "nobody" if point.threshold > 1 else f"{point.threshold:.3g}"


def _cells(
    result: RunResult, c: int, point: OperatingPoint, classes: Sequence[str], negative_class: str | None
) -> list[str]:
    truth = one_against_rest(result.labels, len(classes))[:, c]
    negative = list(classes).index(negative_class) if negative_class in classes else None
    called = decide(result.scores, result.points, negative)[:, c]
    known = truth >= 0
    groups = (
        np.arange(len(truth)) if result.groups is None else np.unique(result.groups, return_inverse=True)[1]
    )
    rates = [(truth == 1, called), (truth == 0, ~called), (known & called, truth == 1)]
    cells = [threshold_text(point)]
    cells += [_rate(right[among], groups[among]) for among, right in rates]
    return [*cells, number(1000 * called[known].mean(), 0) if known.any() else UNDEFINED]


def _rate(right: np.ndarray, groups: np.ndarray) -> str:
    if not right.size:
        return UNDEFINED
    low, high = rate_interval(right, groups)
    return f"{number(float(right.mean()), 2)} ({_bound(low)}–{_bound(high)})"


def _bound(value: float) -> str:
    return number(value, 2) if math.isfinite(value) else UNDEFINED
