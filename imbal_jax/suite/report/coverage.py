"""Section: what ran, what failed, and what of the grid is missing."""

from collections import Counter

from imbal_jax.report.html import counted, listed
from imbal_jax.suite.conclusions.runs import is_trial
from imbal_jax.suite.definition import Line
from imbal_jax.suite.grid import Grid
from imbal_jax.suite.report.blocks import Block, Fold, Text, one_table
from imbal_jax.suite.report.evidence import Evidence
from imbal_jax.suite.report.failures import reasons, tallies
from imbal_jax.suite.report.view import View, label

TRIALS = "trials"  # all settings of the tuning in one row
SHOWN = 12  # rows that are not folded
HEADINGS = ("stage and setting", "conditions", "methods", "seeds", "done", "diverged", "failed", "missing")


def coverage(evidence: Evidence) -> tuple[Block, ...]:
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in evidence.lines:
        setting = TRIALS if is_trial(line) else line["setting"]
        groups.setdefault((line["stage"], setting), []).append(line)
    rows = [_row(stage, setting, lines) for (stage, setting), lines in groups.items()]
    absent = missing(evidence.main)
    blocks: list[Block] = [
        Text(_sentence(evidence, absent)),
        one_table(HEADINGS, rows),
    ]
    if absent:
        table = one_table(
            ("condition", "missing methods"), [(place, listed(names)) for place, names in absent], prose=True
        )
        blocks.append(Fold(f"What is missing of {evidence.main.name}", (table,)))
    blocks += _failed(evidence.main)
    return tuple(blocks)


def missing(view: View) -> list[tuple[str, list[str]]]:
    """Conditions with the methods that lack a run there, and how many: ``crt (2 of 12)``."""
    found = []
    for place in view.places:
        names = []
        for method in view.trained:
            lacking = len(view.units) - len(view.runs(method, place.cell))
            if lacking:
                names.append(f"{method} ({lacking} of {len(view.units)})")
        if names:
            found.append((f"{place.set} {label(place)}", names))
    return found


def _sentence(evidence: Evidence, absent: list[tuple[str, list[str]]]) -> str:
    outcomes = Counter(line["outcome"] for line in evidence.lines)
    text = f"{outcomes['done']:,} of {counted(len(evidence.lines), 'run')} ended with numbers"
    bad = [f"{outcomes[name]:,} {name}" for name in ("diverged", "failed") if outcomes[name]]
    text += f", {listed(bad)}." if bad else "; none diverged or failed."
    text += _unfinished(evidence.grid)
    return text + (
        " Means are over the runs with numbers, and pairs over the seeds that both methods finished."
        if bad or absent
        else ""
    )


def _unfinished(state: Grid | None) -> str:
    """What of the suite has not run, and what of the ledger is not of the suite as it is defined now."""
    if state is None:
        return ""
    pending, changed, foreign = (len(part) for part in (state.pending, state.changed, state.foreign))
    text = ""
    if pending:
        verb = "is" if pending == 1 else "are"
        text += f" {counted(pending, 'run')} of the suite {verb} not in the ledger yet: expect changes."
    if state.waiting:
        text += f" Not begun, because chosen from earlier stages: {listed(state.waiting)}."
    if changed:
        verb = "was" if changed == 1 else "were"
        text += f" {counted(changed, 'line')} {verb} made with other options than the suite has now."
    if foreign:
        verb = "is" if foreign == 1 else "are"
        text += f" {counted(foreign, 'line')} of runs that the suite no longer has {verb} left out."
    return text


def _row(stage: str, setting: str, lines: list[Line]) -> tuple[str, ...]:
    """missing: of the product of the conditions, methods and seeds that occur."""
    cells, methods, settings = ({line[key] for line in lines} for key in ("cell", "method", "setting"))
    seeds = {(line["draw"], line["seed"]) for line in lines}
    outcomes = Counter(line["outcome"] for line in lines)
    lacking = len(cells) * len(methods) * len(settings) * len(seeds) - len(lines)
    numbers = (
        len(cells),
        len(methods),
        len(seeds),
        outcomes["done"],
        outcomes["diverged"],
        outcomes["failed"],
        lacking,
    )
    return (
        f"{stage}, {counted(len(settings), 'trial') if setting == TRIALS else setting}",
        *(f"{number:,}" for number in numbers),
    )


def _failed(view: View) -> list[Block]:
    """Outcomes method by method, and the reasons."""
    found = [row for row in tallies(view) if row.diverged or row.failed or row.skipped]
    if not found:
        return []
    rows = [(r.method, f"{r.runs:,}", f"{r.diverged}", f"{r.failed}", f"{r.skipped}") for r in found]
    headings = ("method", "runs", "diverged", "failed", "runs with steps left out")
    why = [(method, f"{number:,}", reason) for method, reason, number in reasons(view)]
    table = one_table(headings, rows)
    parts: list[Block] = [
        Fold(f"Methods with trouble in {view.name}: {listed([row.method for row in found[:SHOWN]])}",
             (Text("A step is left out where a gradient is not finite."), table)),
    ]  # fmt: skip
    if why:
        parts.append(Fold("Reasons", (one_table(("method", "runs", "reason"), why, prose=True),)))
    return parts
