"""Section on data and split: patients, counts and prevalence."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

import numpy as np

from imbal_jax.console import UNDEFINED, percent
from imbal_jax.data.splits.patient_split import CLASS_SHARES_OFF
from imbal_jax.report.html import Html, figures, table

SHARES_OFF = (
    "Class shares off by: how far the share of a class in the split was from its share in all images, the mean over "
    "the classes, before any draw."
)


def data(
    split_table: Sequence[Mapping[str, object]],
    classes: Sequence[str],
    *,
    unknown: bool,
    grouped_by: str = "patient",
) -> str:
    """The section. unknown: whether some labels are unknown. grouped_by: ``Dataset.grouped_by``."""
    rows = [dict(_flat(row, classes)) for row in split_table]
    if not rows:
        return "<p>No split table was recorded.</p>"
    keys = list(dict.fromkeys(key for row in rows for key in row))
    columns = [[row.get(key, UNDEFINED) for key in keys] for row in rows]
    names = [f"{grouped_by}s" if key == "patients" else key.replace("_", " ") for key in keys]
    heading, *lines = zip(names, *columns, strict=True)  # a row a class: splits are few, classes may be many
    said = (
        f"{_apart(grouped_by)} Prevalence, in brackets, is the share "
        f"of images.{' Those of unknown label are among them here, and left out elsewhere.' if unknown else ''}"
        f"{' ' + SHARES_OFF if CLASS_SHARES_OFF in keys else ''}"
    )
    if "classes" in keys:
        said = "Classes belong to one split only."
    return (f"<p>{said}</p>" if {"classes", "patients", *classes} & set(keys) else "") + table(
        heading, lines, kind=""
    )


def _apart(grouped_by: str) -> str:
    if grouped_by == "patient":
        return "Patients, where they are known, belong to one split only."
    return f"The source names no patients: every {grouped_by} belongs to one split only, and is counted as a patient."


def _flat(row: Mapping[str, object], classes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The columns of a row: what is nested by class becomes one column a class, "count (prevalence)"."""
    shares = row.get("prevalence")
    shares = dict(shares) if isinstance(shares, Mapping) else {}
    total = row.get("images")
    for key, value in row.items():
        if key == "prevalence" and isinstance(value, Mapping):
            continue
        for name, cell in value.items() if isinstance(value, Mapping) else ((key, value),):
            share = shares.pop(name, None)
            if share is None and name in classes and _is_count(cell) and _is_count(total) and total:
                share = cell / total
            text = _cell(str(name), cell)
            yield (
                str(name),
                text if share is None else Html(f"{text} <small>({percent(share)})</small>"),
            )
    for name, share in shares.items():
        yield f"{name} prevalence", percent(share)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _cell(key: str, value: object) -> str:
    if value is None:
        return UNDEFINED
    if isinstance(value, bool | str):
        return str(value)
    if _is_count(value):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        return percent(float(value)) if "prevalence" in key.lower() else figures(float(value))
    return str(value)
