"""CHASE_DB1 as it is published."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from imbal_jax.data.dataset import check_dataset
from imbal_jax.data.images.geometry import AskedGeometry
from imbal_jax.data.sources.public_sets import PUBLIC
from imbal_jax.errors import InputError

SHAPE = (48, 50)


def chase(folder, name="chase", **options):
    return PUBLIC[name].load(folder, AskedGeometry(**{"size": 50, **options}))


def encoded(array, kind, mode=None):
    file = io.BytesIO()
    Image.fromarray(array).convert(mode).save(file, kind)
    return file.getvalue()


def vessels(number, side):
    mask = np.zeros(SHAPE, np.uint8)
    mask[5 + number : 8 + number, 4:40] = 255
    return mask if side == "L" else mask[:, ::-1]


def files(ending="HO", people=(1, 2, 9, 12)):
    found = {}
    for number in people:
        for side in "LR":
            name, mask = f"Image_{number:02}{side}", vessels(number, side)
            grey = 90 + np.random.default_rng(number).integers(0, 40, SHAPE).astype(np.uint8)
            picture = np.stack([grey, np.where(mask > 0, 40, 120).astype(np.uint8), grey // 3], -1)
            found[f"{name}.jpg"] = encoded(picture, "JPEG")
            found[f"{name}_1st{ending}.png"] = encoded(mask, "PNG", "1")
            if ending and number < 9:
                found[f"{name}_2nd{ending}.png"] = encoded(np.roll(mask, 1, 0), "PNG", "1")
    return found


def write(folder, found, archive=False):
    if archive:
        with zipfile.ZipFile(folder / "CHASEDB1.zip", "w") as packed:
            for name, data in found.items():
                packed.writestr(name, data)
    else:
        for name, data in found.items():
            (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("archive", [False, True])
def test_the_published_layout_is_read_by_person_with_its_masks(tmp_path, archive) -> None:
    data, split = chase(write(tmp_path, files(), archive))
    check_dataset(data)
    assert data.classes == ("background", "vessel")
    assert data.groups.tolist() == [1, 1, 2, 2, 9, 9, 12, 12]
    assert {part: rows.tolist() for part, rows in split.items()} == {
        "train": [0, 1, 2, 3],
        "validation": [4, 5],
        "test": [6, 7],
    }
    assert data.images.shape == (8, 50, 50, 3)
    for place, (number, side) in enumerate((n, s) for n in (1, 2, 9, 12) for s in "LR"):
        # 48 rows in 50: one row above and below is no picture
        assert (data.labels[place][[0, 49]] == -1).all()
        np.testing.assert_array_equal(data.labels[place][1:49], vessels(number, side) > 0)
        green = data.images[place, 1:49, :, 1].astype(int)
        inside = vessels(number, side) > 0
        assert green[inside].mean() + 50 < green[~inside].mean()
    assert any("no field of view" in note for note in data.notes)


def test_the_second_observer_is_a_set_of_its_own_and_what_has_no_mask_is_left_out(tmp_path) -> None:
    data, _ = chase(write(tmp_path, files()), "chase_second")
    assert data.groups.tolist() == [1, 1, 2, 2]
    np.testing.assert_array_equal(data.labels[0][1:49], np.roll(vessels(1, "L"), 1, 0) > 0)
    assert any("4 pictures have no mask of the 2nd observer" in note for note in data.notes)


def test_files_that_do_not_fit_are_refused_in_a_line(tmp_path) -> None:
    with pytest.raises(InputError, match=r"no images in .*CHASEDB1\.zip"):
        chase(tmp_path)
    found = files(people=(1,))
    found["Image_01L_1stHO.png"] = encoded(vessels(1, "L")[:40], "PNG")
    with pytest.raises(InputError, match=r"a mask in .* has 40 x 50 pixels, its picture 48 x 50"):
        chase(write(tmp_path, found))
    (tmp_path / "Image_01L_1stHO.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a mask in .* is no PNG"):
        chase(tmp_path)


@pytest.mark.real_data
def test_the_real_masks_have_their_share_of_vessels_and_lie_on_dark_pixels(real_data) -> None:
    data, split = chase(real_data / "retina_chase", size=480)
    assert data.images.shape == (20, 480, 480, 3)
    assert len(np.unique(data.groups)) == 10
    assert [len(split[part]) for part in ("train", "validation")] == [16, 4]
    seen = data.labels >= 0
    stored = [np.asarray(Image.open(path)) > 0 for path in (real_data / "retina_chase").glob("*_1st.png")]
    assert (data.labels[seen] == 1).mean() == pytest.approx(np.mean(stored), abs=0.001)
    green = data.images[..., 1].astype(float)
    for image, mask in zip(green, data.labels, strict=True):
        beside = ndimage.binary_dilation(mask == 1, iterations=3) & (mask == 0)
        assert image[mask == 1].mean() + 3 < image[beside].mean()
