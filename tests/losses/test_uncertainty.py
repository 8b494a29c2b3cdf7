"""Policies for uncertain and missing labels: each value, one policy a label, draws, the losses after."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import CountedJit
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax import losses
from imbal_jax.losses.uncertainty import targets_and_mask

LABELS = np.array([[1, 0, -1, -2], [-1, -1, 0, 1]], np.int8)
NEAR = np.float32(0.7)


@pytest.mark.parametrize(
    ("policy", "targets", "mask"),
    [
        ("ignore", [[1, 0, 0, 0], [0, 0, 0, 1]], [[1, 1, 0, 0], [0, 0, 1, 1]]),
        ("zeros", [[1, 0, 0, 0], [0, 0, 0, 1]], [[1, 1, 1, 0], [1, 1, 1, 1]]),
        ("ones", [[1, 0, 1, 0], [1, 1, 0, 1]], [[1, 1, 1, 0], [1, 1, 1, 1]]),
        ("soft", [[1, 0, NEAR, 0], [NEAR, NEAR, 0, 1]], [[1, 1, 1, 0], [1, 1, 1, 1]]),
        (("ones", "ignore", "soft", "zeros"), [[1, 0, NEAR, 0], [1, 0, 0, 1]], [[1, 1, 1, 0], [1, 0, 1, 1]]),
    ],
)
def test_every_label_becomes_what_its_policy_says(policy, targets, mask):
    for dtype in (np.int8, np.int32, np.float32, np.float64):
        ours, known = targets_and_mask(LABELS.astype(dtype), policy)
        assert ours.dtype == jnp.float32
        assert known.dtype == jnp.bool_
        np.testing.assert_allclose(ours, targets, rtol=1e-6)
        np.testing.assert_array_equal(known, np.array(mask, bool))
        traced = jax.jit(lambda x, p=policy: targets_and_mask(x, p))(LABELS.astype(dtype))
        np.testing.assert_array_equal(traced[0], ours)
        np.testing.assert_array_equal(traced[1], known)


def test_missing_labels_are_left_out_or_negative_whether_minus_two_or_nan():
    labels = np.array([[1, np.nan, -2, -1]], np.float64)
    targets, mask = targets_and_mask(labels, "ones")
    assert targets.tolist() == [[1, 0, 0, 1]]
    assert mask.tolist() == [[True, False, False, True]]
    targets, mask = targets_and_mask(labels, "ones", missing="zeros")
    assert targets.tolist() == [[1, 0, 0, 1]]
    assert mask.all()


def test_uncertain_labels_stay_ignored_where_missing_ones_are_negative():
    targets, mask = targets_and_mask([[-1, -2]], "ignore", missing="zeros")
    assert targets.tolist() == [[0, 0]]
    assert mask.tolist() == [[False, True]]


def test_soft_targets_are_drawn_uniformly_from_the_range_and_anew_for_each_key():
    labels = np.full((5000, 2), -1)
    low, high = np.array([0.55, 0.0]), np.array([0.85, 0.3])  # U-Ones and U-Zeros with label smoothing
    targets, mask = targets_and_mask(labels, "soft", soft=(low, high), key=jax.random.key(0))
    assert mask.all()
    assert ((targets >= low - 1e-6) & (targets <= high + 1e-6)).all()
    # a uniform draw on 0.3: deviation 0.3 / sqrt(12), and of the mean of 5000 that over sqrt(5000) = 0.0012
    np.testing.assert_allclose(targets.mean(0), (low + high) / 2, atol=0.006)
    np.testing.assert_allclose(targets.std(0), 0.3 / np.sqrt(12), rtol=0.05)
    again, _ = targets_and_mask(labels, "soft", soft=(low, high), key=jax.random.key(0))
    other, _ = targets_and_mask(labels, "soft", soft=(low, high), key=jax.random.key(1))
    np.testing.assert_array_equal(again, targets)
    assert (other != targets).mean() > 0.99


def test_certain_labels_do_not_depend_on_the_key():
    targets, mask = targets_and_mask(LABELS, ("soft", "ones", "zeros", "soft"), key=jax.random.key(3))
    certain = LABELS >= 0
    np.testing.assert_array_equal(np.asarray(targets)[certain], LABELS[certain])
    assert np.asarray(mask)[certain].all()


@pytest.mark.parametrize("key", [None, 0])
@pytest.mark.parametrize("soft", [0.25, np.array([0.1, 0.2, 0.3, 0.4]), (0.25, 0.25), [0.25, 0.25]])
def test_one_value_instead_of_a_range_is_a_fixed_target(soft, key):
    key = None if key is None else jax.random.key(key)
    targets, _ = targets_and_mask(np.full((3, 4), -1), "soft", soft=soft, key=key)
    value = soft[0] if isinstance(soft, tuple | list) else soft
    np.testing.assert_allclose(targets, np.broadcast_to(value, (3, 4)), rtol=1e-6)


def test_labels_ranges_and_keys_are_traced_without_recompiling():
    jitted = CountedJit(targets_and_mask, static_argnames=("policy", "missing"))
    for seed, soft in ((0, (0.55, 0.85)), (1, (0.0, 0.3))):
        ours, mask = jitted(LABELS, "soft", soft=soft, key=jax.random.key(seed))
        expected, known = targets_and_mask(LABELS, "soft", soft=soft, key=jax.random.key(seed))
        np.testing.assert_allclose(ours, expected, rtol=1e-6)
        np.testing.assert_array_equal(mask, known)
    assert jitted.traces == 1


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([1, 0, -1, -2]), min_size=3, max_size=3), min_size=1, max_size=6),
    st.lists(st.sampled_from(["ignore", "zeros", "ones", "soft"]), min_size=3, max_size=3),
    st.sampled_from(["ignore", "zeros"]),
)
def test_policies_of_several_labels_are_the_policies_of_each(labels, policies, missing):
    labels = np.array(labels)
    targets, mask = targets_and_mask(labels, tuple(policies), missing=missing)
    for label, policy in enumerate(policies):
        alone = targets_and_mask(labels[:, label : label + 1], policy, missing=missing)
        np.testing.assert_array_equal(targets[:, label : label + 1], alone[0])
        np.testing.assert_array_equal(mask[:, label : label + 1], alone[1])
    assert not np.asarray(targets)[~np.asarray(mask)].any()


def test_an_ignored_label_changes_neither_the_loss_nor_its_gradient():
    logits = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)

    def mean(z, labels):
        targets, mask = targets_and_mask(labels)
        return losses.weighted_mean(losses.binary_cross_entropy(z, targets, mask=mask), mask)

    value, gradient = jax.jit(jax.value_and_grad(mean))(logits, LABELS)
    known = LABELS >= 0
    s = 1 / (1 + np.exp(-logits[known].astype(np.float64)))
    expected = -np.mean(np.where(LABELS[known] == 1, np.log(s), np.log(1 - s)))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_array_equal(gradient != 0, known)


@pytest.mark.parametrize(
    "labels", [jnp.array([[3, 1]]), jnp.array([[0.5, 1.0]]), jnp.array([[255, 1]], jnp.uint8)]
)
def test_a_traced_label_that_is_none_of_the_four_shows_as_nan(labels):
    for policy in ("ignore", "ones"):
        targets, mask = targets_and_mask(labels, policy)
        np.testing.assert_array_equal(targets, [[np.nan, 1]])
        assert mask.all()


def test_targets_stay_float32_with_x64():
    with jax.enable_x64(True):
        targets, _ = targets_and_mask(LABELS.astype(np.float64), "soft", key=jax.random.key(0))
        assert targets.dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: targets_and_mask(LABELS, "twos"),
            "unknown policy 'twos', allowed are ignore, zeros, ones, soft",
        ),
        (lambda: targets_and_mask(LABELS, ("ones", "zero", "ones", "ones")), "unknown policy 'zero'"),
        (lambda: targets_and_mask(LABELS, ("ones", "zeros")), "2 policies for 4 labels"),
        (
            lambda: targets_and_mask(LABELS, missing="ones"),
            "missing is 'ones', allowed are 'ignore' and 'zeros'",
        ),
        (
            lambda: targets_and_mask(np.array([[1, 0], [0, 3]])),
            r"labels\[1, 1\] is 3, allowed are 1 \(positive",
        ),
        (lambda: targets_and_mask([[0.5, 1]]), r"labels\[0, 0\] is 0.5"),
        (lambda: targets_and_mask(np.array([[255]], np.uint8)), r"labels\[0, 0\] is 255"),
        (lambda: targets_and_mask(1), "labels are a scalar"),
        (lambda: targets_and_mask(LABELS, soft=(0.9, 0.1)), "soft goes from 0.9 to 0.1"),
        (lambda: targets_and_mask(LABELS, soft=(0.5, 1.1)), "soft holds 1.1"),
        (lambda: targets_and_mask(LABELS, soft=np.nan), "soft holds nan"),
        (lambda: targets_and_mask(LABELS, soft=(0.1, 0.2, 0.3)), r"soft is \(0.1, 0.2, 0.3\)"),
        (lambda: targets_and_mask(LABELS, soft=np.array([0.1, 0.2])), r"a bound of soft has shape \(2,\)"),
    ],
)
def test_bad_static_input_raises_naming_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("policy", ["ignore", "zeros", "ones", "soft"])
def test_an_empty_cell_is_never_trained_whatever_the_policy(tmp_path, policy):
    """From the table to the mask: missing is -2, and policies touch -1 only."""
    from imbal_jax.data.tables.labels_table import labels_table
    from imbal_jax.data.tables.table_file import read_table_text

    path = tmp_path / "labels.csv"
    path.write_text("file,mass,edema\na.png,1,\nb.png,0,-1\nc.png,,nan\nd.png,0,1\n")
    table = labels_table(read_table_text(path))
    labels = np.array([row.labels for row in table.rows], np.int8)
    targets, mask = targets_and_mask(labels, policy)
    empty = np.array([[0, 1], [0, 0], [1, 1], [0, 0]], bool)
    assert not mask[empty].any()
    assert not targets[empty].any()
    assert bool(mask[1, 1]) == (policy != "ignore")


def test_training_takes_the_midpoint_whose_gradient_is_the_mean_of_the_draws():
    logits = jnp.array([[0.3]])
    gradient = jax.grad(lambda z, t: losses.binary_cross_entropy(z, t).sum())
    drawn = [
        gradient(logits, targets_and_mask(np.array([[-1]]), "soft", key=jax.random.key(i))[0])[0, 0]
        for i in range(200)
    ]
    middle = gradient(logits, targets_and_mask(np.array([[-1]]), "soft")[0])[0, 0]
    assert abs(np.mean(drawn) - middle) < 4 * 0.3 / np.sqrt(12 * 200)  # a uniform width of 0.3
