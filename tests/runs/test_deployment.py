"""From a network's outputs to probabilities and decisions, against numpy, scipy and scikit-learn."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, softmax
from scored_runs import CLASSES, TRAINING, scored, unbalanced

from imbal_jax.config import Config, Data, Deploy
from imbal_jax.decisions.class_rules import rules_of
from imbal_jax.errors import InputError
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.deployment_choice import check_deploy, deploy
from imbal_jax.tasks import MANY_LABELS, ONE_LABEL


def config(calibration: str = "none", points: tuple[str, ...] = ("youden",), **data: object) -> Config:
    options = Data(**{"negative_class": "normal", **data})
    return Config(name="x", data=options, deploy=Deploy(points=points, calibration=calibration))


def test_the_fitted_calibration_is_the_likeliest_of_its_family() -> None:
    labels, outputs = unbalanced(600)
    found = deploy(config("bias_corrected"), scored(labels, outputs))
    logs = np.log(outputs)

    def loss(theta: np.ndarray) -> float:
        return -log_softmax(theta[0] * logs + np.r_[0, theta[1:]], axis=1)[np.arange(600), labels].mean()

    best = minimize(loss, np.r_[1.0, 0, 0], method="BFGS", options={"gtol": 1e-8}).x
    expected = softmax(best[0] * logs + np.r_[0, best[1:]], axis=1)
    np.testing.assert_allclose(found.probabilities(outputs), expected, atol=1e-5)
    assert found.calibration == "bias_corrected"


@pytest.mark.parametrize("kind", ["temperature", "vector", "bias_corrected"])
def test_fitted_probabilities_of_new_images_are_near_the_truth(kind: str) -> None:
    found = deploy(config(kind), scored(*unbalanced(seed=1)))
    labels, outputs = unbalanced(seed=2)
    truth = softmax(
        np.log(outputs) / 2 + np.log((0.9, 0.07, 0.03)), axis=1
    )  # the posterior that made the data
    error = np.abs(found.probabilities(outputs) - truth)
    assert error.mean() < 0.01
    assert np.abs(outputs - truth).mean() > 0.1
    np.testing.assert_allclose(found.prevalence, np.bincount(labels) / 4000, atol=0.02)


def test_the_prior_calibration_moves_from_the_training_priors_to_those_of_validation() -> None:
    labels, outputs = unbalanced(600)
    found = deploy(config("prior"), scored(labels, outputs))
    weighted = outputs * np.bincount(labels) / 600 / TRAINING
    np.testing.assert_allclose(
        found.probabilities(outputs), weighted / weighted.sum(axis=1, keepdims=True), atol=1e-9
    )


@pytest.mark.parametrize("kind", ["prior", "bias_corrected"])
def test_deployment_priors_multiply_the_odds(kind: str) -> None:
    labels, outputs = unbalanced(600)
    here = deploy(config(kind), scored(labels, outputs))
    there = deploy(config(kind, deployment_priors=(0.5, 0.3, 0.2)), scored(labels, outputs))
    moved = here.probabilities(outputs) * np.array([0.5, 0.3, 0.2]) / here.prevalence
    np.testing.assert_allclose(
        there.probabilities(outputs), moved / moved.sum(axis=1, keepdims=True), atol=1e-9
    )
    assert there.prevalence == (0.5, 0.3, 0.2)


def test_without_calibration_the_methods_own_correction_is_kept() -> None:
    labels, outputs = unbalanced(300)
    factors = np.array([2.0, 1.0, 0.5])
    found = deploy(config("none"), scored(labels, outputs, correction=np.log(factors)))
    expected = outputs * factors
    np.testing.assert_allclose(
        found.probabilities(outputs), expected / expected.sum(axis=1, keepdims=True), atol=1e-9
    )


def test_where_validation_is_told_apart_without_an_error_the_fit_is_penalised_and_finite() -> None:
    labels = np.repeat([0, 1, 2], [60, 6, 3])
    outputs = softmax(6 * np.eye(3)[labels] + np.random.default_rng(0).normal(size=(69, 3)), axis=1)
    found = deploy(config("bias_corrected"), scored(labels, outputs))
    assert found.calibration == "bias_corrected, penalised"
    probabilities = found.probabilities(outputs)
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.mean(axis=0), np.array([60, 6, 3]) / 69, atol=0.05)


def test_outputs_that_rank_the_classes_wrong_way_round_are_not_turned_over() -> None:
    labels, outputs = unbalanced(600)
    wrong = (1 / outputs) / (1 / outputs).sum(axis=1, keepdims=True)
    found = deploy(config("bias_corrected"), scored(labels, wrong))
    assert all(scale > 0 for scale in found.scaling.scale)


def test_a_class_that_validation_lacks_keeps_a_probability_and_is_called_at_one_half() -> None:
    labels, outputs = unbalanced(300)
    labels = np.where(labels == 2, 0, labels)
    for kind in ("none", "prior", "temperature", "vector", "bias_corrected"):
        found = deploy(config(kind), scored(labels, outputs))
        assert np.isfinite(found.probabilities(outputs)).all()
        assert (found.probabilities(outputs)[:, 2] > 0).any()
        point = found.points[2]
        assert (point.threshold, point.n_positive) == (0.5, 0)
        assert "no positive case" in point.rule


def test_many_labels_are_scaled_each_by_itself_and_unknown_ones_are_left_out() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random((500, 2)) < (0.1, 0.4)).astype(int)
    outputs = expit(2 * labels + rng.normal(size=(500, 2)) - 1)
    labels[::5, 0] = -1
    found = deploy(config("bias_corrected", negative_class=None), scored(labels, outputs))
    p = found.probabilities(outputs)
    known = labels[:, 0] >= 0
    assert p[known, 0].mean() == pytest.approx((labels[known, 0] == 1).mean(), abs=0.005)
    assert p[:, 1].mean() == pytest.approx(labels[:, 1].mean(), abs=0.005)
    assert found.negative is None
    moved = deploy(
        config("bias_corrected", negative_class=None, deployment_priors=(0.01, 0.4)), scored(labels, outputs)
    )
    shift = logit(0.01) - logit(found.prevalence[0])
    np.testing.assert_allclose(logit(moved.probabilities(outputs)[:, 0]), logit(p[:, 0]) + shift, atol=1e-8)


def test_priors_that_batches_of_many_labels_assume_are_asked_for_where_they_are_not_known() -> None:
    labels = np.eye(2, dtype=int)[np.arange(20) % 2]
    outputs = np.full((20, 2), 0.3)
    unknown = scored(labels, outputs, training_priors=np.array([0.1, np.nan]))
    with pytest.raises(InputError, match="take bias_corrected"):
        deploy(config("prior", negative_class=None), unknown)


def test_priors_that_are_given_are_stored_whatever_the_calibration() -> None:
    """The report and ``deployment.json`` read the same prevalence."""
    given = (0.98, 0.01, 0.01)
    for kind in ("none", "prior", "temperature", "vector", "bias_corrected"):
        found = deploy(config(kind, deployment_priors=given), scored(*unbalanced(600)))
        assert found.prevalence == pytest.approx(given), kind


# Thresholds


def test_thresholds_are_chosen_on_the_calibrated_probabilities_of_validation() -> None:
    labels, outputs = unbalanced(600)
    found = deploy(
        config("bias_corrected", ("nodule: sensitivity >= 0.9", "specificity >= 0.95")),
        scored(labels, outputs),
    )
    p = found.probabilities(outputs)
    nodule, effusion = found.points[1:]
    assert (nodule.rule, effusion.rule) == ("sensitivity >= 0.9", "specificity >= 0.95")
    positives = np.sort(p[labels == 1, 1])
    last = positives[int(np.floor(0.1 * len(positives) + 1e-9))]
    assert last * (1 - 1e-5) <= nodule.threshold < last
    assert not ((p[:, 1] >= nodule.threshold) & (p[:, 1] < last)).any()
    assert (p[labels != 2, 2] < effusion.threshold).mean() >= 0.95
    called = found.called(p)
    np.testing.assert_array_equal(called[:, 1], p[:, 1] >= nodule.threshold)
    np.testing.assert_array_equal(called[:, 0], ~called[:, 1:].any(axis=1))


def test_where_no_threshold_is_worth_it_nobody_is_called() -> None:
    labels = np.repeat([0, 1], [99, 1])
    outputs = np.full((100, 2), 0.5)
    found = deploy(config("none", ("cost 2:1",)), scored(labels, outputs))
    assert "nobody is called" in found.points[1].rule
    assert not found.called(np.array([[0.0, 1.0]]))[0, 1]


def test_a_rule_is_for_all_classes_or_for_the_one_it_names() -> None:
    rules = rules_of(("effusion: cost 20:1", "max f2"), CLASSES)
    assert list(map(str, rules)) == ["max f2", "max f2", "cost 20:1"]
    assert str(rules_of(("nodule: max f2",), CLASSES)[2]) == "youden"
    with pytest.raises(InputError, match="there is no class 'mass', they are normal, nodule, effusion"):
        rules_of(("mass: youden",), CLASSES)
    with pytest.raises(InputError, match="two rules for every class"):
        rules_of(("youden", "max f2"), CLASSES)
    with pytest.raises(InputError, match=r"rule 'sensitivty >= 0.9' is malformed"):
        config(points=("sensitivty >= 0.9",))


def test_a_promise_that_validation_cannot_keep_is_refused_before_training() -> None:
    labels = np.repeat([0, 1, 2], [100, 20, 80])
    sure = "sensitivity >= 0.95 with 95 % confidence"
    check_deploy(config(points=(f"effusion: {sure}",)), labels, CLASSES)
    with pytest.raises(InputError, match=r"nodule, on validation: 20 positives cannot show .* takes 59"):
        check_deploy(config(points=(sure,)), labels, CLASSES)


# Stored


def test_what_is_stored_reads_as_it_was(tmp_path: Path) -> None:
    labels, outputs = unbalanced(300)
    labels = np.where(labels == 2, 0, labels)  # and a point of NaN
    found = deploy(config("vector"), scored(labels, outputs))
    found.write(tmp_path)
    assert "NaN" not in (tmp_path / "deployment.json").read_text()
    read = Deployment.read(tmp_path)
    np.testing.assert_array_equal(read.probabilities(outputs), found.probabilities(outputs))
    assert read.to_json() == found.to_json()
    assert read.inputs == found.inputs
    assert read.inputs.shape == (8, 8, 1)


@pytest.mark.parametrize(
    "damage",
    [lambda v: v.pop("scaling"), lambda v: v["points"][0].pop("rule"), lambda v: v["inputs"].update(x=1)],
)
def test_a_damaged_file_is_refused_with_the_remedy(damage: object, tmp_path: Path) -> None:
    values = deploy(config(), scored(*unbalanced(100))).to_json()
    damage(values)
    (tmp_path / "deployment.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"imbal-jax evaluate .* writes it again") as error:
        Deployment.read(tmp_path)
    assert "\n" not in str(error.value)


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=4), st.booleans())
@settings(max_examples=50, deadline=None)
def test_logs_of_any_output_are_finite_and_keep_the_order(values: list[float], many: bool) -> None:
    row = np.array([values], np.float32)
    row = row if many else row / max(row.sum(), 1e-6)
    logs = (MANY_LABELS if many else ONE_LABEL).log_outputs(row)
    assert np.isfinite(logs).all()
    order = np.argsort(row[0], kind="stable")
    assert (np.diff(logs[0][order]) >= 0).all()
