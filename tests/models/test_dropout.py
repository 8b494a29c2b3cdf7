"""Dropout by place: the usual expectation and variance, and the same mask on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from imbal_jax.engine.keys import OF_PLACES
from imbal_jax.engine.parallel import AXIS, make_mesh
from imbal_jax.models.dropout import Dropout

X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32))
KEYS = {OF_PLACES: jax.random.key(3)}


def test_values_are_zero_or_scaled_up_at_the_rate() -> None:
    ones = jnp.ones((200, 50))
    found = np.asarray(Dropout(0.2).apply({}, ones, True, rngs=KEYS))
    assert set(np.unique(found)) == {0.0, np.float32(1 / 0.8)}
    assert (found == 0).mean() == pytest.approx(0.2, abs=5 * np.sqrt(0.16 / 10_000))
    assert not np.array_equal(found[0], found[1])
    assert Dropout(0.2).apply({}, X, False) is X
    assert Dropout(0.0).apply({}, X, True) is X


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("devices", [2, 4])
def test_the_mask_is_the_same_on_any_number_of_devices(devices: int, views: int) -> None:
    whole = Dropout(0.5, None, views).apply({}, jnp.concatenate([X] * views), True, rngs=KEYS)

    def one_device(x: jax.Array) -> jax.Array:
        found = Dropout(0.5, AXIS, views).apply({}, jnp.concatenate([x] * views), True, rngs=KEYS)
        return jnp.stack(jnp.split(found, views), axis=1)

    mesh = make_mesh(devices)
    parts = jax.shard_map(one_device, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS))(X)
    np.testing.assert_array_equal(np.swapaxes(parts, 0, 1).reshape(whole.shape), whole)
