"""Reads CSV tables strictly: a quote that does not fit is refused, not guessed.

Messages name rows by number and quote no cell and no heading: a table without a heading may have a patient there.
"""

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass

from imbal_jax.errors import InputError

DELIMITERS = ",;\t"
# Not str.splitlines, which also splits at U+2028, U+0085 and form feeds.
_LINE_END = re.compile(r"\r\n|\r|\n")
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


@dataclass(frozen=True)
class TextTable:
    """A table of text, without space around its headings and cells.

    rows: the number of the line that each row begins at, the heading being 1, and its cells, as many as headings.
    """

    name: str
    headings: tuple[str, ...]
    rows: list[tuple[int, list[str]]]


def decoded(data: bytes, name: str) -> str:
    """The text of a file's bytes; InputError for NUL bytes, and for another encoding than UTF-8,
    or UTF-16 with a byte order mark."""
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise InputError(f"{name} is not UTF-8: save it as 'CSV UTF-8'") from None
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        line = len(_LINE_END.findall(text[: text.index("\0")])) + 1
        raise InputError(f"{name} row {line} holds a NUL byte: it is no text file; save it as 'CSV UTF-8'")
    return text


def parse_table(text: str, name: str) -> TextTable:
    """The table in the text of a CSV file.

    The delimiter, a comma, semicolon or tab, is the one that the heading holds most of; or the first line names it,
    ``sep=;``. Lines end in LF, CR LF or CR. A cell may stand in quotes, with delimiters, line breaks and doubled
    quotes inside. Rows without any text are left out, and so are columns without heading that come first (pandas'
    index) or are empty.

    Raises InputError, naming the row, for a quote that opens inside a cell, text behind a closing quote, a quote that
    is never closed, a cell in quotes that swallowed rows, and a row of more or fewer cells than headings; and for no
    rows, and two headings that differ in case, space or normal form only.
    """
    lines = _LINE_END.split(text)
    first = 0
    delimiter = ""
    if (named := re.fullmatch(r'"?sep=([,;\t])"?', lines[0].strip(" "))) is not None:
        delimiter, first = named[1], 1
    while first < len(lines) and not lines[first].strip():
        first += 1
    if first == len(lines):
        raise InputError(f"{name} is empty: the first line is a heading, such as file,patient,label")
    if not delimiter:
        outside = re.sub(r'"[^"]*"', "", lines[first])
        delimiter = max(DELIMITERS, key=outside.count)
    records = [
        (number, cells, quoted)
        for number, cells, quoted in _records(lines, first, delimiter, name)
        if any(cell.strip() for cell in cells)
    ]
    _, headings, _ = records.pop(0)
    width = len(headings)
    for number, cells, _ in records:
        if len(cells) != width:
            raise InputError(
                f"{name} row {number} has {len(cells)} cells under {width} headings: "
                "put a cell that contains the delimiter in quotes"
            )
        if [cell.strip() for cell in cells] == [heading.strip() for heading in headings]:
            raise InputError(f"{name} row {number} is the heading again: remove it")
    _check_swallowed(records, delimiter, width, name)
    if not records:
        raise InputError(f"{name} has a heading and no rows")
    return without_nameless([heading.strip() for heading in headings], records, name)


def spelling(text: str) -> str:
    """Equal for headings or names that differ in case, space, hyphens or normal form only."""
    return re.sub(r"[\s_\-.#]+", "", unicodedata.normalize("NFKC", text).casefold())


Record = tuple[int, list[str], dict[int, list[str]]]
"""The row's number, its cells, and the lines of each cell that runs over several, by the cell's place."""


