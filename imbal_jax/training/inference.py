"""Probabilities of many images, in batches of one shape, on any number of devices and processes."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from imbal_jax.data.dataset import Images
from imbal_jax.data.feeding.pipeline import standardize
from imbal_jax.data.feeding.stream import slices
from imbal_jax.engine.parallel import AXIS
from imbal_jax.engine.step import ApplyFn, make_eval_step
from imbal_jax.transforms.augment import intensities

Scorer = Callable[[Mapping[str, Any], Images], np.ndarray]


def make_scorer(
    apply_fn: ApplyFn,
    predict: Callable[[Any], jax.Array],
    mesh: Mesh,
    shared: Mapping[str, Any],
    batch_size: int,
    mirror: bool = False,
) -> Scorer:
    """Return ``(variables, images uint8 or uint16 [N, H, W, C]) -> scores float32 [N, C]``.

    predict: outputs of the network -> what is asked of it: ``Task.predictor``, or its features.
    shared: holds ``mean`` and ``deviation`` of the training images' pixels.

    Images are scored in batches of one shape; the last one is padded, and the padding's scores are dropped, so
    the number of devices or the batch size decides nothing but the rounding. Every process of the mesh gives the
    same images and gets all scores. ``mirror``: the mean of the probabilities of each image and of its mirror
    image, at twice the cost.
    """
    one_shard = shard_scorer(apply_fn, predict, shared, mirror)
    whole = NamedSharding(mesh, P())
    compiled = jax.jit(
        jax.shard_map(one_shard, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS), check_vma=False),
        out_shardings=whole,
    )
    size = -(-batch_size // mesh.size) * mesh.size
    split = NamedSharding(mesh, P(AXIS))

    def scorer(variables: Mapping[str, Any], images: Images) -> np.ndarray:
        parts = []
        for part in slices(images, size):
            padded = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
            placed = jax.make_array_from_callback(padded.shape, split, lambda place, of=padded: of[place])
            parts.append(np.asarray(compiled(variables, placed))[: len(part)])
        return np.concatenate(parts)

    return scorer


def shard_scorer(
    apply_fn: ApplyFn, predict: Callable[[Any], jax.Array], shared: Mapping[str, Any], mirror: bool
) -> Callable[[Mapping[str, Any], jax.Array], jax.Array]:
    """``(variables, images uint8 or uint16 [B, H, W, C]) -> scores [B, C]``: pure, of one device."""
    eval_step = make_eval_step(apply_fn, predict)
    mean, deviation = jnp.asarray(shared["mean"]), jnp.asarray(shared["deviation"])

    def scores_of(variables: Mapping[str, Any], images: jax.Array) -> jax.Array:
        inputs = standardize(intensities(images), mean, deviation)
        scores = eval_step(variables, inputs)
        return (scores + eval_step(variables, inputs[:, :, ::-1])) / 2 if mirror else scores

    return scores_of
