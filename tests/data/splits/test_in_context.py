"""Sequences that ask in context or the weights: which pictures, which labels, and which row they count in."""

import numpy as np
import pytest

from imbal_jax.config import Config, Data, Episode
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.splits.in_context import in_context_parts
from imbal_jax.errors import InputError
from imbal_jax.tasks import IN_CONTEXT

SIDE, DRAWINGS, CLASSES = 8, 10, 60


def config(**episode):
    data = Data(source="omniglot", validation_share=0.1, test_share=0.15, image_size=SIDE)
    options = {"ways": 2, "shots": 4, "validation": 50, "test": 200, **episode}
    return Config(name="sequences", task="in_context", data=data, episode=Episode(**options))


def pictures():
    """Every picture tells its class and its number in its first two pixels."""
    images = np.zeros((CLASSES * DRAWINGS, SIDE, SIDE, 1), np.uint8)
    labels = np.repeat(np.arange(CLASSES, dtype=np.int32), DRAWINGS)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = labels + 1, np.tile(np.arange(DRAWINGS), CLASSES)
    return Dataset(images, labels, np.arange(len(labels)), tuple(f"c{c}" for c in range(CLASSES)))


@pytest.fixture(scope="module")
def parts():
    return in_context_parts(config(), pictures())[0]


def test_half_of_the_sequences_are_of_classes_that_training_never_saw(parts):
    train = set(parts["train"].images[:, 0, 0, 0].tolist())
    assert len(train) == 45
    for name, count in (("validation", 50), ("test", 200)):
        part = parts[name]
        assert part.labels.shape == (2 * count, 9, 2)
        classes = part.images.reshape(2 * count, 9, SIDE, SIDE)[:, :, 0, 0]
        asked, weights = classes[:count], classes[count:]
        assert not train & set(asked.ravel().tolist())
        assert set(weights.ravel().tolist()) <= train
        for row, labels in zip(asked, part.labels[:count], strict=True):
            assert np.bincount(labels[:8, 0]).tolist() == [4, 4]
            assert labels[8].tolist() == [-1, int((row[:8] == row[8]) @ labels[:8, 0] > 0)]
        assert not (weights[:, :8] == weights[:, 8:]).any()  # the query's class is absent


def test_labels_of_training_are_the_labels_that_the_weights_are_asked_for(parts):
    train, test = parts["train"], parts["test"]
    class_of = dict(zip(train.labels.tolist(), train.images[:, 0, 0, 0].tolist(), strict=True))
    assert sorted(class_of) == list(range(45))
    pictures = test.images.reshape(400, 9, SIDE, SIDE)[200:, :, 0, 0]
    shown = np.where(test.labels[200:, :, 0] >= 0, test.labels[200:, :, 0], test.labels[200:, :, 1])
    assert [[class_of[label] for label in row] for row in shown.tolist()] == pictures.tolist()
    common = (test.labels[200:, -1, 1] < 10).mean()
    assert abs(common - 0.5) < 4 * np.sqrt(0.25 / 200)


def test_rows_are_by_what_is_asked(parts):
    test = parts["test"]
    kept = np.zeros((400, 9, 3), np.float32)
    kept[:190, -1, 2] = 1
    kept[:150, -1, 0] = 1  # of 200 in context 150 are right
    target = test.labels[:, -1, 1]
    kept[200:, -1, 0] = target[200:] < 10
    kept[..., 1] = 7  # surprisal counts where it is scored
    table = IN_CONTEXT.table(test.labels, kept, test.classes, None)
    assert table["in context"]["accuracy"] == 0.75
    assert table["in context"]["accuracy_among_shown"] == 0.95
    assert table["macro"]["accuracy_among_shown"] == 0.95
    assert "accuracy_among_shown" not in table["in weights, common"]
    assert table["in weights, common"]["accuracy"] == 1
    assert table["in weights, rare"]["accuracy"] == 0
    assert table["macro"]["accuracy"] == pytest.approx((150 + (target[200:] < 10).sum()) / 400)
    assert table["macro"]["surprisal"] == 7


def test_a_label_is_right_among_those_shown_where_only_others_are_more_probable():
    labels = np.array([[[3, -1], [1, -1], [-1, 1]], [[3, -1], [1, -1], [-1, 2]], [[0, -1], [0, -1], [-1, 0]]])
    chances = np.array([[0.1, 0.3, 0.4, 0.2], [0.1, 0.2, 0.6, 0.1], [0.1, 0.2, 0.3, 0.4]], np.float32)
    predictions = np.log(np.repeat(chances[:, None], 3, axis=1))
    kept = np.asarray(IN_CONTEXT.for_evaluation(predictions, labels.astype(np.int8)))
    # the first names 2, and of 3 and 1 rather 1, which is right; the second is right with a label that was not shown
    np.testing.assert_allclose(
        kept[:, -1], [[0, -np.log(0.3), 1], [1, -np.log(0.6), 0], [0, -np.log(0.1), 1]], rtol=1e-5
    )
    assert not kept[:, :-1].any()


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match="sequences of train: 45 classes, the smallest of 10 pictures"):
        in_context_parts(config(shots=5), pictures())
    with pytest.raises(InputError, match="sequences of validation: 6 classes have"):
        in_context_parts(config(ways=7, shots=1), pictures())
