"""What a finished run is worth on its test images: the measured part of a ledger line.

All numbers are means over the findings, which are the classes but the negative one, each against the rest. Decisions
are those of deployment: calibrated probabilities, and thresholds that the rules of the config chose on validation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.config import Config
from imbal_jax.data.load import Splits
from imbal_jax.decisions.class_rules import rules_of
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.decisions.default_criterion import AUTO, default_criterion
from imbal_jax.decisions.operating_point import decide
from imbal_jax.metrics import (
    auroc,
    average_precision,
    brier,
    expected_calibration_error,
    macro_mean,
    sensitivity_at_specificity,
)
from imbal_jax.metrics.labels import decided_by_default, is_exclusive, one_against_rest
from imbal_jax.metrics.replicates import replicates_of
from imbal_jax.metrics.resampling import patient_draws
from imbal_jax.metrics.summary import DECISION_METRICS
from imbal_jax.report.resampling import Cohort, cohort_of, decision_tables, macro, percentile_interval
from imbal_jax.runs.deployment_choice import choose_points, deploy
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.suite.curve import TARGET, Columns, to_target, unlearned
from imbal_jax.suite.dynamics import finite

KEPT = 100  # replicates that a line keeps
SAMPLES = 300  # replicates behind an interval
DIGITS = 4  # of a replicate

DECISIONS = ("balanced_accuracy", "sensitivity", "specificity")
RANKS: dict[str, Callable[..., Any]] = {
    "sensitivity_at_90": partial(sensitivity_at_specificity, specificity=0.9),
    "average_precision": average_precision,
    "auroc": auroc,
}
"""``sensitivity_at_90``: the largest sensitivity of a threshold with specificity 0.9 or more on the same images; a
point of the ROC curve, nothing is interpolated."""
RESAMPLED = ("balanced_accuracy", *RANKS)

Numbers = dict[str, float | None]


@dataclass(frozen=True)
class Judged:
    """M test images as a run, or an ideal observer, judges them.

    truth: int8 [M, C], 1, 0, or -1 for unknown. probabilities: float64 [M, C]. called: bool [M, C].
    groups: [M], the patients; None: each image has its own. findings: the classes that means are taken over.
    prevalence: [C], at which the probabilities are to hold.
    """

    truth: np.ndarray
    probabilities: np.ndarray
    called: np.ndarray
    groups: ArrayLike | None
    findings: tuple[int, ...]
    prevalence: tuple[float, ...]

    @cached_property
    def cohort(self) -> Cohort:
        """The images with a known label, by patient."""
        return cohort_of(self.truth, self.groups)

    @cached_property
    def by_class(self) -> dict[str, np.ndarray]:
        """Metric -> [C], undefined ones NaN."""
        tables = decision_tables(self.cohort, self.called)(np.ones((1, self.cohort.size), np.int64))[0]
        found = {name: DECISION_METRICS[name](tables) for name in DECISIONS}
        for name, metric in RANKS.items():
            found[name] = np.asarray(metric(self.truth, self.probabilities, average="none"))
        weighed = [self._calibration(c) for c in range(self.truth.shape[1])]
        found["calibration_error"], found["brier"] = np.array(weighed).T
        return found

    def _calibration(self, c: int) -> tuple[float, float]:
        """Calibration error (15 bins of equal mass) and Brier score of a class against the rest, with positives and
        negatives weighed to its prevalence."""
        truth, p = self.truth[:, c], np.clip(self.probabilities[:, c], 0, 1)
        at = self.prevalence[c] if 0 < self.prevalence[c] < 1 else None
        error = expected_calibration_error(truth, p, binning="equal_mass", prevalence=at)
        return float(error), float(brier(truth, p, prevalence=at))

    @property
    def metrics(self) -> Numbers:
        """Means over the findings. ``worst_class``: the lowest sensitivity at the operating points of any class, the
        negative one too: the share of its images that no finding is called for."""
        found = {name: _mean(values[list(self.findings)]) for name, values in self.by_class.items()}
        return {**found, "worst_class": _lowest(self.by_class["sensitivity"])}

    def replicates(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Metric -> [R], means over the findings, where patients are drawn as often as ``counts`` [R, G] say."""
        cohort, kept = self.cohort, list(self.findings)
        tables = decision_tables(cohort, self.called)(counts)[:, kept]
        found = {name: macro(DECISION_METRICS[name](tables)) for name in DECISIONS}
        truth, scores = cohort.truth[:, kept], self.probabilities[cohort.kept][:, kept]
        for name, metric in RANKS.items():
            evaluate = replicates_of(partial(metric, average="none"), truth, scores, cohort.patients)
            found[name] = macro(evaluate(counts))
        return found


