"""Sequences that test a memory: copy, repeat copy, associative recall, n-grams, priority sort.

Each is a pure function of a key, and is drawn on the device. A sequence has T steps; a step has F inputs and O
outputs, bits that are 0, 1, or -1 where the step asks for no output. Steps behind its end ask for nothing.

    Graves, Wayne and Danihelka, Neural Turing Machines, 2014, arXiv 1410.5401, section 4.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

WIDTH = 8  # bits of a vector of copy, repeat copy and priority sort
ITEM, ITEM_WIDTH = 3, 6  # vectors of an item of associative recall, and bits of each
ORDER = 6  # of the n-grams: a bit depends on the five before it
LEVELS = 65535  # inputs are stored as uint16: a value of 1
REPEAT_LEVEL = 2000  # of one repeat, so that up to 32 can be asked
MOST_REPEATS = LEVELS // REPEAT_LEVEL
REPEAT_DEVIATION = REPEAT_LEVEL / LEVELS * ((10**2 - 1) / 12) ** 0.5
"""Standard deviation of the input that asks for 1 to 10 repeats."""

NONE = -1  # a step asks for no output

Sequence = tuple[Array, Array]
"""Inputs float32 [T, F] in [0, 1], whole levels of uint16, and targets int8 [T, O]."""


@dataclass(frozen=True)
class Range:
    """What is drawn: fewest and most vectors, items or bits; of repeat copy fewest and most repeats."""

    lengths: tuple[int, int]
    repeats: tuple[int, int] = (1, 1)


def copy(key: Array, drawn: Range, steps: int) -> Sequence:
    """L random vectors of 8 bits, a delimiter on an input of its own, then L steps that ask for the vectors again."""
    return _repeated(key, Range(drawn.lengths), steps)


def repeat_copy(key: Array, drawn: Range, steps: int) -> Sequence:
    """As ``copy``; the delimiter comes with the number of repeats R, R L steps ask for the vectors R times, and one
    more for an end marker, an output of its own."""
    inputs, targets = _repeated(key, drawn, steps)
    length, repeats = _length_and_repeats(key, drawn)
    t = jnp.arange(steps)[:, None]
    number = jnp.where(t == length, repeats * (REPEAT_LEVEL / LEVELS), 0).astype(jnp.float32)
    end = length + 1 + repeats * length
    marker = jnp.where((t > length) & (t <= end), t == end, NONE).astype(jnp.int8)
    targets = jnp.where(t == end, jnp.int8(0), targets)
    return jnp.concatenate([inputs, number], axis=1), jnp.concatenate([targets, marker], axis=1)


def _length_and_repeats(key: Array, drawn: Range) -> tuple[Array, Array]:
    of_length, of_repeats, _ = jax.random.split(key, 3)
    (low, high), (few, many) = drawn.lengths, drawn.repeats
    return (
        jax.random.randint(of_length, (), low, high + 1),
        jax.random.randint(of_repeats, (), few, many + 1),
    )


def _repeated(key: Array, drawn: Range, steps: int) -> Sequence:
    length, repeats = _length_and_repeats(key, drawn)
    vectors = jax.random.bernoulli(jax.random.split(key, 3)[2], 0.5, (drawn.lengths[1], WIDTH))
    t = jnp.arange(steps)
    shown = jnp.where((t < length)[:, None], vectors[t % drawn.lengths[1]], False)
    asked = (t > length) & (t <= length + repeats * length)
    again = vectors[(t - length - 1) % length].astype(jnp.int8)
    delimiter = (t == length)[:, None]
    inputs = jnp.concatenate([shown, delimiter], axis=1).astype(jnp.float32)
    return inputs, jnp.where(asked[:, None], again, jnp.int8(NONE))


def associative_recall(key: Array, drawn: Range, steps: int) -> Sequence:
    """K items of three vectors of 6 bits, a delimiter before each; then one of them between delimiters of another
    kind, and three steps that ask for the item that came after it."""
    of_length, of_query, of_items = jax.random.split(key, 3)
    low, most = drawn.lengths
    items = jax.random.randint(of_length, (), low, most + 1)
    query = jax.random.randint(of_query, (), 0, items - 1)
    vectors = jax.random.bernoulli(of_items, 0.5, (most, ITEM, ITEM_WIDTH))
    t = jnp.arange(steps)
    block, place = t // (ITEM + 1), t % (ITEM + 1)
    shown = jnp.where(block < items, jnp.minimum(block, most - 1), query)
    asking = block == items
    begins, answers = place == 0, (ITEM + 1) * items + ITEM + 2
    vector = vectors[shown, jnp.maximum(place - 1, 0)] & ((block <= items) & ~begins)[:, None]
    delimiters = jnp.stack([begins & (block < items), begins & (asking | (block == items + 1))], axis=1)
    asked = (t >= answers) & (t < answers + ITEM)
    answer = vectors[query + 1, jnp.clip(t - answers, 0, ITEM - 1)].astype(jnp.int8)
    inputs = jnp.concatenate([vector, delimiters], axis=1).astype(jnp.float32)
    return inputs, jnp.where(asked[:, None], answer, jnp.int8(NONE))


def ngrams(key: Array, drawn: Range, steps: int) -> Sequence:
    """Bits of which each depends on the five before it, by a table of 32 chances that is drawn from Beta(1/2, 1/2)
    for each sequence; every step from the fifth on asks for the next bit."""
    of_length, of_table, of_first, of_bits = jax.random.split(key, 4)
    low, high = drawn.lengths
    length = jax.random.randint(of_length, (), low, high + 1)
    # Beta(1/2, 1/2) is the arcsine distribution
    table = jnp.square(jnp.sin(jnp.pi / 2 * jax.random.uniform(of_table, (2 ** (ORDER - 1),))))
    first = jax.random.randint(of_first, (), 0, 2 ** (ORDER - 1))

    def step(context: Array, drawn: Array) -> tuple[Array, Array]:
        bit = (drawn < table[context]).astype(jnp.int32)
        return (2 * context + bit) % 2 ** (ORDER - 1), bit

    _, later = jax.lax.scan(step, first, jax.random.uniform(of_bits, (steps + 2 - ORDER,)))
    begin = (first >> jnp.arange(ORDER - 2, -1, -1)) & 1
    bits = jnp.concatenate(
        [begin, later]
    )  # one more than there are steps: the last is asked for and not shown
    t = jnp.arange(steps)
    asked = (t >= ORDER - 2) & (t < length - 1)
    inputs = jnp.where(t < length - 1, bits[:-1], 0).astype(jnp.float32)[:, None]
    return inputs, jnp.where(asked, bits[1:], NONE).astype(jnp.int8)[:, None]


def priority_sort(key: Array, drawn: Range, steps: int) -> Sequence:
    """Vectors of 8 bits, each with a priority, a delimiter, then steps that ask for the four fifths of highest
    priority in order. Priorities are uniform; where none is given the input is in the middle of them."""
    of_length, of_priorities, of_vectors = jax.random.split(key, 3)
    low, high = drawn.lengths
    length = jax.random.randint(of_length, (), low, high + 1)
    priorities = jax.random.randint(of_priorities, (high,), 0, LEVELS + 1)
    vectors = jax.random.bernoulli(of_vectors, 0.5, (high, WIDTH))
    order = jnp.argsort(jnp.where(jnp.arange(high) < length, -priorities, 1))  # stable: of equals the first
    t = jnp.arange(steps)
    shown, at = t < length, jnp.minimum(t, high - 1)
    priority = jnp.where(shown, priorities[at], (LEVELS + 1) // 2) / LEVELS
    inputs = [jnp.where(shown[:, None], vectors[at], False), priority[:, None], (t == length)[:, None]]
    place = t - length - 1
    asked = (place >= 0) & (place < _sorted(length))
    answer = vectors[order[jnp.clip(place, 0, high - 1)]].astype(jnp.int8)
    return (
        jnp.concatenate([part.astype(jnp.float32) for part in inputs], axis=1),
        jnp.where(asked[:, None], answer, jnp.int8(NONE)),
    )


def _sorted(length: Array | int) -> Array | int:
    """How many of so many vectors are asked for: 16 of 20."""
    return (4 * length + 4) // 5


@dataclass(frozen=True)
class Kind:
    """One kind of sequences. draw: one of the functions above. steps: T, of a range. classes: names of the outputs.

    mean, deviation: of each input, by which it is standardised. published: the lengths of the paper, and the fewest
    that are allowed. tests: lengths at which its generalisation is tested. counts: what a length counts.
    """

    draw: Callable[[Array, Range, int], Sequence]
    steps: Callable[[Range], int]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    published: tuple[int, int]
    fewest: int
    tests: tuple[int, ...]
    counts: str


def _bits(count: int) -> tuple[str, ...]:
    return tuple(f"bit {k + 1}" for k in range(count))


KINDS: dict[str, Kind] = {
    "copy": Kind(
        draw=copy,
        steps=lambda drawn: 2 * drawn.lengths[1] + 1,
        classes=_bits(WIDTH),
        mean=(0.0,) * 9,
        deviation=(1.0,) * 9,
        published=(1, 20),
        fewest=1,
        tests=(20, 60, 120),
        counts="vectors",
    ),
    "repeat_copy": Kind(
        draw=repeat_copy,
        steps=lambda drawn: drawn.lengths[1] * (1 + drawn.repeats[1]) + 2,
        classes=(*_bits(WIDTH), "end"),
        mean=(0.0,) * 10,
        deviation=(*(1.0,) * 9, REPEAT_DEVIATION),
        published=(1, 10),
        fewest=1,
        tests=(10, 20),
        counts="vectors",
    ),
    "associative_recall": Kind(
        draw=associative_recall,
        steps=lambda drawn: (ITEM + 1) * drawn.lengths[1] + 2 * ITEM + 2,
        classes=_bits(ITEM_WIDTH),
        mean=(0.0,) * 8,
        deviation=(1.0,) * 8,
        published=(2, 6),
        fewest=2,
        tests=(6, 12, 15),
        counts="items",
    ),
    "ngrams": Kind(
        draw=ngrams,
        steps=lambda drawn: drawn.lengths[1] - 1,
        classes=("next bit",),
        mean=(0.0,),
        deviation=(1.0,),
        published=(200, 200),
        fewest=ORDER,
        tests=(),
        counts="bits",
    ),
    "priority_sort": Kind(
        draw=priority_sort,
        steps=lambda drawn: drawn.lengths[1] + 1 + int(_sorted(drawn.lengths[1])),
        classes=_bits(WIDTH),
        mean=(*(0.0,) * 8, 0.5, 0.0),
        deviation=(*(1.0,) * 8, 0.5, 1.0),
        published=(20, 20),
        fewest=1,
        tests=(),
        counts="vectors",
    ),
}


def draw_sequences(kind: str, keys: Array, drawn: Range, steps: int) -> Sequence:
    """One sequence a key [B]: inputs float32 [B, T, F] and targets int8 [B, T, O]. Pure and jittable."""
    draw = KINDS[kind].draw
    return jax.vmap(lambda key: draw(key, drawn, steps))(keys)
