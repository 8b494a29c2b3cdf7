"""Matching network against attention spelled out in numpy; its limits and laws."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_episodes import assert_causal, episodes, gradients_are_finite, random_variables

from imbal_jax.errors import InputError
from imbal_jax.models import make_model
from imbal_jax.models.class_support import UNSEEN
from imbal_jax.models.matching import attention_to_classes


def probabilities(features: np.ndarray, labels: np.ndarray, ways: int, scale: float) -> np.ndarray:
    """[B, T, C]: attention over the earlier pictures with a label, summed by class; NaN where there are none."""
    found = np.full((*labels.shape, ways), np.nan)
    for b, t in np.ndindex(*labels.shape):
        known = [s for s in range(t) if labels[b, s] >= 0]
        if known:
            one, others = features[b, t], features[b, known]
            cosines = others @ one / (np.linalg.norm(others, axis=1) * np.linalg.norm(one))
            attention = np.exp(scale * cosines) / np.exp(scale * cosines).sum()
            found[b, t] = [attention[labels[b, known] == c].sum() for c in range(ways)]
    return found


@given(
    st.lists(st.integers(-1, 3), min_size=8, max_size=8),
    st.integers(0, 2**31),
    st.sampled_from([1.0, 10.0, 300.0]),
)
@settings(max_examples=30, deadline=None)
def test_the_softmax_of_logits_is_the_attention_to_each_class(
    labels: list[int], seed: int, scale: float
) -> None:
    features = np.random.default_rng(seed).standard_normal((1, len(labels), 5)).astype(np.float32)
    logits = attention_to_classes(jnp.asarray(features), jnp.asarray([labels]), 4, scale)
    assert np.isfinite(logits).all()
    expected = probabilities(features.astype(np.float64), np.array([labels]), 4, scale)
    expected = np.where(np.isnan(expected), 1 / 4, expected)  # nothing shown: none is preferred
    np.testing.assert_allclose(jax.nn.softmax(logits, axis=-1), expected, rtol=1e-3, atol=1e-5)


def test_the_network_is_its_encoder_and_attention() -> None:
    inputs = episodes(size=16)
    model = make_model("matching", num_outputs=3, encoder_width=8, scale=1.0)
    variables = random_variables(model, inputs)
    both = jax.jit(model.apply, static_argnames="outputs")(variables, inputs, outputs="both")
    expected = probabilities(np.asarray(both["features"], np.float64), np.asarray(inputs["labels"]), 3, 1.0)
    found = jax.nn.softmax(both["logits"], axis=-1)
    np.testing.assert_allclose(found[:, 1:], expected[:, 1:], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(model.apply(variables, inputs), both["logits"], rtol=1e-3, atol=1e-4)


def test_at_a_large_scale_the_best_class_is_that_of_the_most_similar_picture() -> None:
    random = np.random.default_rng(0)
    features = random.standard_normal((8, 10, 3)).astype(np.float32)
    labels = random.integers(0, 4, (8, 10))
    logits = attention_to_classes(jnp.asarray(features), jnp.asarray(labels), 4, 1e4)
    unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
    nearest = np.einsum("bd,bsd->bs", unit[:, -1], unit[:, :-1]).argmax(-1)
    np.testing.assert_array_equal(
        np.asarray(logits)[:, -1].argmax(-1), np.take_along_axis(labels, nearest[:, None], 1)[:, 0]
    )


def test_a_class_that_was_not_shown_has_a_large_negative_finite_logit() -> None:
    logits = attention_to_classes(jnp.ones((1, 3, 2)), jnp.asarray([[1, -1, 1]]), 3, 10.0)
    np.testing.assert_array_equal(logits[0, 2, [0, 2]], UNSEEN)
    assert float(logits[0, 2, 1]) == pytest.approx(10.0)


@pytest.mark.parametrize("seed", range(3))
def test_the_network_is_causal(seed: int) -> None:
    model = make_model("matching", num_outputs=3, encoder="pixels")
    assert_causal(model, {}, episodes(seed=seed))


def test_gradients_are_finite_also_of_a_black_picture() -> None:
    inputs = episodes(size=16)
    inputs["images"] = inputs["images"].at[:, 1].set(0.0)
    model = make_model("matching", num_outputs=3, encoder_width=8)
    assert gradients_are_finite(model, jax.jit(model.init)(jax.random.key(0), inputs), inputs)

    def loss(features: Any) -> jax.Array:
        return jnp.sum(jnp.sin(attention_to_classes(features, jnp.asarray([[0, 1, 0]]), 2, 10.0)))

    assert np.isfinite(jax.grad(loss)(jnp.zeros((1, 3, 4)))).all()


@pytest.mark.parametrize("scale", [0, -1.0, "ten"])
def test_a_scale_is_above_zero(scale: Any) -> None:
    with pytest.raises(InputError, match=r"scale .* of model 'matching': give a number above 0"):
        make_model("matching", num_outputs=3, scale=scale)
