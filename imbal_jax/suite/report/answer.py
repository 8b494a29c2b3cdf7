"""Section: which method to use where, and what speaks against it."""

import math
from collections import Counter

from imbal_jax.report.html import counted, listed
from imbal_jax.suite.conclusions.regimes import Regime
from imbal_jax.suite.report.blocks import Block, Text, one_table
from imbal_jax.suite.report.evidence import Evidence
from imbal_jax.suite.report.metric_words import named
from imbal_jax.suite.report.numbers import p_value, with_interval
from imbal_jax.suite.report.ratio import rival_note
from imbal_jax.suite.report.view import View, ratio_text

NOTHING = "Nothing found in these runs."


def answer(evidence: Evidence) -> tuple[Block, ...]:
    view = evidence.main
    headings = (
        "data",
        "use",
        f"{named(view.primary)} less that of {view.reference}",
        "p (Holm)",
        "evidence against it",
    )
    rows = [_row(view, regime) for regime in view.table.regimes]
    cells = " A cell is one data condition." if any("cell" in row[-1] for row in rows) else ""
    return (
        Text(_sentence(view), "lead"),
        one_table(headings, rows, prose=True),
        Text(
            "A method is recommended where it is shown to be better than the reference over the data conditions of "
            "a row: the 95 % interval of the mean difference excludes 0, p is below 0.05 after Holm's correction for "
            "the number of methods, it is worse in no condition, and at most a tenth of its runs diverged. Otherwise "
            f"the reference stays.{cells} {' '.join(rival_note(view))}",
            "muted",
        ),
    )


def _sentence(view: View) -> str:
    """What the table says, in one or two sentences."""
    regimes = view.table.regimes
    decided = [regime for regime in regimes if regime.recommended is not None]
    if not decided:
        return "No recommendation: no range of the data has 6 seeds of a method and the reference."
    better = [regime for regime in decided if regime.recommended != view.reference]
    if not better:
        ranges = counted(len(decided), "range")
        return f"No method is shown to be better than {view.reference} in any of {ranges} of the data."
    count = Counter(str(regime.recommended) for regime in better)
    parts = [f"{method} ({number})" for method, number in count.most_common()]
    text = f"In {len(better)} of {counted(len(decided), 'range')} of the data a method is shown to be better than "
    text += f"{view.reference}: {listed(parts)}."
    left = len(decided) - len(better)
    return text + (f" In the other {counted(left, 'range')} {view.reference} stays." if left else "")


def _row(view: View, regime: Regime) -> tuple[str, ...]:
    if regime.recommended is None:
        return (
            data_text(regime),
            "no recommendation",
            "",
            "",
            "Fewer than 6 seeds of a method and the reference.",
        )
    difference = "the reference itself"
    if regime.recommended != view.reference:
        difference = with_interval(regime.difference, plus=True)
    against = " ".join(regime.evidence_against()) or NOTHING
    return data_text(regime), regime.recommended, difference, p_value(regime.p_holm), against


def data_text(regime: Regime) -> str:
    """``1:30 to 1:300, 26 to 100 positives``; the ranges of the conditions that were run."""
    low, high = regime.ratios
    text = f"up to {ratio_text(high)}" if low <= 1 else f"{ratio_text(low)} to {ratio_text(high)}"
    if math.isinf(high):
        text = f"beyond {ratio_text(low)}"
    if regime.positives is None:
        return text
    few, many = regime.positives
    count = f"{few + 1:,} to {many:,.0f}" if few else f"up to {many:,.0f}"
    return f"{text}, {f'more than {few:,}' if math.isinf(many) else count} positives"
