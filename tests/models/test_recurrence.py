"""The recurrence is lax.scan, and its gradients are those of lax.scan."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from imbal_jax.models.recurrence import Affine, recurrence

T, B, D, H = 5, 3, 4, 2


def cell(affine: Affine, carry: tuple[jax.Array, jax.Array]) -> tuple[Any, Any]:
    """Two weights, one of which reads what the other gave."""
    hidden, slow = carry
    mixed = jnp.tanh(affine("in", hidden))
    slow = 0.5 * slow + affine("out", mixed)
    return (jnp.sin(slow), slow), {"mixed": mixed, "slow": slow}


def parts(seed: int = 0) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(seed)
    weights = {"in": random.standard_normal((H, D)), "out": random.standard_normal((D, H))}
    offsets = {"in": random.standard_normal((T, B, D)), "out": random.standard_normal((T, B, H))}
    carry = (random.standard_normal((B, H)), random.standard_normal((B, H)))
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (weights, offsets, carry))


def plain(weights: Any, offsets: Any, carry: Any) -> Any:
    def step(carry: Any, offset: Any) -> Any:
        return cell(lambda name, x: x @ weights[name] + offset[name], carry)

    return lax.scan(step, carry, offsets)


def test_values_are_those_of_a_scan() -> None:
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6),
        jax.jit(lambda *given: recurrence(cell, *given))(*parts()),
        plain(*parts()),
    )


def test_gradients_by_weights_offsets_and_carry_are_those_of_a_scan() -> None:
    def energy(found: Any) -> jax.Array:
        return sum(jnp.sum(jnp.sin(2 * leaf)) for leaf in jax.tree.leaves(found))

    actual = jax.jit(jax.grad(lambda *given: energy(recurrence(cell, *given)), (0, 1, 2)))(*parts())
    expected = jax.jit(jax.grad(lambda *given: energy(plain(*given)), (0, 1, 2)))(*parts())
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5), actual, expected)


def test_the_backward_pass_accumulates_no_weight_step_by_step() -> None:
    """No loop of the compiled program carries an array of a weight's size twice: the weight and its gradient."""
    weights, offsets, carry = parts()
    weights["in"], offsets["in"] = jnp.ones((H, 61)), jnp.ones((T, B, 61))
    weights["out"] = jnp.ones((61, H))

    def loss(weights: Any) -> jax.Array:
        return jnp.sum(recurrence(cell, weights, offsets, carry)[1]["slow"])

    jaxpr = jax.make_jaxpr(jax.grad(loss))(weights)
    scans = [e for e in jaxpr.jaxpr.eqns if e.primitive.name == "scan"]
    assert len(scans) == 2
    for scan in scans:
        consts, carries = scan.params["num_consts"], scan.params["num_carry"]
        shapes = [v.aval.shape for v in scan.invars[consts : consts + carries]]
        assert (H, 61) not in shapes
        assert (61, H) not in shapes
