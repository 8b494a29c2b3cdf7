"""First section: which method to use, both errors of each, and caveats."""

from html import escape

from imbal_jax.metrics.labels import images_by_patient
from imbal_jax.report.decisions import Counts
from imbal_jax.report.html import before_anything, counted
from imbal_jax.report.study import Study
from imbal_jax.report.use import said_first, shared_cautions
from imbal_jax.report.verdict import both_errors, recommended

FEW = 50  # positives; with fewer, one image changes the sensitivity by more than two percentage points
LONG = 180  # characters of a warning on the first screen
NAMED = 6  # classes that a caution names


def summary(study: Study, means: Study | None = None) -> str:
    """The section.

    study: a run of each method, whose decisions are counted. means: where methods have several seeds, the same with
    the means over them, by which the methods are compared.
    """
    means = means or study
    present = [(k, counts) for k in study.shown if (counts := study.decided[0].counts(k)).positives]
    first_of_all = _first_of_all(study, means)
    if not present:
        return (
            f"{first_of_all}<p class=lead>The {len(study.images):,} test images hold no positive example: what share "
            "of the positives a method finds is undefined. Only the specificity can be read from this report.</p>"
        )
    lead = f"<p class=lead>{recommended(means, present)}</p>"
    return first_of_all + lead + both_errors(study, means, present) + _cautions(study, present)


def _first_of_all(study: Study, means: Study) -> str:
    """The most important warnings: constraints that no checkpoint met, thresholds chosen on very few patients."""
    negative = next((name for k, name in enumerate(study.classes) if k not in study.shown), None)
    runs = [run for i in range(len(means.runs)) for run in means.seeds(i)]
    cautions = [_folded(line) for line in shared_cautions(study.runs[0], study.classes, negative)]
    return before_anything(said_first(runs), cautions)


def _folded(line: str) -> tuple[str, str]:
    """The warning, and its consequence; of one that names many classes the beginning, and the whole."""
    warning, _, reason = line.partition(". " if ". " in line else ": ")
    if len(warning) > LONG:
        warning, reason = f"{warning[:LONG].rpartition(', ')[0]} …", line
    return warning, reason


def _cautions(study: Study, present: list[tuple[int, Counts]]) -> str:
    cautions = [_of_intervals(study), *_of_few(study, present)]
    if len(study.runs) > 1:
        cautions.append(
            "The best method was chosen on these same test images: expect somewhat less on new ones."
        )
    skipped = [f"{escape(run.method)} {run.skipped_steps:,}" for run in study.runs if run.skipped_steps]
    if skipped:
        cautions.append(f"Training steps left out because a gradient was not finite: {', '.join(skipped)}.")
    items = "".join(f"<li>{caution}</li>" for caution in cautions)
    return f"<aside><b>Read with care</b><ul>{items}</ul></aside>"


def _of_few(study: Study, present: list[tuple[int, Counts]]) -> list[str]:
    """Positives of the test images and of validation, where they are few, and what follows."""
    run = study.runs[0]
    lines = []
    few = [(study.classes[k], counts.positives) for k, counts in present if counts.positives < FEW]
    if few:
        name, positives = few[0]
        lines.append(
            f"Few positives on test ({_named([f'{escape(n)} {p}' for n, p in few])}): one {escape(name)} image "
            f"more or less found moves its sensitivity by {100 / positives:.0f} percentage points, and bootstrap "
            "intervals are too short."
        )
    if run.validation_labels is None:
        return lines
    held = images_by_patient(run.validation_labels, run.validation_groups, len(study.classes))
    scarce = [
        (int(held[k].sum()), len(held[k]), study.classes[k]) for k in study.shown if held[k].sum() < FEW
    ]
    if not scarce:
        return lines
    named = [
        f"{escape(name)} {count:,}" + (f" of {counted(patients, study.grouped_by)}" if count else "")
        for count, patients, name in scarce
    ]
    count, _, name = min(((c, p, n) for c, p, n in scarce if c), default=(0, 0, ""))
    moved = (
        f" One {escape(name)} image more or less above the threshold moved the sensitivity by which it was chosen by "
        f"{100 / count:.0f} percentage points."
        if count
        else ""
    )
    lines.append(
        f"Few validation positives ({_named(named)}): checkpoint, calibration and thresholds were chosen on them, "
        f"and would differ on others.{moved}"
    )
    return lines


def _named(names: list[str]) -> str:
    """The first of the names, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _of_intervals(study: Study) -> str:
    text = (
        f"Numbers in brackets are two-sided 95&nbsp;% intervals of the sampling of test {study.grouped_by}s; another "
        "training run would differ too."
    )
    if study.has_groups:
        return text
    return f"{text} The patients were not recorded: if they have several images each, the intervals are too short."
