"""What the checks let pass, and in which form; what they refuse is tested where it is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax.decisions import probabilities


def test_scores_of_any_float_come_out_as_float64():
    for dtype in (np.float16, np.float32, jnp.bfloat16):
        rows = jnp.asarray([[0.7, 0.2, 0.1]], dtype)
        assert probabilities.softmax_scores(rows).dtype == np.float64
        assert probabilities.sigmoid_scores(rows).shape == (1, 3)


def test_a_bfloat16_softmax_of_a_thousand_classes_passes():
    rng = np.random.default_rng(0)
    rows = jnp.asarray(rng.dirichlet(np.ones(1000), 20), jnp.bfloat16)
    assert probabilities.softmax_scores(rows).shape == (20, 1000)


def test_priors_are_made_to_sum_to_one():
    values = probabilities.distribution("priors", np.array([0.3, 0.3, 0.395], np.float32), 3)
    assert values.sum() == pytest.approx(1, abs=1e-15)


def test_a_score_alone_is_refused():
    with pytest.raises(ValueError, match=r"scores have shape \[\]"):
        probabilities.sigmoid_scores(0.5)
