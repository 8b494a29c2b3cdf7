"""The draw that a config asks for: which images of each split are kept."""

from collections.abc import Callable, Mapping

import numpy as np

from imbal_jax.config import Data, prevalence_of
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.labels import image_counts, is_many
from imbal_jax.data.splits.rarity import (
    draw_imbalance,
    draw_prevalence,
    draw_profile,
    exponential_profile,
    step_profile,
)
from imbal_jax.errors import InputError

Say = Callable[[str], None]

USUAL = {"imbalance": ("train", "validation"), "long_tail": ("train",), "prevalence": ("train",)}
"""Option of the draw -> the splits that are drawn from where ``data.draw_splits`` names none."""

SHORT = 0.95  # share of what was asked, below which a label is reported


def draw(options: Data, data: Dataset, indices: Mapping[str, np.ndarray], say: Say) -> dict[str, np.ndarray]:
    """``indices`` (split -> items of ``data``) with those items dropped that the draw of ``options`` leaves out.

    ``say`` is called with how many are kept and, with many labels, which come out rarer than asked.
    Raises InputError where the data cannot give what is asked.
    """
    asked = [name for name in USUAL if getattr(options, name)]
    if not asked:
        return dict(indices)
    flags = [f"data.{name.replace('_', '-')}" for name in asked]
    if len(asked) > 1:
        raise InputError(f"{' and '.join(flags)} are given: give one of them")
    keep = {"imbalance": _imbalance, "long_tail": _long_tail, "prevalence": _prevalence}[asked[0]]
    drawn = dict(indices)
    for name in options.draw_splits or USUAL[asked[0]]:
        part = indices[name]
        labels, groups = data.image_labels[part], data.groups[part]
        try:
            kept, wanted = keep(options, data.classes, labels, groups)
        except InputError as error:
            raise InputError(f"{flags[0]} in the {name} split: {error}") from error
        drawn[name] = part[kept]
        say(f"{flags[0]}: {len(kept):,} of {len(part):,} {name} images are drawn")
        if is_many(labels):
            got = image_counts(labels[kept], len(data.classes))
            short = [
                f"{data.classes[c]} {got[c]:,} of {count(len(kept)):,}"
                for c, count in wanted.items()
                if got[c] < SHORT * count(len(kept)) - 0.5
            ]
            if short:
                say(f"{flags[0]}: rarer than asked, for images with several labels: {', '.join(short)}")
    return drawn


Wanted = Mapping[int, Callable[[int], int]]
"""Class -> function of the size of a draw that returns how many images of the class are wanted."""


def _imbalance(
    options: Data, classes: tuple[str, ...], labels: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, Wanted]:
    if options.negative_class is None and not is_many(labels):
        raise InputError("set --data.negative-class to the common class")
    rare = [c for c, name in enumerate(classes) if name != options.negative_class]
    ratio = options.imbalance
    assert ratio is not None  # the option that chose this draw
    return draw_imbalance(labels, groups, ratio=ratio, rare=rare, seed=options.split_seed), {}


def _long_tail(
    options: Data, classes: tuple[str, ...], labels: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, Wanted]:
    profile = {"exponential": exponential_profile, "step": step_profile}[options.profile]
    counts = image_counts(labels, len(classes))
    assert options.long_tail is not None  # the option that chose this draw
    target = profile(counts, options.long_tail)
    kept = draw_profile(labels, target, groups, seed=options.split_seed)
    return kept, {c: lambda size, n=int(n): n for c, n in enumerate(target)}


def _prevalence(
    options: Data, classes: tuple[str, ...], labels: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, Wanted]:
    shares = {}
    for name, share in map(prevalence_of, options.prevalence):
        if name not in classes:
            raise InputError(f"no class is named {name!r}: the classes are {', '.join(classes)}")
        shares[classes.index(name)] = share
    kept = draw_prevalence(labels, groups, shares, seed=options.split_seed)
    return kept, {c: lambda size, share=share: round(size * share) for c, share in shares.items()}
