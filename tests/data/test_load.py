"""From a config to splits: what is lacking is said with numbers, and the table tells how good the split is."""

import numpy as np
import pytest

from imbal_jax.config import Config, Data
from imbal_jax.data import load as sources
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.splits.patient_split import row_line
from imbal_jax.errors import InputError
from imbal_jax.report.data import SHARES_OFF, data

CLASSES = ("normal", "effusion", "hernia")


def made(labels, groups=None):
    count = len(labels)
    groups = np.arange(count) if groups is None else groups
    return Dataset(np.zeros((count, 4, 4, 1), np.uint8), labels, groups, CLASSES)


def load(monkeypatch, dataset, given=None, said=None, **options):
    monkeypatch.setattr(sources, "read", lambda options, folder, say, geometry=None: (dataset, given))
    config = Config(name="t", data=Data(negative_class="normal", **options))
    return sources.load(config, None, (said if said is not None else []).append)


def test_a_class_that_a_split_lacks_is_said_with_its_patients_and_the_splits_asked(monkeypatch):
    said = []
    load(monkeypatch, made(np.repeat([0, 1, 2], [60, 30, 2])), said=said)
    assert said == [
        "the validation split has no example of hernia: 2 patients have it, 3 splits are asked; its scores there are "
        "undefined"
    ]


def test_a_class_that_training_lacks_ends_the_run(monkeypatch):
    labels = np.repeat([0, 1, 2], [60, 30, 2])
    given = {"train": np.arange(80), "validation": np.arange(80, 88), "test": np.arange(88, 92)}
    with pytest.raises(
        InputError, match="the train split has no example of hernia: 2 patients have it, 3 splits"
    ):
        load(monkeypatch, made(labels), given)


def test_the_table_and_the_lines_tell_the_error_of_the_split_and_a_draw_does_not_change_it(monkeypatch):
    rng = np.random.default_rng(0)
    dataset = made(rng.choice(3, 900, p=[0.7, 0.2, 0.1]), rng.integers(0, 300, 900))
    whole = load(monkeypatch, dataset)
    labels = dataset.labels
    share = np.bincount(labels) / len(labels)
    for row, part in zip(whole.table, (whole.train, whole.validation, whole.test), strict=True):
        expected = np.abs(np.bincount(part.labels, minlength=3) / len(part) - share).mean()
        assert row["class shares off by"] == pytest.approx(expected)
    assert f"class shares off by {whole.table[0]['class shares off by']:.2g}" in row_line(
        whole.table[0], whole.classes
    )
    drawn = load(monkeypatch, dataset, imbalance=20.0)
    assert len(drawn.train) < len(whole.train)
    for before, after in zip(whole.table, drawn.table, strict=True):
        assert before["class shares off by"] == after["class shares off by"]
    html = data(drawn.table, CLASSES, unknown=False)
    assert "class shares off by" in html
    assert SHARES_OFF in html


def test_a_draw_that_leaves_a_split_without_a_label_says_that_it_was_the_draw(monkeypatch):
    labels = np.zeros((600, 3), np.int8)
    labels[:120, 1] = 1
    labels[100:120, 2] = 1  # hernia only where there is effusion
    labels[120:300, 0] = 1
    said = []
    load(monkeypatch, made(labels), said=said, imbalance=200.0, draw_splits=("test",))
    assert any(line.startswith("after the draw the test split has no example of") for line in said)


def test_the_sources_own_split_is_taken_unless_another_is_asked(monkeypatch):
    dataset = made(np.tile([0, 1, 2], 40), np.repeat(np.arange(60), 2))
    given = {"train": np.arange(80), "validation": np.arange(80, 100), "test": np.arange(100, 120)}
    assert load(monkeypatch, dataset, given).test.groups.tolist() == dataset.groups[100:].tolist()
    made_here = load(monkeypatch, dataset, given, split="patient")
    assert set(made_here.test.groups) != set(dataset.groups[100:])
