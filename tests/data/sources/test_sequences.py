"""Sequences are what the paper describes, as someone would check who reads them step by step."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from imbal_jax.config import Config, Data
from imbal_jax.data.load import load
from imbal_jax.data.sources.sequence_kinds import KINDS, LEVELS, REPEAT_LEVEL, Range, draw_sequences
from imbal_jax.data.sources.sequences import read_sequences, row_of
from imbal_jax.errors import InputError

COUNT = 40


def drawn(kind: str, range: Range, *, steps: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    keys = jax.random.split(jax.random.key(3), COUNT)
    inputs, targets = draw_sequences(kind, keys, range, steps or KINDS[kind].steps(range))
    assert set(np.unique(targets)) <= {-1, 0, 1}
    levels = np.asarray(inputs, np.float64) * LEVELS
    np.testing.assert_allclose(levels, np.round(levels), atol=0.01)  # they survive being stored
    return np.asarray(inputs), np.asarray(targets)


def test_copying_asks_for_the_vectors_before_the_delimiter_in_their_order() -> None:
    lengths = set()
    for x, y in zip(*drawn("copy", Range((1, 5)), steps=14), strict=True):
        (length,) = np.flatnonzero(x[:, 8])
        lengths.add(int(length))
        assert (x[length + 1 :] == 0).all()
        np.testing.assert_array_equal(y[length + 1 : 2 * length + 1], x[:length, :8])
        assert (np.delete(y, range(length + 1, 2 * length + 1), axis=0) == -1).all()
    assert lengths == {1, 2, 3, 4, 5}


def test_repeat_copying_asks_for_them_as_often_as_it_says_and_for_an_end() -> None:
    seen = set()
    for x, y in zip(*drawn("repeat_copy", Range((2, 3), (1, 4))), strict=True):
        (length,) = np.flatnonzero(x[:, 8])
        repeats = x[length, 9] * LEVELS / REPEAT_LEVEL
        seen.add((int(length), round(float(repeats))))
        assert repeats == pytest.approx(round(repeats))
        asked = length + 1 + np.arange(round(repeats) * length + 1)
        expected = [*np.tile(x[:length, :8], (round(repeats), 1)), np.zeros(8)]
        np.testing.assert_array_equal(y[asked, :8], expected)
        np.testing.assert_array_equal(y[asked, 8], [0] * (len(asked) - 1) + [1])
        assert (np.delete(y, asked, axis=0) == -1).all()
        assert (np.delete(x, [*range(length + 1)], axis=0) == 0).all()
    assert seen == {(length, repeats) for length in (2, 3) for repeats in (1, 2, 3, 4)}


def test_associative_recall_asks_for_the_item_after_the_one_that_is_shown_again() -> None:
    numbers = set()
    for x, y in zip(*drawn("associative_recall", Range((2, 4))), strict=True):
        begins, marks = np.flatnonzero(x[:, 6]), np.flatnonzero(x[:, 7])
        numbers.add(len(begins))
        items = [x[b + 1 : b + 4, :6] for b in begins]
        np.testing.assert_array_equal(begins, 4 * np.arange(len(begins)))
        assert marks.tolist() == [4 * len(begins), 4 * len(begins) + 4]
        shown = x[marks[0] + 1 : marks[1], :6]
        (which,) = [k for k, item in enumerate(items) if np.array_equal(item, shown)]
        asked = marks[1] + 1 + np.arange(3)
        np.testing.assert_array_equal(y[asked], items[which + 1])
        assert (np.delete(y, asked, axis=0) == -1).all()
        assert (x[marks[1] + 1 :] == 0).all()
    assert numbers == {2, 3, 4}


def test_ngrams_ask_for_the_next_bit_and_follow_a_table_of_their_own() -> None:
    keys = jax.random.split(jax.random.key(0), 300)
    x, y = (np.asarray(v) for v in draw_sequences("ngrams", keys, Range((200, 200)), 199))
    bits, following = x[:, :, 0].astype(int), y[:, :, 0]
    assert (following[:, :4] == -1).all()
    np.testing.assert_array_equal(following[:, 4:-1], bits[:, 5:])
    assert set(following[:, -1]) == {0, 1}
    assert 0.47 < bits.mean() < 0.53
    # Of Beta(1/2, 1/2) the mean of p^2 + (1 - p)^2 is 3/4: twice the same context, how often the same bit follows
    contexts = np.stack([bits[:, k : k + 195] for k in range(5)], axis=-1) @ (1 << np.arange(5))
    pairs = []
    for one, other in zip(contexts, following[:, 4:], strict=True):
        for context in range(32):
            found = other[one == context]
            if len(found) >= 2:
                pairs.append(found[0] == found[-1])
    assert np.mean(pairs) == pytest.approx(0.75, abs=0.02)


def test_sorting_asks_for_the_vectors_of_highest_priority_in_order() -> None:
    for x, y in zip(*drawn("priority_sort", Range((4, 10))), strict=True):
        (length,) = np.flatnonzero(x[:, 9])
        order = np.argsort(-x[:length, 8], kind="stable")
        asked = length + 1 + np.arange(int(np.ceil(0.8 * length)))
        np.testing.assert_array_equal(y[asked], x[:length, :8][order[: len(asked)]])
        assert (np.delete(y, asked, axis=0) == -1).all()
        np.testing.assert_allclose(x[length:, 8], 0.5, atol=1e-4)
    assert KINDS["priority_sort"].steps(Range((20, 20))) == 20 + 1 + 16


@pytest.mark.parametrize("kind", KINDS)
def test_standardised_inputs_are_those_of_the_paper(kind: str) -> None:
    """Bits 0 and 1, priorities from -1 to 1, and a number of repeats of variance one."""
    published = Range(KINDS[kind].published, (1, 10))
    x, _ = drawn(kind, published)
    x = (x - np.array(KINDS[kind].mean)) / np.array(KINDS[kind].deviation)
    if kind == "priority_sort":
        assert -1 <= x[:, :20, 8].min() < -0.97
        assert 0.97 < x[:, :20, 8].max() <= 1
        np.testing.assert_allclose(x[:, 20:, 8], 0, atol=1e-4)
        x = np.delete(x, 8, axis=2)
    if kind == "repeat_copy":
        numbers = np.arange(1, 11)
        expected = numbers / numbers.std()
        given = x[:, :, 9].max(axis=1)
        assert np.abs(given[:, None] - expected).min(axis=1).max() < 1e-4
        x = np.delete(x, 9, axis=2)
    assert set(np.unique(x)) == {0, 1}


SMALL = Data(source="sequences", sequence_lengths=(1, 3), sequence_tests=(3, 6), sequence_counts=(7, 5))


def test_the_splits_are_drawn_once_and_the_test_has_a_row_a_length() -> None:
    first, again = (read_sequences(SMALL) for _ in range(2))
    other = read_sequences(replace(SMALL, split_seed=1))
    for part, steps, count in (("train", 7, 1000), ("validation", 7, 7), ("test", 13, 15)):
        data = first[part]
        assert data.images.shape == (count, steps, 1, 9)
        assert data.labels.shape == (count, steps, 1, 8)
        assert data.images.dtype == np.uint16
        np.testing.assert_array_equal(data.images, again[part].images)
        assert not np.array_equal(data.images, other[part].images)
        assert len(set(data.groups)) == count
    rows = row_of(first["test"].groups)
    asked = (first["test"].labels[:, :, 0, 0] >= 0).sum(axis=1)
    assert rows.tolist() == ["macro"] * 5 + ["3 vectors"] * 5 + ["6 vectors"] * 5
    assert (asked[5:] == [3] * 5 + [6] * 5).all()
    assert row_of(np.array(["a", "b"])).tolist() == ["macro"] * 2
    everything = np.concatenate([first[part].groups for part in first])
    assert len(set(everything)) == len(everything)


def test_repeat_copying_is_tested_with_more_repeats_too() -> None:
    data = read_sequences(replace(SMALL, sequence="repeat_copy", sequence_repeats=(1, 2)))["test"]
    rows = row_of(data.groups)
    assert list(dict.fromkeys(rows)) == ["macro", "3 vectors", "6 vectors", "3 vectors, 4 repeats"]
    asked = (data.labels[:, :, 0, 8] >= 0).sum(axis=1)
    assert set(asked[rows == "3 vectors"]) == {2 * 3 + 1}
    assert set(asked[rows == "3 vectors, 4 repeats"]) == {4 * 3 + 1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sequence_lengths": (0, 3)}, "data.sequence-lengths is 0 3: give the fewest and the most vectors"),
        ({"sequence_lengths": (4, 3)}, "data.sequence-lengths is 4 3"),
        (
            {"sequence": "associative_recall", "sequence_lengths": (1, 3)},
            "most items of associative_recall, 2",
        ),
        ({"sequence_repeats": (1, 99)}, "data.sequence-repeats is 1 99: .* from 1 to 32"),
        ({"sequence_tests": (0,)}, "data.sequence-tests has 0: copy takes 1 or more"),
        ({"sequence_tests": (9999,)}, "copy of 9999 vectors takes 19,999 steps: give shorter"),
        ({"sequence_counts": (0, 5)}, "data.sequence-counts is 0 5: give 1 or more"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes: dict[str, object], said: str, tmp_path: object) -> None:
    config = Config(name="x", data=replace(SMALL, **changes))  # type: ignore[arg-type]
    assert config.task == "sequences"
    with pytest.raises(InputError, match=said):
        load(config, tmp_path)  # type: ignore[arg-type]
