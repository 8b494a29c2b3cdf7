"""What a report is made of: the lines of a ledger, and which of them answer the question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imbal_jax.errors import InputError
from imbal_jax.suite.report.view import Line, View, is_trial, views_of

FEWEST_SEEDS = 6  # the exact two-sided Wilcoxon test cannot fall below 2 / 2**n: 0.03 at 6, 0.0625 at 5
COMPARABLE = 3  # pairs with the reference in one cell, below which a stage is not the one to report


@dataclass(frozen=True)
class Evidence:
    """The lines of a suite and its views.

    main: the runs that answer the question: tuned finals, where there are any. defaults: the runs without tuning.
    screen: the runs of the most methods. suite: None where only a title is known.
    """

    name: str
    title: str
    lines: tuple[Line, ...]
    main: View
    defaults: View | None
    screen: View | None
    others: tuple[View, ...]
    descriptive: bool
    target: str
    pending: int
    suite: Any

    @property
    def trials(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if is_trial(line))

    def command(self, figure: str = "") -> str:
        """The command that makes the report, or one figure of it."""
        return f"imbal-jax benchmark {self.name} --report" + (f" --figure {figure}" if figure else "")


def evidence_of(suite_or_title: Any, lines: Sequence[Line]) -> Evidence:
    """Raises InputError where no line is left to report on. Of lines of one key the last counts."""
    suite = None if isinstance(suite_or_title, str) else suite_or_title
    latest = tuple({line["key"]: line for line in lines}.values())
    title = suite_or_title if suite is None else suite.title
    reference = "ce" if suite is None else suite.reference
    primary = "balanced_accuracy" if suite is None else suite.primary
    views = views_of(latest, reference, primary)
    if not views:
        raise InputError(f"the ledger of {title!r} holds no run to report: run the suite first")
    main = _main(views)
    defaults = next((v for v in reversed(views.values()) if v.setting == "default" and v is not main), None)
    widest = max(views.values(), key=lambda view: len(view.methods))
    screen = widest if len(widest.methods) > len(main.methods) else None
    known = (main, defaults, screen)
    return Evidence(
        name=str(latest[0].get("suite", "SUITE")) if suite is None else suite.name,
        title=title,
        lines=latest,
        main=main,
        defaults=None if defaults is screen else defaults,
        screen=screen,
        others=tuple(view for view in views.values() if view not in known),
        descriptive=(suite is not None and suite.descriptive) or typical_pairs(main) < FEWEST_SEEDS,
        target="" if suite is None else suite.target,
        pending=0,
        suite=suite,
    )


def pairs_of(view: View) -> list[int]:
    """Pairs with the reference of each method in each cell that has any."""
    methods = [name for name in view.methods if name != view.reference]
    found = [len(view.differences(method, place.cell)) for method in methods for place in view.places]
    return [count for count in found if count]


def typical_pairs(view: View) -> int:
    """Median of ``pairs_of``; 0 where nothing can be paired."""
    found = sorted(pairs_of(view))
    return found[(len(found) - 1) // 2] if found else 0


def _main(views: Mapping[tuple[str, str], View]) -> View:
    """The last stage that compares, tuned before default; else the one with the most runs."""
    stages = list(dict.fromkeys(stage for stage, _ in views))
    for stage in reversed(stages):
        ready = [v for (s, _), v in views.items() if s == stage and max(pairs_of(v), default=0) >= COMPARABLE]
        if ready:
            order = {"tuned": 0, "default": 1}
            return min(ready, key=lambda view: order.get(view.setting, 2))
    return max(views.values(), key=lambda view: len(view.lines))
