import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from picture_folders import MARKER, SIZE, radiograph, table
from PIL import Image
from pydicom.data import get_testdata_file

from imbal_jax.data.dataset import Dataset, check_dataset
from imbal_jax.data.dicom.radiograph import read_radiograph
from imbal_jax.data.folders import decoded_files, listing
from imbal_jax.data.folders.labelled_folder import read_folder
from imbal_jax.data.folders.listing import image_files
from imbal_jax.data.sources.phantom import write_phantoms
from imbal_jax.errors import InputError


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """Four images of three patients, at different depths, with different suffixes."""
    folder = tmp_path / "hospital"
    radiograph(folder / "a" / "one.dcm", patient=f"{MARKER}1", uid="1.2.1", accession="A1", seed=1)
    radiograph(folder / "a" / "two", patient=f"{MARKER}2", uid="1.2.2", accession="A2", seed=2)
    radiograph(folder / "b" / "c" / "three.dcm", patient=f"{MARKER}1", uid="1.2.3", accession="A1", seed=3)
    radiograph(folder / "four.5", patient=f"{MARKER}3", uid="1.2.4", accession="A4", seed=4)
    return folder


def test_phantoms_come_back_with_their_labels_and_patients(tmp_path: Path) -> None:
    folder = write_phantoms(tmp_path / "set", images=60, imbalance=4, size=32)
    data, summary = read_folder(folder, size=32)
    check_dataset(Dataset.of_folder(data))
    assert data.images.shape == (60, 32, 32, 1)
    assert data.classes == ("normal", "consolidation", "effusion", "nodule")
    rows = sorted(line.split(",") for line in (folder / "labels.csv").read_text().split()[1:])
    assert [data.classes[label] for label in data.labels] == [row[2] for row in rows]
    same = np.equal.outer([row[1] for row in rows], [row[1] for row in rows])
    np.testing.assert_array_equal(np.equal.outer(data.groups, data.groups), same)
    np.testing.assert_array_equal(data.images[7, :, :, 0], read_radiograph(folder / rows[7][0], size=32))
    assert (summary.read, summary.refused, summary.unwindowed, summary.labels["normal"]) == (60, {}, 0, 48)


@pytest.mark.parametrize(
    "rows",
    [
        "file,label\na/one.dcm,sick\na/two,normal\nb/c/three.dcm,sick\nfour.5,normal\n",
        "label,file\nsick,one.dcm\nnormal,two\nsick,three\nnormal,four.5\n",
        "File;Label\n1.2.1;sick\n1.2.2;normal\n1.2.3;sick\n1.2.4;normal\n",
        "\ufefffile\tlabel\n.\\a\\one.dcm\tsick\n\na\\two\tnormal\nthree.dcm\tsick\n1.2.4\tnormal\n",
        "accession,label\nA1,sick\nA2,normal\nA4,normal\n",
    ],
)
def test_a_row_finds_its_file_by_path_name_uid_or_accession(hospital: Path, rows: str) -> None:
    table(hospital, rows)
    data, summary = read_folder(hospital, size=SIZE)
    assert data.classes == ("normal", "sick")
    assert data.labels.tolist() == [1, 0, 1, 0]  # a/one.dcm, a/two, b/c/three.dcm, four.5
    assert data.labels.dtype == np.int32
    assert data.groups.tolist() == [0, 1, 0, 2]
    assert (summary.unmatched_rows, summary.unmatched_files, summary.patients) == (0, 0, 3)


def test_many_labels_keep_zero_uncertain_and_missing_apart(hospital: Path) -> None:
    table(
        hospital, "file,patient,Effusion,Mass\none.dcm,p,1,\ntwo,q,0,-1.0\nthree.dcm,p,1.0,0.0\nfour.5,r,,1\n"
    )
    data, summary = read_folder(hospital, size=SIZE)
    assert data.classes == ("Effusion", "Mass")
    assert data.labels.dtype == np.int8
    assert data.labels.tolist() == [[1, -2], [0, -1], [1, 0], [-2, 1]]
    assert summary.labels == {"Effusion": 2, "Mass": 1}
    chosen, _ = read_folder(hospital, size=SIZE, classes=["Mass"])
    assert chosen.labels.tolist() == [[-2], [-1], [0], [1]]


