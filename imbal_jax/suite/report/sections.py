"""The report in order: answer first, then figures, then tables."""

from collections.abc import Callable

from imbal_jax.suite.report.answer import answer
from imbal_jax.suite.report.blocks import Block, Fold, Section, Text
from imbal_jax.suite.report.calibration import calibration
from imbal_jax.suite.report.class_curves import class_curves
from imbal_jax.suite.report.compared import compared
from imbal_jax.suite.report.cost import accuracy_against_cost
from imbal_jax.suite.report.coverage import coverage
from imbal_jax.suite.report.differences import differences
from imbal_jax.suite.report.drawing import Drawing
from imbal_jax.suite.report.evidence import Evidence
from imbal_jax.suite.report.failures import failures
from imbal_jax.suite.report.metric_words import named
from imbal_jax.suite.report.published import beside_published
from imbal_jax.suite.report.ratio import metric_against_ratio
from imbal_jax.suite.report.results_tables import (
    cost_table,
    drop_table,
    explanations,
    failure_table,
    measured,
    profile_table,
)
from imbal_jax.suite.report.statistics_tables import statistics
from imbal_jax.suite.report.time_to_target import time_to_target
from imbal_jax.suite.report.validity import validity
from imbal_jax.suite.report.view import View

FIGURES: dict[str, Callable[[Evidence], Drawing | None]] = {
    "ratio": metric_against_ratio,
    "target": time_to_target,
    "classes": class_curves,
    "cost": accuracy_against_cost,
    "differences": lambda evidence: differences(evidence, evidence.main),
    "failures": failures,
    "calibration": calibration,
    "screen": lambda evidence: differences(evidence, evidence.screen, "screen") if evidence.screen else None,
}
"""By the name that ``--figure`` takes; None where the runs have nothing to draw."""


def sections_of(evidence: Evidence) -> list[Section]:
    """All sections; those without content are left out."""
    view = evidence.main
    parts: list[tuple[str, str, tuple[Block, ...]]] = [
        ("compared", "What was compared", compared(evidence)),
        ("answer", "Which method to use", answer(evidence)),
        ("coverage", "Failures and coverage", coverage(evidence)),
    ]
    for name, draw in FIGURES.items():
        drawing = draw(evidence)
        if name == "target" and drawing is None:
            parts.append((f"figure-{name}", "Time to the target", (_nobody(evidence),)))
        if drawing:
            many = len(evidence.screen.methods) if name == "screen" and evidence.screen else 0
            shown: Block = Fold(f"All {many} methods", (drawing,)) if many else drawing
            parts.append((f"figure-{name}", drawing.heading, (shown, *_beside(evidence, name))))
    parts += [
        (
            "measured",
            f"What was measured: {view.name}",
            (*measured(view, _caption(view)), explanations(view)),
        ),
        ("defaults", "Without tuning: every method at its defaults", _defaults(evidence)),
        ("others", "Other runs", _others(evidence)),
        ("published", "Beside published errors", beside_published(evidence)),
        ("checks", "Validity checks", validity(evidence)),
        ("statistics", "Statistics", statistics(view, named(view.primary))),
    ]
    return [Section(*part) for part in parts if part[2]]


def _nobody(evidence: Evidence) -> Block:
    target = f" ({evidence.target}, on validation images)" if evidence.target else ""
    return Text(
        f"No method reached the target{target} in half of its runs of any condition: there is no profile to draw."
    )


def _beside(evidence: Evidence, name: str) -> tuple[Block, ...]:
    """The table that belongs to a figure, folded."""
    if name == "target":
        return (Fold("Score and misses of every method", (profile_table(evidence.main),)),)
    if name == "failures":
        return (Fold("Runs in trouble, method by method", (failure_table(evidence.main),)),)
    if name == "cost":
        return (Fold("Time, memory and speed of every method", (cost_table(evidence.main),)),)
    table = drop_table(evidence) if name == "classes" else None
    return (Fold("The first fall of every method, and what its gradients do", (table,)),) if table else ()


def _caption(view: View) -> str:
    words = {
        "tuned": "Tuned with the same budget for every method",
        "default": "Every method at its defaults",
    }
    return (
        f"{words.get(view.table.setting, view.table.setting)}: mean over the conditions that all methods have"
    )


def _defaults(evidence: Evidence) -> tuple[Block, ...]:
    """Empty where the runs of the conclusions are those without tuning."""
    view = evidence.defaults or (evidence.screen if evidence.main.table.setting != "default" else None)
    if view is None or view.table.setting != "default":
        return ()
    note = Text(
        f"{len(view.lines):,} runs ({view.name}) show what use without tuning gives. Conditions and seeds may be "
        "others than those of the tuned runs."
    )
    return (note, *measured(view, _caption(view)))


def _others(evidence: Evidence) -> tuple[Block, ...]:
    """Every further setting and stage, folded."""
    views = list(evidence.others)
    if evidence.screen and evidence.screen is not evidence.main and evidence.defaults:
        views.insert(0, evidence.screen)
    folds: list[Block] = [Text("Stages and settings that are not part of the conclusions.")] if views else []
    for view in views:
        caption = f"{view.name}: {len(view.lines):,} runs"
        folds.append(Fold(caption, measured(view, _caption(view))))
    return tuple(folds)
