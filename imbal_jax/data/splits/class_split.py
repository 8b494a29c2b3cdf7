"""Splits by class for few-shot episodes: no class of validation or test is ever trained on."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from imbal_jax.config import Config, Data
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.labels import is_many, is_mask
from imbal_jax.errors import InputError, named
from imbal_jax.sampling.episodes import (
    EpisodePlan,
    draw_episodes,
    make_episodes,
    one_below_the_other,
    ways_support,
)

STRING, IN_CONTEXT = "string_episodes", "in_context"
STRING_DIGITS, STRING_BASE = 5, 5
"""A label of five letters out of five, as in Santoro et al. 2016: 3,125 labels, 25 outputs."""


def label_names(config: Config) -> tuple[str, ...]:
    """What the network's outputs stand for: the labels of an episode, or the letters of a label, place by place."""
    if config.task != STRING:
        return tuple(f"label {way}" for way in range(config.episode.ways))
    return tuple(
        f"{place + 1}{'abcde'[letter]}" for place in range(STRING_DIGITS) for letter in range(STRING_BASE)
    )


def episode_plan(labels: np.ndarray, config: Config, seed: int, part: str = "train") -> EpisodePlan:
    """The episodes that a config asks for, over the classes ``labels`` [N]; InputError for too few pictures."""
    episode = config.episode
    with named(f"episodes of {part}"):
        return make_episodes(
            labels,
            episode.ways,
            episode.shots,
            queries=episode.queries,
            long_tail=episode.long_tail,
            names=STRING_BASE**STRING_DIGITS if config.task == STRING else 0,
            seed=seed,
        )


def episode_steps(config: Config) -> int:
    """Pictures of an episode."""
    episode = config.episode
    if config.task == IN_CONTEXT:
        return episode.ways * episode.shots + 1
    return sum(ways_support(episode.ways, episode.shots, episode.long_tail)) + episode.ways * episode.queries


def split_classes(count: int, options: Data) -> dict[str, np.ndarray]:
    """Classes 0..count-1 of train, validation and test, drawn by ``Data.split_seed``, sorted."""
    order = np.random.default_rng(options.split_seed).permutation(count)
    test = round(options.test_share * count)
    validation = round(options.validation_share * count)
    parts = {
        "test": order[:test],
        "validation": order[test : test + validation],
        "train": order[test + validation :],
    }
    return {name: np.sort(parts[name]) for name in ("train", "validation", "test")}


def episode_parts(config: Config, data: Dataset) -> tuple[dict[str, Dataset], list[dict[str, object]]]:
    """``data``, one class a picture, as pictures to train on and episodes of validation and test; a table row each.

    train: the pictures [N, H, W, C] of its classes, ``labels`` int32 [N] those classes, which are more than the
    names in ``classes``; with ``Episode.rotations`` each turned by 0, 90, 180 and 270 degrees, each a class of its
    own. validation, test: as ``episode_set``. data: as ``of_one_person`` leaves it.
    """
    episode = config.episode
    members = split_classes(len(data.classes), config.data)
    parts: dict[str, Dataset] = {}
    table: list[dict[str, object]] = []
    for number, (name, classes) in enumerate(members.items()):
        own = data.take(np.flatnonzero(np.isin(data.labels, classes)))
        own = replace(own, labels=np.searchsorted(classes, own.labels).astype(np.int32))
        row: dict[str, object] = {"split": name, "classes": len(classes), "pictures": len(own)}
        if name == "train":
            own = rotated(own) if episode.rotations else own
            parts[name] = replace(own, groups=own.labels, classes=label_names(config))
            if episode.rotations:
                row["turned"] = len(own)
            episode_plan(own.labels, config, 0)
        else:
            wanted = episode.validation if name == "validation" else episode.test
            parts[name] = episode_set(own, config, wanted, seed=config.data.split_seed + number, part=name)
            row["episodes"] = wanted
        table.append(row)
    return parts, table


def rotated(data: Dataset) -> Dataset:
    """Pictures turned by 0, 90, 180 and 270 degrees, class c turned r times being class 4 c + r."""
    images = np.asarray(data.images[:])
    if images.shape[1] != images.shape[2]:
        raise InputError(
            f"episode.rotations: pictures are {images.shape[1]} x {images.shape[2]}, expected squares"
        )
    turned = np.concatenate([np.rot90(images, times, axes=(1, 2)) for times in range(4)])
    labels = np.concatenate([4 * data.labels + times for times in range(4)])
    return replace(data, images=np.ascontiguousarray(turned), labels=labels, groups=np.tile(data.groups, 4))


def episode_set(data: Dataset, config: Config, count: int, *, seed: int, part: str = "all") -> Dataset:
    """``count`` episodes of the classes of ``data``, drawn once. data: as ``of_one_person`` leaves it.

    images: [E, T H, W, C], the T pictures of an episode one below the other. labels: int16 [E, T, 2], the label shown
    after each prediction and the one that is scored, -1 for none (``sampling.episodes.Drawn``). groups: the episode.
    """
    plan = episode_plan(data.labels, config, seed, part)
    drawn = jax.device_get(jax.jit(draw_episodes)(plan, 0, jnp.arange(count)))
    return Dataset(
        images=pictures_at(data, drawn.items),
        labels=np.stack([drawn.shown, drawn.targets], axis=-1).astype(np.int16),
        groups=seed * 10**6 + np.arange(count),
        classes=label_names(config),
        geometry=data.geometry,
        grouped_by="episode",
    )


def pictures_at(data: Dataset, items: np.ndarray) -> np.ndarray:
    """[E, T H, W, C], the pictures at ``items`` [E, T]."""
    return one_below_the_other(np.asarray(data.images[:])[items])


def of_one_person(data: Dataset, say: Callable[[str], None] = print) -> Dataset:
    """One picture of each patient, the first of the class that has fewest patients; ``say`` is told of the rest.

    So a patient is in one part of a split by class, and never both example and query. Raises InputError for many
    labels and masks.
    """
    if is_mask(data.labels) or is_many(data.labels):
        raise InputError("episodes are for one class an image, and these images have many labels or masks")
    patients = np.unique(data.groups, return_inverse=True)[1]
    people = np.bincount(np.unique(np.stack([data.labels, patients]), axis=1)[0], minlength=len(data.classes))
    order = np.lexsort((data.labels, people[data.labels], patients))
    first = order[np.unique(patients[order], return_index=True)[1]]
    if left_out := len(data) - len(first):
        say(
            f"{left_out:,} further pictures of the same {data.grouped_by}: left out of the episodes, which take one "
            "of each, of the rarest of its classes"
        )
    return data.take(np.sort(first)) if left_out else data
