"""Few-shot episodes: which classes, which pictures, under which labels. A pure function of the episode's number."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import ArrayLike

from imbal_jax.sampling.permutation import mix, permuted

NOT_SHOWN = -1
"""As ``Drawn.shown``: the network never sees this label. As ``Drawn.targets``: the step is not scored."""


@struct.dataclass
class EpisodePlan:
    """Pictures by class, and the form of an episode; a pytree.

    order: int32 [N], pictures sorted by class. starts, counts: int32 [K], where in ``order`` the pictures of each
    class begin, and how many it has. key: uint32 [2], from which every episode's key is folded.
    support: of each way, how many labelled pictures it has. queries: pictures of each way that come after all
    labelled ones and are the only ones scored; 0: every picture is scored before its label is shown. names: labels
    are drawn from 0..names-1 without repeats; 0: way j has label j, and as classes are drawn at random, so are
    labels.
    """

    order: jax.Array | np.ndarray
    starts: jax.Array | np.ndarray
    counts: jax.Array | np.ndarray
    key: jax.Array | np.ndarray
    support: tuple[int, ...] = struct.field(pytree_node=False)
    queries: int = struct.field(pytree_node=False, default=0)
    names: int = struct.field(pytree_node=False, default=0)

    def draw(self, step: ArrayLike, places: jax.Array) -> "Drawn":
        """``draw_episodes``."""
        return draw_episodes(self, step, places)

    @property
    def ways(self) -> int:
        """Classes of an episode."""
        return len(self.support)

    @property
    def steps(self) -> int:
        """Pictures of an episode."""
        return sum(self.support) + self.ways * self.queries


class Drawn(NamedTuple):
    """Episodes [B, T], T pictures each, in the order in which they are seen.

    items: int32, the picture. shown: int32, the label that the network is shown after its prediction, or
    ``NOT_SHOWN``. targets: int32, the label that is scored, or ``NOT_SHOWN``.
    """

    items: jax.Array
    shown: jax.Array
    targets: jax.Array


def make_episodes(
    labels: ArrayLike,
    ways: int,
    shots: int,
    *,
    queries: int = 0,
    long_tail: float = 1.0,
    names: int = 0,
    seed: int = 0,
) -> EpisodePlan:
    """The plan of ``ways``-way episodes over the classes that have enough pictures.

    labels: int [N], the class of each picture. shots: labelled pictures of each class; with ``long_tail`` > 1 those
    of the first way, from which the others fall exponentially to ``shots / long_tail``, one at the least. queries,
    names: as in ``EpisodePlan``. Raises ValueError for values out of range, and where fewer than ``ways`` classes
    have ``shots + queries`` pictures.
    """
    if ways < 2 or shots < 1 or queries < 0 or long_tail < 1:
        raise ValueError(
            f"ways {ways}, shots {shots}, queries {queries}, long_tail {long_tail:g}: expected at least 2 ways, 1 "
            "shot, 0 queries and a long tail of 1"
        )
    if names and names < ways:
        raise ValueError(f"{names} names for {ways} ways: expected at least as many")
    labels = np.asarray(labels)
    counts = np.bincount(labels)
    enough = np.flatnonzero(counts >= shots + queries)
    if len(enough) < ways:
        raise ValueError(
            f"{len(enough)} classes have the {shots + queries} pictures that an episode takes of each, and it has "
            f"{ways} classes"
        )
    starts = np.cumsum(counts) - counts
    return EpisodePlan(
        order=np.argsort(labels, kind="stable").astype(np.int32),
        starts=starts[enough].astype(np.int32),
        counts=counts[enough].astype(np.int32),
        key=np.asarray(jax.random.key_data(jax.random.key(seed))),
        support=ways_support(ways, shots, long_tail),
        queries=queries,
        names=names,
    )


def ways_support(ways: int, shots: int, long_tail: float) -> tuple[int, ...]:
    """Labelled pictures of each way, as ``make_episodes``."""
    return tuple(max(1, round(shots * long_tail ** -(way / (ways - 1)))) for way in range(ways))


def draw_episodes(plan: EpisodePlan, step: ArrayLike, places: jax.Array) -> Drawn:
    """The episodes at ``places`` int [B] of the batch of ``step``: pure and jittable, O(B T).

    An episode depends on the plan's key, its step and its place: it is the same on any number of devices. Its classes
    are distinct, and so are the pictures of each class; the order is random, queries last.
    """
    key = jnp.asarray(plan.key)
    rows = jnp.asarray(places).astype(jnp.uint32)[:, None]

    def words(stream: int, columns: Any) -> tuple[jax.Array, jax.Array]:
        """Two random words [B, columns] of a stream."""
        column = jnp.asarray(columns).astype(jnp.uint32)[None]
        return tuple(hashed(key, 2 * stream + half, step, rows, column) for half in (0, 1))  # type: ignore[return-value]

    # Classes, and the labels they get
    same = np.zeros(plan.ways, np.int32)
    ranks = jnp.broadcast_to(jnp.arange(plan.ways, dtype=jnp.uint32), (len(places), plan.ways))
    classes = permuted_members(ranks, jnp.full_like(ranks, len(plan.counts)), words(0, same))
    names = permuted_members(ranks, jnp.full_like(ranks, plan.names), words(1, same)) if plan.names else ranks

    # The pictures of each way: first those with a label, then the queries
    ways = np.repeat(np.tile(np.arange(plan.ways), 2), [*plan.support, *[plan.queries] * plan.ways])
    before = np.array([(ways[:place] == way).sum() for place, way in enumerate(ways)], np.uint32)
    of_pictures = classes[:, ways]
    counts = jnp.asarray(plan.counts)[of_pictures].astype(jnp.uint32)
    chosen = permuted_members(jnp.broadcast_to(before, counts.shape), counts, words(2, ways))
    items = jnp.asarray(plan.order)[jnp.asarray(plan.starts)[of_pictures] + chosen.astype(jnp.int32)]

    # A random order, queries last
    late = np.arange(len(ways)) >= sum(plan.support)
    draws = words(3, np.arange(len(ways)))[0] >> np.uint32(1)
    order = jnp.argsort(draws + (late.astype(np.uint32) << np.uint32(31)), axis=1)
    labels, queried = names[:, ways], np.broadcast_to(late, counts.shape)
    scored = queried if plan.queries else np.ones_like(queried)
    columns = (
        items,
        jnp.where(queried, NOT_SHOWN, labels.astype(jnp.int32)),
        jnp.where(scored, labels.astype(jnp.int32), NOT_SHOWN),
    )
    return Drawn(*(jnp.take_along_axis(column.astype(jnp.int32), order, axis=1) for column in columns))


def hashed(key: jax.Array, stream: int, step: ArrayLike, *words: jax.Array) -> jax.Array:
    """A random uint32 for each combination of words, of shapes that broadcast."""
    value = mix(key[0] ^ mix(key[1] + np.uint32(stream)))
    for word in (jnp.asarray(step).astype(jnp.uint32), *words):
        value = mix(value + mix(word ^ key[1]))
    return value


def permuted_members(ranks: jax.Array, sizes: jax.Array, keys: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Images of ``ranks`` under permutations of 0..size-1; distinct for distinct ranks of one key."""
    side = jnp.ceil(jnp.sqrt(sizes.astype(jnp.float32))).astype(jnp.uint32)
    grid = side, (sizes + side - 1) // side
    first, second = (jnp.broadcast_to(key, ranks.shape) for key in keys)
    return permuted(ranks, sizes, grid, (first, second))


def one_below_the_other(pictures: Any) -> Any:
    """The pictures of episodes [B, T, H, W, C], of numpy or jax, as images [B, T H, W, C]."""
    count, steps, height, *rest = pictures.shape
    return pictures.reshape(count, steps * height, *rest)


def presentations(shown: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """int [E, T]: which presentation of its class each scored picture is, 1 the first; 0 where it is not scored.

    shown, targets: as in ``Drawn``. A picture's presentation is one more than the pictures of its label shown before.
    """
    steps = shown.shape[1]
    earlier = np.tril(np.ones((steps, steps), bool), -1)
    counts = ((shown[:, None, :] == targets[:, :, None]) & earlier).sum(axis=2) + 1
    return np.where(targets >= 0, counts, 0)
