"""Parts of a section that both pages write: paragraphs, tables, figures, folds."""

from collections.abc import Sequence
from dataclasses import dataclass

from imbal_jax.suite.report.drawing import Drawing


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text. kind: "", "lead" or "muted"."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Notice:
    """A box that has to be read. large: on the face of the report."""

    heading: str
    text: str
    large: bool = False


@dataclass(frozen=True)
class Listed:
    """Items, each plain text."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Plain cells; the first of a row names it.

    groups: heading ("" for none) and rows of each part. prose: the last column is text to read.
    """

    headings: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    caption: str = ""
    prose: bool = False

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        return tuple(row for _, rows in self.groups for row in rows)


@dataclass(frozen=True)
class Fold:
    """Content that opens on demand."""

    heading: str
    blocks: tuple["Block", ...]


Block = Text | Notice | Listed | Table | Drawing | Fold


@dataclass(frozen=True)
class Section:
    """anchor: of a link to it."""

    anchor: str
    heading: str
    blocks: tuple[Block, ...]


def one_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", *, prose: bool = False
) -> Table:
    """A table in one part."""
    return Table(tuple(headings), (("", tuple(tuple(row) for row in rows)),), caption, prose)


def folded_rows(table: Table, shown: int, heading: str) -> tuple[Block, ...]:
    """The table; where it has more than ``shown`` rows, the first half of so many, and all of them folded."""
    if len(table.rows) <= shown:
        return (table,)
    first = one_table(table.headings, table.rows[: shown // 2], table.caption, prose=table.prose)
    return first, Fold(heading, (table,))