def line_of(
    config: Config,
    splits: Splits,
    scored: RunOutputs,
    curve: Columns,
    *,
    cell: str,
    draw: int,
    posterior: np.ndarray | None = None,
    target: str = TARGET,
) -> dict[str, Any]:
    """The measured part of a ledger line, plain JSON values.

    curve: what ``curve.Curve`` saw of the run. cell, draw: seed the replicates. posterior: [M, C], the ideal
    observer's for the test images under the priors of validation; of many labels each one's probability.
    """
    config = _with_criterion(config, scored)
    negative = config.data.negative_class
    parts = (splits.train, splits.validation, splits.test)
    counts = [(one_against_rest(part.image_labels, len(part.classes)) == 1).sum(axis=0) for part in parts]
    offset = curve["step"][-1] - curve["stage_step"][-1] if curve["step"] else 0
    steps = curve["step"][-1] if curve["step"] else None
    measured = measures_of(config, scored, cell=cell, draw=draw)
    if posterior is not None:
        measured["bayes"] = bayes_of(posterior, scored, negative)
    return {
        "steps": steps,
        "best_step": scored.best_step + offset,
        "images": None if steps is None else steps * config.train.batch_size,
        "seconds": round(curve["seconds"][-1] if curve["seconds"] else scored.seconds, 3),
        "skipped": scored.skipped,
        "counts": dict(zip(("train", "validation", "test"), (c.tolist() for c in counts), strict=True)),
        "classes": list(splits.classes),
        "negative_class": negative,
        **measured,
        "curve": curve,
        "to_target": to_target(curve, target),
        "unlearned": unlearned(curve, parse_criterion(config.select)),
    }


def measures_of(config: Config, scored: RunOutputs, *, cell: str, draw: int) -> dict[str, Any]:
    """``metrics``, ``raw``, ``post_hoc``, ``intervals``, ``replicates`` and ``by_class`` of a finished run."""
    config = _with_criterion(config, scored)
    judged = judged_by(config, scored)
    values = judged.replicates(paired_draws(judged.cohort, cell, draw, SAMPLES))
    of_class = judged.by_class
    return {
        "metrics": judged.metrics,
        "raw": raw_calls(judged, scored.labels, scored.scores),
        "post_hoc": post_hoc(config, scored, judged),
        "intervals": {
            name: [finite(bound) for bound in percentile_interval(column)] for name, column in values.items()
        },
        "replicates": {
            name: [finite(round(value, DIGITS)) for value in values[name][:KEPT].tolist()]
            for name in RESAMPLED
        },
        "by_class": {
            scored.classes[c]: {name: finite(column[c]) for name, column in of_class.items()}
            for c in judged.findings
        },
    }


def judged_by(config: Config, scored: RunOutputs) -> Judged:
    """The test images as the run is deployed."""
    deployment = deploy(config, scored)
    probabilities = deployment.probabilities(scored.outputs)
    return Judged(
        truth=one_against_rest(scored.labels, len(scored.classes)),
        probabilities=probabilities,
        called=deployment.called(probabilities),
        groups=scored.groups,
        findings=deployment.findings,
        prevalence=deployment.prevalence,
    )


def raw_calls(judged: Judged, labels: np.ndarray, scores: np.ndarray) -> Numbers:
    """The decisions without any threshold: of the highest probability, or of many labels of 0.5 or more.

    ``accuracy``: of one label an image, the share that is called its own class.
    """
    called = decided_by_default(labels, scores)
    found = replace(judged, called=called).metrics
    kept: Numbers = {name: found[name] for name in (*DECISIONS, "worst_class")}
    if is_exclusive(labels):
        kept["accuracy"] = float((scores.argmax(axis=1) == labels).mean())
    return kept


