"""Sequences of pictures and labels whose classes recur, by which a network learns to learn in context.

Chan, Santoro, Lampinen, Wang, Singh, Richemond, McClelland and Hill, Data Distributional Properties Drive Emergent
In-Context Learning in Transformers, NeurIPS 2022.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import ArrayLike

from imbal_jax.sampling.episodes import NOT_SHOWN, Drawn, hashed, permuted_members

CANDIDATES = 16
"""Draws among which the first class that is not yet in a sequence is taken."""


@struct.dataclass
class BurstyPlan:
    """Pictures by class, how often each class is drawn, and how often classes recur; a pytree.

    order, starts, counts, key: as in ``EpisodePlan``. cumulative: float32 [K], of the probability of each class.
    bursty: float32, share of the sequences in which the class of the query recurs. context: labelled pictures before
    the query. burst: of them, how many are of the query's class in a bursty sequence, and as many of another class.
    absent: the query's class is never in the context, as in a test of what the weights know.
    """

    order: jax.Array | np.ndarray
    starts: jax.Array | np.ndarray
    counts: jax.Array | np.ndarray
    cumulative: jax.Array | np.ndarray
    bursty: jax.Array | np.ndarray
    key: jax.Array | np.ndarray
    context: int = struct.field(pytree_node=False)
    burst: int = struct.field(pytree_node=False)
    absent: bool = struct.field(pytree_node=False, default=False)

    def draw(self, step: ArrayLike, places: jax.Array) -> Drawn:
        """``draw_bursty``."""
        return draw_bursty(self, step, places)

    @property
    def steps(self) -> int:
        """Pictures of a sequence."""
        return self.context + 1


def make_bursty(
    labels: ArrayLike,
    context: int = 8,
    burst: int = 3,
    *,
    bursty: float = 0.9,
    zipf: float = 0.0,
    frequencies: ArrayLike | None = None,
    absent: bool = False,
    seed: int = 0,
) -> BurstyPlan:
    """The plan of sequences over the classes of ``labels`` int [N], which are their own labels.

    zipf: exponent a of the class frequencies, class c being drawn with probability in proportion to (c + 1)^-a; 0 is
    uniform. frequencies: float [K], in place of that law. The others as in ``BurstyPlan``. Raises ValueError for
    values out of range, a burst that does not fit twice into the context, and a class with fewer pictures than a
    sequence.
    """
    labels = np.asarray(labels)
    counts = np.bincount(labels)
    if not 0 <= bursty <= 1 or zipf < 0 or burst < 1 or 2 * burst > context:
        raise ValueError(
            f"bursty {bursty:g}, zipf {zipf:g}, burst {burst}, context {context}: expected a share from 0 to 1, an "
            "exponent of at least 0, and a burst that fits twice into the context"
        )
    if counts.min() <= context or len(counts) < context + 1:
        raise ValueError(
            f"{len(counts)} classes, the smallest of {counts.min()} pictures: a sequence has {context + 1}, which "
            "may be of as many classes or of one"
        )
    weights = (
        np.arange(1, len(counts) + 1) ** -float(zipf) if frequencies is None else np.asarray(frequencies)
    )
    cumulative = np.cumsum(weights / weights.sum())
    return BurstyPlan(
        order=np.argsort(labels, kind="stable").astype(np.int32),
        starts=(np.cumsum(counts) - counts).astype(np.int32),
        counts=counts.astype(np.int32),
        cumulative=cumulative.astype(np.float32),
        bursty=np.asarray(bursty, np.float32),
        key=np.asarray(jax.random.key_data(jax.random.key(seed))),
        context=context,
        burst=burst,
        absent=absent,
    )


def draw_bursty(plan: BurstyPlan, step: ArrayLike, places: jax.Array) -> Drawn:
    """The sequences at ``places`` int [B] of the batch of ``step``, the query last: pure and jittable.

    Labels are the classes; only the query is scored. Pictures of a sequence are distinct.
    """
    key, rows = jnp.asarray(plan.key), jnp.asarray(places).astype(jnp.uint32)[:, None]

    def uniform(stream: int, columns: int) -> jax.Array:
        words = hashed(key, stream, step, rows, jnp.arange(columns, dtype=jnp.uint32)[None])
        return (words >> np.uint32(8)).astype(jnp.float32) / 2**24

    def classes_of(draws: jax.Array) -> jax.Array:
        found = jnp.searchsorted(jnp.asarray(plan.cumulative), draws, side="right")
        return jnp.minimum(found, len(plan.counts) - 1).astype(jnp.int32)

    query = classes_of(uniform(0, 1))
    candidates = classes_of(uniform(1, (plan.context + 1) * CANDIDATES))
    candidates = candidates.reshape(len(places), plan.context + 1, CANDIDATES)
    other = _first_unlike(candidates[:, 0], query)
    rest = _first_unlike(candidates[:, 1:], jnp.concatenate([query, other[:, None]], axis=1)[:, None])
    free = (
        rest if plan.absent else candidates[:, 1:, 0]
    )  # independent draws, the query's class among them by chance
    burst, slots = plan.burst, np.arange(plan.context)
    recurring = jnp.where(slots < burst, query, jnp.where(slots < 2 * burst, other[:, None], rest))
    is_bursty = (uniform(2, 1) < plan.bursty) & (not plan.absent)
    context = jnp.where(is_bursty, recurring, free)
    order = jnp.argsort(uniform(3, plan.context), axis=1)
    classes = jnp.concatenate([jnp.take_along_axis(context, order, axis=1), query], axis=1)

    # A permutation of the pictures for each sequence and class, of which every place takes another member
    counts = jnp.asarray(plan.counts)[classes].astype(jnp.uint32)
    of_class = classes.astype(jnp.uint32)
    keys = (hashed(key, 4, step, rows, of_class), hashed(key, 5, step, rows, of_class))
    places_in = jnp.broadcast_to(jnp.arange(plan.steps, dtype=jnp.uint32), counts.shape)
    chosen = permuted_members(places_in, counts, keys).astype(jnp.int32)
    items = jnp.asarray(plan.order)[jnp.asarray(plan.starts)[classes] + chosen]
    last = np.arange(plan.steps) == plan.context
    return Drawn(
        items.astype(jnp.int32), jnp.where(last, NOT_SHOWN, classes), jnp.where(last, classes, NOT_SHOWN)
    )


def _first_unlike(candidates: jax.Array, taken: jax.Array) -> jax.Array:
    """int [...], the first of candidates [..., CANDIDATES] that is none of ``taken`` [..., M]; the last if none."""
    fits = (candidates[..., None] != taken[..., None, :]).all(axis=-1)
    at = jnp.where(fits.any(axis=-1), fits.argmax(axis=-1), CANDIDATES - 1)
    return jnp.take_along_axis(candidates, at[..., None], axis=-1)[..., 0]
