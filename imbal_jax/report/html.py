"""HTML for numbers, tables and method names."""

import math
import re
from collections.abc import Sequence
from html import escape, unescape

from imbal_jax.console import UNDEFINED, percent
from imbal_jax.metrics import Interval
from imbal_jax.report.result import RunResult

METHOD_COLOURS = 8
DASHES = ("6 3", "", "8 3 2 3", "2 3")  # of the lines of the methods, in turn


class Html(str):
    """Text that is markup already; everything else that enters a table is escaped."""


# Numbers


def decimals(value: float) -> int:
    """Decimals that show three significant digits: three up to 1, five at most."""
    if value == 0 or not math.isfinite(value) or value == 1:
        return 3
    return min(max(2 - int(f"{value:.2e}".split("e")[1]), 0), 5)


def figures(value: float, places: int | None = None) -> str:
    """Three significant digits: ``0.847``, ``0.0123``, ``12.3``, ``1,230``; a dash where it is undefined."""
    if not math.isfinite(value):
        return UNDEFINED if math.isnan(value) else "∞"
    if value == 0:
        return "0"
    return f"{value:,.{decimals(value) if places is None else places}f}".replace("-", "−")


def bracket(value: float, interval: Interval, *, plus: bool = False, places: int | None = None) -> Html:
    """``0.847 [0.801, 0.893]``, the interval small; without it where it is undefined.

    The digits, where ``places`` does not say, are those that show three of the largest of the numbers.
    """
    low, high = (float(bound) for bound in interval)
    known = math.isfinite(value) and math.isfinite(low) and math.isfinite(high)
    if known and places is None:
        places = decimals(max(abs(value), abs(low), abs(high)))
    text = figures(value, places)
    if plus and math.isfinite(value) and value > 0:
        text = f"+{text}"
    if not known:
        return Html(text)
    return Html(f'{text} <small class="ci">[{figures(low, places)}, {figures(high, places)}]</small>')


def counted(count: int, noun: str) -> str:
    """``1 image``, ``2 images``, ``2 more classes``."""
    plural = noun if count == 1 else f"{noun}es" if noun.endswith("ss") else f"{noun}s"
    return f"{count:,} {plural}"


def images(count: int) -> str:
    return counted(count, "image")


def share(value: float, interval: Interval | None = None) -> Html:
    """``53.3 % [30.1, 75.2]``: a share and its interval in per cent; a dash where it is undefined."""
    text = percent(value)
    if interval is None or not all(map(math.isfinite, (value, *interval))):
        return Html(text)
    low, high = (percent(float(bound)).removesuffix(" %") for bound in interval)
    return Html(f'{text} <small class="ci">[{low}, {high}]</small>')


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def before_anything(lines: Sequence[str], reasons: Sequence[tuple[str, str]] = ()) -> str:
    """The box of the most important warnings; nothing where there are none.

    reasons: warnings whose consequences are folded.
    """
    items = [f"<li>{escape(line)}.</li>" for line in lines]
    items += [
        f"<li class=fold>{fold(escape(warning), f'<p>{escape(reason)}.</p>')}</li>"
        if reason
        else f"<li>{escape(warning)}.</li>"
        for warning, reason in reasons
    ]
    if not items:
        return ""
    return f"<aside><b>Before anything else</b><ul>{''.join(items)}</ul></aside>"


def fold(heading: str, content: str) -> str:
    """Content that opens on demand; nothing where there is none. heading: markup."""
    return f"<details><summary>{heading}</summary>{content}</details>" if content else ""


# Tables


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "stack", caption: str = ""
) -> str:
    """The first cell of a row names it. kind "stack": a narrow screen shows each row as a list."""
    head = "".join(f'<th scope="col">{_markup(heading)}</th>' for heading in headings)
    labels = [escape(plain(heading), quote=True) for heading in headings]
    body = "".join(_row(row, labels, kind) for row in rows)
    caption = f"<caption>{escape(caption)}</caption>" if caption else ""
    opening = (
        f'<div class="scroll" tabindex="0"><table class="{kind}">{caption}<thead><tr>{head}</tr></thead>'
    )
    return f"{opening}<tbody>{body}</tbody></table></div>"


Group = tuple[str, Sequence[Sequence[str]]]
"""Heading and rows of one part of a grouped table."""


def grouped(headings: Sequence[str], groups: Sequence[Group], kind: str = "") -> str:
    """A table in parts, each under a heading of its own, so that methods stand beside each other class by class.

    kind: another class of the style sheet.
    """
    head = "".join(f'<th scope="col">{_markup(heading)}</th>' for heading in headings)
    labels = [escape(plain(heading), quote=True) for heading in headings]
    bodies = ""
    for heading, rows in groups:
        body = (
            f'<tr class="group"><th scope="rowgroup" colspan="{len(headings)}">{_markup(heading)}</th></tr>'
        )
        bodies += f"<tbody>{body if heading else ''}{''.join(_row(row, labels) for row in rows)}</tbody>"
    opening = (
        f'<div class="scroll" tabindex="0"><table class="{" ".join(("stack", "grouped", kind)).strip()}">'
    )
    return f"{opening}<thead><tr>{head}</tr></thead>{bodies}</table></div>"


def first_shown(
    headings: Sequence[str], groups: Sequence[Group], shown: int, rest: str, kind: str = ""
) -> str:
    """The first groups as a table, and the others folded, as ``rest`` of so many more frequent classes."""
    others = groups[shown:]
    more = f"{rest} {counted(len(others), 'more frequent class')}"
    folded = fold(more, grouped(headings, others, kind)) if others else ""
    return grouped(headings, groups[:shown], kind) + folded


def _row(row: Sequence[str], labels: Sequence[str], kind: str = "stack") -> str:
    first, *rest = (_markup(cell) for cell in row)
    cells = "".join(
        f'<td data-label="{label}"><span>{cell}</span></td>' if kind == "stack" else f"<td>{cell}</td>"
        for label, cell in zip(labels[1:], rest, strict=True)
    )
    return f'<tr><th scope="row">{first}</th>{cells}</tr>'


def _markup(cell: str) -> str:
    return cell if isinstance(cell, Html) else escape(cell)


def plain(cell: str) -> str:
    """The text of a cell without its markup, unescaped."""
    text = unescape(re.sub(r"<[^>]*>", "", cell)) if isinstance(cell, Html) else cell
    return text.replace("\N{NO-BREAK SPACE}", " ")


# Methods


def place(runs: Sequence[RunResult], i: int) -> int:
    """Index of the method's colour and line style: grey for the reference, strong colours for the others."""
    return i if len(runs) > 1 else 1


def colour(runs: Sequence[RunResult], i: int) -> str:
    return f"var(--m{place(runs, i) % METHOD_COLOURS})"


def method(runs: Sequence[RunResult], i: int) -> Html:
    """The method's name beside its line; dashes distinguish the methods without colour."""
    dash = DASHES[place(runs, i) % len(DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    key = (
        '<svg class="key" viewBox="0 0 28 8" aria-hidden="true">'
        f'<path d="M0 4h28" stroke="{colour(runs, i)}" stroke-width="3"{dashed}/></svg>'
    )
    return Html(f'<span class="method">{key}{escape(runs[i].method)}</span>')


def legend(runs: Sequence[RunResult]) -> str:
    if len(runs) == 1:
        return ""
    return f'<p class="legend">{" ".join(method(runs, i) for i in range(len(runs)))}</p>'


def by_method(runs: Sequence[RunResult], i: int) -> str:
    """A heading for the content of one method; empty where there is only one."""
    return f"<h3>{method(runs, i)}</h3>" if len(runs) > 1 else ""
