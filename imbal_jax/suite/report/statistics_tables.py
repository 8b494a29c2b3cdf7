"""Tables of the statistics: over the data conditions, and condition by condition."""

import math

from imbal_jax.console import UNDEFINED
from imbal_jax.report.html import listed
from imbal_jax.suite.conclusions.comparison import Comparison
from imbal_jax.suite.conclusions.overall import Overall
from imbal_jax.suite.report.blocks import Block, Fold, Table, Text, folded_rows, one_table
from imbal_jax.suite.report.numbers import digits, p_value, three_ways, with_interval
from imbal_jax.suite.report.view import VERDICTS, View, label

SHOWN = 16  # rows that are not folded
HOW = (
    "Difference: mean over the paired runs (same data, first weights and order of batches) of the method less the "
    "reference, with the 95 % interval of a bootstrap that resamples seeds and test patients. p: exact Wilcoxon "
    "signed-rank test over the seeds, two-sided. p (Holm): the larger of this and of the p of the bootstrap, after "
    "Holm's correction over the conditions of a method. Better / equal / worse: probabilities of the Bayesian "
    "signed-rank test, equal meaning a difference within ±0.01. Could have been seen: the difference that so many "
    "seeds would have shown with a chance of 80 %. Interquartile mean: mean of the middle half of the runs. Area: "
    "mean {metric} over the logarithm of the ratio."
)


def statistics(view: View, metric: str) -> tuple[Block, ...]:
    summary = one_table(
        (
            "method", "conditions", "difference", "better / equal / worse", "interquartile mean", "area",
            "conclusions",
        ),
        [_overall(view.overall[method]) for method in view.methods],
        f"Over the data conditions: {view.name}",
        prose=True,
    )  # fmt: skip
    detail = Fold("Condition by condition", (by_condition(view),))
    how = Text(HOW.format(metric=metric), "muted")
    return (*folded_rows(summary, SHOWN, f"{summary.caption}, {len(summary.rows)} methods"), detail, how)


def _overall(found: Overall) -> tuple[str, ...]:
    verdicts = [f"{found.verdicts[verdict]} {verdict}" for verdict in VERDICTS if found.verdicts.get(verdict)]
    return (
        found.method,
        f"{found.cells:,}",
        with_interval(found.difference, plus=True),
        three_ways(found.probabilities),
        with_interval(found.interquartile_mean),
        digits(found.area),
        listed(verdicts) or "the reference",
    )


def by_condition(view: View) -> Table:
    """A part a condition, a row a method."""
    headings = (
        "method", "pairs", "difference", "p", "p (Holm)", "better / equal / worse", "could have been seen",
        "conclusion",
    )  # fmt: skip
    groups = []
    for place in view.places:
        found = [
            view.comparisons.get((method, place.cell)) for method in view.methods if method != view.reference
        ]
        rows = tuple(_comparison(each) for each in found if each is not None)
        groups.append((f"{place.set} {label(place)}", rows))
    return Table(headings, tuple(groups))


def _comparison(found: Comparison) -> tuple[str, ...]:
    seen = UNDEFINED if math.isnan(found.detectable) else digits(found.detectable)
    return (
        found.method,
        f"{found.pairs}",
        with_interval(found.difference, plus=True),
        p_value(found.ranks.p_value) if found.pairs else UNDEFINED,
        p_value(found.p_holm),
        three_ways(found.probabilities),
        seen,
        found.verdict,
    )
