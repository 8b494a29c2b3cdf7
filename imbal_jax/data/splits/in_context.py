"""Sets that tell what a network learns in context from what it learns in its weights (Chan et al. 2022)."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from imbal_jax.config import Config
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.splits.class_split import pictures_at, rotated, split_classes
from imbal_jax.errors import named
from imbal_jax.sampling.bursty import BurstyPlan, make_bursty
from imbal_jax.sampling.episodes import draw_episodes, make_episodes

COMMON = 10
"""Classes that count as common, those drawn most often: half of the questions to the weights are about them."""


def bursty_plan(labels: np.ndarray, config: Config, seed: int) -> BurstyPlan:
    """The sequences of training; InputError for values that do not fit the pictures."""
    episode = config.episode
    with named("sequences of train"):
        return make_bursty(
            labels,
            episode.ways * episode.shots,
            max(1, episode.shots - 1),
            bursty=episode.bursty,
            zipf=episode.zipf,
            seed=seed,
        )


def in_context_parts(config: Config, data: Dataset) -> tuple[dict[str, Dataset], list[dict[str, object]]]:
    """Pictures to train on, ``labels`` int32 [N] by frequency, and sequences of validation and test; a row each.

    Half of the sequences of validation and test ask in context: ``ways`` classes that training never saw, under the
    labels 0, 1, ..., ``shots`` pictures of each, and then one of them. The other half ask the weights: one of the
    training pictures, none of whose class is in the context. data: as ``class_split.of_one_person`` leaves it.
    """
    members = split_classes(len(data.classes), config.data)
    order = np.random.default_rng(config.data.split_seed).permutation(len(members["train"]))
    of_train = data.take(np.flatnonzero(np.isin(data.labels, members["train"])))
    ranks = np.argsort(order)[np.searchsorted(members["train"], of_train.labels)]
    of_train = replace(of_train, labels=ranks.astype(np.int32))
    train = rotated(of_train) if config.episode.rotations else of_train
    classes = tuple(f"class {c}" for c in range(int(train.labels.max()) + 1))
    bursty_plan(train.labels, config, 0)
    parts = {"train": replace(train, groups=train.labels, classes=classes)}
    table: list[dict[str, object]] = [
        {"split": "train", "classes": len(members["train"]), "pictures": len(of_train)}
    ]
    if config.episode.rotations:
        table[0]["turned"] = len(train)
    for number, name in enumerate(("validation", "test"), 1):
        held = data.take(np.flatnonzero(np.isin(data.labels, members[name])))
        wanted = config.episode.validation if name == "validation" else config.episode.test
        with named(f"sequences of {name}"):
            asked = _asked_in_context(held, config, wanted, config.data.split_seed + number)
        weights = _asked_of_weights(train, config, wanted, config.data.split_seed + number)
        images, labels = (np.concatenate(pair) for pair in zip(asked, weights, strict=True))
        parts[name] = Dataset(
            images=images,
            labels=labels.astype(np.int16 if len(classes) < 2**15 else np.int32),
            groups=(config.data.split_seed + number) * 10**6 + np.arange(2 * wanted),
            classes=classes,
            geometry=data.geometry,
            grouped_by="episode",
        )
        table.append(
            {"split": name, "classes": len(members[name]), "pictures": len(held), "episodes": 2 * wanted}
        )
    return parts, table


def _asked_in_context(held: Dataset, config: Config, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    episode = config.episode
    plan = make_episodes(held.labels, episode.ways, episode.shots, queries=1, seed=seed)
    drawn = jax.device_get(jax.jit(draw_episodes)(plan, 0, jnp.arange(count)))
    steps = episode.ways * episode.shots + 1  # of the queries the first, whose class is a random one
    labels = np.stack([drawn.shown, drawn.targets], axis=-1)[:, :steps]
    return pictures_at(held, drawn.items[:, :steps]), labels


def _asked_of_weights(train: Dataset, config: Config, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    episode, classes = config.episode, int(train.labels.max()) + 1
    common = np.arange(classes) < COMMON
    shares = np.where(common, 0.5 / common.sum(), 0.5 / max((~common).sum(), 1))
    context = episode.ways * episode.shots
    plan = make_bursty(
        train.labels, context, max(1, episode.shots - 1), frequencies=shares, absent=True, seed=seed
    )
    drawn = jax.device_get(jax.jit(type(plan).draw)(plan, 0, jnp.arange(count)))
    return pictures_at(train, drawn.items), np.stack([drawn.shown, drawn.targets], axis=-1)
