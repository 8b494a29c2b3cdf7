"""Sequences as a task: loss, metrics and rows beside numpy, and training that draws its own."""

import itertools
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from small_runs import QUIET
from tiny_sequences import OPTIONS, tiny

from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.load import Splits
from imbal_jax.data.sources.sequence_kinds import Range, draw_sequences
from imbal_jax.data.sources.sequences import read_sequences
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS, find_method
from imbal_jax.tasks import SEQUENCES, task_for
from imbal_jax.tasks.sequence_table import last_lines, optimal_bits
from imbal_jax.tasks.sequences import Sequences
from imbal_jax.train import fit
from imbal_jax.transforms.augment import Augment

# Loss and metrics


def scored(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits [3, 5, 2] and labels int8 [3, 5, 1, 2] with steps that ask for nothing; the last asks for nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (3, 5, 1, 2)).astype(np.int8)
    labels[:, :2] = -1
    labels[1, 4] = -1
    labels[2] = -1
    return rng.normal(0, 3, (3, 5, 2)).astype(np.float32), labels


def test_the_loss_is_the_mean_over_the_batch_of_sums_over_the_bits_that_are_asked_for() -> None:
    logits, labels = scored()
    loss, metrics = SEQUENCES.objective(METHODS["ce"])({"logits": logits}, {"labels": labels}, None)
    p = expit(logits.astype(np.float64))
    expected = 0.0
    for n, t, o in itertools.product(range(3), range(5), range(2)):
        if labels[n, t, 0, o] >= 0:
            expected -= np.log(p[n, t, o] if labels[n, t, 0, o] else 1 - p[n, t, o])
    assert float(loss) == pytest.approx(expected / 3, rel=1e-5)
    assert float(metrics["bits_per_sequence"]) == pytest.approx(expected / 3 / np.log(2), rel=1e-5)


def test_extreme_logits_and_sequences_that_ask_for_nothing_give_finite_gradients() -> None:
    logits, labels = scored()
    objective = SEQUENCES.objective(METHODS["ce"])

    def loss(z: jax.Array) -> jax.Array:
        return objective(z, {"labels": labels}, None)[0]

    slopes = jax.grad(loss)(jnp.asarray(logits) * 1e4)
    assert np.isfinite(slopes).all()
    assert (np.asarray(slopes)[labels[:, :, 0] < 0] == 0).all()


def test_bits_and_wrong_bits_of_each_sequence_are_counted() -> None:
    logits, labels = scored()
    kept = np.asarray(SEQUENCES.for_evaluation(jnp.asarray(logits), jnp.asarray(labels)))
    asked = labels[:, :, 0] >= 0
    wrong = ((logits > 0) != (labels[:, :, 0] == 1)) & asked
    np.testing.assert_array_equal(kept[:, 1], wrong.sum(axis=(1, 2)))
    np.testing.assert_array_equal(kept[:, 2], [6, 4, 0])
    loss, _ = SEQUENCES.objective(METHODS["ce"])(logits, {"labels": labels}, None)
    assert kept[:, 0].mean() * np.log(2) == pytest.approx(float(loss), rel=1e-5)


def test_the_table_has_a_row_a_length_and_macro_for_those_of_training() -> None:
    test = read_sequences(OPTIONS)["test"]
    kept = np.stack([np.arange(8.0), np.array([0, 0, 0, 2, 1, 1, 1, 0.0]), np.full(8, 5.0)], axis=1)
    task = SEQUENCES.for_options(OPTIONS)
    table = task.table_of(test, kept, None)
    assert list(table) == ["3 vectors", "macro"]
    assert table["macro"] == {
        "bits_per_sequence": 1.5,
        "wrong_bits": 0.5,
        "sequence_errors": 0.25,
        "asked_bits": 5.0,
    }
    assert table["3 vectors"]["sequence_errors"] == 0.75
    assert task.measure(test, kept, None)["bits_per_sequence/3 vectors"] == 5.5
    (line,) = task.closing([table])
    assert line == "bits per sequence: 1.5000"
    assert last_lines([0.0012, 0.0044]) == ["bits per sequence: 0.0028 (0.0012, 0.0044)"]


def test_the_optimal_estimator_of_ngrams_is_the_one_written_out() -> None:
    x, y = draw_sequences("ngrams", jax.random.split(jax.random.key(1), 3), Range((30, 60)), 59)
    inputs, targets = np.asarray(x[:, :, 0], np.int64), np.asarray(y[:, :, 0], np.int64)
    expected = []
    for bits, asked in zip(inputs, targets, strict=True):
        total, counts = 0.0, {}
        for t in np.flatnonzero(asked >= 0):
            ones, zeros = counts.get(tuple(bits[t - 4 : t + 1]), (0, 0))
            chance = (ones + 0.5) / (ones + zeros + 1)
            total -= np.log2(chance if asked[t] else 1 - chance)
            counts[tuple(bits[t - 4 : t + 1])] = (ones + asked[t], zeros + 1 - asked[t])
        expected.append(total)
    np.testing.assert_allclose(optimal_bits(inputs, targets), expected, rtol=1e-12)


