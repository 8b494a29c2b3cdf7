"""A figure of panels: inline in the page, or one SVG file of its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imbal_jax.report.plots import GRID, INK, MUTED, PAGE, draw, svg
from imbal_jax.report.style import LIGHT
from imbal_jax.suite.report.looks import Look

# rem of an inch of a panel: below the first, panels share a row no more; at the second, letters have 13 px
NARROWEST, LARGEST = 5.5, 7.0
KEY_LINE = 22.0  # points between two rows of the key
LETTER = 6.2  # points of a letter of the key, at most


@dataclass(frozen=True)
class Panel:
    """about: what the panel shows, in words, for readers who do not see it."""

    figure: Figure
    about: str

    @cached_property
    def svg(self) -> str:
        """Bare ``<svg>`` in the variables of the style sheet; drawn once for the page and the file."""
        marked = svg(self.figure, "", self.about)
        bare = marked[marked.index("<svg") : marked.rindex("</svg>") + 6]
        return re.sub(r'aria-label="[^"]*"', f'aria-label="{escape(self.about, quote=True)}"', bare, count=1)

    def inline(self) -> str:
        """As ``<figure>`` of the page."""
        width = LARGEST * self.figure.get_figwidth()
        return f'<figure class="plot" style="max-width:{width:.1f}rem">{self.svg}</figure>'


@dataclass(frozen=True)
class Drawing:
    """A figure of the report.

    name: what ``--figure`` takes. heading: of its section. read: how to read it, plain text, before the figure.
    runs: number of runs in it. notes: below it, plain text.
    """

    name: str
    heading: str
    read: str
    panels: tuple[Panel, ...]
    key: tuple[Look, ...]
    runs: int
    command: str
    notes: tuple[str, ...] = ()
    columns: int = 3

    @property
    def about(self) -> str:
        return f"{self.heading}. " + " ".join(panel.about for panel in self.panels)


def axes_of(
    horizontal: str, vertical: str, title: str = "", *, width: float = 3.8, height: float = 2.9
) -> tuple[Figure, Axes]:
    """A panel in the house style, with room for a title."""
    figure, axes = draw(horizontal, vertical, size=(width, height))
    if title:
        axes.set_title(title, loc="left", color=INK, fontsize=10, fontweight="bold", parse_math=False)
    return figure, axes


def inline(drawing: Drawing) -> str:
    """The key and the panels as HTML, in the colours of the page."""
    panels = "".join(panel.inline() for panel in drawing.panels)
    widest = max(panel.figure.get_figwidth() for panel in drawing.panels)
    columns = f"repeat(auto-fit,minmax(min({NARROWEST * widest:.0f}rem,100%),1fr))"
    room = min(drawing.columns, len(drawing.panels)) * (LARGEST * widest + 1)
    style = f"grid-template-columns:{columns};max-width:{room:.0f}rem"
    return f'{key(drawing.key)}<div class="grid" style="{style}">{panels}</div>'


def key(looks: Sequence[Look]) -> str:
    entries = " ".join(
        f'<span class="method"><svg class="key" viewBox="0 0 28 12" aria-hidden="true">{sign(look)}</svg>'
        f"{escape(look.name)}</span>"
        for look in looks
    )
    return f'<p class="legend">{entries}</p>' if entries else ""


def css(stand_in: str) -> str:
    """The variable of the style sheet for a stand-in colour."""
    names = {INK: "ink", MUTED: "muted", GRID: "line", PAGE: "page"}
    name = names.get(stand_in) or f"m{int(stand_in[-2:], 16)}"
    return f"var(--{name})"


MARKS = {
    "o": "M10 6a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    ".": "M12 6a2 2 0 1 0 4 0a2 2 0 1 0 -4 0z",
    "s": "M10 2h8v8h-8z",
    "D": "M14 1l5 5l-5 5l-5 -5z",
    "^": "M14 1.5l5 9h-10z",
    "v": "M14 10.5l5 -9h-10z",
    "P": "M12.5 1.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    "X": "M10 1l4 3l4 -3l1.5 2l-3 3l3 3l-1.5 2l-4 -3l-4 3l-1.5 -2l3 -3l-3 -3z",
    "_": "M9 5h10v2h-10z",
}


def sign(look: Look) -> str:
    """What the key shows of a look, in a box of 28 by 12, in the variables of the style sheet."""
    colour = css(look.colour)
    if look.sign in ("box", "dots", "stripes"):
        inside = {
            "box": f'<rect x="6" width="18" height="12" fill="{colour}"/>',
            "dots": "".join(
                f'<circle cx="{9 + 4 * i}" cy="{2 + 4 * j}" r="1" fill="{colour}"/>'
                for i in range(4)
                for j in range(3)
            ),
            "stripes": f'<path d="M6 8l8 -8M6 12l12 -12M11 12l12 -12M16 12l8 -8M21 12l3 -3" stroke="{colour}"/>',
        }[look.sign]
        return f'{inside}<rect x="6" y=".5" width="18" height="11" fill="none" stroke="{colour}"/>'
    dashed = f' stroke-dasharray="{look.dash}"' if look.dash else ""
    line = f'<path d="M0 6h28" stroke="{colour}" stroke-width="3"{dashed}/>' if look.sign != "dot" else ""
    mark = (
        f'<path d="{MARKS[look.marker]}" fill="{colour}" stroke="none"/>'
        if look.sign in ("marked", "dot")
        else ""
    )
    return line + mark


def file_of(drawing: Drawing, title: str = "") -> str:
    """An SVG file that needs nothing beside it: title, key and all panels, on a white ground."""
    panels = [_light(panel.svg) for panel in drawing.panels]
    sizes = [_size(panel) for panel in panels]
    columns = min(drawing.columns, len(panels))
    width = max(w for w, _ in sizes) * columns
    rows = [range(i, min(i + columns, len(panels))) for i in range(0, len(panels), columns)]
    room = max(width, 16 + 1.35 * LETTER * len(title))  # of the title, which may be wider than a single panel
    head, top = _head(drawing, title, room)
    body = ""
    for row in rows:
        left = 0.0
        for i in row:
            body += panels[i].replace(
                "<svg", f'<svg x="{left:g}" y="{top:g}" width="{sizes[i][0]:g}" height="{sizes[i][1]:g}"', 1
            )
            left += width / columns
        top += max(sizes[i][1] for i in row)
    label = escape(drawing.about, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {room:g} {top:g}" width="{room * 1.3:g}" '
        f'height="{top * 1.3:g}" role="img" aria-label="{label}" font-family="system-ui, sans-serif" font-size="10">'
        f'<rect width="100%" height="100%" fill="#fff"/>{head}{body}</svg>\n'
    )


def _head(drawing: Drawing, title: str, width: float) -> tuple[str, float]:
    """Title and key, and where the panels begin."""
    ink = _light(f'fill="{css(INK)}"')
    text, top = "", 4.0
    if title:
        text, top = f'<text x="8" y="18" font-size="12" font-weight="600" {ink}>{escape(title)}</text>', 26.0
    left = 8.0
    for look in drawing.key:
        room = 34 + LETTER * len(look.name) + 12
        if left > 8 and left + room > width:
            left, top = 8.0, top + KEY_LINE * 0.75
        shape = _light(sign(look))
        text += f'<g transform="translate({left:g} {top + 4:g})" fill="none">{shape}</g>'
        text += f'<text x="{left + 33:g}" y="{top + 13.5:g}" {ink}>{escape(look.name)}</text>'
        left += room
    return text, top + (KEY_LINE if drawing.key else 0)


def _size(panel: str) -> tuple[float, float]:
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', panel)
    assert found
    return float(found[1]), float(found[2])


def _light(text: str) -> str:
    colours = dict(part.split(":") for part in LIGHT.replace("\n", "").split(";") if part)
    return re.sub(r"var(\(--(\w[\w-]*)\))", lambda found: colours[f"--{found[2]}"], text)


def tall(rows: int, row: float = 0.24, least: float = 1.6) -> float:
    """Inches of a panel with so many rows of names."""
    return max(least, 0.75 + row * ceil(rows))
