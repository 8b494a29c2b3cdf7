"""A folder of one's own pictures with masks: by names, by a table, by COCO, by run lengths."""

import json

import numpy as np
import pytest
from PIL import Image

from imbal_jax.config import Data
from imbal_jax.data.dataset import Dataset, check_dataset
from imbal_jax.data.read import read
from imbal_jax.errors import InputError

SHAPE = (24, 32)
COUNT = 4


def truth(place, shape=SHAPE):
    mask = np.zeros(shape, np.uint8)
    mask[3 + place : 9 + place, 5 : 14 + 2 * place] = 1
    return mask


def picture(place, shape=SHAPE):
    noise = np.random.default_rng(place).integers(0, 60, shape)
    return (noise + 150 * truth(place, shape)).astype(np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, array)
    else:
        Image.fromarray(array).save(path, **options)


def make(folder, image="images/p{}.png", mask="masks/p{}.png", values=(0, 255)):
    for place in range(COUNT):
        save(folder / image.format(place), picture(place))
        if mask:
            save(folder / mask.format(place), np.array(values, np.uint8)[truth(place)])
    return folder


def loaded(folder, tmp_path, said=None, **options):
    values = {"source": "folder", "dir": folder, "image_size": 32, **options}
    said = [] if said is None else said
    return read(Data(**values), tmp_path / "work", said.append)


def check(data, count=COUNT):
    assert data.labels.shape == (count, 32, 32)
    assert data.labels.dtype == np.int8
    for image, mask in zip(data.images[..., 0], data.labels, strict=True):
        assert (mask[:4] == -1).all()
        assert (mask[28:] == -1).all()
        np.testing.assert_array_equal(mask[4:28] == 1, image[4:28] > 100)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/p{}.png", "masks/p{}.png"),
        ("p{}.png", "masks/P{}.tif"),
        ("p{}.png", "p{}_mask.bmp"),
        ("a/Images/p{}.png", "a/Masks/p{}_seg.npy"),
        ("p{}.png", "segmentations/p{}-segmentation.npz"),
    ],
)
def test_masks_are_found_by_their_names(tmp_path, image, mask) -> None:
    said = []
    data, split = loaded(make(tmp_path / "d", image, mask), tmp_path, said)
    check(check_dataset(data))
    assert split is None
    assert data.classes == ("background", "foreground")
    assert any(line.startswith("masks of 4 pictures found by their names") for line in said)
    assert "values of the masks: 0 background, 255 foreground" in said


def test_a_folder_is_read_in_python_too(tmp_path) -> None:
    folder = make(tmp_path / "d")
    data = Dataset.from_folder(folder, size=32, masks="auto", classes=("skin", "scar"))
    check(data)
    assert data.classes == ("skin", "scar")
    assert "values of the masks: 0 skin, 255 scar" in data.notes


def test_folders_of_parts_are_the_split_and_paths_name_patients(tmp_path) -> None:
    for place, part in enumerate(["train", "train", "val", "test"]):
        name = f"patient{place // 2 + 1 + place // 3}_{place}"
        save(tmp_path / "d" / part / "images" / f"{name}.png", picture(place))
        save(tmp_path / "d" / part / "masks" / f"{name}.png", truth(place) * 255)
    data, split = loaded(tmp_path / "d", tmp_path)
    order = {part: rows.tolist() for part, rows in split.items()}
    assert sorted(len(rows) for rows in order.values()) == [1, 1, 2]
    assert len(np.unique(data.groups)) == 3
    assert len(set(data.groups[order["train"]].tolist())) == 1


def test_a_folder_of_masks_may_have_any_name_and_lie_elsewhere(tmp_path) -> None:
    folder = make(tmp_path / "d", "p{}.png", "gt/p{}.png")
    check(loaded(folder, tmp_path, masks="gt")[0])
    (folder / "gt").rename(tmp_path / "elsewhere")
    check(loaded(folder, tmp_path, masks=str(tmp_path / "elsewhere"))[0])
    with pytest.raises(InputError, match=r"data\.masks is 'gone': no such file or folder"):
        loaded(folder, tmp_path, masks="gone")


