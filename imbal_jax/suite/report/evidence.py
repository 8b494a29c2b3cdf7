"""What a report is made of: the lines of a ledger, and which of them answer the question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imbal_jax.errors import InputError
from imbal_jax.suite.definition import Line, Suite
from imbal_jax.suite.grid import Grid, grid
from imbal_jax.suite.report.view import View, is_trial, views_of

FEWEST_SEEDS = 6  # the exact two-sided Wilcoxon test cannot fall below 2 / 2**n: 0.03 at 6, 0.0625 at 5
COMPARABLE = 3  # pairs with the reference in one cell, below which a stage is not the one to report


@dataclass(frozen=True)
class Evidence:
    """The lines of a suite and its views.

    main: the runs that answer the question: tuned finals, where there are any. defaults: the runs without tuning.
    screen: the runs of the most methods. grid: what is pending, changed
    or foreign; None where only a title is known.
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
    grid: Grid | None

    @property
    def trials(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if is_trial(line))

    def command(self, figure: str = "") -> str:
        """The command that makes the report, or one figure of it."""
        return f"imbal-jax benchmark {self.name} --report" + (f" --figure {figure}" if figure else "")


def evidence_of(suite_or_title: Suite | str, lines: Sequence[Line]) -> Evidence:
    """Raises InputError where no line is left to report on.

    Lines of runs that the suite no longer has are left out; of several lines of a run, one counts (``grid``).
    """
    suite = None if isinstance(suite_or_title, str) else suite_or_title
    state = None if suite is None else grid(suite, lines)
    counted = _counted(lines, state)
    title = suite_or_title if isinstance(suite_or_title, str) else suite_or_title.title
    views = views_of(
        counted, suite.reference if suite else "ce", suite.primary if suite else "balanced_accuracy"
    )
    if not views:
        raise InputError(f"the ledger of {title!r} holds no run to report: run the suite first")
    main = _main(views)
    defaults = next((v for v in reversed(views.values()) if v.setting == "default" and v is not main), None)
    widest = max(views.values(), key=lambda view: len(view.methods))
    screen = widest if len(widest.methods) > len(main.methods) else None
    known = (main, defaults, screen)
    return Evidence(
        name=suite.name if suite else str(counted[0].get("suite", "SUITE")),
        title=title,
        lines=counted,
        main=main,
        defaults=None if defaults is screen else defaults,
        screen=screen,
        others=tuple(view for view in views.values() if view not in known),
        descriptive=bool(suite and suite.descriptive) or typical_pairs(main) < FEWEST_SEEDS,
        target=suite.target if suite else "",
        grid=state,
    )


def _counted(lines: Sequence[Line], state: Grid | None) -> tuple[Line, ...]:
    """One line a run, in the order of the ledger: that of the present definition, the first that did not fail."""
    foreign = {line["key"] for line in state.foreign} if state else set()
    best: dict[str, Line] = {}
    for line in lines:
        key = line["key"]
        if key not in foreign and (key not in best or best[key]["outcome"] == "failed"):
            best[key] = line
    if state:
        best |= {key: line for key, line in state.lines.items() if key in best}
    return tuple(best.values())


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
