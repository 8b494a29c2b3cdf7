"""HAM10000's masks of lesions: in the published layout and in the condensed copy."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from imbal_jax.data.dataset import check_dataset
from imbal_jax.data.images.geometry import AskedGeometry
from imbal_jax.data.sources.public_sets import PUBLIC
from imbal_jax.errors import InputError

ROWS = [("ISIC_0024306", "HAM_0000550"), ("ISIC_0024307", "HAM_0003577"), ("ISIC_0027419", "HAM_0003577")]


def skin(folder, **options):
    return PUBLIC["skin_lesions"].load(folder, AskedGeometry(**{"size": 60, **options}))


def encoded(array, kind):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, quality=95)
    return file.getvalue()


def lesion(place, shape=(45, 60)):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(rows / shape[0] - 0.4, columns / shape[1] - 0.3 - 0.1 * place) < 0.15


def picture(mask):
    return np.where(mask[..., None], (90, 50, 40), (220, 170, 150)).astype(np.uint8)


def write_archive(folder):
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    lines += [f"{group},{name},nv,histo,80.0,male,scalp" for name, group in ROWS]
    lines.append("HAM_9,ISIC_0099999,nv,histo,80.0,male,scalp")
    (folder / "HAM10000_metadata.csv").write_text("\n".join(lines) + "\n")
    with zipfile.ZipFile(folder / "HAM10000_images_part_1.zip", "w") as images:
        for place, (name, _) in enumerate(ROWS):
            images.writestr(f"{name}.jpg", encoded(picture(lesion(place)), "JPEG"))
        images.writestr("ISIC_0099999.jpg", encoded(picture(lesion(5)), "JPEG"))
    with zipfile.ZipFile(folder / "HAM10000_segmentations_lesion_tschandl.zip", "w") as masks:
        for place, (name, _) in enumerate(ROWS):
            content = encoded((lesion(place) * 255).astype(np.uint8), "PNG")
            masks.writestr(f"HAM10000_segmentations_lesion_tschandl/{name}_segmentation.png", content)
    return folder


def test_published_masks_lie_on_their_pictures_by_lesion(tmp_path) -> None:
    data, split = skin(write_archive(tmp_path))
    assert split is None
    check_dataset(data)
    assert data.classes == ("background", "lesion")
    assert data.groups.tolist() == [group for _, group in ROWS]
    assert data.grouped_by == "lesion"
    for place, (image, mask) in enumerate(zip(data.images, data.labels, strict=True)):
        np.testing.assert_array_equal(mask[7:52], lesion(place))
        assert (mask[:7] == -1).all()
        dark = (image[..., 0] < 150) & (mask >= 0)
        assert (dark != (mask == 1)).mean() < 0.01
    assert any("1 pictures without a mask" in note for note in data.notes)


def test_the_condensed_copy_has_the_same_masks_in_any_fit(tmp_path) -> None:
    shape = (150, 200)
    jpegs = [encoded(picture(lesion(place, shape)), "JPEG") for place in range(3)]
    np.savez(
        tmp_path / "ham10000_200x150.npz",
        jpeg=np.frombuffer(b"".join(jpegs), np.uint8),
        offsets=np.cumsum([0, *map(len, jpegs)]),
        labels=np.zeros(3, np.int32),
        lesion=np.array([group for _, group in ROWS]),
        masks=np.stack([np.packbits(lesion(place, shape)) for place in range(3)]),
        mask_shape=np.array(shape),
    )
    for fit in ("pad", "squeeze", "crop"):
        data, _ = skin(tmp_path, size=64, fit=fit)
        assert data.labels.shape == (3, 64, 64)
        assert (data.labels == -1).any() == (fit == "pad")
        dark = (data.images[..., 0] < 155) & (data.labels >= 0)
        assert (dark != (data.labels == 1)).mean() < 0.02
    assert data.groups.tolist() == [group for _, group in ROWS]


def test_what_is_missing_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"HAM10000_segmentations_lesion_tschandl\.zip"):
        skin(tmp_path)
    write_archive(tmp_path)
    (tmp_path / "HAM10000_segmentations_lesion_tschandl.zip").unlink()
    with pytest.raises(InputError, match="no picture of HAM10000_metadata with a mask"):
        skin(tmp_path)


@pytest.mark.real_data
def test_the_real_masks_cover_darker_skin(real_data) -> None:
    data, _ = skin(real_data / "ham10000", size=48)
    assert data.labels.shape == (8625, 48, 48)
    assert len(np.unique(data.groups)) == 6429
    assert (data.labels == -1).mean() == pytest.approx(0.25, abs=0.01)
    grey = data.images.mean(axis=-1)
    lesions = [
        image[mask == 1].mean() < image[mask == 0].mean()
        for image, mask in zip(grey, data.labels, strict=True)
        if (mask == 1).sum() > 20 and (mask == 0).sum() > 20
    ]
    assert len(lesions) > 8000
    assert np.mean(lesions) > 0.95