def test_the_table_of_ngrams_says_what_the_best_estimator_would_have() -> None:
    options = replace(OPTIONS, sequence="ngrams", sequence_lengths=(12, 12), sequence_tests=())
    test = read_sequences(options)["test"]
    row = SEQUENCES.for_options(options).table_of(test, np.ones((4, 3)), None)["macro"]
    x, y = test.images[:, :, 0, 0] // 65535, test.labels[:, :, 0, 0]
    assert row["optimal_bits"] == optimal_bits(x.astype(int), y.astype(int)).mean()


# Training


def test_training_draws_by_the_keys_whatever_the_pictures_are_and_like_the_stored_sets() -> None:
    task = SEQUENCES.for_options(OPTIONS)
    data = read_sequences(OPTIONS)["train"]
    keys = jax.random.split(jax.random.key(5), 4)
    images, labels = task.transform(keys, data.images[:4], data.labels[:4], Augment(), 1.0)
    others = task.transform(keys[::-1], data.images[4:8], data.labels[4:8], Augment(), 1.0)
    for found, other in zip((images, labels), others, strict=True):
        np.testing.assert_array_equal(found, other[::-1])
    assert images.shape == data.images[:4].shape
    assert labels.shape == data.labels[:4].shape
    drawn = draw_sequences("copy", keys, Range((1, 2)), 5)
    np.testing.assert_array_equal(images[:, :, 0], drawn[0])
    own = SEQUENCES.for_options(Data(source="own_parts:read"))
    assert own is SEQUENCES
    kept, same = own.transform(keys, data.images[:4], data.labels[:4], Augment(), 1.0)
    np.testing.assert_allclose(kept, data.images[:4] / 65535.0)
    assert same is not labels


@pytest.mark.parametrize("name", ["focal", "stratified", "weighted_ce", "mixup", "crt", "ldam"])
def test_a_method_for_rare_classes_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"method {name}: .* is not for sequences of bits"):
        SEQUENCES.check(find_method(name))


def test_data_of_another_kind_is_refused() -> None:
    data = Dataset(np.zeros((2, 5, 5, 1), np.uint8), np.zeros((2, 5, 5), np.int8), np.arange(2), ("a", "b"))
    with pytest.raises(InputError, match=r"labels are \[2, 5, 5\] for images \[2, 5, 5, 1\], and the task"):
        task_for("sequences", data)


def test_a_run_is_the_same_on_one_and_four_devices(tmp_path: Path) -> None:
    """Sequences by keys of their places; the loss by the mean over the global batch."""
    found = []
    for devices in (1, 4):
        config = replace(tiny(), train=replace(tiny().train, devices=devices, epochs=0.032, evaluations=1))
        (result,) = fit(config, tmp_path / str(devices), console=QUIET, report=False)
        found.append([result.table["macro"]["bits_per_sequence"], result.table["3 vectors"]["wrong_bits"]])
    np.testing.assert_allclose(found, [found[0]] * 2, rtol=1e-4)


def test_sequences_of_ones_own_are_learned_as_they_are(tmp_path: Path) -> None:
    """What was seen a step before: four patterns, all of them in the training split."""
    rng = np.random.default_rng(0)

    def part(count: int, start: int) -> Dataset:
        bits = rng.integers(0, 2, (count, 6, 1, 1))
        labels = np.concatenate([np.full((count, 1, 1, 1), -1), bits[:, :-1]], axis=1).astype(np.int8)
        return Dataset((255 * bits).astype(np.uint8), labels, start + np.arange(count), ("bit",))

    splits = Splits(part(64, 0), part(16, 64), part(16, 80), table=[])
    config = Config(
        name="own",
        task="sequences",
        model=Model(name="lstm", options={"size": 8, "layers": 1}),
        optim=Optim(learning_rate=0.03, weight_decay=0.0),
        train=Train(epochs=60, batch_size=16, evaluations=1, steps_per_dispatch=60, devices=1),
    )
    (result,) = fit(config, tmp_path, splits, console=QUIET, report=False)
    assert set(result.table) == {"macro"}
    assert result.table["macro"]["wrong_bits"] == 0


def test_a_task_is_a_value() -> None:
    assert SEQUENCES.for_options(OPTIONS) == Sequences("copy", Range((1, 2)))
    assert hash(SEQUENCES.for_options(OPTIONS)) == hash(Sequences("copy", Range((1, 2))))