def test_a_table_gives_patients_and_labels_of_images_come_first(tmp_path) -> None:
    folder = make(tmp_path / "d")
    rows = [f"p{place}.png,s{place // 2}" for place in range(COUNT)]
    (folder / "people.csv").write_text("\n".join(["file,patient", *rows]))
    data, _ = loaded(folder, tmp_path)
    check(data)
    assert len(np.unique(data.groups)) == 2
    (folder / "people.csv").unlink()
    labels = "\n".join(["file,label", *(f"images/p{place}.png,{'ab'[place % 2]}" for place in range(COUNT))])
    (folder / "labels.csv").write_text(labels)
    assert loaded(folder, tmp_path)[0].labels.shape == (COUNT,)
    check(loaded(folder, tmp_path, masks="beside")[0])


def test_a_column_names_the_masks(tmp_path) -> None:
    folder = make(tmp_path / "d", "x/{}.png", "y/m{}.png")
    rows = [f"x/{place}.png,y/m{place}.png,s{place}" for place in range(COUNT)]
    (folder / "labels.csv").write_text("\n".join(["file,where,patient", *rows[:3], "x/3.png,,s3"]))
    said = []
    data, _ = loaded(folder, tmp_path, said, columns=("mask=where",))
    check(data, 3)
    assert "1 rows have no mask: left out" in said
    assert any("masks by column where" in line for line in said)


def test_values_are_classes_in_their_order_and_one_is_ignored(tmp_path) -> None:
    folder = make(tmp_path / "d", values=(10, 40))
    with Image.open(folder / "masks/p0.png") as image:
        stored = np.array(image)
    stored[20:22] = 90
    stored[22:] = 255
    save(folder / "masks/p0.png", stored)
    data, _ = loaded(folder, tmp_path, ignore_value=255)
    assert data.classes == ("10", "40", "90")
    assert np.unique(data.labels[0]).tolist() == [-1, 0, 1, 2]
    assert (data.labels[0][26:] == -1).all()
    assert (data.labels[0][24:26] == 2).all()
    named, _ = loaded(folder, tmp_path, ignore_value=255, classes=("skin", "scar", "ink"))
    assert named.classes == ("skin", "scar", "ink")
    with pytest.raises(InputError, match=r"hold 4 values \(10, 40, 90, 255\), and 3 classes are named"):
        loaded(folder, tmp_path, classes=("skin", "scar", "ink"))


def test_palettes_bits_and_colours_are_values(tmp_path) -> None:
    folder = make(tmp_path / "d", mask="")
    for place in range(COUNT):
        palette = Image.fromarray(truth(place)).convert("L")
        palette.putpalette([9, 9, 9, 200, 200, 200])
        path = folder / f"masks/p{place}.png"
        path.parent.mkdir(exist_ok=True)
        if place == 0:
            palette.save(path)
        elif place == 1:
            Image.fromarray(truth(place) * 255).convert("1").save(path)
        else:
            Image.fromarray(np.repeat(truth(place)[..., None], 3, -1)).save(path)
    check(loaded(folder, tmp_path)[0])
    for place in range(COUNT):
        colours = np.array([[0, 0, 0], [255, 0, 128]], np.uint8)[truth(place)]
        Image.fromarray(colours).save(folder / f"masks/p{place}.png")
    check(loaded(folder, tmp_path)[0])


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_the_orientation_of_a_picture_turns_its_mask(tmp_path, orientation) -> None:
    folder = make(tmp_path / "d")
    exif = Image.Exif()
    exif[274] = orientation
    for place in range(COUNT):
        save(folder / f"images/p{place}.png", picture(place), exif=exif)
    data, _ = loaded(folder, tmp_path)
    for image, mask in zip(data.images[..., 0], data.labels, strict=True):
        np.testing.assert_array_equal((mask == 1)[mask >= 0], (image > 100)[mask >= 0])
    if orientation != 3:  # drawn on what a viewer shows
        turned = {6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}[orientation]
        for place in range(COUNT):
            Image.fromarray(truth(place) * 255).transpose(turned).save(folder / f"masks/p{place}.png")
        again, _ = loaded(folder, tmp_path)
        np.testing.assert_array_equal(again.labels, data.labels)


