"""Batches of a plan from images that are not on the device: gathered on the host, read ahead by Grain."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from imbal_jax.data.dataset import Images
from imbal_jax.data.feeding.patches import cropped_on_host
from imbal_jax.data.feeding.plans import Draw, Plans, draw
from imbal_jax.engine import parallel
from imbal_jax.sampling.episodes import one_below_the_other

STEPS = 2**31 - 1  # length of the sequence of batches: a step is an int32
AHEAD = 4  # batches that are read before their step
THREADS = 2  # reader threads; more would contend for the GIL
DRAWN = 64  # steps drawn in one call: on a CPU, a draw may wait for the training step that runs there

RawBatch = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class HostBatches:
    """The raw batches of a run as a sequence: element t is the batch of step t, whatever was read before.

    places: int [B'], the places of the global batch that are this process's to read (``parallel.local_places``); None
    is all of them. It can be pickled.
    """

    images: Images
    labels: np.ndarray
    plans: Plans
    places: np.ndarray | None = None

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, step: int) -> RawBatch:
        """``images``, ``labels`` and ``places``, and the partners where images are mixed, as ``Pipeline.inputs``."""
        every = self._drawn(step // DRAWN)
        own = slice(None) if self.places is None else self.places
        items = every.items[step % DRAWN][own]
        if every.labels is not None:
            pictures = self.images[items.reshape(-1)].reshape(*items.shape, *self.images.shape[1:])
            return {
                "images": one_below_the_other(pictures),
                "labels": every.labels[step % DRAWN][own],
                "places": np.asarray(every.places[step % DRAWN][own]),
            }
        batch = {
            "images": self.images[items],
            "labels": self.labels[items],
            "places": np.asarray(every.places[step % DRAWN][own]),
        }
        if self.plans.patches is not None and every.corners is not None:
            corners, size = np.asarray(every.corners[step % DRAWN][own]), self.plans.patches.size
            cut_out = {
                name: cropped_on_host(np.asarray(batch[name]), corners, size) for name in ("images", "labels")
            }
            return {**cut_out, "places": batch["places"]}
        if every.partners is not None:
            partners = every.partners[step % DRAWN][own]
            batch |= {"partner_images": self.images[partners], "partner_labels": self.labels[partners]}
        return batch

    @cached_property
    def _drawn(self) -> Callable[[int], Draw]:
        try:
            cpu = jax.local_devices(backend="cpu")[0]  # a draw on the CPU does not wait for the accelerator
        except RuntimeError:  # JAX is set to use an accelerator only
            cpu = jax.local_devices()[0]
        plans = jax.device_put(self.plans, cpu)

        @lru_cache(maxsize=8)
        def drawn(block: int) -> Draw:
            return jax.tree.map(np.asarray, _draw_block(plans, np.uint32(block * DRAWN)))

        return drawn

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.images, self.labels, jax.tree.map(np.asarray, self.plans), self.places)


def _unpickled(images: Images, labels: np.ndarray, plans: Plans, places: np.ndarray | None) -> HostBatches:
    return HostBatches(images=images, labels=labels, plans=plans, places=places)


@jax.jit
def _draw_block(plans: Plans, first: jax.Array) -> Draw:
    """The draws of the ``DRAWN`` steps from ``first`` on, [DRAWN, B] each."""
    return jax.vmap(lambda step: draw(plans, step))(first + jnp.arange(DRAWN, dtype=jnp.uint32))


def read_ahead(batches: HostBatches, start: int = 0, *, workers: int = 0) -> Iterator[RawBatch]:
    """The batches from step ``start`` on, read by Grain before they are asked for; ``close()`` ends the reading.

    workers: reader processes, which take batches in turn; 0 is two threads of this process. The batches do not depend
    on it.
    """
    import grain

    read = (
        grain.MapDataset.source(batches)
        .slice(slice(start, None))
        .to_iter_dataset(grain.ReadOptions(num_threads=1 if workers else THREADS, prefetch_buffer_size=AHEAD))
    )
    if workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain asks for flags, which only an absl program has parsed
        options = grain.multiprocessing.MultiprocessingOptions(workers, per_worker_buffer_size=2)
        read = read.mp_prefetch(options, worker_init_fn=_reading)
    return iter(read)


def _reading(index: int, count: int) -> None:
    """Set up a reader process."""
    jax.config.update("jax_platforms", "cpu")  # the accelerator belongs to the parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles interrupts
    for asked in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(asked, signal.SIG_DFL)  # the parent's handlers only note them
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:  # which may be killed
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def slices(images: Images, size: int, places: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """The images in their order, in slices of ``size``, the last one smaller; images on disk are read ahead.

    places: int [P], ascending; of each slice only what lies there is read (``parallel.local_places``). None: all.
    """
    starts = range(0, len(images), size)

    def part(start: int) -> np.ndarray:
        if places is None:
            return images[start : start + size]
        own = start + places[places < len(images) - start]
        return images[own] if len(own) else np.zeros((0, *images.shape[1:]), images.dtype)

    if isinstance(images, np.ndarray):
        yield from map(part, starts)
        return
    import grain

    read = grain.MapDataset.source(starts).map(part)
    ahead = iter(read.to_iter_dataset(grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=AHEAD)))
    try:
        yield from ahead
    finally:
        ahead.close()


def stream_steps(
    step: Callable[[Any, Any], tuple[Any, Mapping[str, jax.Array]]],
    batches: HostBatches,
    mesh: Mesh,
    *,
    shared: Mapping[str, Any],
    workers: int = 0,
) -> Callable[[Any, int], tuple[Any, dict[str, float], int]]:
    """``(state, count) -> (state, metrics, count)``: ``count`` steps; each places the next batch while it runs.

    step: a parallelised step (``parallel.parallelize``) of raw batches. shared: on the mesh. The next batch depends
    on ``state.step`` alone. Metrics as in ``parallel.scan_steps``: means over the steps that were not skipped;
    ``skipped`` is the number of those that were.
    """
    feed = _Feed(batches, mesh, workers)

    def advance(state: Any, count: int) -> tuple[Any, dict[str, float], int]:
        first, seen = int(state.step), []
        try:
            for at in range(first, first + count):
                state, metrics = step(state, {**feed.take(at), "shared": shared})
                seen.append(metrics)
                feed.place(at + 1)
                if len(seen) > 1:
                    jax.block_until_ready(seen[-2])  # no more than two batches wait on the device
        except BaseException:  # an interrupt, a damaged record: end the reading before the interpreter does
            feed.close()
            raise
        return state, _means(jax.device_get(seen)), count

    return advance


class _Feed:
    """Batches placed on the mesh one step before they are asked for."""

    def __init__(self, batches: HostBatches, mesh: Mesh, workers: int) -> None:
        self._batches, self._mesh, self._workers = batches, mesh, workers
        self._read: Any = None  # an iterator that Grain can close
        self._placed: tuple[int, Any] = (-1, None)

    def take(self, step: int) -> dict[str, Any]:
        if self._placed[0] != step:  # the first step, or one from a checkpoint
            self.close()
            self._read = read_ahead(self._batches, step, workers=self._workers)
            self.place(step)
        return self._placed[1]

    def place(self, step: int) -> None:
        self._placed = (step, parallel.shard_batch(next(self._read), self._mesh))

    def close(self) -> None:
        if self._read is not None:
            self._read.close()
        self._read, self._placed = None, (-1, None)


def _means(seen: list[Mapping[str, np.ndarray]]) -> dict[str, float]:
    taken = [metrics for metrics in seen if not metrics["skipped"]]
    return {
        name: float(sum(metrics[name] for metrics in (seen if name == "skipped" else taken)))
        / (1 if name == "skipped" else len(taken) or np.nan)  # no step: no mean
        for name in seen[0]
    }
