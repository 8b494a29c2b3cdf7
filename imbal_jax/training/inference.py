"""Predictions for many images, in batches of one shape, on any number of devices and processes."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from imbal_jax.config import Patch
from imbal_jax.data.dataset import Dataset, Images
from imbal_jax.data.feeding.pipeline import Present, images_alone, standardize
from imbal_jax.data.feeding.stream import slices
from imbal_jax.engine.parallel import AXIS, is_local, local_places
from imbal_jax.engine.step import ApplyFn, make_eval_step
from imbal_jax.engine.tiles import Tiles, tiled
from imbal_jax.methods import Method
from imbal_jax.tasks import Task
from imbal_jax.training.network import Network, SecondStageNetwork
from imbal_jax.transforms.augment import intensities

Statistics = Mapping[str, Any]
"""``mean`` and ``deviation`` of the training images' pixels, by which inputs are standardised."""


class Predict(Protocol):
    """``(variables, statistics, images, labels) -> [N, ...]``; labels only where the task keeps by them."""

    def __call__(
        self,
        variables: Mapping[str, Any],
        statistics: Statistics,
        images: Images,
        labels: np.ndarray | None = None,
    ) -> np.ndarray: ...


def make_predict(
    apply_fn: ApplyFn,
    predict: Callable[[Any], jax.Array],
    mesh: Mesh,
    batch_size: int,
    unmirrored: Callable[[jax.Array], jax.Array] | None = None,
    *,
    reduce: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    tiles: Tiles | None = None,
    present: Present = images_alone,
) -> Predict:
    """Compile a network for the mesh: ``(variables, statistics, images uint8 or uint16) -> float32 [N, ...]``.

    predict: outputs of the network -> what is asked of it: ``Task.predictor``, or its features. reduce: predictions
    and labels -> what is kept of them, on the device; None: the predictions.
    Images are predicted in batches of one shape; the last one is padded, and what belongs to the padding is dropped,
    so results do not depend on batch size or device count, up to rounding. Every process of the mesh is given the
    same images, reads those of its own devices, and gets all results.

    unmirrored: the mean of the predictions of each image and of its mirror image, which it turns back
    (``Task.unmirrored``), at twice the cost; None: of the image alone. tiles: by which images are predicted
    (``engine.tiles``); None: as a whole. present: what the network takes (``Task.inputs``).
    """

    def one_shard(
        variables: Mapping[str, Any], statistics: Statistics, images: jax.Array, labels: jax.Array
    ) -> jax.Array:
        of_images = shard_predict(apply_fn, predict, statistics, unmirrored, tiles, present)
        predictions = of_images(variables, images, labels)
        return predictions if reduce is None else reduce(predictions, labels)

    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))
    compiled = jax.jit(
        jax.shard_map(
            one_shard, mesh=mesh, in_specs=(P(), P(), P(AXIS), P(AXIS)), out_specs=P(AXIS), check_vma=False
        ),
        out_shardings=whole,
    )
    size = -(-batch_size // mesh.size) * mesh.size
    own = None if is_local(mesh) else local_places(size, mesh)
    share = size if own is None else len(own)

    def placed(part: np.ndarray) -> jax.Array:
        padded = np.concatenate([part, np.zeros((share - len(part), *part.shape[1:]), part.dtype)])
        return jax.make_array_from_process_local_data(split, padded, (size, *part.shape[1:]))

    def run(
        variables: Mapping[str, Any],
        statistics: Statistics,
        images: Images,
        labels: np.ndarray | None = None,
    ) -> np.ndarray:
        parts: list[np.ndarray] = []
        known = np.zeros(len(images), np.int8) if labels is None else labels
        for part, of_part in zip(slices(images, size, own), slices(known, size, own), strict=True):
            found = compiled(variables, statistics, placed(part), placed(of_part))
            parts.append(np.asarray(found)[: len(images) - size * len(parts)])
        return np.concatenate(parts)

    return run


def shard_predict(
    apply_fn: ApplyFn,
    predict: Callable[[Any], jax.Array],
    statistics: Statistics,
    unmirrored: Callable[[jax.Array], jax.Array] | None,
    tiles: Tiles | None = None,
    present: Present = images_alone,
) -> Callable[..., jax.Array]:
    """``(variables, images uint8 or uint16 [B, H, W, C], labels) -> predictions [B, ...]``: pure, of one device.

    labels: those that ``present`` shows the network; left out where it shows none.
    """
    eval_step = make_eval_step(apply_fn, predict)
    if tiles is not None:
        eval_step = tiled(eval_step, tiles)

    def predictions_of(
        variables: Mapping[str, Any], images: jax.Array, labels: jax.Array | None = None
    ) -> jax.Array:
        pixels = standardize(intensities(images), statistics["mean"], statistics["deviation"])
        found = eval_step(variables, present(pixels, labels))
        if unmirrored is None:
            return found
        return (found + unmirrored(eval_step(variables, present(pixels[:, :, ::-1], labels)))) / 2

    return predictions_of


@lru_cache(maxsize=16)
def evaluator(
    network: Network | SecondStageNetwork,
    task: Task,
    method: Method,
    mesh: Mesh,
    batch_size: int,
    mirror: bool = False,
    *,
    for_evaluation: bool = True,
    tiles: Tiles | None = None,
) -> Predict:
    """``make_predict`` of a network for a task: compiled once for all runs of equal static parts.

    method: its static part (``methods.static_part``). for_evaluation: give what
    ``Task.for_evaluation`` gives of each example, else predictions. tiles: as in ``make_predict``.
    """
    return make_predict(
        network.apply,
        task.predictor(method),
        mesh,
        batch_size,
        task.unmirrored if mirror else None,
        reduce=task.for_evaluation if for_evaluation else None,
        tiles=tiles,
        present=task.inputs,
    )


@lru_cache(maxsize=16)
def applied(network: Network | SecondStageNetwork) -> ApplyFn:
    """``network.apply``, the same function for equal networks: what is compiled for one serves all."""
    return network.apply


def tiles_of(patch: Patch) -> Tiles | None:
    """The tiles by which whole images are predicted where patches were trained on."""
    return Tiles(patch.size, patch.overlap) if patch.size else None


def batch_of(patch: Patch, batch_size: int, shape: Sequence[int]) -> int:
    """How many whole images [H, W, ...] are predicted at once: about the pixels of ``batch_size`` patches."""
    if not patch.size:
        return batch_size
    return max(1, batch_size * patch.size**2 // (shape[0] * shape[1]))


def on_data(
    predict: Predict, task: Task, variables: Mapping[str, Any], statistics: Statistics
) -> Callable[[Dataset], np.ndarray]:
    """``data -> what the task keeps of each example``, of an ``evaluator`` and a network's variables."""
    return lambda data: predict(
        variables, statistics, data.images, data.labels if task.reads_labels else None
    )


@lru_cache(maxsize=4)
def feature_extractor(network: Network, mesh: Mesh, batch_size: int) -> Predict:
    """The features [N, D] of a network, as ``make_predict``."""
    return make_predict(
        lambda variables, inputs, train, rngs: network.features(variables, inputs),
        lambda features: features,
        mesh,
        batch_size,
    )
