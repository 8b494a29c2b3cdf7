"""What a finished run is worth on its test images: the measured part of a ledger line.

All numbers are means over the findings, which are the classes but the negative one, each against the rest. Decisions
are those of deployment: calibrated probabilities, and thresholds that the rules of the config chose on validation.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from imbal_jax.config import Config
from imbal_jax.data.load import Splits
from imbal_jax.decisions.class_rules import rules_of
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.decisions.default_criterion import AUTO, default_criterion
from imbal_jax.decisions.operating_point import decide
from imbal_jax.metrics.labels import decided_by_default, is_exclusive, one_against_rest
from imbal_jax.report.resampling import percentile_interval
from imbal_jax.runs.deployment_choice import choose_points, deploy
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.suite.curve import TARGET, Columns, to_target, unlearned
from imbal_jax.suite.dynamics import Numbers, finite
from imbal_jax.suite.judged import DECISIONS, RESAMPLED, Judged, paired_draws

KEPT = 100  # replicates that a line keeps
SAMPLES = 300  # replicates behind an interval
DIGITS = 4  # of a replicate


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
    draws = paired_draws(judged.cohort, cell, draw, SAMPLES)
    values, of_class = judged.replicates(draws), judged.by_class
    kept = {name: values[name] for name in RESAMPLED}
    if (adjusted := adjusted_outputs(scored)) is not None:
        called = replace(judged, called=decided_by_default(scored.labels, adjusted[0]))
        kept["post_hoc/balanced_accuracy"] = called.replicates(draws[:KEPT])["balanced_accuracy"]
    return {
        "metrics": judged.metrics,
        "raw": raw_calls(judged, scored.labels, scored.scores),
        "post_hoc": post_hoc(config, scored, judged),
        "intervals": {
            name: [finite(bound) for bound in percentile_interval(column)] for name, column in values.items()
        },
        "replicates": {
            name: [finite(round(value, DIGITS)) for value in column[:KEPT].tolist()]
            for name, column in kept.items()
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


def adjusted_outputs(scored: RunOutputs) -> tuple[np.ndarray, np.ndarray] | None:
    """Test and validation outputs after post-hoc logit adjustment at tau 1 (Menon et al., ICLR 2021, eq. 9).

    The log priors that the outputs assume (``RunOutputs.training_priors``) are taken out of the logits, which gives
    the posterior under equal priors; of many labels under a prevalence of 1/2 each. None where the priors are not
    known.
    """
    task, source = scored.task, scored.training_priors
    if not np.isfinite(source).all():
        return None
    even = np.full(len(source), 1 / len(source) if is_exclusive(scored.labels) else 0.5)
    shift = task.prior_shift(task.without_extremes(source, even), even)
    test, held = (
        task.from_log_outputs(task.log_outputs(outputs) + shift)
        for outputs in (scored.outputs, scored.validation_outputs)
    )
    return test, held


def post_hoc(config: Config, scored: RunOutputs, judged: Judged) -> Numbers | None:
    """The raw calls of the same network after post-hoc logit adjustment (``adjusted_outputs``).

    ``balanced_accuracy_at_threshold``: with the thresholds that the rules choose on validation instead. None where
    the priors are not known.
    """
    outputs = adjusted_outputs(scored)
    if outputs is None:
        return None
    adjusted, held = outputs
    rules = rules_of(config.deploy.points, scored.classes, config.select)
    points = choose_points(rules, scored.validation_labels, held, scored.validation_groups)
    negative = config.data.negative_class
    place = scored.classes.index(negative) if negative in scored.classes else None
    at_points = replace(judged, called=decide(adjusted, points, place))
    return {
        **raw_calls(judged, scored.labels, adjusted),
        "balanced_accuracy_at_threshold": at_points.over_findings("balanced_accuracy"),
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


def _with_criterion(config: Config, scored: RunOutputs) -> Config:
    """The criterion that ``auto`` stands for."""
    if config.select != AUTO:
        return config
    chosen = default_criterion(
        scored.validation_labels, scored.validation_groups, scored.classes, config.data.negative_class
    )
    return replace(config, select=chosen[0])
