"""Each row of methods.LOSSES says what its functions read, and trains by itself."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax.methods import LOSSES, ClassArrays, Loss, Scene

LOGITS = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
LABELS = np.arange(12) % 3
MULTI = np.random.default_rng(1).integers(0, 2, (12, 3)).astype(np.float32)
ARRAYS = ClassArrays(
    class_weights=np.array([0.5, 1.0, 2.0], np.float32),
    counts=np.array([70, 25, 5], np.float32),
    priors=np.array([0.7, 0.25, 0.05], np.float32),
    known=np.full(3, 100, np.float32),
)

KINDS = [
    (row.name, kind) for row in LOSSES.values() for kind in ("one_label", "many_labels") if getattr(row, kind)
]


def scene(row: Loss, kind: str, **changes: Any) -> Scene:
    one = kind == "one_label"
    outputs = {"logits": jnp.asarray(LOGITS), "features": jnp.abs(jnp.asarray(LOGITS)) + 1}
    if row.variables:
        outputs[row.name] = row.variables(3)
    of_one_batch = Scene(
        outputs,
        targets=LABELS if one else MULTI,
        mask=None if one else np.ones((12, 3), bool),
        arrays=ARRAYS._replace(**{"known" if one else "priors": None}),
        options=row.options,
        beta=0.9999,
        key=jax.random.key(0),
        axis_name=None,
    )
    return replace(of_one_batch, **changes)


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_loss_gives_a_value_an_image_or_label_and_a_ranking_loss_one_number(name: str, kind: str) -> None:
    row = LOSSES[name]
    values = getattr(row, kind)(scene(row, kind))
    assert np.isfinite(values).all()
    assert values.shape == (() if row.ranks else (12,) if kind == "one_label" else (12, 3))


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_loss_reads_no_more_than_its_row_says(name: str, kind: str) -> None:
    row = LOSSES[name]
    whole = scene(row, kind)
    only_read = replace(
        whole,
        outputs={k: v for k, v in whole.outputs.items() if k in ("logits", row.name, *row.reads)},
        arrays=ClassArrays(*(v if k in row.reads else None for k, v in whole.arrays._asdict().items())),
        key=whole.key if "key" in row.reads else None,
    )
    function = getattr(row, kind)
    np.testing.assert_array_equal(function(only_read), function(whole))


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_reads_all_that_its_row_says(name: str) -> None:
    row = LOSSES[name]
    for read in row.reads:
        refused = []
        for kind in ("one_label", "many_labels"):
            if not (function := getattr(row, kind)):
                continue
            whole = scene(row, kind)
            if read == "features":
                without = replace(whole, outputs={"logits": whole.logits})
            elif read == "key":
                without = replace(whole, key=None)
            elif read == "beta":
                without = replace(whole, beta=0.5)
            else:
                without = replace(whole, arrays=whole.arrays._replace(**{read: None}))
            try:
                same = np.array_equal(function(without), function(whole))
            except (TypeError, ValueError, KeyError, AttributeError):
                same = False
            refused.append(not same)
        assert any(refused), read


@pytest.mark.parametrize(
    ("name", "options", "power"),
    [
        ("cross_entropy", {}, 0),
        ("focal", {}, 0),
        ("bayesian", {}, 1),
        ("balanced_softmax", {}, 1),
        ("logit_adjusted", {"tau": 0.25}, 0.25),
        ("vector_scaling", {"tau": 2.0}, 2),
    ],
)
def test_the_power_of_the_priors_that_a_loss_removes(
    name: str, options: dict[str, float], power: float
) -> None:
    assert LOSSES[name].power_removed({**LOSSES[name].options, **options}) == power


def test_options_and_what_a_loss_reads_name_what_exists() -> None:
    known = {*ClassArrays._fields, "features", "key", "beta"}
    for row in LOSSES.values():
        assert row.one_label or row.many_labels or row.overlap
        assert set(row.reads) <= known
        for named in (row.priors_removed, row.cosine_scale):
            assert not isinstance(named, str) or named in row.options


def test_only_the_margin_of_auc_trains_variables_and_asks_for_an_optimiser() -> None:
    assert [row.name for row in LOSSES.values() if row.variables] == ["auc_margin"]
    assert [row.name for row in LOSSES.values() if row.optimizer] == ["auc_margin"]
