"""The intervals and the draws of the few-shot study, benchmarks/few_shot.py, and the learners of zero_shot.py."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score, roc_curve

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _benchmarks() -> Iterator[None]:
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def scored(seed: int = 0, images: int = 300):
    from few_shot_intervals import Scored

    rng = np.random.default_rng(seed)
    labels = rng.choice(3, images, p=[0.6, 0.3, 0.1])
    score = np.round(np.clip(rng.normal(0.3 + 0.2 * (labels == 2), 0.2), 0, 1), 2)  # with ties
    called = np.where(rng.random(images) < 0.7, labels, rng.integers(0, 3, images))
    before = np.where(labels < 2, np.where(rng.random(images) < 0.8, labels, 1 - labels), -1)
    groups = 3 * rng.integers(0, 40, images) + labels  # a patient has one class
    return Scored(score, called, before, labels, groups)


def test_metrics_are_those_of_scikit_learn_also_when_images_count_several_times() -> None:
    from few_shot_intervals import values

    given = scored()
    counts = np.random.default_rng(1).integers(0, 3, (4, len(given.labels)))
    counts[0] = 1
    found = values(given, 3, counts)
    for r, often in enumerate(counts):
        rows = np.repeat(np.arange(len(often)), often)
        truth, score, labels = given.labels[rows] == 2, given.score[rows], given.labels[rows]
        false, true, _ = roc_curve(truth, score)
        old = labels < 2
        expected = {
            "average_precision": average_precision_score(truth, score),
            "auroc": roc_auc_score(truth, score),
            "sensitivity_at_0.9": true[false <= 0.1].max(),
            "balanced_accuracy": balanced_accuracy_score(labels, given.called[rows]),
            "old_change": np.mean([(given.called[rows] == c)[labels == c].mean() for c in (0, 1)])
            - balanced_accuracy_score(labels[old], given.before[rows][old]),
        }
        for name, value in expected.items():
            assert found[name][r] == pytest.approx(value, abs=1e-9), name


def test_intervals_hold_the_difference_of_paired_heads_and_say_so_only_where_it_is_clear() -> None:
    from few_shot_intervals import interval, replicates, verdict

    draws = []
    for seed in range(4):
        one = scored(seed)
        better = type(one)(**{**vars(one), "score": one.score + 0.5 * (one.labels == 2)})
        draws.append({"one": one, "same": one, "better": better})
    found = replicates(draws, 3, samples=200)
    same = found["same"]["auroc"] - found["one"]["auroc"]
    assert interval(same) == (0.0, 0.0)
    assert verdict(*interval(same)) == "not enough data to say"
    gain = found["better"]["auroc"] - found["one"]["auroc"]
    low, high = interval(gain)
    assert 0 < low < gain[0] < high
    assert verdict(low, high) == "better"
    assert verdict(-high, -low) == "worse"


def test_draws_are_nested_and_no_patient_is_learned_from_and_tested_on() -> None:
    from few_shot import cases
    from few_shot_sets import Features

    rng = np.random.default_rng(0)
    part = np.repeat(["train", "test", "rare"], [60, 30, 60])
    labels = np.where(part == "rare", 2, rng.integers(0, 2, 150))
    groups = np.where(part == "rare", 1000 + rng.integers(0, 28, 150), np.arange(150))
    features = Features(np.zeros((150, 2)), labels, groups, part, ("a", "b", "rare"), {})
    before: set[int] = set()
    for shots in (5, 10, 20):
        learned, tested = cases(features, 3, shots)
        rare = learned[labels[learned] == 2]
        assert len(set(groups[rare])) == shots
        assert before < set(rare)
        before = set(rare)
        assert not set(groups[learned]) & set(groups[tested])
        assert (labels[tested] == 2).any()
        assert set(part[tested]) == {"test", "rare"}
    few = Features(
        np.zeros((150, 2)), labels, np.where(part == "rare", groups % 12, groups + 100), part, (), {}
    )
    few = Features(**{**vars(few), "classes": ("a", "b", "rare")})
    assert len(cases(few, 0, 5)[0])
    assert not len(cases(few, 0, 10)[0]), "twelve patients leave two to test on"


@pytest.mark.parametrize("learner", ["dap", "eszsl"])
def test_unseen_classes_are_told_apart_where_features_are_what_the_attributes_say(learner: str) -> None:
    import zero_shot

    rng = np.random.default_rng(0)
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    described = zero_shot.signatures("cifar10", classes)
    assert described[classes.index("ship")].sum() == 3  # water, goods, large
    labels = rng.integers(0, 10, 600)
    features = described[labels] @ rng.normal(size=(described.shape[1], 32)) + rng.normal(0, 1, (600, 32))
    unseen = (classes.index("dog"), classes.index("bird"))
    seen = ~np.isin(labels, unseen)
    part = np.where(seen, np.where(np.arange(600) < 400, "train", "test"), "rare")
    images = zero_shot.Images(features, labels, np.arange(600), part, classes, unseen)
    rows = np.flatnonzero(part != "train")
    train = part == "train"
    scores = zero_shot.LEARNERS[learner](features[train], labels[train], described, features[rows])
    found = zero_shot.measured(images, scores, rows)
    of = labels[rows]
    right = np.asarray(unseen)[scores[:, unseen].argmax(axis=1)] == of
    by_hand = np.mean([right[of == c].mean() for c in unseen])
    assert found["between"][0] == round(by_hand, 4) >= 0.95
    only = ~np.isin(of, unseen)
    called = scores.argmax(axis=1) == of
    assert found["among_all_seen"][0] == round(balanced(called[only], of[only]), 4)
    # described by each other's attributes they are confused
    swapped = described.copy()
    swapped[list(unseen)] = described[list(unseen[::-1])]
    wrong = zero_shot.LEARNERS[learner](features[train], labels[train], swapped, features[rows])
    assert zero_shot.measured(images, wrong, rows)["between"][0] <= 0.05


def balanced(right: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean([right[labels == c].mean() for c in np.unique(labels)]))
