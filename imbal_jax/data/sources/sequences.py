"""The splits of a kind of sequences: fixed validation and test sets, drawn once; training draws its own as it goes.

A sequence is a picture one pixel wide: images uint16 [N, T, 1, F], labels int8 [N, T, 1, O] as of masks of labels
that overlap, with -1 where a step asks for no output. Each is a group of its own, called "SPLIT/ROW/NUMBER"; the row
is "macro" for sequences of the training lengths, and else says of which length they are.
"""

from collections.abc import Mapping
from functools import partial

import jax
import numpy as np

from imbal_jax.config import Data
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.sources.sequence_kinds import KINDS, LEVELS, MOST_REPEATS, Range, draw_sequences
from imbal_jax.data.tables.given_split import PARTS
from imbal_jax.errors import InputError

SOURCE = "sequences"
"""``Data.source`` of sequences."""

EPOCH = 1000
"""Sequences of a training split, which says how long an epoch is; what it holds is not trained on."""

MACRO = "macro"
LONGEST = 10_000  # steps of a sequence
CHUNK = 64  # sequences that are drawn in one call


def training_range(options: Data) -> Range:
    """What training draws; InputError for lengths and repeats that cannot be had."""
    kind = KINDS[options.sequence]
    low, high = options.sequence_lengths or kind.published
    if not kind.fewest <= low <= high:
        raise InputError(
            f"data.sequence-lengths is {low} {high}: give the fewest and the most {kind.counts} of "
            f"{options.sequence}, {kind.fewest} or more"
        )
    few, many = options.sequence_repeats
    if not 1 <= few <= many <= MOST_REPEATS:
        raise InputError(
            f"data.sequence-repeats is {few} {many}: give the fewest and the most, from 1 to {MOST_REPEATS}"
        )
    drawn = Range((low, high), (few, many) if options.sequence == "repeat_copy" else (1, 1))
    _check_steps(options, drawn)
    return drawn


def test_ranges(options: Data) -> dict[str, Range]:
    """Row -> what its test set draws: that of training, then one length each.

    Of repeat copy these have the most repeats, and one more has the most vectors and twice the repeats.
    """
    kind, trained = KINDS[options.sequence], training_range(options)
    rows = {MACRO: trained}
    asked = kind.tests if options.sequence_tests is None else options.sequence_tests
    for length in asked:
        if length < kind.fewest:
            raise InputError(
                f"data.sequence-tests has {length}: {options.sequence} takes {kind.fewest} or more"
            )
        rows[f"{length} {kind.counts}"] = Range((length, length), (trained.repeats[1],) * 2)
    if options.sequence == "repeat_copy" and asked:
        most, repeats = trained.lengths[1], min(2 * trained.repeats[1], MOST_REPEATS)
        rows[f"{most} {kind.counts}, {repeats} repeats"] = Range((most, most), (repeats, repeats))
    for drawn in rows.values():
        _check_steps(options, drawn)
    return rows


def _check_steps(options: Data, drawn: Range) -> None:
    if (steps := KINDS[options.sequence].steps(drawn)) > LONGEST:
        raise InputError(
            f"{options.sequence} of {drawn.lengths[1]} {KINDS[options.sequence].counts} takes {steps:,} steps: give "
            f"shorter data.sequence-lengths or data.sequence-tests, for at most {LONGEST:,}"
        )


def read_sequences(options: Data) -> Mapping[str, Dataset]:
    """The data set of each split, by name; all sequences of a split are padded to its longest.

    The same options give the same sequences; ``split_seed`` draws them. Raises InputError for options that cannot be
    had.
    """
    trained = training_range(options)
    if min(options.sequence_counts) < 1:
        given = " ".join(map(str, options.sequence_counts))
        raise InputError(
            f"data.sequence-counts is {given}: give 1 or more for validation and for each test set"
        )
    validated, tested = options.sequence_counts
    rows = {
        "train": {MACRO: (trained, EPOCH)},
        "validation": {MACRO: (trained, validated)},
        "test": {row: (drawn, tested) for row, drawn in test_ranges(options).items()},
    }
    return {part: _dataset(options, part, rows[part]) for part in PARTS}


def _dataset(options: Data, part: str, rows: Mapping[str, tuple[Range, int]]) -> Dataset:
    kind = KINDS[options.sequence]
    steps = max(kind.steps(drawn) for drawn, _ in rows.values())
    key = jax.random.fold_in(jax.random.key(options.split_seed), PARTS.index(part))
    images, labels, groups = [], [], []
    for number, (row, (drawn, count)) in enumerate(rows.items()):
        made = _drawn(options.sequence, jax.random.fold_in(key, number), drawn, count, steps=steps)
        images.append(made[0])
        labels.append(made[1])
        groups += [f"{part}/{row}/{k:06}" for k in range(count)]
    return Dataset(
        np.concatenate(images),
        np.concatenate(labels),
        np.array(groups),
        kind.classes,
        grouped_by="sequence",
    )


def _drawn(
    kind: str, key: jax.Array, drawn: Range, count: int, *, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """So many sequences of a range as images uint16 [N, T, 1, F] and labels int8 [N, T, 1, O]."""
    draw = jax.jit(partial(draw_sequences, kind, drawn=drawn, steps=steps))
    chunk = min(count, CHUNK)
    images, labels = [], []
    for start in range(0, count, chunk):
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, np.arange(start, start + chunk))
        inputs, targets = (np.asarray(made) for made in draw(keys))
        images.append(np.round(inputs * LEVELS).astype(np.uint16))
        labels.append(targets)
    return np.concatenate(images)[:count, :, None], np.concatenate(labels)[:count, :, None]


def row_of(groups: np.ndarray) -> np.ndarray:
    """str [N]: the row of each sequence by its group; ``macro`` for groups that name none."""
    return np.array([text.split("/")[1] if text.count("/") == 2 else MACRO for text in map(str, groups)])
