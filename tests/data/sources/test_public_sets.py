import gzip
import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from imbal_jax.data.dataset import check_dataset
from imbal_jax.data.images.geometry import AskedGeometry, Geometry
from imbal_jax.data.sources.medmnist import read_medmnist
from imbal_jax.data.sources.nih import NIH_LABELS, nih_table
from imbal_jax.data.sources.public_set import File
from imbal_jax.data.sources.public_sets import PUBLIC
from imbal_jax.errors import InputError


def loaded(name, folder, *, download=False, **geometry):
    return PUBLIC[name].load(folder, AskedGeometry(**geometry), download=download)


def kermany(folder, **options):
    return loaded("kermany", folder, **options)


def nih(folder, **options):
    return loaded("nih", folder, **options)


def medmnist(folder, name="pneumoniamnist", size=28, **options):
    return loaded(name, folder, size=size, **options)


# A grey level for each file, so that a mix-up of images and labels shows.
KERMANY = {
    "chest_xray/train/NORMAL/IM-0115-0001.jpeg": 20,
    "chest_xray/train/NORMAL/IM-0115-0002.jpeg": 40,
    "chest_xray/test/NORMAL/NORMAL2-IM-0115-0001.jpeg": 60,
    "chest_xray/train/PNEUMONIA/person115_bacteria_2.jpeg": 80,
    "chest_xray/test/PNEUMONIA/person115_virus_150.jpeg": 100,
    "chest_xray/train/PNEUMONIA/person7_virus_12.jpeg": 120,
}
KERMANY_LABEL = {20: 0, 40: 0, 60: 0, 80: 1, 100: 2, 120: 2}
KERMANY_PATIENT = {20: "N115", 40: "N115", 60: "N2-115", 80: "P115", 100: "P115", 120: "P7"}


def encoded(grey, size=(50, 40), kind="JPEG", mode="L"):
    file = io.BytesIO()
    Image.new("L", size, grey).convert(mode).save(file, kind)
    return file.getvalue()


