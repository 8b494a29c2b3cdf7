"""Section with confusion matrices and counts per label."""

from collections.abc import Sequence

import numpy as np

from imbal_jax.console import UNDEFINED, percent
from imbal_jax.metrics.tables import count_decisions
from imbal_jax.report.decisions import Decisions
from imbal_jax.report.html import Html, by_method, first_shown, fold, method, table
from imbal_jax.report.study import Study

MATRIX_CLASSES = 20  # with more classes, the most frequent confusions are listed instead of a matrix

SHOWN = 3  # classes in the table of counts, the rarest; the others are folded


def confusions(study: Study) -> str:
    first, classes = study.decided[0], study.classes
    if not first.exclusive:
        text = f"Per label, called by {study.rule}; images of unknown label are left out."
        return f"<p>{text}</p>{_counts(study)}"
    many = len(classes) > MATRIX_CLASSES
    draw = _frequent_confusions if many else _shaded_matrix
    text = (
        f"The {MATRIX_CLASSES} most frequent confusions."
        if many
        else "Rows: the true class. Columns: what it was taken for. Images, and their share of the row."
    )
    matrices = "".join(
        f"<div>{by_method(study.runs, i)}{draw(confusion(here), classes)}</div>"
        for i, here in enumerate(study.decided)
    )
    matrices = f'<div class="grid matrices">{matrices}</div>'
    if not any(decided.at_points for decided in study.decided):
        return f"<p>{text}</p>{matrices}"
    return (
        f"<p>{text} At the operating points an image may be called several classes; it is counted under the one "
        "whose threshold it exceeds most, as a factor.</p>"
        f"{matrices}{fold('Each class by itself, at its operating point', _counts(study))}"
    )


def confusion(here: Decisions) -> np.ndarray:
    """Counts int64 [C, C] of one label: rows the truth."""
    known = here.truth[:, 0] >= 0
    return count_decisions(
        here.truth[known].argmax(axis=1), np.asarray(here.taken_for)[known], len(here.classes)
    )


def _shaded_matrix(matrix: np.ndarray, classes: Sequence[str]) -> str:
    rows = []
    for k, name in enumerate(classes):
        total = matrix[k].sum()
        cells = [name]
        for j, count in enumerate(matrix[k]):
            share = count / total if total else 0.0
            text = percent(share) if total else UNDEFINED
            kind = "right" if j == k else "wrong"
            cells.append(
                Html(
                    f'<span class="cell {kind}" style="--share:{share:.2f}">{count:,}<small>{text}</small></span>'
                )
            )
        rows.append(cells)
    return table(["true class", *classes], rows, kind="matrix")


def _frequent_confusions(matrix: np.ndarray, classes: Sequence[str]) -> str:
    wrong = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MATRIX_CLASSES]
    pairs = [np.unravel_index(place, wrong.shape) for place in order if wrong.flat[place]]
    if not pairs:
        return "<p>No image was taken for another class.</p>"
    rows = [
        [classes[k], classes[j], f"{wrong[k, j]:,}", percent(wrong[k, j] / matrix[k].sum())] for k, j in pairs
    ]
    return table(["true class", "called", "images", "share of the true class"], rows)


def _counts(study: Study) -> str:
    """Four counts of each class and method."""
    unknown = any((here.truth < 0).any() for here in study.decided)
    groups = [
        (
            study.classes[k],
            [[method(study.runs, i), *_cells(here, k, unknown)] for i, here in enumerate(study.decided)],
        )
        for k in study.shown
    ]
    headings = ["method", "found", "missed", "false alarms", "rightly not called", "unknown"]
    return first_shown(headings if unknown else headings[:-1], groups, SHOWN, "Counts of")


def _cells(here: Decisions, k: int, unknown: bool) -> list[str]:
    counts = here.counts(k)
    quiet = counts.negatives - counts.false_alarms
    pairs = [(counts.found, counts.positives), (counts.missed, counts.positives)]
    pairs += [(counts.false_alarms, counts.negatives), (quiet, counts.negatives)]
    shares = [f"{count:,} ({percent(count / of)})" if of else UNDEFINED for count, of in pairs]
    return [*shares, *([f"{len(here.truth) - counts.known:,}"] if unknown else [])]
