"""Data conditions by ratio and number of positives: known signals in noise, skin lesions, X-rays, photographs."""

import os
from pathlib import Path

from imbal_jax.config import Data
from imbal_jax.suite.definition import Cell
from imbal_jax.suite.sets import LEAST

FOLDER = Path(os.environ.get("IMBAL_JAX_DATA", "data"))
"""Where the real sets lie, each in a folder of its name: ham10000, kermany, cifar10."""

SIDE = 32


def signals(
    ratio: int,
    positives: int,
    *,
    side: int = SIDE,
    places: int = 16,
    detectability: float = 4.0,
    test: int = 400,
) -> Cell:
    """Blobs at one of several places in white noise; validation has a quarter of the positives, at least 5."""
    return Cell(
        name=f"signals-{ratio}-{positives}",
        set="signals",
        data=Data(
            source="signals",
            image_size=side,
            classes=("normal", "blob"),
            negative_class="normal",
            phantom_images=positives * (1 + ratio),
            phantom_imbalance=ratio,
            detectability=detectability,
            signal_places=places,
            signal_positives=(max(LEAST, round(positives / 4)), test),
            signal_imbalance=10.0,
        ),
        ratio=ratio,
        positives=positives,
        bayes=True,
    )


def real(name: str, classes: tuple[str, str], ratio: int, positives: int) -> Cell:
    """Two classes of a public set (``imbal_jax.suite.sets``); test is as it is."""
    return Cell(
        name=f"{name}-{ratio}-{positives}",
        set=name,
        data=Data(
            source=f"imbal_jax.suite.sets:{name}",
            dir=FOLDER / name,
            image_size=SIDE,
            classes=classes,
            negative_class=classes[0],
            phantom_images=positives * (1 + ratio),
            phantom_imbalance=ratio,
        ),
        ratio=ratio,
        positives=positives,
    )


def ham10000(ratio: int, positives: int) -> Cell:
    """Melanoma against nevi."""
    return real("ham10000", ("nv", "mel"), ratio, positives)


def kermany(ratio: int, positives: int) -> Cell:
    """Pneumonia by viruses against all else."""
    return real("kermany", ("rest", "virus"), ratio, positives)


def cifar10(ratio: int, positives: int) -> Cell:
    """Automobiles against all else."""
    return real("cifar10", ("rest", "automobile"), ratio, positives)