def _records(lines: list[str], first: int, delimiter: str, name: str) -> list[Record]:
    records: list[Record] = []
    at = first
    while at < len(lines):
        line, number = lines[at], at + 1
        at += 1
        if '"' not in line:
            records.append((number, line.split(delimiter), {}))
            continue
        cells: list[str] = []
        over_lines: dict[int, list[str]] = {}
        rest: str | None = line
        while rest is not None:
            if not rest.startswith('"'):
                cell, found, behind = rest.partition(delimiter)
                if '"' in cell:
                    raise InputError(
                        f'{name} row {at}: a quote (") is inside a cell: put the whole cell in quotes and double '
                        "those inside, or remove it"
                    )
                cells.append(cell)
                rest = behind if found else None
                continue
            opened, pieces, start = at, [], 1
            while True:  # up to the closing quote, which may be lines below
                end = _closing(rest, start)
                if end >= 0:
                    pieces.append(rest[start:end])
                    break
                pieces.append(rest[start:])
                if at == len(lines):
                    raise InputError(
                        f'{name} row {opened}: a quote (") opens here and is never closed: close or remove it'
                    )
                rest, start = lines[at], 0
                at += 1
            if end + 1 < len(rest) and rest[end + 1] != delimiter:
                raise InputError(
                    f'{name} row {opened}: the cell whose quote (") opens here has text behind its closing quote '
                    f"in row {at}: remove the quote that is too many"
                )
            if len(pieces) > 1:
                over_lines[len(cells)] = pieces
            cells.append("\n".join(pieces).replace('""', '"'))
            rest = rest[end + 2 :] if end + 1 < len(rest) else None
        records.append((number, cells, over_lines))
    return records


def _closing(text: str, start: int) -> int:
    """Where the quote closes at or behind ``start``, passing over doubled quotes; -1 where it does not."""
    while (end := text.find('"', start)) >= 0:
        if text[end + 1 : end + 2] != '"':
            return end
        start = end + 2
    return -1


def _check_swallowed(records: list[Record], delimiter: str, width: int, name: str) -> None:
    """Refuse a cell in quotes that holds rows: two stray quotes, in two rows, look like one cell of several lines.

    The lines of such a cell have as many delimiters as rows cut in two, and their cells look like those of the same
    columns in other rows. A comment of several lines, even with commas, does not.
    """
    if not any(over_lines for _, _, over_lines in records):
        return
    seen: dict[int, set[tuple[bool, ...]]] = defaultdict(set)
    for _, cells, over_lines in records:
        for place, cell in enumerate(cells):
            if place not in over_lines:
                seen[place].add(_kind(cell))

    def fits(part: list[str], first: int) -> bool:
        return all(not cell.strip() or _kind(cell) in seen[first + i] for i, cell in enumerate(part))

    for number, _, over_lines in records:
        for place, pieces in over_lines.items():
            head, *middle, tail = (piece.split(delimiter) for piece in pieces)
            cut = len(head) == width - place and len(tail) == place + 1
            whole = any(len(row) == width and fits(row, 0) for row in middle)
            if width > 1 and (whole or (cut and fits(head[1:], place + 1) and fits(tail[:-1], 0))):
                raise InputError(
                    f'{name} row {number}: a quote (") opens here and closes {len(pieces) - 1} rows below, and what '
                    "is between looks like rows of the table: remove the stray quotes, or the line breaks inside "
                    "the cell"
                )


def _kind(cell: str) -> tuple[bool, ...]:
    """The coarse shape of a cell: whether it holds digits, spaces, dots, slashes."""
    cell = cell.strip()
    digit = any(character.isdigit() for character in cell)
    space = any(character.isspace() for character in cell)
    return digit, space, "." in cell, "/" in cell or "\\" in cell


def without_nameless(headings: list[str], records: list[Record], name: str) -> TextTable:
    """The table without columns that lack a heading; InputError if one of these has cells, and for equal headings."""
    kept: list[int] = []
    for place, heading in enumerate(headings):
        if heading and not re.fullmatch(r"Unnamed: \d+(\.\d+)*", heading):
            kept.append(place)
        elif kept and any(cells[place].strip() for _, cells, _ in records):
            raise InputError(
                f"{name}: column {place + 1} has cells and no heading: give it one, or remove it"
            )
    spellings: dict[str, int] = {}
    for place in kept:
        other = spellings.setdefault(spelling(headings[place]), place)
        again = re.fullmatch(r"(.+)\.\d+", headings[place])  # as pandas renames a second column of one name
        if again and again[1] in headings:
            other = headings.index(again[1])
        if other != place:
            raise InputError(
                f"{name} has two columns of the same name, {other + 1} and {place + 1}: rename or remove one"
            )
    return TextTable(
        name,
        tuple(headings[place] for place in kept),
        [(number, [cells[place].strip() for place in kept]) for number, cells, _ in records],
    )
