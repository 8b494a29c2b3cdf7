"""Random numbers of places in the batch: those of jax.random.randint."""

import jax
import numpy as np
import pytest

from imbal_jax.engine import keys


@pytest.mark.parametrize("each", [1, 2, 3])
def test_numbers_of_places_are_those_of_randint(each: int) -> None:
    rng = np.random.default_rng(0)
    places, key = np.arange(5, 45, dtype=np.int32), keys.patches(3)
    limits = rng.choice([1, 2, 3, 2**16 - 1, 2**16, 2**16 + 1, 10**6, 2**31 - 1], (40, each)).astype(np.int32)
    for step in (0, 1, 2**31 - 1):
        own = keys.of_places(keys.images_of_step(key, np.uint32(step)), places)
        draw = jax.vmap(lambda key, limit: jax.random.randint(key, (each,), 0, limit))
        found = jax.jit(keys.numbers_below)(key, np.uint32(step), places, limits)
        np.testing.assert_array_equal(found, draw(own, limits))
