"""A figure of panels: inline in the page, or one SVG file of its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imbal_jax.report.plots import GRID, INK, MUTED, PAGE, svg
from imbal_jax.report.style import LIGHT
from imbal_jax.suite.report.looks import Look

KEY_LINE = 22.0  # points between two rows of the key
LETTER = 6.2  # points of a letter of the key, at most


@dataclass(frozen=True)
class Panel:
    """about: what the panel shows, in words, for readers who do not see it."""

    figure: Figure
    about: str


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
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(horizontal, color=INK, parse_math=False)
    axes.set_ylabel(vertical, color=INK, parse_math=False)
    axes.tick_params(colors=INK, length=0, pad=5)
    axes.grid(color=GRID, linewidth=0.6)
    axes.spines[:].set_visible(False)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, loc="left", color=INK, fontsize=10, fontweight=600, parse_math=False)
    return figure, axes


def inline(drawing: Drawing) -> str:
    """The key and the panels as HTML, in the colours of the page."""
    panels = "".join(svg_of(panel, "var") for panel in drawing.panels)
    kind = "grid three" if len(drawing.panels) > 1 else "single"
    return f'{key(drawing.key)}<div class="{kind}">{panels}</div>'


def key(looks: Sequence[Look]) -> str:
    entries = " ".join(f'<span class="method">{key_line(look)}{escape(look.name)}</span>' for look in looks)
    return f'<p class="legend">{entries}</p>' if entries else ""


def key_line(look: Look) -> str:
    dashed = f' stroke-dasharray="{look.dash}"' if look.dash else ""
    line = f'<path d="M0 4h28" stroke="{css(look.colour)}" stroke-width="3"{dashed}/>'
    return f'<svg class="key" viewBox="0 0 28 8" aria-hidden="true">{line}</svg>'


def css(stand_in: str) -> str:
    """The variable of the style sheet for a stand-in colour."""
    names = {INK: "ink", MUTED: "muted", GRID: "line", PAGE: "page"}
    name = names.get(stand_in) or f"m{int(stand_in[-2:], 16)}"
    return f"var(--{name})"


def svg_of(panel: Panel, colours: str) -> str:
    """The panel as one ``<figure>`` ("var"), or its bare ``<svg>`` in the light colours ("light")."""
    marked = svg(panel.figure, "", panel.about)
    bare = marked[marked.index("<svg") : marked.rindex("</svg>") + 6]
    bare = re.sub(r'aria-label="[^"]*"', f'aria-label="{escape(panel.about, quote=True)}"', bare, count=1)
    if colours == "light":
        return _light(bare)
    return f'<figure class="plot">{bare}</figure>'


def file_of(drawing: Drawing, title: str = "") -> str:
    """An SVG file that needs nothing beside it: title, key and all panels, on a white ground."""
    panels = [svg_of(panel, "light") for panel in drawing.panels]
    sizes = [_size(panel) for panel in panels]
    columns = min(drawing.columns, len(panels))
    width = max(w for w, _ in sizes) * columns
    rows = [range(i, min(i + columns, len(panels))) for i in range(0, len(panels), columns)]
    head, top = _head(drawing, title, width)
    body = ""
    for row in rows:
        left = 0.0
        for i in row:
            body += panels[i].replace("<svg", f'<svg x="{left:g}" y="{top:g}" width="{sizes[i][0]:g}" height="{sizes[i][1]:g}"', 1)
            left += width / columns
        top += max(sizes[i][1] for i in row)
    label = escape(drawing.about, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {top:g}" width="{width * 1.3:g}" '
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
        dashed = f' stroke-dasharray="{look.dash}"' if look.dash else ""
        line = f'<path d="M{left:g} {top + 10:g}h28" stroke="{css(look.colour)}" stroke-width="2.5" fill="none"{dashed}/>'
        text += _light(line) + f'<text x="{left + 33:g}" y="{top + 13.5:g}" {ink}>{escape(look.name)}</text>'
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
