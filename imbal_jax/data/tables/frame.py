"""Data frames, of pandas, polars or anything else with named columns, as tables of text."""

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from imbal_jax.data.tables.csv_table import Record, TextTable, without_nameless
from imbal_jax.errors import InputError

NAME = "the frame"


class Frame(Protocol):
    """A table with named columns, such as a pandas or polars DataFrame."""

    @property
    def columns(self) -> Iterable[Any]: ...
    def __getitem__(self, column: Any, /) -> Iterable[Any]: ...


def frame_table(frame: Frame) -> tuple[TextTable, str, list[np.ndarray]]:
    """The cells of a frame as text; and the heading and the cells of a column of arrays, "" and [] without one.

    Rows count from 0, as ``frame.iloc`` does; in the column of arrays the text of a cell is the row's number. Raises
    InputError for an object without columns, no rows, two columns of arrays, and for headings as in a CSV file.
    """
    if not hasattr(frame, "columns") or not hasattr(frame, "__getitem__"):
        raise InputError(f"a {type(frame).__name__} is no frame: give one of pandas or polars")
    headings = [str(column).strip() for column in frame.columns]
    if len(set(headings)) < len(headings):
        raise InputError(f"{NAME} has two columns of the same name: rename or remove one")
    cells = {heading: list(frame[column]) for heading, column in zip(headings, frame.columns, strict=True)}
    if not any(cells.values()):
        raise InputError(f"{NAME} has no rows")
    with_arrays = [heading for heading, column in cells.items() if any(map(_is_image, column))]
    if len(with_arrays) > 1:
        raise InputError(
            f"{NAME} has several columns of arrays, {', '.join(with_arrays)}: keep the images only"
        )
    images: list[np.ndarray] = []
    for heading in with_arrays:
        images = cells[heading]
        if not all(map(_is_image, images)):
            raise InputError(f"{NAME}, column '{heading}': some cells are arrays and some are not")
        cells[heading] = list(range(len(images)))
    rows = enumerate(zip(*cells.values(), strict=True))
    records: list[Record] = [(number, [_text(cell) for cell in row], {}) for number, row in rows]
    return without_nameless(headings, records, NAME), "".join(with_arrays), images


def _is_image(cell: Any) -> bool:
    return isinstance(cell, np.ndarray) and cell.ndim in (2, 3)


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()