def test_what_is_wrong_with_a_mask_is_said_by_row(tmp_path) -> None:
    folder = make(tmp_path / "d")
    save(folder / "masks/p2.png", truth(2)[:20])
    with pytest.raises(
        InputError, match="the mask of picture 3 in the order of names has 20 x 32 pixels, its"
    ) as e:
        loaded(folder, tmp_path)
    assert "p2" not in str(e.value)
    (folder / "masks/p2.png").unlink()
    save(folder / "masks/p2.jpg", truth(2) * 255)
    with pytest.raises(InputError, match=r"picture 3 .* is a JPEG picture, whose values are not exact"):
        loaded(folder, tmp_path)
    (folder / "masks/p2.jpg").unlink()
    save(folder / "masks/p2.npy", truth(2) * 0.5)
    with pytest.raises(InputError, match="holds numbers that are not whole"):
        loaded(folder, tmp_path)
    save(folder / "masks/p2.npy", np.arange(24 * 32).reshape(SHAPE) % 90)
    with pytest.raises(
        InputError, match=r"the masks hold 91 values \(0, 1, .*, which are grey levels rather than"
    ):
        loaded(folder, tmp_path)
    (folder / "masks/p2.npy").unlink()
    said = []
    assert len(loaded(folder, tmp_path, said)[0]) == 3
    assert "1 pictures have no mask: left out" in said
    save(folder / "masks/p1_mask.png", truth(1))
    with pytest.raises(InputError, match="1 pictures have several masks by their names"):
        loaded(folder, tmp_path)


def test_two_copies_of_a_picture_with_other_masks_contradict_each_other(tmp_path) -> None:
    folder = make(tmp_path / "d")
    save(folder / "images/p9.png", picture(0))
    save(folder / "masks/p9.png", truth(1) * 255)
    said = []
    check(loaded(folder, tmp_path, said)[0], 3)
    assert any(line.startswith("left out 2: conflicting") for line in said)


def runs(mask, kind):
    """Run lengths of a mask, pixel by pixel."""
    flat = mask.ravel() if kind == "rows" else mask.T.ravel()
    starts = [k for k in range(len(flat)) if flat[k] and (k == 0 or not flat[k - 1])]
    lengths = [next((n for n in range(len(flat) - k) if not flat[k + n]), len(flat) - k) for k in starts]
    if kind == "relative":
        ends = [0, *(s + n for s, n in zip(starts, lengths, strict=True))]
        starts = [s - end for s, end in zip(starts, ends[:-1], strict=True)]
    else:
        starts = [s + 1 for s in starts]
    return " ".join(f"{s} {n}" for s, n in zip(starts, lengths, strict=True)) or "-1"


