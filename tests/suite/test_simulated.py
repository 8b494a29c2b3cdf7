"""The simulated ledgers have the truth that they promise, and the fields of a ledger line."""

import json

import numpy as np
import pytest
from suite.simulated import World, of, simulated_ledger


def values(lines, method):
    return np.array([line["metrics"]["balanced_accuracy"] for line in of(lines, method=method)])


def test_a_line_is_json_and_its_key_is_unique():
    lines = simulated_ledger(World(settings=("default", "tuned"), bayes=0.95), rng=1)
    assert json.loads(json.dumps(lines, allow_nan=False)) == lines
    assert len({line["key"] for line in lines}) == len(lines) == 3 * 6 * 2 * 12


def test_means_and_differences_are_those_of_the_world():
    world = World(effects={"ce": 0.0, "good": 0.05}, seeds=2000, ratios=(100.0,), overlap=0.0, replicated=())
    lines = simulated_ledger(world, curves=False)
    assert values(lines, "ce").mean() == pytest.approx(world.mean("ce", 100, 50), abs=0.004)
    difference = values(lines, "good") - values(lines, "ce")
    assert difference.mean() == pytest.approx(0.05, abs=0.002)
    assert difference.std() == pytest.approx(np.sqrt(2 * (0.01**2 + 0.01**2)), rel=0.05)


def test_replicates_spread_as_the_patients_do():
    lines = simulated_ledger(World(effects={"ce": 0.0, "good": 0.05}, ratios=(100.0,)), curves=False)
    one, other = (
        np.array([line["replicates"]["auroc"] for line in of(lines, method=m)]) for m in ("ce", "good")
    )
    assert one.std(axis=1).mean() == pytest.approx(np.hypot(0.02, 0.01), rel=0.1)
    assert (other - one).std(axis=1).mean() == pytest.approx(np.hypot(0.01, 0.01), rel=0.1)
