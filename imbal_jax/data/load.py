"""Loads the data of a config: reads the set, checks it, splits it by patient, draws the imbalance."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imbal_jax.config import Config, Data
from imbal_jax.data.dataset import Dataset, check_dataset, check_labels
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.read import Indices, Say, counter, read
from imbal_jax.data.sources.further_classes import read_further_classes, with_further
from imbal_jax.data.sources.sequences import SOURCE as SEQUENCES
from imbal_jax.data.sources.sequences import read_sequences
from imbal_jax.data.splits.class_split import IN_CONTEXT, episode_parts, of_one_person
from imbal_jax.data.splits.config_draw import draw
from imbal_jax.data.splits.in_context import in_context_parts
from imbal_jax.data.splits.patient_split import (
    CLASS_SHARES_OFF,
    complete_split,
    shared_patients,
    split_by_group,
    split_summary,
)
from imbal_jax.data.tables.given_split import PARTS as SPLITS
from imbal_jax.errors import InputError


@dataclass(frozen=True)
class Splits:
    """Training, validation and test set, no patient in two of them. table: a row a split, for the report."""

    train: Dataset
    validation: Dataset
    test: Dataset
    table: list[dict[str, object]]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes

    @property
    def members(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The labels and the patients of the images of each split."""
        parts = {name: getattr(self, name) for name in SPLITS}
        return {name: (part.labels, part.groups) for name, part in parts.items()}


def load(config: Config, folder: Path, say: Say = print, geometry: Geometry | None = None) -> Splits:
    """The splits that ``config.data`` asks for.

    folder: where phantoms and caches may be written.
    say: called with lines on what was read and what is missing.
    geometry: that of a run; it replaces the config's, and a set that was made by another one is refused.
    Raises InputError for data that cannot be used.
    """
    if config.data.source == SEQUENCES:
        parts = read_sequences(config.data)
        return Splits(**parts, table=[{"split": name, "images": len(part)} for name, part in parts.items()])
    data, given = read(config.data, folder, say, geometry=geometry)
    splits = split_as_asked(config, data, given, say)
    for where in config.data.enrolled:
        splits = enrolled(splits, Path(where), folder, say)
    return splits


def enrolled(splits: Splits, where: Path, folder: Path, say: Say = print) -> Splits:
    """``splits`` with the images of further classes in the folder ``where``, behind their own.

    folder: where a cache may be written. Raises InputError as ``further_classes.read_further_classes``.
    """
    further = read_further_classes(
        where, splits.classes, splits.train.geometry, folder / "cache", say, counter(say, "images read")
    )
    parts = with_further({name: getattr(splits, name) for name in SPLITS}, further)
    labels = np.concatenate([part.labels for part in parts.values()])
    groups = np.concatenate([part.groups for part in parts.values()])
    ends = np.cumsum([len(part) for part in parts.values()])[:-1]
    indices = dict(zip(parts, np.split(np.arange(len(groups)), ends), strict=True))
    summary = split_summary(labels, groups, indices, parts["train"].classes)
    return Splits(**parts, table=summary.rows())


def split_as_asked(config: Config, data: Dataset, given: Indices | None = None, say: Say = print) -> Splits:
    """``data`` split by patient (``split_dataset``), or where episodes are asked for by class."""
    if not config.episode.ways:
        return split_dataset(config.data, data, given, say)
    parts_of = in_context_parts if config.task == IN_CONTEXT else episode_parts
    parts, table = parts_of(config, of_one_person(check_dataset(data), say))
    return Splits(parts["train"], parts["validation"], parts["test"], table)


def split_dataset(options: Data, data: Dataset, given: Indices | None = None, say: Say = print) -> Splits:
    """``data`` checked, split by patient and drawn as ``options`` say.

    given: the split that it comes with. say, errors: as for ``load``.
    """
    check_dataset(data)
    check_negative_class(options, data.classes)
    indices = _split(options, data, given)
    split = split_summary(data.image_labels, data.groups, indices, data.classes)
    drawn = draw(options, data, indices, say)
    summary = split_summary(data.image_labels, data.groups, drawn, data.classes)
    for name, part in summary.missing:
        drawn_out = f"after the draw the {part} split has no example of {name}"
        reason = split.lacking(name, part) if (name, part) in split.missing else drawn_out
        if part == "train":
            raise InputError(f"{reason}; leave the class out, or take another --data.split-seed")
        say(f"{reason}; its scores there are undefined")
    # A draw changes the ratios on purpose: the error is the split's
    table = [
        {**row, CLASS_SHARES_OFF: before[CLASS_SHARES_OFF]}
        for row, before in zip(summary.rows(), split.rows(), strict=True)
    ]
    return Splits(
        train=data.take(drawn["train"]),
        validation=data.take(drawn["validation"]),
        test=data.take(drawn["test"]),
        table=table,
    )


def check_splits(options: Data, splits: Splits) -> Splits:
    """``splits`` unchanged; InputError where a part cannot be used, or a patient is in two of them."""
    parts = {name: getattr(splits, name) for name in SPLITS}
    for name, part in parts.items():
        try:
            (check_dataset if name == "train" else check_labels)(part)
        except InputError as error:
            raise InputError(f"the {name} split: {error}") from None
        if part.classes != splits.classes:
            raise InputError(
                f"the {name} split has the classes {', '.join(part.classes)}, not those of train"
            )
    check_negative_class(options, splits.classes)
    groups = np.concatenate([part.groups for part in parts.values()])
    ends = np.cumsum([len(part) for part in parts.values()])[:-1]
    indices = dict(zip(parts, np.split(np.arange(len(groups)), ends), strict=True))
    if sharing := shared_patients(groups, indices):
        raise InputError(f"the split that was given {sharing}: split by patient")
    return splits


def check_negative_class(options: Data, classes: tuple[str, ...]) -> None:
    """InputError where ``data.negative_class`` is none of the classes."""
    if options.negative_class is not None and options.negative_class not in classes:
        raise InputError(
            f"data.negative-class is {options.negative_class!r}, the classes are {', '.join(classes)}"
        )


def _split(options: Data, data: Dataset, given: Indices | None) -> Indices:
    shares = {
        "train": 1 - options.validation_share - options.test_share,
        "validation": options.validation_share,
        "test": options.test_share,
    }
    if given is None or options.split == "patient":
        return split_by_group(data.image_labels, data.groups, shares, seed=options.split_seed)
    return complete_split(data.image_labels, data.groups, given, shares, seed=options.split_seed)
