"""HAM10000 in the layout that its source publishes, and in the condensed copy."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from imbal_jax.cli import main
from imbal_jax.data.dataset import check_dataset
from imbal_jax.data.images.geometry import AskedGeometry, Geometry
from imbal_jax.data.ingest.prepare import PrepareOptions, prepare
from imbal_jax.data.records.record_set import open_records
from imbal_jax.data.sources.public_sets import PUBLIC
from imbal_jax.errors import InputError
from imbal_jax.files import DamagedError


def ham(folder, **options):
    return PUBLIC["ham10000"].load(folder, AskedGeometry(**options))


# Image, lesion, diagnosis, and a colour of its own, so that a mix-up shows. Two images of one lesion, two parts.
HEADINGS = "lesion_id,image_id,dx,dx_type,age,sex,localization"
ROWS = [
    ("ISIC_0024306", "HAM_0000550", "nv", (200, 40, 40)),
    ("ISIC_0024307", "HAM_0003577", "df", (40, 200, 40)),
    ("ISIC_0027419", "HAM_0000118", "bkl", (40, 40, 200)),
    ("ISIC_0025030", "HAM_0000118", "bkl", (200, 200, 40)),
    ("ISIC_0031633", "HAM_0001466", "mel", (200, 40, 200)),
]
PARTS = {"HAM10000_images_part_1": ROWS[:2], "HAM10000_images_part_2": ROWS[2:]}
ORDERED = sorted(ROWS)  # by image
NO_PATIENTS = "HAM10000 names no patients: each lesion counts as one"
TEST_IMAGE = "ISIC_0034524"


def jpeg(colour, size=(60, 45)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def table(delimiter=",", rows=ROWS):
    lines = [HEADINGS.replace(",", delimiter)]
    for image, lesion, diagnosis, _ in rows:
        lines.append(delimiter.join([lesion, image, diagnosis, "histo", "80.0", "male", "scalp"]))
    return "\n".join(lines) + "\n"


def write_archive(folder, layout="folders"):
    """What Kaggle unpacks, what Dataverse gives as files, and what it gives as a table."""
    folder.mkdir(exist_ok=True)
    name = {"folders": "HAM10000_metadata.csv", "zip": "HAM10000_metadata", "tab": "HAM10000_metadata.tab"}[
        layout
    ]
    (folder / name).write_text(table("\t" if layout == "tab" else ","))
    for part, rows in PARTS.items():
        if layout == "folders":
            (folder / part).mkdir()
            for image, *_, colour in rows:
                (folder / part / f"{image}.jpg").write_bytes(jpeg(colour))
            continue
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for image, *_, colour in rows:
                archive.writestr(f"{image}.jpg", jpeg(colour))
    return folder


def write_condensed(folder, colours=None, **changes):
    folder.mkdir(exist_ok=True)
    files = [jpeg(colour, (200, 150)) for *_, colour in ROWS] if colours is None else colours
    names = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    arrays = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offsets": np.cumsum([0, *map(len, files)]),
        "labels": np.array([names.index(row[2]) for row in ROWS], np.int32),
        "classes": np.array(names),
        "lesion": np.array([row[1] for row in ROWS]),
        "image_id": np.array([row[0] for row in ROWS]),
        **changes,
    }
    np.savez(folder / "ham10000_200x150.npz", **arrays)
    return folder


def check(data, rows):
    assert [data.classes[label] for label in data.labels] == [row[2] for row in rows]
    assert data.groups.tolist() == [row[1] for row in rows]
    assert data.grouped_by == "lesion"  # the source has no patients
    middle = data.images.shape[1] // 2
    np.testing.assert_allclose(data.images[:, middle, middle], [row[3] for row in rows], atol=3)


@pytest.mark.parametrize("layout", ["folders", "zip", "tab"])
def test_published_layouts_are_read_in_colour_by_lesion(tmp_path, layout):
    data, split = ham(write_archive(tmp_path / "ham", layout), size=16)
    assert split is None
    assert data.images.shape == (5, 16, 16, 3)
    assert data.labels.dtype == np.int32
    assert data.classes[0] == "nv"
    check(data, ORDERED)
    assert not data.images[:, :2].any()  # 60 x 45, padded as elsewhere
    assert data.images[:, 2:14].any((1, 2, 3)).all()
    assert data.notes == (NO_PATIENTS,)


def test_squeezed_and_cropped_pictures_leave_no_black(tmp_path):
    write_archive(tmp_path / "ham")
    for fit in ("squeeze", "crop"):
        data, _ = ham(tmp_path / "ham", size=12, fit=fit)
        assert data.geometry == Geometry(12, fit, 3)
        np.testing.assert_allclose(data.images[:, 0, 0], [row[3] for row in ORDERED], atol=3)


def test_condensed_copy_has_any_fit_and_the_same_classes(tmp_path):
    data, split = ham(write_condensed(tmp_path / "ham"), size=32)
    assert split is None
    assert data.geometry == Geometry(32, "pad", 3)
    check(data, ROWS)
    assert "shrunk by its maker's filter" in data.notes[1]
    assert data.classes == ham(write_archive(tmp_path / "public"), size=8)[0].classes
    grey, _ = ham(tmp_path / "ham", size=16, fit="crop", channels=1)
    assert grey.images.shape == (5, 16, 16, 1)
    np.testing.assert_allclose(  # ITU-R BT.601, written out
        grey.images[:, 8, 8, 0], [0.299 * r + 0.587 * g + 0.114 * b for *_, (r, g, b) in ROWS], atol=3
    )
    assert "5 colour pictures made grey" in grey.notes[2]


def test_a_size_that_the_condensed_copy_does_not_have_is_read_from_the_archive(tmp_path):
    write_condensed(tmp_path / "ham")
    with pytest.raises(
        InputError, match=r"holds pictures of 200x150, 224 is asked: ask for at most 200 pixels"
    ):
        ham(tmp_path / "ham", size=224)
    with pytest.raises(InputError, match="at most 150 pixels"):
        ham(tmp_path / "ham", size=160, fit="crop")
    write_archive(tmp_path / "ham")
    check(ham(tmp_path / "ham", size=224)[0], ORDERED)


@pytest.mark.parametrize("headings", ["lesion_id,image_id,dx", "id,image,MEL"])
def test_images_of_the_challenges_test_set_are_left_out_and_counted(tmp_path, headings):
    folder = write_archive(tmp_path / "ham")
    (folder / "ISIC2018_Task3_Test_Images").mkdir()
    (folder / "ISIC2018_Task3_Test_Images" / f"{TEST_IMAGE}.jpg").write_bytes(jpeg((9, 9, 9)))
    with pytest.raises(
        InputError, match=r"a picture in .* is not in HAM10000_metadata.csv: remove it"
    ) as caught:
        ham(folder, size=8)
    assert TEST_IMAGE not in str(caught.value)
    (folder / "ISIC2018_Task3_Test_GroundTruth.csv").write_text(f"{headings}\nHAMTEST_1,{TEST_IMAGE},nv\n")
    data, _ = ham(folder, size=8)
    assert len(data) == 5
    assert data.notes == (NO_PATIENTS, "1 test images of the ISIC 2018 challenge left out")


def test_rows_without_a_picture_are_left_out_and_counted(tmp_path):
    folder = write_archive(tmp_path / "ham")
    (folder / "HAM10000_images_part_2" / "ISIC_0031633.jpg").unlink()
    data, _ = ham(folder, size=8)
    assert len(data) == 4
    assert data.notes == (NO_PATIENTS, "1 of 5 rows of HAM10000_metadata.csv have no picture there")
    with pytest.raises(InputError, match=r"no example of class .*mel"):
        check_dataset(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lesion_id,image_id\nHAM_0,ISIC_1\n", "line 1: expected image_id, lesion_id, dx among the headings"),
        (table() + "HAM_9,ISIC_9,naevus,,,,\n", "line 7: dx is none of nv, bkl, mel, bcc, akiec, vasc, df"),
        (table() + ",ISIC_9,nv,,,,\n", "line 7: expected an image_id and a lesion_id"),
        (
            table() + "HAM_9,ISIC_0024306,nv,,,,\n",
            "line 7: an earlier line says something else about the same image",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line_without_its_cells(tmp_path, text, message):
    folder = write_archive(tmp_path / "ham")
    (folder / "HAM10000_metadata.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        ham(folder, size=8)
    said = str(caught.value)
    assert "\n" not in said
    assert not any(cell in said for cell in ("naevus", "HAM_9", "ISIC_9", "ISIC_0024306"))


def test_what_is_missing_or_damaged_is_said_with_the_remedy(tmp_path, capsys):
    with pytest.raises(
        InputError, match=r"place HAM10000_metadata.csv, HAM10000_images_part_1.zip .* turn download on"
    ):
        ham(tmp_path, size=8)
    (tmp_path / "HAM10000_metadata.csv").write_text(table())
    assert main(["prepare", "ham10000", "--dir", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "HAM10000_images_part_1.zip" in capsys.readouterr().err
    folder = write_archive(tmp_path / "ham")
    (folder / "HAM10000_images_part_1" / "ISIC_0024306.jpg").write_bytes(jpeg((1, 2, 3))[:200])
    with pytest.raises(InputError, match=r"a picture in .* cannot be decoded"):
        ham(folder, size=8)
    for changes, message in (
        (
            {"classes": np.array(["a", "bcc", "bkl", "df", "mel", "nv", "vasc"])},
            "has classes that are none of nv",
        ),
        ({"labels": np.array([0, 1, 2, 3, 7])}, "has labels from 0 to 7"),
        ({"lesion": np.array(["x"])}, r"lesion is <U1 \[1\], expected str_ \[5\]"),
    ):
        with pytest.raises(DamagedError, match=message):
            ham(write_condensed(tmp_path / "copy", **changes), size=8)


@pytest.mark.parametrize("kind", ["archive", "condensed"])
def test_prepared_records_hold_the_pictures_in_colour_and_share_no_lesion(tmp_path, kind):
    many = [
        (f"ISIC_{i:07}", f"HAM_{i // 2:07}", "mel" if i % 8 < 2 else "nv", (30 + 4 * i, 60, 90))
        for i in range(48)
    ]
    folder = tmp_path / "ham"
    if kind == "archive":
        (folder / "HAM10000_images_part_1").mkdir(parents=True)
        (folder / "HAM10000_metadata.csv").write_text(table(rows=many))
        for image, *_, colour in many:
            (folder / "HAM10000_images_part_1" / f"{image}.jpg").write_bytes(jpeg(colour))
    else:
        write_condensed(
            folder,
            [jpeg(colour, (200, 150)) for *_, colour in many],
            labels=np.array([5 if row[2] == "nv" else 4 for row in many], np.int32),
            lesion=np.array([row[1] for row in many]),
        )
    quiet = Console(file=io.StringIO())
    prepare(PrepareOptions(name="ham10000", dir=folder, out=tmp_path / "out", size=16, fit="crop"), quiet)
    records = open_records(tmp_path / "out")
    assert records.images.shape == (48, 16, 16, 3)
    parts = {name: set(records.groups[rows]) for name, rows in records.splits.items()}
    assert sum(map(len, parts.values())) == 24
    colours, numbers = {row[3][0]: row for row in many}, {}  # of lesions, as records count them
    for image, label, lesion in zip(records.images[:], records.labels, records.groups, strict=True):
        row = colours[min(colours, key=lambda red: abs(red - int(image[8, 8, 0])))]
        assert records.classes[label] == row[2]
        assert numbers.setdefault(row[1], lesion) == lesion
    assert len(set(numbers.values())) == 24
    about = json.loads((tmp_path / "out" / "source.json").read_text())
    assert about["licence"] == "CC BY-NC 4.0"
    assert about["geometry"]["channels"] == 3


@pytest.mark.real_data
def test_condensed_copy_has_its_counts_and_lesions(real_data):
    data, _ = ham(real_data / "ham10000", size=8)
    counts = dict(zip(data.classes, np.bincount(check_dataset(data).labels).tolist(), strict=True))
    assert counts == {"nv": 5770, "bkl": 972, "mel": 939, "bcc": 445, "akiec": 285, "vasc": 117, "df": 97}
    assert len(data) == 8625
    assert len(set(data.groups.tolist())) == 6429