def test_classes_give_the_order(hospital: Path) -> None:
    table(hospital, "file,label\none.dcm,b\ntwo,a\nthree.dcm,No Finding\nfour.5,a\n")
    assert read_folder(hospital, size=SIZE)[0].classes == ("No Finding", "a", "b")
    data, summary = read_folder(hospital, size=SIZE, classes=("b", "a", "No Finding", "c"))
    assert data.labels.tolist() == [0, 1, 2, 1]
    assert summary.labels == {"b": 1, "a": 2, "No Finding": 1, "c": 0}


def test_unmatched_and_unreadable_are_counted_by_reason(hospital: Path) -> None:
    (hospital / "text.dcm").write_text(MARKER)
    (hospital / "cut.dcm").write_bytes((hospital / "a" / "one.dcm").read_bytes()[:-100])
    (hospital / "nobody.dcm").write_bytes(b"x")
    (hospital / "README.txt").write_text("a note is no image")
    shutil.copy(get_testdata_file("SC_rgb_small_odd.dcm", download=False), hospital / "colour.dcm")
    table(
        hospital,
        "file,label\none.dcm,sick\ntwo,normal\ntext.dcm,sick\ncut.dcm,sick\ncolour.dcm,normal\ngone.dcm,normal\n",
    )
    data, summary = read_folder(hospital, size=SIZE)
    assert data.labels.tolist() == [1, 0]
    assert summary.refused == {"not-an-image": 1, "truncated": 1, "colour": 1}
    assert (summary.rows, summary.files, summary.read) == (6, 8, 2)
    assert (summary.unmatched_rows, summary.unmatched_files) == (1, 3)
    text = str(summary)
    assert "refused 1: colour" in text
    assert "1 rows of the table without a file" in text
    assert MARKER not in text
    assert "text.dcm" not in text


