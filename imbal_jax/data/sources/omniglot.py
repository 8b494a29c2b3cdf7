"""Omniglot: 1,623 hand-written characters of 50 alphabets, each drawn by 20 people (Lake et al. 2015)."""

from pathlib import Path

import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import AskedGeometry, published_picture
from imbal_jax.data.sources.archives import AGAIN, pictures
from imbal_jax.data.sources.npz_copies import Expected, read_condensed
from imbal_jax.data.sources.public_set import File, Loaded, PublicSet
from imbal_jax.errors import InputError
from imbal_jax.files import DamagedError

PARTS = ("background", "evaluation")
"""The 30 and 20 alphabets that the source keeps apart; few-shot studies since Vinyals et al. 2016 draw from all."""

INK = "pictures are turned to ink 255 on paper 0; labels are characters, and each drawing counts as its own person"


def read_omniglot(source: PublicSet, folder: Path, asked: AskedGeometry, download: bool) -> Loaded:
    """All drawings, ink 255 on paper 0, a class a character, by name; the source's split by alphabet is not used.

    folder: holds images_background.zip and images_evaluation.zip, or what is in them, ALPHABET/CHARACTER/*.png; or
    the condensed omniglot_SIZE.npz, whose arrays background and evaluation are [characters, drawings, SIZE, SIZE] of
    ink. One channel. Raises InputError for a missing file, and DamagedError.
    """
    size = asked.size
    condensed = folder / f"omniglot_{size}.npz"
    if condensed.is_file():
        return _condensed(condensed, size), None
    others = sorted(path.name for path in folder.glob("omniglot_*.npz"))
    if others:
        raise InputError(
            f"{folder} holds {', '.join(others)} and no omniglot_{size}.npz: set --data.image-size to one of them"
        )
    if not any(pictures(folder, ".png")):
        source.fetch(folder, download)
    geometry = asked.geometry(channels=1)
    found: dict[str, list[np.ndarray]] = {}
    for name, data in pictures(folder, ".png"):
        where = Path(name).parts
        if len(where) < 3:
            raise InputError(
                f"a picture in {folder} is not in ALPHABET/CHARACTER: unpack the archives as they are"
            )
        pixels, _ = published_picture(geometry, data, f"a picture in {folder}")
        found.setdefault("/".join(where[-3:-1]), []).append(255 - pixels)
    if not found:
        raise InputError(f"no drawings in {folder}: {source.placement}")
    names = sorted(found)
    images = np.concatenate([np.stack(found[name]) for name in names])
    labels = np.repeat(np.arange(len(names), dtype=np.int32), [len(found[name]) for name in names])
    return _dataset(images, labels, tuple(names)), None


def _condensed(path: Path, size: int) -> Dataset:
    drawn: Expected = dict.fromkeys(PARTS, (np.uint8, (None, None, size, size)))
    called: Expected = {f"{part}_names": (np.str_, (None,)) for part in PARTS}
    arrays = read_condensed(path, {**drawn, **called})
    images, names = [], []
    for part in PARTS:
        drawings, of_part = arrays[part], arrays[f"{part}_names"].tolist()
        if len(of_part) != len(drawings):
            raise DamagedError(
                f"{path} is damaged ({len(of_part)} names of {len(drawings)} characters): {AGAIN}"
            )
        images.append(drawings.reshape(-1, size, size, 1))
        names += [name for name in of_part for _ in range(drawings.shape[1])]
    classes, labels = np.unique(names, return_inverse=True)
    return _dataset(np.concatenate(images), labels.astype(np.int32), tuple(classes.tolist()))


def _dataset(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> Dataset:
    return Dataset(images, labels, np.arange(len(images)), classes, (INK,))


OMNIGLOT = PublicSet(
    name="omniglot",
    read=read_omniglot,
    homepage="https://github.com/brendenlake/omniglot",
    licence="MIT",
    citation="Lake, Salakhutdinov and Tenenbaum 2015, Human-level concept learning through probabilistic program "
    "induction, Science 350:1332",
    placement="place images_background.zip and images_evaluation.zip from "
    "https://github.com/brendenlake/omniglot/tree/master/python there",
    files=tuple(
        File(
            f"{name}.zip",
            f"https://raw.githubusercontent.com/brendenlake/omniglot/master/python/{name}.zip",
            md5=md5,
        )
        for name, md5 in (
            ("images_background", "68d2efa1b9178cc56df9314c21c6e718"),
            ("images_evaluation", "6b91aef0f799c5bb55b94e3f2daec811"),
        )
    ),
)
