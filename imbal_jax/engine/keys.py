"""Random streams of a run: every key that training uses is derived here, from the run's seed, by a named fold.

A key never comes from a generator's state: seed, step and place in the global batch determine it, so that a resumed
run and a run on another number of devices draw the same numbers.
"""

import jax
import numpy as np

OF_PLACES = "dropout_of_places"
"""Name under which a network is given the key of a step that is the same on every device."""

_LOSS = 2**31 - 1  # folded in instead of an image's place in the batch; larger than any place


def initial_variables(seed: int) -> jax.Array:
    """Initial variables of the network."""
    return jax.random.key(seed)


def second_stage_variables(seed: int) -> jax.Array:
    """Initial variables of a second stage."""
    return jax.random.key(seed + 2)


def part_of_network(key: jax.Array, part: int) -> jax.Array:
    """Initial variables of a part beside the model: 1 the projection of features, 2 that of prototypes."""
    return jax.random.fold_in(key, part)


def run(seed: int) -> jax.Array:
    """The key in the training state, from which dropout is drawn."""
    return jax.random.key(seed)


def dropout(run_key: jax.Array, step: jax.Array) -> jax.Array:
    """Dropout of one step; each example folds in its place in the global batch (``models.dropout``)."""
    return jax.random.fold_in(run_key, step)


def batches(seed: int) -> tuple[int, int]:
    """Seeds of the plans: of the batches, and of the partners that images are mixed with.

    They differ, or every image would be its own partner.
    """
    return seed, seed + 1


def images(seed: int) -> np.ndarray:
    """Data of the key from which images are perturbed, mixed and synthesised: an array, so that it can be sharded."""
    return np.asarray(jax.random.key_data(jax.random.key(seed + 1)))


def patches(seed: int) -> np.ndarray:
    """Data of the key from which the places of patches are chosen, as ``images``."""
    return np.asarray(jax.random.key_data(jax.random.key(seed + 3)))


def episodes(seed: int) -> int:
    """Seed of the episodes that training draws (``sampling.episodes``)."""
    return seed + 4


def images_of_step(images_key: jax.Array, step: jax.Array) -> jax.Array:
    """The same for one step. images_key: what ``images`` returns."""
    return jax.random.fold_in(jax.random.wrap_key_data(images_key), step)


def of_places(step_key: jax.Array, places: jax.Array) -> jax.Array:
    """One key for each place in the global batch [B]."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(step_key, places)


def of_view(place_keys: jax.Array, view: int) -> jax.Array:
    """Keys [B] of another view of the same images; view 0 has ``place_keys`` themselves."""
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(place_keys, view)


def in_two(place_keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two independent keys [B] from each."""
    first, second = jax.numpy.moveaxis(jax.vmap(jax.random.split)(place_keys), 1, 0)
    return first, second


def loss_of_step(step_key: jax.Array) -> jax.Array:
    """The key of a loss with random terms."""
    return jax.random.fold_in(step_key, _LOSS)


def loss_of_device(key_data: jax.Array, axis_name: str | None) -> jax.Array:
    """The same for one device's share of the batch."""
    key = jax.random.wrap_key_data(key_data)
    return key if axis_name is None else jax.random.fold_in(key, jax.lax.axis_index(axis_name))
