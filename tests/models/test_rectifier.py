"""The rectifier is that of flax, value and derivatives, and is not computed again by what reads it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from imbal_jax.models.rectifier import relu


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_values_and_derivatives_are_those_of_flax(dtype: type) -> None:
    x = jnp.asarray([-jnp.inf, -3.0, -1e-30, -0.0, 0.0, 1e-30, 2.0, jnp.inf, jnp.nan], dtype)
    for ours, theirs in ((relu(x), nn.relu(x)), (gradient(relu, x), gradient(nn.relu, x))):
        assert ours.dtype == dtype
        np.testing.assert_array_equal(np.asarray(ours, np.float32), np.asarray(theirs, np.float32))


def gradient(function, x):
    return jax.vmap(jax.grad(function))(x)


def test_forward_and_second_derivatives() -> None:
    x = jnp.asarray([-1.0, 2.0])
    np.testing.assert_array_equal(jax.jvp(relu, (x,), (jnp.asarray([5.0, 7.0]),))[1], [0.0, 7.0])
    hessian = jax.hessian(lambda x: jnp.sum(relu(x) ** 2))(x)
    np.testing.assert_array_equal(hessian, [[0.0, 0.0], [0.0, 2.0]])


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of the CPU backend")
def test_a_chain_of_shortcuts_reads_the_last_sum_and_none_before_it() -> None:
    kernel = jnp.full((8, 8), 0.1)

    def chain(x: jax.Array) -> jax.Array:
        for _ in range(4):
            x = relu(x @ kernel + x)
        return x

    text = jax.jit(chain).lower(jnp.ones((4096, 8))).compile().as_text()
    fusions = re.findall(r" fusion\(([^)]*)\), kind=kLoop", text[text.index("ENTRY") :])
    assert fusions
    assert max(len(operands.split(",")) for operands in fusions) == 2, "a product and the sum before it"
