"""HTML for numbers, tables and method names."""

import math
import re
from collections.abc import Sequence
from html import escape, unescape

from imbal_jax.console import UNDEFINED
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


def images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def alarms(count: int) -> str:
    return f"{count:,} false alarm{'' if count == 1 else 's'}"


def before_anything(lines: Sequence[str]) -> str:
    """The box of the most important warnings; nothing where there are none."""
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}.</li>" for line in lines)
    return f"<aside><b>Before anything else</b><ul>{items}</ul></aside>"


# Tables


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "stack", caption: str = ""
) -> str:
    """The first cell of a row names it. kind "stack": a narrow screen shows each row as a list."""
    head = "".join(f'<th scope="col">{_markup(heading)}</th>' for heading in headings)
    labels = [escape(plain(heading), quote=True) for heading in headings]
    body = ""
    for row in rows:
        first, *rest = (_markup(cell) for cell in row)
        cells = "".join(
            f'<td data-label="{label}"><span>{cell}</span></td>' if kind == "stack" else f"<td>{cell}</td>"
            for label, cell in zip(labels[1:], rest, strict=True)
        )
        body += f'<tr><th scope="row">{first}</th>{cells}</tr>'
    caption = f"<caption>{escape(caption)}</caption>" if caption else ""
    opening = (
        f'<div class="scroll" tabindex="0"><table class="{kind}">{caption}<thead><tr>{head}</tr></thead>'
    )
    return f"{opening}<tbody>{body}</tbody></table></div>"


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
