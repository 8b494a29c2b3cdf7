"""Fits the calibration and chooses the thresholds of a finished run, on validation."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from imbal_jax.config import Config
from imbal_jax.decisions.calibration import LogitScaling
from imbal_jax.decisions.class_rules import rules_of
from imbal_jax.decisions.operating_point import OperatingPoint, choose_threshold
from imbal_jax.decisions.threshold_rules import AtLeast, Rule
from imbal_jax.errors import InputError
from imbal_jax.metrics.labels import one_against_rest
from imbal_jax.runs.deployment import Deployment, Inputs
from imbal_jax.runs.outputs import RunOutputs, patient_codes
from imbal_jax.tasks import Task

# Relative slack of thresholds: probabilities differ by up to 1e-6 from one number of devices to another
ROUNDING = 1e-5


def deploy(config: Config, scored: RunOutputs) -> Deployment:
    """The deployment that ``config.deploy`` asks for, fitted on the validation images of ``scored``.

    Of masks it has the thresholds that were chosen when the run was scored.
    """
    classes = scored.classes
    negative = config.data.negative_class
    height, width, channels = map(int, scored.image_shape)
    blank = Deployment(
        classes=classes,
        negative=classes.index(negative) if negative in classes else None,
        task_name=scored.task_name,
        scaling=LogitScaling((1.0,), (0.0,)),
        points=(),
        prevalence=(),
        calibration="none",
        inputs=Inputs(
            shape=(height, width, channels),
            bits=int(scored.image_bits),
            mean=tuple(np.atleast_1d(scored.mean).tolist()),
            deviation=tuple(np.atleast_1d(scored.deviation).tolist()),
            mirror=config.train.mirror_scores,
            geometry=scored.geometry,
        ),
    )
    if not scored.task.decides:
        return replace(blank, thresholds=scored.thresholds)
    scaling, prevalence, how = _calibrate(config, scored)
    calibrated = replace(blank, scaling=scaling, prevalence=tuple(map(float, prevalence)), calibration=how)
    probabilities = calibrated.probabilities(scored.validation_outputs)
    rules = rules_of(config.deploy.points, classes, config.select)
    points = choose_points(rules, scored.validation_labels, probabilities, scored.validation_groups)
    return replace(calibrated, points=points)


def choose_points(
    rules: Sequence[Rule], labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray | None
) -> tuple[OperatingPoint, ...]:
    """The operating point of each class, by its rule, on validation images.

    labels: [V] or [V, C]. probabilities: [V, C]. groups: [V], the patient of each image; None: each is one.
    """
    truth = one_against_rest(labels, len(rules))
    return tuple(_point(truth[:, c], probabilities[:, c], rule, groups) for c, rule in enumerate(rules))


def check_rules(config: Config, task: Task) -> None:
    """InputError where rules of thresholds are given for a task that has no operating points."""
    if config.deploy.points is not None and not task.decides:
        raise InputError(
            f"deploy.points is given, and a run on {task.name} has no operating points: leave it out; the thresholds "
            "of masks are those of the highest Dice on validation"
        )


def check_deploy(
    config: Config, labels: np.ndarray, classes: Sequence[str], groups: np.ndarray | None = None
) -> None:
    """InputError before any training for a rule that the validation images' ``labels`` could never satisfy.

    groups: [N], the patient of each image; None: each is a patient of its own.
    """
    numbers = np.arange(len(labels)) if groups is None else patient_codes(groups)
    truth = one_against_rest(labels, len(classes))
    for c, rule in enumerate(rules_of(config.deploy.points, classes, config.select)):
        if classes[c] == config.data.negative_class or not isinstance(rule, AtLeast):
            continue
        of = numbers[truth[:, c] == (rule.rate == "sensitivity")]
        if of.size:
            try:
                rule.check_reachable(np.unique(of, return_counts=True)[1])
            except InputError as error:
                source = "select" if config.deploy.points is None else "deploy.points"
                raise InputError(f"{source}, {classes[c]}, on validation: {error}") from None


def _calibrate(config: Config, scored: RunOutputs) -> tuple[LogitScaling, np.ndarray, str]:
    """The scaling, the prevalence at which its probabilities hold, and what was done."""
    kind: str = config.deploy.calibration
    task, source = scored.task, scored.training_priors
    target = None if config.data.deployment_priors is None else np.array(config.data.deployment_priors)
    labels, logs = scored.validation_labels, task.log_outputs(scored.validation_outputs)
    seen = np.array([_prevalence(truth) for truth in one_against_rest(labels, len(scored.classes)).T])
    used_at = seen if target is None else target
    if kind == "none":
        return LogitScaling((1.0,), tuple(scored.correction.tolist())), used_at, kind
    if kind == "prior":
        if not np.isfinite(source).all():
            raise InputError(
                "deploy.calibration is prior, and what this method's batches assume of each label is not known: "
                "take bias_corrected, which is fitted on validation"
            )
        target = task.without_extremes(seen, source) if target is None else target
        return LogitScaling((1.0,), tuple(task.prior_shift(source, target).tolist())), target, kind

    scaling, how = task.fit_scaling(kind, logs, labels, source, seen)
    if target is not None:
        shift = task.prior_shift(task.without_extremes(seen, target), target)
        scaling = LogitScaling(scaling.scale, tuple(np.add(scaling.bias, shift).tolist()))
    return scaling, used_at, how


def _prevalence(truth: np.ndarray) -> float:
    known = truth >= 0
    return float((truth[known] == 1).mean()) if known.any() else 0.0


def _point(
    truth: np.ndarray, probabilities: np.ndarray, rule: Rule, groups: np.ndarray | None
) -> OperatingPoint:
    """As the rule says; where no threshold can: nobody is called, or 0.5 decides if validation has no case."""
    try:
        known = truth >= 0
        own = None if groups is None else groups[known]
        point = choose_threshold(truth[known], probabilities[known], rule, own)
        return replace(point, threshold=_just_below(point.threshold, probabilities[truth >= 0]))
    except InputError:
        positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
        whose: tuple[int | None, int | None] = (None, None)
        if groups is not None:
            whose = len(np.unique(groups[truth == 1])), len(np.unique(groups[truth == 0]))
        if positives and negatives:
            nobody = float(np.nextafter(1, 2))
            return OperatingPoint(
                nobody, f"{rule}: out of reach, nobody is called", 0.0, 1.0, positives, negatives, *whose
            )
        lacking = "positive" if negatives else "negative"
        return OperatingPoint(
            0.5, f"0.5: validation has no {lacking} case", math.nan, math.nan, positives, negatives, *whose
        )


def _just_below(threshold: float, probabilities: np.ndarray) -> float:
    """A threshold that calls the same cases despite rounding differences between machines."""
    lower = probabilities[probabilities < threshold]
    return max(threshold * (1 - ROUNDING), (threshold + lower.max()) / 2 if lower.size else 0.0)
