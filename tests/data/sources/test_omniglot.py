"""Omniglot as it is published: archives of drawings of one bit, black on white."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from imbal_jax.data.dataset import check_dataset
from imbal_jax.data.images.geometry import AskedGeometry
from imbal_jax.data.sources.public_sets import PUBLIC
from imbal_jax.errors import InputError
from imbal_jax.files import DamagedError

PARTS = {"images_background": ("Latin", "Greek"), "images_evaluation": ("Tengwar",)}


def drawing(number):
    """A stroke of ink, 0, on paper, 1, as the archives have it."""
    pixels = np.ones((105, 105), bool)
    pixels[30:75, 20 + 10 * (number % 5) : 30 + 10 * (number % 5)] = False
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def archives(folder):
    folder.mkdir(exist_ok=True)
    number = 0
    for part, alphabets in PARTS.items():
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for alphabet in alphabets:
                for character in (1, 2):
                    number += 1
                    for drawer in (1, 2, 3):
                        name = f"{part}/{alphabet}/character{character:02}/{number:04}_{drawer:02}.png"
                        archive.writestr(name, drawing(number))
    return folder


def read(folder, size=21):
    data, split = PUBLIC["omniglot"].load(folder, AskedGeometry(size=size))
    assert split is None
    return check_dataset(data)


def test_the_archives_give_ink_on_paper_by_character(tmp_path):
    data = read(archives(tmp_path / "set"))
    assert data.images.shape == (18, 21, 21, 1)
    assert data.classes == tuple(f"{a}/character0{c}" for a in ("Greek", "Latin", "Tengwar") for c in (1, 2))
    assert np.bincount(data.labels).tolist() == [3] * 6
    assert len(np.unique(data.groups)) == 18
    # Greek/character01 is the third character: ink at columns 50 to 59 of 105, every fifth pixel here
    ink = data.images[data.labels == 0][..., 0]
    assert (ink[:, 8:13, 10:12] > 200).all()
    assert (ink[:, :, :8] < 5).all()
    assert (ink[:, :, 14:] < 5).all()


def test_the_condensed_copy_gives_the_same(tmp_path):
    data = read(archives(tmp_path / "set"))
    pictures = data.images[..., 0].reshape(6, 3, 21, 21)
    names = np.array(data.classes)
    known = {"background": slice(0, 4), "evaluation": slice(4, 6)}
    folder = tmp_path / "condensed"
    folder.mkdir()
    arrays = {part: pictures[of] for part, of in known.items()}
    arrays |= {f"{part}_names": names[of] for part, of in known.items()}
    np.savez(folder / "omniglot_21.npz", **arrays)
    copy = read(folder)
    np.testing.assert_array_equal(copy.images, data.images)
    np.testing.assert_array_equal(copy.labels, data.labels)
    assert copy.classes == data.classes
    with pytest.raises(InputError, match=r"holds omniglot_21.npz and no omniglot_28.npz"):
        read(folder, size=28)
    np.savez(folder / "omniglot_21.npz", **{**arrays, "background_names": names[:3]})
    with pytest.raises(DamagedError, match="3 names of 4 characters"):
        read(folder)


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(InputError, match=r"images_background\.zip"):
        read(tmp_path)
    (tmp_path / "one.png").write_bytes(drawing(1))
    assert PUBLIC["omniglot"].files[0].md5 == "68d2efa1b9178cc56df9314c21c6e718"
