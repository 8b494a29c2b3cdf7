"""The report as Markdown; each figure is an SVG file beside it."""

import re
from collections.abc import Sequence

from imbal_jax.suite.report.blocks import Block, Fold, Listed, Notice, Section, Table, Text
from imbal_jax.suite.report.drawing import Drawing


def markdown(title: str, sections: Sequence[Section], folder: str) -> str:
    """folder: where the figures lie, relative to the page."""
    parts = [f"# {title}\n"]
    for section in sections:
        parts.append(f"## {section.heading}\n")
        parts += [_block(block, folder) for block in section.blocks]
    return "\n".join(parts).rstrip() + "\n"


def file_name(drawing: Drawing) -> str:
    return f"{drawing.name}.svg"


def _block(block: Block, folder: str) -> str:
    match block:
        case Text():
            return f"{_escaped(block.text)}\n"
        case Notice():
            return f"> **{_escaped(block.heading)}.** {_escaped(block.text)}\n"
        case Listed():
            return "\n".join(f"- {_escaped(item)}" for item in block.items) + "\n"
        case Table():
            return _table(block)
        case Drawing():
            return _drawing(block, folder)
        case Fold():
            inside = "\n".join(_block(each, folder) for each in block.blocks)
            return f"<details><summary>{_escaped(block.heading)}</summary>\n\n{inside}\n</details>\n"


def _drawing(drawing: Drawing, folder: str) -> str:
    about = _escaped(drawing.about).replace("[", "(").replace("]", ")")
    notes = " ".join(drawing.notes)
    return (
        f"{_escaped(drawing.read)}\n\n![{about}]({folder}/{file_name(drawing)})\n\n"
        f"{_escaped(notes)} {drawing.runs:,} runs. Made by `{drawing.command}`.\n"
    )


def _table(table: Table) -> str:
    lines = [f"**{_escaped(table.caption)}**\n"] if table.caption else []
    lines.append(_row(table.headings))
    lines.append("|" + "|".join(_alignment(table)) + "|")
    for heading, rows in table.groups:
        if heading:
            lines.append(_row([f"**{heading}**", *[""] * (len(table.headings) - 1)], bold=True))
        lines += [_row(row) for row in rows]
    return "\n".join(lines) + "\n"


def _alignment(table: Table) -> list[str]:
    marks = ["---", *["---:"] * (len(table.headings) - 1)]
    return [*marks[:-1], "---"] if table.prose else marks


def _row(cells: Sequence[str], bold: bool = False) -> str:
    return "| " + " | ".join(cell if bold else _escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    """Names of methods and classes as they are: ``ldam_drw`` is not emphasis, ``|`` ends no cell."""
    text = re.sub(r"([\\`*|<>])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text).replace("\n", " ")