@pytest.mark.parametrize("kind", ["columns", "rows", "relative"])
def test_a_table_of_run_lengths_as_contests_give_it(tmp_path, kind) -> None:
    folder = make(tmp_path / "d", "p{}.png", "")
    lines = [f"p{place}, {runs(truth(place), kind)}" for place in range(1, COUNT)]
    half = truth(0).copy()
    half[:, 8:] = 0
    lines += [f"p0, {runs(half, kind)}", f"p0, {runs(truth(0) - half, kind)}"]
    save(folder / "p8.png", picture(7) // 3)
    (folder / "train-rle.csv").write_text("\n".join(["ImageId, EncodedPixels", *lines, "p8, -1"]))
    with pytest.raises(InputError, match=r"holds run lengths: say which, --data\.run-lengths"):
        loaded(folder, tmp_path)
    data, _ = loaded(folder, tmp_path, run_lengths=kind)
    check(data, 5)
    assert data.image_labels[:, 1].tolist() == [1, 1, 1, 1, 0]


def test_a_column_of_classes_goes_with_run_lengths(tmp_path) -> None:
    folder = make(tmp_path / "d", "p{}.png", "")
    lines = [f"p{place},{runs(truth(place), 'columns')},{1 + place % 2}" for place in range(COUNT)]
    (folder / "train.csv").write_text("\n".join(["ImageId,EncodedPixels,ClassId", *lines]))
    data, _ = loaded(folder, tmp_path, run_lengths="columns")
    assert data.classes == ("background", "1", "2")
    assert data.image_labels.tolist() == [[1, 1, 0], [1, 0, 1]] * 2
    (folder / "train.csv").write_text("\n".join(["ImageId,EncodedPixels,ClassId", *lines[:3], "p3,1 2,"]))
    with pytest.raises(InputError, match=r"train\.csv row 5 has run lengths and no class"):
        loaded(folder, tmp_path, run_lengths="columns")
    (folder / "train.csv").write_text("\n".join(["ImageId,EncodedPixels", "p0,1 3", "p1,700 99"]))
    with pytest.raises(InputError, match=r"^row 3: the mask has runs that go back or beyond 24 x 32 pixels"):
        loaded(folder, tmp_path, run_lengths="columns")


def coco(folder, annotations, names=("nodule",)):
    values = {
        "images": [{"id": 10 + k, "file_name": f"p{k}.png", "height": 24, "width": 32} for k in range(COUNT)],
        "categories": [{"id": 3 * (k + 1), "name": name} for k, name in enumerate(names)],
        "annotations": annotations,
    }
    (folder / "annotations.json").write_text(json.dumps(values))
    return folder


def counts(mask):
    flat = mask.T.ravel()
    found, now = [0], 0
    for value in flat:
        if value != now:
            found.append(0)
            now = value
        found[-1] += 1
    return found


def box(place):
    top, left, bottom, right = 3 + place, 5, 9 + place, 14 + 2 * place
    return [[left, top, right, top, right, bottom, left, bottom]]


def test_a_coco_file_with_polygons_and_run_lengths(tmp_path) -> None:
    folder = make(tmp_path / "d", "p{}.png", "")
    rle = {"counts": counts(truth(2)), "size": [24, 32]}
    crowd = np.zeros(SHAPE, int)
    crowd[20:] = 1
    annotations = [
        {"image_id": 10, "category_id": 3, "segmentation": box(0)},
        {"image_id": 11, "category_id": 3, "segmentation": box(1), "iscrowd": 0},
        {"image_id": 12, "category_id": 3, "segmentation": rle},
        {
            "image_id": 12,
            "category_id": 3,
            "segmentation": {"counts": counts(crowd), "size": [24, 32]},
            "iscrowd": 1,
        },
    ]
    said = []
    data, _ = loaded(coco(folder, annotations), tmp_path, said, masks="annotations.json")
    assert data.classes == ("background", "nodule")
    for place in range(3):
        np.testing.assert_array_equal(data.labels[place][4:28] == 1, truth(place) == 1)
    assert (data.labels[2][24:28] == -1).all()
    assert (data.labels[3][4:28] == 0).all()
    assert any("4 regions of nodule, 1 of crowds, which are ignored" in line for line in said)
    annotations[1]["segmentation"] = [[1, 2]]
    with pytest.raises(InputError, match=r"annotation 2 of 4 has a polygon of fewer than three corners"):
        loaded(coco(folder, annotations), tmp_path, masks="annotations.json")


def test_overlapping_classes_of_coco_are_labels_or_the_smaller_one(tmp_path) -> None:
    folder = make(tmp_path / "d", "p{}.png", "")
    small = [[6, 4, 8, 4, 8, 6, 6, 6]]
    annotations = [{"image_id": 10 + k, "category_id": 6, "segmentation": box(k)} for k in range(COUNT)] + [
        {"image_id": 10, "category_id": 3, "segmentation": small}
    ]
    coco(folder, annotations, ("vessel", "organ"))
    with pytest.raises(InputError, match=r"overlap in 1 pictures: --data\.label-kind many"):
        loaded(folder, tmp_path, masks="annotations.json")
    one, _ = loaded(folder, tmp_path, masks="annotations.json", label_kind="one")
    assert one.classes == ("background", "vessel", "organ")
    assert (one.labels[0][4:28][4:6, 6:8] == 1).all()
    assert (one.labels[0] == 2).sum() == truth(0).sum() - 4
    many, _ = loaded(folder, tmp_path, masks="annotations.json", label_kind="many")
    assert many.classes == ("vessel", "organ")
    assert many.labels.shape == (COUNT, 32, 32, 2)
    np.testing.assert_array_equal(many.labels[0, 4:28, :, 1] == 1, truth(0) == 1)
    assert (many.labels[..., 0] == 1).sum() == 4
    assert many.image_labels.tolist() == [[1, 1], [0, 1], [0, 1], [0, 1]]


def disc():
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return ((rows - 12) ** 2 + (columns - 16) ** 2 <= 100).astype(np.uint8)


@pytest.mark.parametrize(("name", "inside"), [("fov/p{}.png", True), ("fields/p{}_mask.tif", False)])
def test_pixels_beyond_the_field_of_view_do_not_count(tmp_path, name, inside) -> None:
    folder = make(tmp_path / "d")
    for place in range(COUNT):
        save((folder if inside else tmp_path) / name.format(place), disc() * 255)
    field = name.split("/")[0]
    said = []
    data, _ = loaded(folder, tmp_path, said, field_of_view=field if inside else str(tmp_path / field))
    assert len(data) == COUNT  # the fields are neither pictures nor masks
    assert any("pixels beyond the field of view" in line for line in said)
    assert not any("have no mask" in line for line in said)
    for place, mask in enumerate(data.labels):
        expected = np.where(disc() > 0, truth(place).astype(np.int8), -1)
        np.testing.assert_array_equal(mask[4:28], expected)


def test_a_field_of_view_belongs_to_run_lengths_of_overlapping_labels_too(tmp_path) -> None:
    folder = tmp_path / "d"
    rows = ["file,ClassId,EncodedPixels"]
    for place in range(2):
        save(folder / f"p{place}.png", picture(place))
        save(folder / "fov" / f"p{place}.png", disc())
        rows += [f"p{place}.png,a,1 40", f"p{place}.png,b,20 60"]
    (folder / "labels.csv").write_text("\n".join(rows))
    data, _ = loaded(
        folder, tmp_path, run_lengths="rows", label_kind="many", field_of_view="fov", masks="auto"
    )
    flat = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    for at, drawn in enumerate([flat < 40, (flat >= 19) & (flat < 79)]):
        expected = np.where(disc() > 0, drawn.astype(np.int8), -1)
        np.testing.assert_array_equal(data.labels[0, 4:28, :, at], expected)


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({}, {"field_of_view": "fov"}, r"--data\.field-of-view is 'fov': no such folder"),
        ({0: disc()}, {"field_of_view": "fov"}, r"3 of 4 pictures have no field of view"),
        (dict.fromkeys(range(4), disc() * 0), {"field_of_view": "fov"}, r"field of view of 0 alone"),
        (
            dict.fromkeys(range(4), disc()[1:]),
            {"field_of_view": "fov"},
            r"24 x 32 pixels, its field of view 23 x 32",
        ),
        (dict.fromkeys(range(4), disc()), {"field_of_view": "fov", "masks": "none"}, r"whole images"),
    ],
)
def test_a_field_of_view_that_does_not_fit_is_refused(tmp_path, fields, options, message) -> None:
    folder = make(tmp_path / "d")
    for place, field in fields.items():
        save(folder / "fov" / f"p{place}.png", field)
    with pytest.raises(InputError, match=message):
        loaded(folder, tmp_path, **options)


def test_a_field_of_view_belongs_to_folders(tmp_path) -> None:
    with pytest.raises(InputError, match=r"field_of_view belongs to data\.source folder"):
        read(Data(source="phantom_lesions", field_of_view="fov"), tmp_path, lambda line: None)