def write_folder(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def write_tar(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("layout", ["folder", "zip", "tar.gz"])
def test_kermany_is_read_from_the_original_layouts(tmp_path, layout):
    files = {name: encoded(grey, mode="RGB" if grey == 60 else "L") for name, grey in KERMANY.items()}
    files["__MACOSX/chest_xray/train/NORMAL/._IM-0115-0001.jpeg"] = b"droppings"
    if layout == "folder":
        write_folder(tmp_path, files)
    elif layout == "zip":
        write_zip(tmp_path / "ChestXRay2017.zip", files)
    else:
        write_tar(tmp_path / "ChestXRay2017.tar.gz", files)
    data, splits = kermany(tmp_path, size=16, fit="squeeze")
    assert splits is None
    assert check_dataset(data).images.shape == (6, 16, 16, 1)
    greys = [min(KERMANY_LABEL, key=lambda g: abs(g - image.mean())) for image in data.images]
    assert sorted(greys) == sorted(KERMANY_LABEL)
    assert data.labels.tolist() == [KERMANY_LABEL[g] for g in greys]
    assert data.groups.tolist() == [KERMANY_PATIENT[g] for g in greys]
    assert data.classes == ("normal", "bacteria", "virus")

    merged, _ = loaded("kermany_pneumonia", tmp_path, size=16, fit="squeeze")
    assert merged.labels.tolist() == [min(KERMANY_LABEL[g], 1) for g in greys]
    assert merged.classes == ("normal", "pneumonia")


def test_kermany_reads_the_names_of_the_third_version(tmp_path):
    names = ("BACTERIA-40699-0001.jpeg", "VIRUS-40699-0002.jpeg", "NORMAL-40699-0001.jpeg")
    write_folder(tmp_path, {f"chest_xray/train/{name}": encoded(9) for name in names})
    data, _ = kermany(tmp_path, size=8)
    assert dict(zip(data.groups, data.labels, strict=True)) == {"N40699": 0, "P40699": 2}
    assert sorted(data.labels) == [0, 1, 2]


def prepared_kermany(folder, names):
    pictures = [encoded(30 * i, (32, 32)) for i in range(1, 4)]
    jpeg = np.frombuffer(b"".join(pictures), np.uint8)
    shared = {"labels": np.array([0, 1, 2], np.uint8), "classes": np.array(["normal", "bacteria", "virus"])}
    shared["patient"] = np.array(["N-0005", "B-12", "V-12"])
    offsets = np.cumsum([0, *map(len, pictures)])
    if "jpeg" in names:
        np.savez(folder / "kermany_224_jpeg.npz", jpeg=jpeg, offsets=offsets, **shared)
    if "64" in names:
        images = np.full((3, 64, 64), 200, np.uint8)
        np.savez(folder / "kermany_64.npz", images=images, **shared)


@pytest.mark.parametrize("size", [16, 64])
def test_condensed_kermany_is_decoded_rather_than_taken_from_the_copy_of_another_filter(tmp_path, size):
    prepared_kermany(tmp_path, ["jpeg", "64"])
    data, _ = kermany(tmp_path, size=size)
    np.testing.assert_allclose(data.images.mean((1, 2, 3)), [30, 60, 90], atol=2)
    assert data.groups.tolist() == ["N5", "P12", "P12"]  # bacteria and virus of one patient
    assert data.labels.tolist() == [0, 1, 2]


def test_64_pixel_images_are_not_blown_up(tmp_path):
    prepared_kermany(tmp_path, ["64"])
    assert kermany(tmp_path, size=32)[0].images.shape == (3, 32, 32, 1)
    with pytest.raises(InputError, match="holds 64x64 images, 96 is asked"):
        kermany(tmp_path, size=96)


def test_shrinking_does_not_alias(tmp_path):
    stripes = np.tile([[0, 255]], (64, 32)).astype(np.uint8)  # every other column white
    shared = {"labels": np.zeros(1, np.uint8), "patient": np.array(["N-1"])}
    np.savez(tmp_path / "kermany_64.npz", images=stripes[None], **shared)
    images = kermany(tmp_path, size=16)[0].images[0, :, 1:-1, 0]
    np.testing.assert_allclose(images, 127.5, atol=2)


CSV = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age\n"
ROWS = {
    "00000001_000.png": ("Cardiomegaly|Emphysema", 1, 30),
    "00000001_001.png": ("No Finding", 1, 90),
    "00000002_000.png": ("Hernia", 2, 150),
    "00000003_000.png": ("Mass", 3, None),  # listed, not there
}


@pytest.mark.parametrize("layout", ["folder", "tar.gz"])
@pytest.mark.parametrize("table", ["Data_Entry_2017_v2020.csv", "Data_Entry_2017_v2020.csv.gz"])
def test_nih_is_read_from_the_original_layouts(tmp_path, layout, table):
    text = CSV + "".join(f"{name},{found},0,{patient},50\n" for name, (found, patient, _) in ROWS.items())
    (tmp_path / table).write_bytes(gzip.compress(text.encode()) if table.endswith("gz") else text.encode())
    files = {f"images/{name}": encoded(grey, kind="PNG") for name, (*_, grey) in ROWS.items() if grey}
    if layout == "folder":
        write_folder(tmp_path / "images_001", files)
    else:
        for i, (name, data) in enumerate(files.items(), 1):
            write_tar(tmp_path / f"images_{i:03}.tar.gz", {name: data})
    data, splits = nih(tmp_path, size=10, fit="squeeze")
    assert splits is None
    assert data.images.shape == (3, 10, 10, 1)
    assert data.images[:, 0, 0, 0].tolist() == [30, 90, 150]
    found = [{NIH_LABELS[c] for c in np.flatnonzero(row)} for row in data.labels]
    assert found == [{"Cardiomegaly", "Emphysema"}, set(), {"Hernia"}]
    assert data.groups.tolist() == [1, 1, 2]
    assert data.labels.dtype == np.int8


def test_nih_names_what_does_not_fit(tmp_path):
    with pytest.raises(InputError, match=r"no Data_Entry_2017_v2020.csv"):
        nih(tmp_path, size=8, download=True)
    table = tmp_path / "Data_Entry_2017_v2020.csv"
    table.write_text(CSV + "a.png,Mass,0,1,50\n")
    with pytest.raises(InputError, match="no images in"):
        nih(tmp_path, size=8)
    write_folder(tmp_path, {"b.png": encoded(5, kind="PNG")})
    with pytest.raises(InputError, match=r"b.png is not in"):
        nih(tmp_path, size=8)
    table.write_text(CSV + "b.png,Gout,0,1,50\n")
    with pytest.raises(InputError, match=r"line 2: Gout is no known finding"):
        nih(tmp_path, size=8)
    table.write_text("Image,Label\nb.png,Mass\n")
    with pytest.raises(InputError, match="line 1: expected Image Index"):
        nih(tmp_path, size=8)


def medmnist_arrays(columns=1):
    rng = np.random.default_rng(0)
    return {
        f"{part}_{kind}": rng.integers(0, 255, (n, 28, 28), np.uint8)
        if kind == "images"
        else (np.arange(n * columns).reshape(n, columns) % 2).astype(np.uint8)
        for part, n in (("train", 5), ("val", 2), ("test", 3))
        for kind in ("images", "labels")
    }


def test_medmnist_keeps_the_split_of_its_source(tmp_path):
    arrays = medmnist_arrays()
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    data, splits = medmnist(tmp_path)
    assert {name: part.tolist() for name, part in splits.items()} == {
        "train": [0, 1, 2, 3, 4],
        "validation": [5, 6],
        "test": [7, 8, 9],
    }
    np.testing.assert_array_equal(data.images[splits["test"], ..., 0], arrays["test_images"])
    assert data.labels.tolist() == [0, 1, 0, 1, 0, 0, 1, 0, 1, 0]
    assert len(set(data.groups)) == 10


def test_medmnist_with_many_labels(tmp_path):
    np.savez(tmp_path / "chestmnist.npz", **medmnist_arrays(14))
    data, _ = medmnist(tmp_path, name="chestmnist")
    assert data.labels.shape == (10, 14)
    assert data.labels.dtype == np.int8


def test_medmnist_refuses_sizes_and_names_that_are_not_published(tmp_path):
    with pytest.raises(InputError, match="no images of 96 pixels"):
        medmnist(tmp_path, size=96)
    with pytest.raises(InputError, match="mnist is not among pneumoniamnist"):
        read_medmnist(tmp_path / "mnist.npz", "mnist")
    with pytest.raises(InputError, match=r"no pneumoniamnist_64.npz in .* turn download on"):
        medmnist(tmp_path, size=64)


def test_download_fetches_verifies_and_reads(tmp_path, monkeypatch):
    np.savez(tmp_path / "published.npz", **medmnist_arrays())
    content = (tmp_path / "published.npz").read_bytes()
    url = (tmp_path / "published.npz").as_uri()
    file = File("pneumoniamnist.npz", url, md5=hashlib.md5(content).hexdigest())
    source = PUBLIC["pneumoniamnist"]
    monkeypatch.setitem(PUBLIC, "pneumoniamnist", replace(source, files=(file, *source.files[1:])))
    data, _ = medmnist(tmp_path / "cache", download=True)
    assert len(data) == 10
    assert (tmp_path / "cache" / "pneumoniamnist.npz").read_bytes() == content


def test_kermany_download_is_read_from_the_archive(tmp_path, monkeypatch):
    write_zip(tmp_path / "there.zip", {name: encoded(grey) for name, grey in KERMANY.items()})
    file = File("ChestXRay2017.zip", (tmp_path / "there.zip").as_uri())
    source = replace(PUBLIC["kermany"], files=(file,))
    monkeypatch.setitem(PUBLIC, "kermany", source)
    (tmp_path / "cache").mkdir()
    with pytest.raises(InputError, match=r"place ChestXRay2017.zip"):
        kermany(tmp_path / "cache", size=8)
    assert len(kermany(tmp_path / "cache", size=8, download=True)[0]) == 6


def test_image_that_cannot_be_decoded_is_named(tmp_path):
    write_folder(tmp_path, {"IM-0001-0001.jpeg": encoded(9)[:100]})
    with pytest.raises(InputError, match=r"IM-0001-0001.jpeg cannot be decoded"):
        kermany(tmp_path, size=8)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_record_says_what_a_user_needs(name):
    source = PUBLIC[name]
    assert source.homepage.startswith("https://")
    assert source.licence
    assert source.citation
    with pytest.raises(InputError, match=r"is not given: place .* from https://"):
        source.load(None, AskedGeometry(size=28))
    for file in source.files:
        assert file.url.startswith("https://")
        assert file.md5 is None or len(bytes.fromhex(file.md5)) == 16


@pytest.mark.real_data
def test_condensed_kermany_has_its_counts_and_patients(real_data):
    data, _ = kermany(real_data / "chest_xray_kermany", size=64)
    assert np.bincount(check_dataset(data).labels).tolist() == [1336, 2377, 1245]
    assert len(set(data.groups)) == 2633
    merged, _ = loaded("kermany_pneumonia", real_data, size=64)  # found one folder down as well
    assert np.bincount(merged.labels).tolist() == [1336, 3622]


@pytest.mark.real_data
def test_64_pixel_copy_is_what_decoding_the_jpegs_gives(real_data, tmp_path):
    source = real_data / "chest_xray_kermany"
    (tmp_path / "kermany_224_jpeg.npz").symlink_to(source / "kermany_224_jpeg.npz")
    decoded, _ = kermany(tmp_path, size=64)
    (tmp_path / "64").mkdir()
    (tmp_path / "64" / "kermany_64.npz").symlink_to(source / "kermany_64.npz")
    condensed, _ = kermany(tmp_path / "64", size=64)
    np.testing.assert_array_equal(decoded.groups, condensed.groups)
    # made by a bilinear filter, which blurs more than the Hamming filter here
    assert np.abs(decoded.images.astype(int) - condensed.images).mean() < 2


@pytest.mark.real_data
def test_condensed_nih_has_its_counts_and_patients(real_data):
    data, _ = nih(real_data / "chest_xray_nih1000", size=64)
    assert len(check_dataset(data)) == 1000
    assert len(set(data.groups)) == 264
    counts = dict(zip(data.classes, (data.labels == 1).sum(0), strict=True))
    assert (counts["Effusion"], counts["Pneumonia"], counts["Hernia"]) == (170, 11, 9)
    assert data.classes == NIH_LABELS


@pytest.mark.real_data
def test_the_whole_nih_table_is_understood(real_data):
    rows = nih_table(real_data / "labels_nih14" / "Data_Entry_2017_v2020.csv.gz")
    assert len(rows) == 112_120
    assert len({patient for _, patient in rows.values()}) == 30_805


@pytest.mark.real_data
def test_pneumoniamnist_has_its_published_split(real_data):
    data, splits = medmnist(real_data / "pneumoniamnist")
    assert [len(part) for part in splits.values()] == [4708, 524, 624]
    assert len(check_dataset(data)) == 5856


@pytest.mark.real_data
def test_condensed_copies_are_the_ones_on_record(real_data):
    for source in PUBLIC.values():
        for name, sha256 in source.prepared.items():
            path = next(real_data.rglob(name))
            assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def kermany_pictures():
    names = [f"PNEUMONIA/person{i}_bacteria_{i}.jpeg" for i in range(3)]
    names += [f"NORMAL/IM-{i:04}-0001.jpeg" for i in range(3)]
    return {f"chest_xray/train/{name}": encoded(30 + 10 * i) for i, name in enumerate(names)}


def test_kermany_as_kaggle_unpacks_it_counts_each_picture_once(tmp_path):
    files = kermany_pictures()
    write_folder(tmp_path, files)
    write_folder(tmp_path / "chest_xray", files)
    write_folder(tmp_path / "chest_xray", {"__MACOSX/train/NORMAL/._IM-0001-0001.jpeg": b"x"})
    write_zip(tmp_path / "ChestXRay2017.zip", files)
    data, _ = kermany(tmp_path, size=8)
    assert np.bincount(data.labels).tolist() == [3, 3]
    assert len(set(data.groups)) == 6
    write_folder(tmp_path, {"other/test/NORMAL/IM-0001-0001.jpeg": encoded(99)})
    with pytest.raises(InputError, match=r"IM-0001-0001.jpeg are two pictures of one name: keep the one"):
        kermany(tmp_path, size=8)


def test_nih_in_two_folders_counts_once(tmp_path):
    lines = "".join(f"{i:08}_000.png,{'Mass' if i % 2 else 'No Finding'},0,{i},50\n" for i in range(6))
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text(CSV + lines)
    files = {f"images/{i:08}_000.png": encoded(20 * i + 1, kind="PNG") for i in range(6)}
    write_folder(tmp_path, files)
    write_folder(tmp_path / "sample", files)
    write_tar(tmp_path / "images_001.tar.gz", files)
    data, _ = nih(tmp_path, size=8)
    assert data.images.shape[0] == 6
    assert data.labels.sum() == 3


@pytest.mark.parametrize("name", ["kermany_64.npz", "kermany_224_jpeg.npz", "nih1000_64.npz"])
def test_a_damaged_condensed_copy_is_one_line(name, tmp_path):
    if name.startswith("kermany"):
        prepared_kermany(tmp_path, ["jpeg" if "jpeg" in name else "64"])
    else:
        arrays = {"images": np.zeros((2, 64, 64), np.uint8), "labels": np.zeros((2, 14), np.uint8)}
        classes, patients = np.array(NIH_LABELS), np.arange(2)
        np.savez(tmp_path / name, **arrays, classes=classes, patient_id=patients)
    read = kermany if name.startswith("kermany") else nih
    whole = (tmp_path / name).read_bytes()
    read(tmp_path, size=8)
    with np.load(tmp_path / name) as kept:
        arrays = dict(kept)
    for damaged in (whole[: len(whole) // 2], b"<!DOCTYPE html>", b""):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(InputError, match=f"{name} is damaged .*remove it and fetch it again") as caught:
            read(tmp_path, size=8)
        assert "\n" not in str(caught.value)
    for change in (
        {"labels": arrays["labels"][:-1]},
        {"labels": arrays["labels"] + 7},
        {"labels": np.array("a")},
    ):
        np.savez(tmp_path / name, **{**arrays, **change})
        with pytest.raises(InputError, match="remove it and fetch it again"):
            read(tmp_path, size=8)


def test_condensed_copies_say_their_fit_and_refuse_another(tmp_path):
    prepared_kermany(tmp_path, ["jpeg"])
    data, _ = kermany(tmp_path, size=16)
    assert data.geometry == Geometry(16, "squeeze")
    assert "holds squeezed squares" in data.notes[0]
    assert kermany(tmp_path, size=16, fit="squeeze")[0].geometry == data.geometry
    for fit in ("pad", "crop"):
        message = (
            rf"kermany_224_jpeg.npz holds squares made by squeeze, {fit} is asked: set --data.fit squeeze"
        )
        with pytest.raises(InputError, match=message):
            kermany(tmp_path, size=16, fit=fit)
    # the source's files beside it are read by any fit
    write_folder(tmp_path, {name: encoded(grey) for name, grey in KERMANY.items()})
    padded, _ = kermany(tmp_path, size=16, fit="pad")
    assert len(padded) == len(KERMANY)
    assert not padded.images[:, 0].any()


def test_medmnist_has_the_fit_of_its_authors(tmp_path):
    np.savez(tmp_path / "pneumoniamnist.npz", **medmnist_arrays())
    assert medmnist(tmp_path)[0].geometry == Geometry(28, "crop")
    with pytest.raises(InputError, match="holds squares made by crop, pad is asked"):
        medmnist(tmp_path, fit="pad")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_nih_table_that_a_spreadsheet_saved_is_read(tmp_path, encoding):
    path = tmp_path / "Data_Entry_2017_v2020.csv"
    rows = (
        "Image Index;Finding Labels;Patient ID",
        "00000001_000.png;Mass|Nodule;1",
        "00000002_000.png;No Finding;2",
    )
    text = "\r\n".join(rows) + "\r\n"
    path.write_text(text, encoding=encoding)
    assert nih_table(path) == {
        "00000001_000.png": (frozenset({"Mass", "Nodule"}), 1),
        "00000002_000.png": (frozenset(), 2),
    }
    path.write_text(text.replace("Mass|", '"Mass|'), encoding=encoding)
    with pytest.raises(InputError, match="row 2"):
        nih_table(path)
