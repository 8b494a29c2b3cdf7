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


def numbers_below(key: jax.Array, step: jax.Array, places: jax.Array, limits: jax.Array) -> jax.Array:
    """int32 [B, n]: random numbers of each place in the global batch [B], from 0 to below limits, int32 [B, n], >= 1.

    key: what ``patches`` returns. The numbers are those of ``jax.random.randint`` for the step's keys ``of_places``,
    by a program that compiles in half the time. randint splits a key in two and draws 32 bits from each, the high and
    the low word of 64. Both are folds: of 0 or 1, then of the number's index, the two words of which are combined.
    Step and place are folded in as well, so that one loop of four folds does all the hashing.
    """
    count, each = limits.shape
    halves, numbers = np.arange(2, dtype=np.uint32)[:, None], np.arange(each, dtype=np.uint32)
    folded_in = (step.astype(np.uint32), places.astype(np.uint32)[:, None, None], halves, numbers)
    shape = (count, 2, each)
    data = [jax.numpy.broadcast_to(of, shape) for of in folded_in]
    fold = jax.vmap(jax.vmap(jax.vmap(jax.random.fold_in)))

    def folded(turn: jax.Array, words: jax.Array) -> jax.Array:
        return jax.random.key_data(fold(jax.random.wrap_key_data(words), jax.lax.select_n(turn, *data)))

    words = jax.lax.fori_loop(0, len(data), folded, jax.numpy.broadcast_to(key, (*shape, *key.shape)))
    high, low = jax.numpy.moveaxis(words[..., 0] ^ words[..., 1], 1, 0)
    limits = limits.astype(np.uint32)
    half = np.uint32(2**16) % limits
    return ((high % limits * (half * half % limits) + low % limits) % limits).astype(np.int32)


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
