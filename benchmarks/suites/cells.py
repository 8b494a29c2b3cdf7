"""The data conditions of the suites: known signals in noise, skin lesions, chest X-rays and photographs."""

import os
from pathlib import Path

from imbal_jax.config import Data
from imbal_jax.suite import Cell

FOLDER = Path(os.environ.get("IMBAL_JAX_DATA", "data"))
"""Where the real sets lie, each in a folder of its name: ham10000, chest_xray_kermany, cifar10."""

SIDE = 32


def signals(ratio: int, positives: int, side: int = SIDE) -> Cell:
    """Blobs at one of 16 places in white noise, d' 4; validation has a quarter of the positives, test 400."""
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
            detectability=4.0,
            signal_places=16,
            signal_positives=(max(5, positives // 4), 400),
            signal_imbalance=10.0,
        ),
        ratio=ratio,
        positives=positives,
        bayes=True,
    )


def real(name: str, folder: str, classes: tuple[str, str], ratio: int, positives: int) -> Cell:
    """Two classes of a public set (``imbal_jax.suite.sets``); test is as it is."""
    return Cell(
        name=f"{name}-{ratio}-{positives}",
        set=name,
        data=Data(
            source=f"imbal_jax.suite.sets:{name}",
            dir=FOLDER / folder,
            image_size=SIDE,
            fit=None,
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
    return real("ham10000", "ham10000", ("nv", "mel"), ratio, positives)


def kermany(ratio: int, positives: int) -> Cell:
    """Pneumonia by viruses against all else."""
    return real("kermany", "chest_xray_kermany", ("rest", "virus"), ratio, positives)


def cifar10(ratio: int, positives: int) -> Cell:
    """Automobiles against all else."""
    return real("cifar10", "cifar10", ("rest", "automobile"), ratio, positives)