def test_png_and_jpeg_are_read_beside_dicom(hospital: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(ramp).save(hospital / "eight.png")
    Image.fromarray(np.dstack([ramp, ramp, ramp])).save(hospital / "colours.png")
    Image.fromarray(ramp.astype(np.uint16) * 16).save(hospital / "sixteen.png")
    Image.fromarray(ramp).save(hospital / "photo.JPG", quality=100)
    (hospital / "broken.png").write_bytes((hospital / "eight.png").read_bytes()[:50])
    Image.fromarray(ramp * 0).save(hospital / "black.png")
    names = ("black.png", "broken.png", "colours.png", "eight.png", "photo.JPG", "sixteen.png")
    table(hospital, "file,label\none.dcm,a\n" + "".join(f"{name},b\n" for name in names))
    data, summary = read_folder(hospital, size=16)
    assert summary.refused == {"constant": 1, "truncated": 1}
    for image in data.images[1:]:
        np.testing.assert_allclose(image[..., 0].astype(int), ramp, atol=3)
    assert len(set(data.groups.tolist())) <= 3  # equal pictures without a patient show one person
    assert summary.unknown_patients == 4


def test_colour_that_is_dropped_is_said_and_so_is_what_a_file_is(hospital: Path, tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(np.dstack([ramp, ramp.T, ramp])).save(hospital / "fundus.png")
    Image.fromarray(np.dstack([ramp] * 3)).save(hospital / "grey.png")
    Image.fromarray(ramp).save(hospital / "film.gif")
    table(hospital, "file,label\none.dcm,a\nfundus.png,b\ngrey.png,b\nfilm.gif,b\n")
    for _ in range(2):  # decoded, then from the cache
        _, summary = read_folder(hospital, size=16, cache=tmp_path / "cache")
        assert (
            "1 flagged colour-dropped: a colour picture made grey: --data.channels 3 keeps the colour"
            in str(summary)
        )
        assert "refused 1: gif: GIF, which is not read: DICOM, PNG, JPEG, TIFF and BMP files are read" in str(
            summary
        )
    _, summary = read_folder(hospital, size=16, channels=3)
    assert "made grey" not in str(summary)


def test_a_damaged_cache_is_made_again(hospital: Path, tmp_path: Path) -> None:
    table(hospital, "file,label\none.dcm,a\ntwo,b\n")
    data, _ = read_folder(hospital, size=SIZE, cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob("*.npz")
    whole = kept.read_bytes()
    for damaged in (b"", b"no npz", whole[:100], whole[: len(whole) // 2]):
        kept.write_bytes(damaged)
        again, _ = read_folder(hospital, size=SIZE, cache=tmp_path / "cache")
        np.testing.assert_array_equal(again.images, data.images)
        assert kept.read_bytes() == whole


def test_the_tables_patient_overrides_the_header(hospital: Path) -> None:
    table(hospital, "file,patient,label\none.dcm,x,a\ntwo,x,a\nthree.dcm,y,b\nfour.5,,b\n")
    data, summary = read_folder(hospital, size=SIZE)
    assert data.groups.tolist() == [0, 0, 1, 2]
    assert summary.unknown_patients == 0  # the last has the PatientID of its header
    assert "patients by column patient: 2, by the header's PatientID: 1" in data.notes
    assert "1 patients of the headers are several patients in the table's column" in str(summary)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "picture,label\none.dcm,a\n",
            "no column 'file' or 'accession'; it has: picture, label",
        ),
        ("file,label\none.dcm,a\none.dcm,b\n", "rows 2 and 3 say different things"),
        ("file,label\none.dcm,\n", "row 2 has no label"),
        ("file,label\none.dcm\n", "row 2 has 1 cells under 2 headings"),
        ("file,label\n,a\n", "row 2 has an empty cell in column 'file'"),
        ("file,label\n", "no rows"),
        ("file,Label,label\none.dcm,a,b\n", "two columns of the same name"),
        ("file,patient\none.dcm,1\n", "no column 'label' and no label columns"),
        (
            "file,name,mass\none.dcm,ZZMARKERZZ,1\n",
            "row 2, column 'name' holds something other than 1, 0, -1",
        ),
        ("file,label\nno.dcm,a\n", "none of 1 rows of labels.csv fits one of 4 files"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_row_and_remedy(
    hospital: Path, rows: str, message: str
) -> None:
    table(hospital, rows)
    with pytest.raises(InputError) as refusal:
        read_folder(hospital, size=SIZE)
    assert message in str(refusal.value)
    assert MARKER not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_label_outside_the_classes_names_those_allowed(hospital: Path) -> None:
    table(hospital, "file,label\none.dcm,normal\ntwo,nodul\n")
    with pytest.raises(InputError, match="row 3: its label is not one of normal, nodule"):
        read_folder(hospital, size=SIZE, classes=("normal", "nodule"))
    table(hospital, "file,mass\none.dcm,1\n")
    with pytest.raises(InputError, match="no column nodule; label columns are: mass"):
        read_folder(hospital, size=SIZE, classes=("nodule",))


def test_a_name_that_two_folders_hold_is_not_guessed(hospital: Path) -> None:
    radiograph(hospital / "b" / "one.dcm")
    table(hospital, "file,label\none.dcm,a\n")
    with pytest.raises(InputError, match="row 2 names a file that 2 folders hold"):
        read_folder(hospital, size=SIZE)


def test_wrong_arguments_and_nothing_readable_are_refused(hospital: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table"):
        read_folder(hospital, size=SIZE)
    with pytest.raises(InputError, match="no folder"):
        read_folder(tmp_path / "absent", size=SIZE)
    (hospital / "labels.csv").write_bytes("file,label\none.dcm,ü\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_folder(hospital, size=SIZE)
    table(hospital, "file,label\none.dcm,a\n", name="other.csv")
    assert len(read_folder(hospital, size=SIZE, labels_file="other.csv")[0]) == 1
    for wrong in ({"voi": "auto"}, {"size": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            read_folder(hospital, labels_file="other.csv", **{"size": SIZE, **wrong})
    (hospital / "a" / "one.dcm").write_text(MARKER)
    with pytest.raises(InputError, match=r"none of 1 labelled files .* could be read: 1 not-an-image"):
        read_folder(hospital, size=SIZE, labels_file="other.csv")


def test_the_cache_spares_reading_until_a_file_changes(
    hospital: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(hospital, "file,label\na/one.dcm,a\na/two,b\nb/c/three.dcm,a\n")
    (hospital / "bad.dcm").write_text("bad")
    with (hospital / "labels.csv").open("a") as stream:
        stream.write("bad.dcm,b\n")
    cache, reads = tmp_path / "cache", []
    original = decoded_files.load_picture
    monkeypatch.setattr(
        decoded_files, "load_picture", lambda path, **options: reads.append(path) or original(path, **options)
    )
    first, summary = read_folder(hospital, size=SIZE, cache=cache)
    assert len(reads) == 4
    second, again = read_folder(hospital, size=SIZE, cache=cache)
    assert len(reads) == 4
    assert str(again) == str(summary)
    for one, two in (
        (first.images, second.images),
        (first.groups, second.groups),
        (first.labels, second.labels),
    ):
        np.testing.assert_array_equal(one, two)
    read_folder(hospital, size=SIZE, voi="percentile", cache=cache)
    assert len(reads) == 8
    radiograph(hospital / "a" / "two", patient="new", seed=9)
    third, _ = read_folder(hospital, size=SIZE, cache=cache)
    assert len(reads) == 12
    assert (third.images[1] != first.images[1]).any()
    for kept in cache.iterdir():
        assert MARKER.encode() not in kept.read_bytes()
        assert b"one.dcm" not in kept.read_bytes()
        kept.write_bytes(kept.read_bytes()[:100])
    fourth, _ = read_folder(hospital, size=SIZE, cache=cache)
    assert len(reads) == 16
    np.testing.assert_array_equal(fourth.images, third.images)


def test_progress_counts_files_and_threads_change_nothing(hospital: Path) -> None:
    table(hospital, "accession,label\nA1,a\nA2,b\nA4,b\n")
    calls: list[tuple[int, int]] = []
    one, _ = read_folder(hospital, size=SIZE, workers=1, progress=lambda *done: calls.append(done))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    three, _ = read_folder(hospital, size=SIZE, workers=3)
    np.testing.assert_array_equal(one.images, three.images)
    np.testing.assert_array_equal(one.groups, three.groups)


def test_no_identifier_reaches_the_data_set(hospital: Path) -> None:
    assert MARKER in str(pydicom.dcmread(hospital / "four.5").PatientName)
    table(hospital, "file,label\none.dcm,a\nfour.5,b\n")
    data, summary = read_folder(hospital, size=SIZE)
    assert data.groups.dtype == np.int32
    assert MARKER not in repr(data) + repr(summary) + str(summary)


def test_every_image_below_a_folder_is_listed_once_and_links_are_not_followed_in_circles(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    folder, wanted = tmp_path / "tree", set()
    for i in range(200):
        below = "/".join(f"d{rng.integers(3)}" for _ in range(rng.integers(0, 5)))
        name = f"{below}/{i}{('', '.dcm', '.PNG', '.csv', '.TXT')[i % 5]}".lstrip("/")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
        wanted |= {name} if i % 5 < 3 else set()
    for unwanted in ("DICOMDIR", ".hidden.dcm", ".git/1.dcm"):
        (folder / unwanted).parent.mkdir(exist_ok=True)
        (folder / unwanted).touch()
    (folder / "d0" / "circle").symlink_to(folder)
    (folder / "linked.dcm").symlink_to(folder / sorted(wanted)[0])
    assert image_files(folder) == sorted(wanted | {"linked.dcm"})


def test_a_folder_that_may_not_be_listed_is_not_passed_over(
    hospital: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = listing.os.scandir

    def scandir(path: Path) -> object:
        if path.name == "c":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(listing.os, "scandir", scandir)
    table(hospital, "file,label\none.dcm,a\n")
    with pytest.raises(InputError, match=r"a folder in .* may not be listed: its images would be left out"):
        read_folder(hospital, size=SIZE)
