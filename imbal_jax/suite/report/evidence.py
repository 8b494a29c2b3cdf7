"""What a report is made of: the lines of a ledger, the findings, and which runs answer the question."""

from collections.abc import Sequence
from dataclasses import dataclass

from imbal_jax.errors import InputError
from imbal_jax.suite.conclusions.comparison import FEWEST_PAIRS
from imbal_jax.suite.conclusions.runs import counted, is_trial
from imbal_jax.suite.conclusions.validity import CHECKS
from imbal_jax.suite.curve import aimed
from imbal_jax.suite.definition import Check, Line, Published, Suite
from imbal_jax.suite.findings import Findings, Table, conclude
from imbal_jax.suite.grid import Grid, grid
from imbal_jax.suite.report.view import View, lines_of

MOST_ROWS = 24  # methods in a figure with a row a method


@dataclass(frozen=True)
class Evidence:
    """The lines of a suite and its views.

    words: the command, without what it is to do. main: the runs of the conclusions. defaults: the runs without
    tuning. screen: the runs of the most methods, where these are more than fit in a figure. grid: what is pending,
    changed or foreign; None where only a title is known.
    """

    words: str
    title: str
    lines: tuple[Line, ...]
    findings: Findings
    main: View
    defaults: View | None
    screen: View | None
    others: tuple[View, ...]
    descriptive: bool
    target: str
    checks: tuple[Check, ...]
    published: tuple[Published, ...]
    grid: Grid | None

    @property
    def trials(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if is_trial(line))

    def command(self, figure: str = "") -> str:
        """The command that makes the report, or one figure of it."""
        return f"{self.words} --report" + (f" --figure {figure}" if figure else "")


def evidence_of(suite_or_title: Suite | str, lines: Sequence[Line], command: str = "") -> Evidence:
    """Raises InputError where no line is left to report on.

    Lines of runs that the suite no longer has are left out; of several lines of a run, one counts. Times to the
    target are those to the suite's present one.
    """
    suite = None if isinstance(suite_or_title, str) else suite_or_title
    title = suite_or_title if isinstance(suite_or_title, str) else suite_or_title.title
    state = None if suite is None else grid(suite, lines)
    kept = _kept(lines, state)
    if suite is not None:
        kept = tuple(aimed(line, suite.target) for line in kept)
    found = conclude(kept, reference=suite.reference, primary=suite.primary) if suite else conclude(kept)
    if found.main is None:
        raise InputError(f"the ledger of {title!r} holds no run to report: run the suite first")

    def view(table: Table) -> View:
        return View(table, lines_of(kept, table), found.reference, found.primary)

    main = view(found.main)
    widest = max(found.tables, key=lambda table: len(table.methods))
    screen = widest if len(widest.methods) > max(len(main.methods), MOST_ROWS) else None
    defaults = None if found.defaults is screen else found.defaults
    return Evidence(
        words=command or f"imbal-jax benchmark {suite.name if suite else kept[0].get('suite', 'SUITE')}",
        title=title,
        lines=kept,
        findings=found,
        main=main,
        defaults=view(defaults) if defaults else None,
        screen=view(screen) if screen else main if len(main.methods) > MOST_ROWS else None,
        others=tuple(view(each) for each in found.tables if each not in (found.main, defaults, screen)),
        descriptive=bool(suite and suite.descriptive) or typical_pairs(main) < FEWEST_PAIRS,
        target=suite.target if suite else "",
        checks=(suite.checks if suite else ()) or tuple(Check(**each._asdict()) for each in CHECKS),
        published=suite.published if suite else (),
        grid=state,
    )


def typical_pairs(view: View) -> int:
    """Median number of pairs with the reference of a method in a cell; 0 where nothing can be paired."""
    found = sorted(each.pairs for each in view.table.comparisons if each.pairs)
    return found[(len(found) - 1) // 2] if found else 0


def _kept(lines: Sequence[Line], state: Grid | None) -> tuple[Line, ...]:
    """One line a run, in the order of the ledger; where the suite is known, that of its present definition."""
    foreign = {line["key"] for line in state.foreign} if state else set()
    best = {line["key"]: line for line in counted(lines) if line["key"] not in foreign}
    if state:
        best |= {key: line for key, line in state.lines.items() if key in best}
    return tuple(best.values())
