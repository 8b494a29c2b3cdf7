"""A public set of masks becomes records that hold picture and mask together."""

import io
import shutil

import numpy as np
from PIL import Image
from rich.console import Console

from imbal_jax.config import Data
from imbal_jax.data.dataset import check_dataset
from imbal_jax.data.images.geometry import AskedGeometry
from imbal_jax.data.ingest.prepare import PrepareOptions, prepare
from imbal_jax.data.read import read
from imbal_jax.data.records.array_records import parse
from imbal_jax.data.sources.public_sets import PUBLIC


def test_chase_as_records_is_the_set_itself(tmp_path) -> None:
    folder = tmp_path / "chase"
    folder.mkdir()
    for number in (1, 2, 9, 11):
        for side in "LR":
            mask = np.zeros((30, 40), np.uint8)
            mask[3 + number : 6 + number, 5:30] = 255
            picture = np.random.default_rng(number).integers(0, 255, (30, 40, 3)).astype(np.uint8)
            Image.fromarray(picture).save(folder / f"Image_{number:02}{side}.jpg")
            Image.fromarray(mask).save(folder / f"Image_{number:02}{side}_1stHO.png")
    said = io.StringIO()
    prepare(PrepareOptions(name="chase", dir=folder, out=tmp_path / "out", size=32), Console(file=said))
    direct, split = PUBLIC["chase"].load(folder, AskedGeometry(size=32))
    data, given = read(Data(source="records", dir=tmp_path / "out"), tmp_path, lambda line: None)
    check_dataset(data)
    assert data.classes == ("background", "vessel")
    assert data.geometry == direct.geometry
    assert not isinstance(data.images, np.ndarray)  # on disk
    for part, rows in split.items():
        np.testing.assert_array_equal(data.images[given[part]], direct.images[rows])
        np.testing.assert_array_equal(data.labels[given[part]], direct.labels[rows])
    assert (np.asarray(data.labels) == -1).any()
    assert data.labels.dtype == np.int8
    taken = data.take(given["test"])
    np.testing.assert_array_equal(taken.labels, direct.labels[split["test"]])
    # the mask is in the record too, beside its picture
    record = parse(data.images.files[int(data.images.rows[given["test"][0]])])
    assert {"image", "mask"} <= set(record)
    # the index is made again from the records
    shutil.rmtree(tmp_path / "out" / "index")
    (tmp_path / "out" / "checksums.json").unlink()
    again, _ = read(Data(source="records", dir=tmp_path / "out"), tmp_path, lambda line: None)
    np.testing.assert_array_equal(again.labels, data.labels)
