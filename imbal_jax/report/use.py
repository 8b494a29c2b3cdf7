"""Caveats of a run and the prevalence at which its numbers hold, for terminal and report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from imbal_jax.console import percent
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.decisions.default_criterion import FEW_PATIENTS
from imbal_jax.decisions.selection import unmet
from imbal_jax.metrics.guarantees import patient_lower
from imbal_jax.metrics.labels import images_by_patient, one_against_rest
from imbal_jax.report.html import counted
from imbal_jax.report.result import RunResult, run_names

APART = 3.0  # factor; prevalences that differ by it come from different populations or an artificial draw


@dataclass(frozen=True)
class Use:
    """The prevalence of a finding where the model is used. own: whether it is that of the test set."""

    prevalence: float
    source: str
    own: bool


def apart(one: float, other: float) -> bool:
    """Whether two prevalences differ by ``APART`` times or more; a finding that one of them lacks is not compared."""
    low, high = sorted((one, other))
    return low > 0 and high >= APART * low * (1 - 1e-9)


def prevalence_in(truth: np.ndarray) -> float:
    """The prevalence of one finding; truth: int [M], 1, 0, or below 0 for unknown. NaN if all are unknown."""
    known = truth >= 0
    return float((truth[known] == 1).mean()) if known.any() else float("nan")


def use_of(run: RunResult, k: int, classes: int) -> Use:
    """The prevalence at which predictive values and calibration of the class ``k`` are given.

    That of the test set, unless the run says another (``RunResult.prevalence``) and both differ by ``APART`` times: a
    draw has made the test set, or the others, artificial, and probabilities and thresholds are not made for it.
    """
    own = prevalence_in(one_against_rest(run.labels, classes)[:, k])
    if run.prevalence is None or not 0 < run.prevalence[k] < 1 or not apart(own, run.prevalence[k]):
        return Use(own, "the test set", True)
    return Use(float(run.prevalence[k]), run.prevalence_source, False)


# Lines


def first_said(run: RunResult) -> list[str]:
    """Warnings to read before any number of the run."""
    lines = []
    history = [
        {name: np.nan if value is None else value for name, value in record.items()}
        for record in run.history
        if record.get("kind", "validation") == "validation"
    ]
    criterion = parse_criterion(run.criterion)
    if history and all(set(criterion.names) <= record.keys() for record in history):
        lines += [f"{run.method}: {line}" for line in [unmet(history, criterion, run.best_step)] if line]
    return lines


def said_first(runs: Sequence[RunResult]) -> list[str]:
    """``first_said`` of all runs, each by its name beside the others."""
    named = zip(runs, run_names(runs), strict=True)
    return [line for run, name in named for line in first_said(replace(run, method=name))]


def shared_cautions(run: RunResult, classes: Sequence[str], negative_class: str | None) -> list[str]:
    """Warnings for every run on the same data: few validation positives, a test set of another prevalence."""
    if run.validation_labels is None:
        return []
    few = few_positives(run.validation_labels, run.validation_groups, classes, negative_class)
    return few + different_prevalence(run, classes, negative_class)


def few_positives(
    labels: np.ndarray, groups: np.ndarray | None, classes: Sequence[str], negative_class: str | None
) -> list[str]:
    """Warnings where fewer than ``FEW_PATIENTS`` validation patients have a finding, or none has."""
    absent, few, bounds = [], [], []
    for name, images in zip(classes, images_by_patient(labels, groups, len(classes)), strict=True):
        if name == negative_class or len(images) >= FEW_PATIENTS:
            continue
        if not len(images):
            absent.append(name)
            continue
        plural = ["" if number == 1 else "s" for number in (images.sum(), len(images))]
        few.append(f"{images.sum():,} {name} image{plural[0]} of {len(images)} patient{plural[1]}")
        bounds.append((patient_lower(images, images, 0.95), name))
    lines = []
    if few:
        found, name = min(bounds)
        lines.append(
            f"validation has {', '.join(few)}, fewer than {FEW_PATIENTS} patients: the checkpoint, the calibration "
            f"and the threshold rest on them, and a threshold that finds all of {name} there is shown to find only "
            f"{percent(found)} of new ones (one-sided 95 % bound, by patient)"
        )
    if absent:
        lines.append(
            f"validation has no {' or '.join(absent)} image: no checkpoint, calibration or threshold could be chosen "
            "for it"
        )
    return lines


def few_cases(
    labels: np.ndarray, groups: np.ndarray | None, classes: Sequence[str], negative_class: str | None
) -> list[str]:
    """The same of masks, whose thresholds divide pixels."""
    few = []
    for name, images in zip(classes, images_by_patient(labels, groups, len(classes)), strict=True):
        if name != negative_class and len(images) < FEW_PATIENTS:
            few.append(
                f"{counted(int(images.sum()), 'image')} of {counted(len(images), 'patient')} with {name}"
            )
    return [f"validation has {', '.join(few)}: the checkpoint and the threshold rest on them"] if few else []


def different_prevalence(run: RunResult, classes: Sequence[str], negative_class: str | None) -> list[str]:
    """A warning where the prevalence on validation and on test differs by a factor of ``APART`` or more."""
    if run.validation_labels is None:
        return []
    truth = [one_against_rest(labels, len(classes)) for labels in (run.validation_labels, run.labels)]
    used: dict[str, list[str]] = {}
    for k, name in enumerate(classes):
        seen, here = (prevalence_in(part[:, k]) for part in truth)
        use = use_of(run, k, len(classes))
        if name == negative_class or (use.own and not apart(seen, here)):
            continue
        at = "" if use.own or use.prevalence == seen else f" (use {percent(use.prevalence)})"
        used.setdefault("" if use.own else use.source, []).append(
            f"{name} {percent(seen)} and {percent(here)}{at}"
        )
    return [
        f"prevalence on validation and on test differs: {'; '.join(names)}. PPV, NPV, calls per 1,000 and "
        f"calibration are given at the prevalence that {source or 'the test set has'}"
        + ", not the test set's"
        * bool(source)
        for source, names in used.items()
    ]


def split_gaps(
    table: Sequence[Mapping[str, object]], classes: Sequence[str], negative_class: str | None
) -> list[str]:
    """A line for every finding whose share of images differs by ``APART`` times or more between two splits.

    table: a row a split, with its name, its images and the images of each class.
    """
    lines = []
    for name in classes:
        if name == negative_class or not all(name in row and row["images"] for row in table):
            continue
        shares = {str(row["split"]): float(row[name]) / float(row["images"]) for row in table}  # type: ignore[arg-type]
        present = [share for share in shares.values() if share]
        if present and apart(min(present), max(present)):
            listed = ", ".join(f"{split} {percent(share)}" for split, share in shares.items())
            lines.append(f"the prevalence of {name} differs between the splits: {listed}")
    return lines
