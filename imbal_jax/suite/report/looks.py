"""How each method is drawn: one colour, dash and marker in every figure of a page."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from imbal_jax.report.html import DASHES, METHOD_COLOURS
from imbal_jax.report.plots import BAND, INK, MUTED, PAGE, WIDTH
from imbal_jax.suite.report.view import View

MOST = METHOD_COLOURS - 1  # hues; one more method has the grey of the house, those beyond are drawn alike
MARKERS = "sD^voPX"  # the reference has the circle first


@dataclass(frozen=True)
class Look:
    """colour: a stand-in of ``report.plots``. dash: of an SVG line, "" is solid. marker: as matplotlib names it.

    sign: what the key shows: "line", "marked" (line and marker), "dot" (marker), "box", "dots" or "stripes".
    """

    name: str
    colour: str
    dash: str = ""
    marker: str = "o"
    sign: str = "line"

    def line(self, **changes: Any) -> dict[str, Any]:
        dash = [float(length) / 2.5 for length in self.dash.split()]
        style = {"color": self.colour, "linewidth": WIDTH, "linestyle": (0, dash) if dash else "-"}
        return style | changes

    def band(self) -> dict[str, Any]:
        return {"color": self.colour, "alpha": BAND, "linewidth": 0}

    def dot(self, **changes: Any) -> dict[str, Any]:
        style = {"marker": self.marker, "markersize": 6, "color": self.colour, "markeredgecolor": PAGE}
        return style | {"linestyle": "", "zorder": 5} | changes


def reference_look(name: str) -> Look:
    return Look(name, INK)


def rest_look(name: str = "other methods") -> Look:
    """Grey: methods that are neither the reference nor among the best."""
    return Look(name, MUTED, marker=".")


def keyed(view: View, shown: Mapping[str, Look], sign: str = "line") -> tuple[Look, ...]:
    """The key of a figure: the methods shown, and the others where there are any."""
    rest = [rest_look()] if len(shown) < len(view.methods) else []
    return tuple(replace(look, sign=sign) for look in [*shown.values(), *rest])


def looks(view: View, most: int = MOST) -> dict[str, Look]:
    """Of the reference and the best ``most`` others or one more, the rival among them; the rest are grey."""
    others = [name for name in view.methods if name != view.reference]
    if len(others) > most + 1:  # a single grey line would hide one method for nothing
        kept = others[:most]
        others = kept if view.rival in kept or view.rival not in others else [*kept[:-1], view.rival]
    found = {view.reference: reference_look(view.reference)} if view.reference in view.methods else {}
    for i, name in enumerate(others, 1):
        found[name] = Look(
            name, f"#0a00{i % METHOD_COLOURS:02x}", DASHES[i % len(DASHES)], MARKERS[(i - 1) % len(MARKERS)]
        )
    return found
