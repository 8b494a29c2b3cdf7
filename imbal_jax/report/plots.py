"""Plots as inline SVG, in the font and colours of the page."""

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any
from zlib import crc32

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imbal_jax.report.html import DASHES, METHOD_COLOURS, place
from imbal_jax.report.result import RunResult

# Placeholder colours, replaced by the page's CSS variables, so that plots follow the light and the dark theme.
INK, MUTED, GRID, PAGE = "#010101", "#020202", "#030303", "#040404"
POINTS = 150  # per drawn curve
WIDTH, BAND = 1.7, 0.16
TICKS = np.array([m * 10.0**e for e in range(-5, 0) for m in (1, 2, 5)])


def line(runs: Sequence[RunResult], i: int) -> dict[str, Any]:
    dash = [float(length) / 2.5 for length in DASHES[place(runs, i) % len(DASHES)].split()]
    return {
        "color": f"#0a00{place(runs, i) % METHOD_COLOURS:02x}",
        "linewidth": WIDTH,
        "linestyle": (0, dash) if dash else "-",
    }


def fill(runs: Sequence[RunResult], i: int) -> dict[str, Any]:
    return {"color": line(runs, i)["color"], "alpha": BAND, "linewidth": 0}


def dot(runs: Sequence[RunResult], i: int) -> dict[str, Any]:
    return {
        "marker": "osD^"[place(runs, i) % 4],
        "markersize": 7,
        "color": line(runs, i)["color"],
        "markeredgecolor": PAGE,
        "linestyle": "",
        "zorder": 5,
        "clip_on": False,
    }


def draw(
    horizontal: str, vertical: str, *, square: bool = False, size: tuple[float, float] = (3.8, 2.9)
) -> tuple[Figure, Axes]:
    """Empty axes in the house style; size: inches."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(horizontal, color=INK, parse_math=False)
    axes.set_ylabel(vertical, color=INK, parse_math=False)
    axes.tick_params(colors=INK, length=0, pad=5)
    axes.grid(color=GRID, linewidth=0.6)
    axes.spines[:].set_visible(False)
    axes.set_axisbelow(True)
    if square:
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure, axes


def shares_axis(axes: Axes, low: float, high: float) -> None:
    """The horizontal axis in per cent, 1, 2 and 5 of each power of ten."""
    axes.set_xscale("log")
    axes.minorticks_off()
    ticks = TICKS[(low * 0.999 < TICKS) & (high * 1.001 > TICKS)]
    ticks = ticks[:: -(-len(ticks) // 6)] if len(ticks) > 6 else ticks
    axes.set_xticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    axes.set_xlim(low, high)


def precision_axis(axes: Axes, low: float) -> None:
    """The vertical axis in per cent of each power of ten, from ``low`` to 100 %."""
    axes.set_yscale("log")
    axes.minorticks_off()
    ticks = [10.0**e for e in range(-6, 1) if 10.0**e >= low]
    axes.set_yticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    axes.set_ylim(low, 1.1)


def thinned(steps: np.ndarray, values: np.ndarray, *, mean: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """At most POINTS points: means of neighbours, or points evenly spread with both ends."""
    if len(steps) <= POINTS:
        return steps, values
    if mean:
        parts = np.array_split(np.arange(len(steps)), POINTS)
        steps, values = (np.array([x[part].mean() for part in parts]) for x in (steps, values))
        return steps, values
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*(_unit_steps(x) for x in (steps, values))))])
    chosen = np.unique(np.searchsorted(length, np.linspace(0, length[-1], POINTS)).clip(0, len(steps) - 1))
    return steps[chosen], values[chosen]


def _unit_steps(values: np.ndarray) -> np.ndarray:
    return np.diff(values) / max(np.ptp(values), 1e-12)


def svg(figure: Figure, caption: str, about: str = "") -> str:
    """The figure inline, with its caption; ``about`` names its class for screen readers."""
    stored = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": caption, "font.size": 9.5, "path.simplify": True}
    with matplotlib.rc_context(settings):
        nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
        figure.savefig(stored, format="svg", transparent=True, metadata=nothing)
    text = stored.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    end = text.index(">")
    text = re.sub(r'\s(xmlns(:\w+)?|width|height|version)="[^"]*"', "", text[:end]) + text[end:]
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\sid="(figure|axes|patch|line2d|text|matplotlib\.axis|xtick|ytick|legend)_\d+"', "", text)
    text = re.sub(r"font:\s*([\d.]+)px[^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d+\.\d)\d+", r"\1", tag[0]), text)
    for stand_in, name in ((INK, "ink"), (MUTED, "muted"), (GRID, "line"), (PAGE, "page")):
        text = text.replace(stand_in, f"var(--{name})")
    text = re.sub(r"#0a000(\d)", r"var(--m\1)", text)
    text = re.sub(r">\s+<", "><", text).strip()
    # names are unique in a figure only, and a page holds many
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>f{crc32(f'{about}{text}'.encode()):08x}", text)
    label = escape(f"{about}: {caption}" if about else caption, quote=True)
    text = text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return f'<figure class="plot">{text}<figcaption>{escape(caption)}</figcaption></figure>'
