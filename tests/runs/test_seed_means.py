"""Differences of means over seeds, against scikit-learn and a bootstrap written here."""

import numpy as np
import pytest
from scored_runs import binary_run, by
from sklearn.metrics import brier_score_loss, recall_score, roc_auc_score

from imbal_jax.metrics import paired_bootstrap
from imbal_jax.runs.paired_difference import Run, differences
from imbal_jax.runs.seed_means import Arm, arm_differences


def runs(seeds: int, skill: float, seed: int) -> tuple[Run, ...]:
    truth = np.arange(120) % 6 == 0
    rng = np.random.default_rng(seed)
    return tuple(
        binary_run(truth, 1 / (1 + np.exp(-skill * truth - rng.normal(size=120)))) for _ in range(seeds)
    )


@pytest.mark.parametrize("seeds", [(3, 2), (1, 2), (2, 1)])
def test_values_and_differences_are_means_over_the_seeds(seeds: tuple[int, int]) -> None:
    first, arm = Arm("ce", runs(seeds[0], 0.5, 0)), Arm("crt", runs(seeds[1], 2.0, 1))
    found = by(arm_differences(first, arm, samples=50))
    formulas = {
        "auroc": lambda run: roc_auc_score(run.truth[:, 0], run.probabilities[:, 0]),
        "sensitivity": lambda run: recall_score(run.truth[:, 0], run.called[:, 0]),
        "brier": lambda run: brier_score_loss(run.truth[:, 0], run.probabilities[:, 0]),
    }
    for metric, formula in formulas.items():
        one, other = (np.mean([formula(run) for run in side.runs]) for side in (first, arm))
        row = found[metric, "nodule"]
        assert (row.first_value, row.run_value) == (pytest.approx(one), pytest.approx(other))
        assert row.difference == pytest.approx(other - one)
        assert row.low <= row.difference <= row.high


def test_the_interval_is_that_of_the_mean_and_not_of_a_single_seed() -> None:
    first, arm = Arm("ce", runs(2, 0.5, 0)), Arm("crt", runs(2, 1.0, 1))
    row = by(arm_differences(first, arm, samples=400))["auroc", "nodule"]

    def mean_auroc(labels: np.ndarray, scores: np.ndarray) -> float:
        return float(np.mean([roc_auc_score(labels[:, 0], column) for column in scores.T]))

    sides = [np.concatenate([run.probabilities for run in side.runs], axis=1) for side in (arm, first)]
    expected = paired_bootstrap(mean_auroc, np.tile(first.first.truth, (1, 2)), *sides, samples=400)
    assert (row.low, row.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert row.p_value == pytest.approx(expected.p_value)


def test_single_runs_are_compared_as_ever() -> None:
    (one,), (other,) = runs(1, 0.5, 0), runs(1, 1.0, 1)
    plain = differences(one, other, samples=50)
    np.testing.assert_equal(arm_differences(Arm("a", (one,)), Arm("b", (other,)), samples=50), plain)


def test_equal_seeds_differ_by_nothing() -> None:
    same = runs(3, 1.0, 0)
    for row in arm_differences(Arm("a", same), Arm("b", same), samples=50):
        assert (row.difference, row.low, row.high) == (0, 0, 0)
