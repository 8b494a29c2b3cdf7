"""Real data as cells of a suite: two classes, an exact number of positives, an exact ratio.

``Data(source="imbal_jax.suite.sets:NAME", classes=(NEGATIVE, POSITIVE), ...)``. NEGATIVE is a class of the set, or
``rest``, all classes but POSITIVE. Training has ``round(phantom_images / (1 + phantom_imbalance))`` positives, as
phantoms and signals have, and ``phantom_images`` in all; validation a quarter of both, but at least ``LEAST``
positives, at the same ratio as far as the images last. Test is never drawn from: it has the prevalence of the set,
which the report states. A larger draw of one ``split_seed`` contains the smaller ones.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from imbal_jax.config import Data
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.read import read
from imbal_jax.data.splits.patient_split import split_by_group
from imbal_jax.errors import InputError

REST = "rest"
LEAST = 5
"""Positives of validation, at least: with fewer no threshold can be chosen."""
Indices = Mapping[str, np.ndarray]


def kermany(options: Data) -> tuple[Dataset, Indices]:
    """Paediatric chest X-rays, split by patient."""
    return _cell("kermany", options)


def ham10000(options: Data) -> tuple[Dataset, Indices]:
    """Pigmented skin lesions in colour, split by lesion."""
    return _cell("ham10000", options)


def cifar10(options: Data) -> tuple[Dataset, Indices]:
    """Photographs; the source's test set is the test set, validation is a tenth of its training images."""
    return _cell("cifar10", options)


def _cell(name: str, options: Data) -> tuple[Dataset, Indices]:
    if len(options.classes) != 2:
        raise InputError(
            f"data.classes is {' '.join(options.classes)!r}: name the negative class, or {REST}, and the positive one"
        )
    whole, given = _whole(
        Data(
            source=name,
            dir=options.dir,
            image_size=options.image_size,
            fit=options.fit,
            channels=options.channels,
        )
    )
    data, kept = _two_classes(whole, *options.classes)
    place = np.full(len(whole), -1)
    place[kept] = np.arange(len(kept))
    if given is None:
        shares = {"validation": options.validation_share, "test": options.test_share}
        parts = split_by_group(
            data.labels, data.groups, {"train": 1 - sum(shares.values()), **shares}, seed=options.split_seed
        )
    else:
        known = {part: place[rows][place[rows] >= 0] for part, rows in given.items()}
        apart = split_by_group(
            data.labels[known["train"]],
            data.groups[known["train"]],
            {"train": 0.9, "validation": 0.1},
            seed=options.split_seed,
        )
        parts = {part: known["train"][rows] for part, rows in apart.items()} | {"test": known["test"]}
    positives = round(options.phantom_images / (1 + options.phantom_imbalance))
    negatives = options.phantom_images - positives
    held = max(LEAST, round(positives / 4))
    wanted = {
        "train": (negatives, positives),
        "validation": (round(held * options.phantom_imbalance), held),
    }
    drawn = {
        part: _draw(data.labels, parts[part], counts, part, options.split_seed)
        for part, counts in wanted.items()
    }
    return data, {**drawn, "test": parts["test"]}


@lru_cache(maxsize=2)
def _whole(options: Data) -> tuple[Dataset, Indices | None]:
    return read(options, Path(), lambda line: None)


def _two_classes(whole: Dataset, negative: str, positive: str) -> tuple[Dataset, np.ndarray]:
    """The images of the two classes, and which of the whole they are."""
    for name in {negative, positive} - {REST}:
        if name not in whole.classes:
            raise InputError(
                f"data.classes names {name!r}: the set has {', '.join(whole.classes)}, or {REST}"
            )
    is_positive = whole.labels == whole.classes.index(positive)
    of_interest = (
        np.ones(len(whole), bool)
        if negative == REST
        else is_positive | (whole.labels == whole.classes.index(negative))
    )
    kept = np.flatnonzero(of_interest)
    part = whole.take(kept)
    return replace(part, labels=is_positive[kept].astype(np.int32), classes=(negative, positive)), kept


def _draw(labels: np.ndarray, rows: np.ndarray, counts: tuple[int, int], part: str, seed: int) -> np.ndarray:
    """``counts`` items of each class among ``rows``; of validation as many negatives as there are, if fewer."""
    kept = []
    for label, count in enumerate(counts):
        of_class = rows[labels[rows] == label]
        short = len(of_class) < count
        if short and not (part == "validation" and label == 0):
            raise InputError(
                f"{part} has {len(of_class):,} images of class {label}, {count:,} are asked: ask for fewer, "
                "--data.phantom-images, or a lower --data.phantom-imbalance"
            )
        shuffled = np.random.default_rng([seed, label]).permutation(of_class)
        kept.append(shuffled[:count])
    return np.sort(np.concatenate(kept))