def post_hoc(config: Config, scored: RunOutputs, judged: Judged) -> Numbers | None:
    """The same network after post-hoc logit adjustment at tau 1 (Menon et al., ICLR 2021, eq. 9).

    The log priors that its outputs assume (``RunOutputs.training_priors``) are taken out of the logits, which gives
    the posterior under equal priors; of many labels under a prevalence of 1/2 each. The calls are then raw ones.
    ``balanced_accuracy_at_threshold``: with the thresholds that the rules choose on validation instead. None where
    the priors are not known.
    """
    task, source = scored.task, scored.training_priors
    if not np.isfinite(source).all():
        return None
    even = np.full(len(source), 1 / len(source) if is_exclusive(scored.labels) else 0.5)
    shift = task.prior_shift(task.without_extremes(source, even), even)
    adjusted, held = (
        task.from_log_outputs(task.log_outputs(outputs) + shift)
        for outputs in (scored.outputs, scored.validation_outputs)
    )
    rules = rules_of(config.deploy.points, scored.classes, config.select)
    points = choose_points(rules, scored.validation_labels, held, scored.validation_groups)
    negative = config.data.negative_class
    place = scored.classes.index(negative) if negative in scored.classes else None
    at_points = replace(judged, called=decide(adjusted, points, place))
    return {
        **raw_calls(judged, scored.labels, adjusted),
        "balanced_accuracy_at_threshold": _mean(
            at_points.by_class["balanced_accuracy"][list(judged.findings)]
        ),
    }


def bayes_of(
    posterior: np.ndarray, scored: RunOutputs, negative: str | None, priors: Sequence[float] | None = None
) -> Numbers:
    """The metrics of an ideal observer, whose posterior for the test images is known: no method can expect more.

    posterior: [M, C]. priors: [C], that it assumes; None: those of validation. A finding is called where its
    posterior reaches its prior, which is where the likelihood ratio reaches 1: the threshold of the highest
    balanced accuracy.
    """
    if posterior.shape != scored.outputs.shape:
        raise ValueError(f"posterior {list(posterior.shape)}, expected {list(scored.outputs.shape)}")
    classes = scored.classes
    truth, held = (
        one_against_rest(labels, len(classes)) for labels in (scored.labels, scored.validation_labels)
    )
    if priors is None:
        priors = ((held == 1).sum(axis=0) / np.maximum((held >= 0).sum(axis=0), 1)).tolist()
    findings = tuple(c for c, name in enumerate(classes) if name != negative)
    called = posterior >= np.asarray(priors)
    if negative in classes:
        called[:, classes.index(negative)] = ~called[:, list(findings)].any(axis=1)
    return Judged(truth, posterior, called, scored.groups, findings, tuple(priors)).metrics


def paired_draws(cohort: Cohort, cell: str, draw: int, samples: int) -> np.ndarray:
    """int32 [samples, G]: how often each replicate draws each patient, within strata by rarest class.

    Replicate r depends on (cell, draw, r) and on whose the test images are: it is the same for every method, setting
    and seed, so differences between them may be taken replicate by replicate.
    """
    of_cell = int.from_bytes(blake2b(cell.encode(), digest_size=8).digest(), "little")
    size = max(cohort.size, 1)
    rows = [
        next(patient_draws(cohort.strata, size, 1, np.random.default_rng([of_cell, draw, r]), in_flight=size))
        for r in range(samples)
    ]
    return np.concatenate(rows)


def _with_criterion(config: Config, scored: RunOutputs) -> Config:
    """The criterion that ``auto`` stands for."""
    if config.select != AUTO:
        return config
    chosen = default_criterion(
        scored.validation_labels, scored.validation_groups, scored.classes, config.data.negative_class
    )
    return replace(config, select=chosen[0])


def _mean(values: np.ndarray) -> float | None:
    return finite(macro_mean(values)[0])


def _lowest(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.min()) if known.size else None
