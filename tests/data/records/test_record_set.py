"""Records on disk pass for an array of images, and nothing damaged or foreign passes for records."""

import json
import pickle
import resource
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared import prepare

from imbal_jax.data.records import array_records as record_files
from imbal_jax.data.records.array_records import RecordFiles, Stored
from imbal_jax.data.records.label_index import build_index
from imbal_jax.data.records.record_set import RecordImages, open_records
from imbal_jax.errors import InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 40, 30, 1), np.uint8)
LABELS = np.repeat([0, 1, 0], [20, 5, 15])
PATIENTS = np.array([f"{i // 2 * 7919 % 1000:03d}" for i in range(40)])
SPLITS = {"train": np.arange(20, 40), "validation": np.arange(12, 20), "test": np.arange(12)}
ORDER = np.concatenate(list(SPLITS.values()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("set"), IMAGES, LABELS, PATIENTS, SPLITS)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("index")))


def test_every_image_label_and_patient_is_the_one_that_was_written(folder: Path) -> None:
    records = open_records(folder)
    assert records.classes == ("normal", "nodule")
    np.testing.assert_array_equal(records.images[:], IMAGES[ORDER])
    np.testing.assert_array_equal(records.labels, LABELS[ORDER])
    same = PATIENTS[ORDER][:, None] == PATIENTS[ORDER]
    np.testing.assert_array_equal(records.groups[:, None] == records.groups, same)
    for name, indices in SPLITS.items():
        np.testing.assert_array_equal(records.images[records.splits[name]], IMAGES[indices])


def test_the_library_reads_the_same_records(folder: Path) -> None:
    import tensorflow_datasets as tfds

    source = tfds.builder_from_directory(folder).as_data_source("train")
    records = open_records(folder)
    for record, i in zip(source, records.splits["train"], strict=True):
        np.testing.assert_array_equal(records.images[int(i)], record["image"])
        assert records.labels[i] == record["label"]


@pytest.mark.parametrize(
    "index",
    [
        3,
        -1,
        slice(5, 9),
        slice(None, None, -7),
        [4, 4, 0],
        np.array([[1, 2], [3, -4]]),
        np.arange(40) % 3 == 0,
        [],
    ],
    ids=str,
)
def test_an_index_means_what_it_means_to_numpy(folder: Path, index: Any) -> None:
    images = open_records(folder).images
    index = np.array(index, int) if isinstance(index, list) else index
    found = images[index]
    np.testing.assert_array_equal(found, IMAGES[ORDER][index])
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(images.select([7, 3, 9])[:], IMAGES[ORDER][[7, 3, 9]])


def test_an_image_outside_is_an_index_error(folder: Path) -> None:
    images = open_records(folder).images
    for index in (40, -41, [0, 40]):
        with pytest.raises(IndexError, match="out of bounds"):
            images[index]


def test_it_has_the_attributes_of_an_array_and_is_never_made_one_by_accident(folder: Path) -> None:
    images = open_records(folder).images
    assert (images.shape, images.ndim, images.dtype, len(images)) == ((40, 40, 30, 1), 4, np.uint8, 40)
    assert images.size == IMAGES.size
    with pytest.raises(TypeError, match="index only those that are needed"):
        np.asarray(images)


def test_a_view_reads_nothing_until_it_is_indexed(copy: Path) -> None:
    build_index(copy)
    images = open_records(copy).images
    for path in copy.glob("*.array_record*"):
        path.unlink()
    view = images.select(np.arange(30)).select(slice(3, 6))
    assert len(view) == 3
    with pytest.raises(InputError, match="is missing: the set is not whole"):
        view[0]


def test_a_pickle_holds_no_open_file_and_reads_the_same(folder: Path) -> None:
    images = open_records(folder).images
    before = images[[1, 20]]
    again: RecordImages = pickle.loads(pickle.dumps(images))
    np.testing.assert_array_equal(again[[1, 20]], before)


def test_threads_may_share_it(folder: Path) -> None:
    images, wrong = open_records(folder).images, []

    def read(seed: int) -> None:
        for _ in range(20):
            seen = np.random.default_rng(seed).integers(0, 40, 8)
            if not np.array_equal(images[seen], IMAGES[ORDER][seen]):
                wrong.append(seen)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_no_more_files_are_open_than_allowed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_files, "may_open", lambda files: 8)
    path, count = open_records(folder).images.files.files[0]

    def now_open() -> int:
        return sum(str(path) in str(link.resolve()) for link in Path("/proc/self/fd").iterdir())

    before = now_open()
    many = RecordFiles(tuple((path, count) for _ in range(30)))
    first = many[0]
    assert all(many[i * count] == first for i in range(30))
    assert now_open() == before + 8


def test_the_limit_of_open_files_is_raised_where_it_may_be() -> None:
    _, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (600, hard))
        assert record_files.may_open(100) == 100
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (600, hard)
        assert record_files.may_open(800) == 800
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (800 + record_files.SPARE, hard)
        if hard != resource.RLIM_INFINITY:
            assert record_files.may_open(hard) == hard - record_files.SPARE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("encoding", ["none", "bytes", "zlib"])
def test_sixteen_bits_and_every_encoding_come_back(encoding: str, tmp_path: Path) -> None:
    images = RNG.integers(0, 2**16, (9, 4, 4, 3), np.uint16)
    folder = prepare(
        tmp_path, images, LABELS[18:27], None, {"train": np.arange(9)}, encoding=encoding, shards=1
    )
    records = open_records(folder)
    assert records.images.dtype == np.uint16
    np.testing.assert_array_equal(records.images[:], images)
    np.testing.assert_array_equal(records.groups, np.arange(9))  # nobody says who is the same patient


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_that_are_stored_as_files_are_decoded(channels: int, tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (6, 9, 5, channels), np.uint8)
    prepare(tmp_path, images, LABELS[17:23], None, {"train": np.arange(6)}, shards=1, picture=True)
    np.testing.assert_array_equal(open_records(tmp_path).images[:], images)
    stored = Stored((9, 6, channels), np.dtype(np.uint8), "picture")
    records = open_records(tmp_path)
    with pytest.raises(InputError, match="does not hold an image of shape"):
        RecordImages(records.images.files, stored, records.images.rows)[0]


def test_many_labels_keep_what_is_unknown(tmp_path: Path) -> None:
    labels = RNG.integers(-1, 2, (10, 3))
    names = ("effusion", "mass", "nodule")
    prepare(tmp_path, IMAGES[:10], labels, PATIENTS[:10], {"train": np.arange(10)}, names, shards=1)
    records = open_records(tmp_path)  # the folder above NAME/VERSION serves too
    assert records.classes == names
    assert records.labels.dtype == np.int8
    np.testing.assert_array_equal(records.labels, labels)


def test_opening_reads_no_record_once_the_index_is_there(copy: Path) -> None:
    build_index(copy)
    expected = open_records(copy)
    for path in copy.glob(
        "*.array_record*"
    ):  # the middle of each file is lost, its size and ends are as they were
        data = bytearray(path.read_bytes())
        data[2**12 : -(2**16) - 2**12] = bytes(len(data) - 2**16 - 2 * 2**12)
        path.write_bytes(data)
    found = open_records(copy)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.groups, expected.groups)
    assert isinstance(found.labels, np.memmap)


def test_several_processes_build_the_same_index_and_tell_how_far_they_are(copy: Path) -> None:
    told = []
    one = {p.name: p.read_bytes() for p in build_index(copy, workers=1).iterdir()}
    two = {
        p.name: p.read_bytes()
        for p in build_index(copy, workers=2, progress=lambda *n: told.append(n)).iterdir()
    }
    assert one == two
    assert set(one) == {"labels.npy", "groups.npy", "index.json"}
    assert told[-1] == (40, 40)


# Damage, one line each


def failure(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_records(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    assert "no folder" in failure(tmp_path / "absent")
    assert "imbal-jax ingest" in failure(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name / "1.0.0").mkdir(parents=True)
        (tmp_path / name / "1.0.0" / "dataset_info.json").write_text("{}")
    assert "name one of a/1.0.0, b/1.0.0" in failure(tmp_path)
    assert "prepare it again" in failure(tmp_path / "a")
    (tmp_path / "a" / "1.0.0" / "dataset_info.json").write_text('{"name": ')
    assert "prepare it again" in failure(tmp_path / "a")


def test_another_format_or_other_features_are_refused(copy: Path) -> None:
    info = json.loads((copy / "dataset_info.json").read_text())
    (copy / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    assert "file_format='array_record'" in failure(copy)
    (copy / "dataset_info.json").write_text(json.dumps(info))
    features = json.loads((copy / "features.json").read_text())
    inner = features["featuresDict"]["features"]

    def with_features(changed: dict[str, Any]) -> str:
        (copy / "features.json").write_text(json.dumps({**features, "featuresDict": {"features": changed}}))
        return failure(copy)

    assert "image, and label, labels or mask, are needed" in with_features({"image": inner["image"]})
    assert "no ClassLabel" in with_features({**inner, "label": inner["patient"]})
    assert "does not name its labels" in with_features({"image": inner["image"], "labels": inner["image"]})
    text = {**inner, "image": inner["patient"]}
    assert "prepare it with one fixed shape" in with_features(text)
    wrong = json.loads(json.dumps(inner))
    wrong["image"]["tensor"]["shape"]["dimensions"] = ["40", "31", "1"]
    assert "does not hold what features.json says" in with_features(wrong)


def test_a_file_that_was_cut_short_or_replaced_is_found_when_the_set_is_opened(copy: Path) -> None:
    path = sorted(copy.glob("*train*"))[0]
    whole = path.read_bytes()
    path.write_bytes(whole[: -(2**16)])
    assert "0 records can be read, 10 are expected" in failure(copy)
    path.write_bytes(whole)
    build_index(copy)
    open_records(copy)
    path.write_bytes(whole[: -(2**16)])
    assert "is not the index of these records" in failure(copy)
    path.write_bytes(sorted(copy.glob("*train*"))[1].read_bytes())
    assert "is not the index of these records" in failure(copy)
    path.unlink()
    assert "is missing: the set is not whole" in failure(copy)


def test_a_damaged_record_is_told_when_it_is_read_and_its_neighbours_are_served(copy: Path) -> None:
    records = open_records(copy)
    path, count = records.images.files.files[0]
    data = bytearray(path.read_bytes())
    data[8000] ^= 0xFF
    path.write_bytes(data)
    images = open_records(copy).images
    told = {i: str(error) for i in range(count) if (error := error_of(images, i))}
    assert len(told) == 1
    assert "is damaged" in "".join(told.values())
    assert "\n" not in "".join(told.values())
    good = [i for i in range(count) if i not in told]
    np.testing.assert_array_equal(images[good], IMAGES[ORDER][good])


def error_of(images: RecordImages, i: int) -> InputError | None:
    try:
        images[i]
    except InputError as error:
        return error
    return None


def test_a_damaged_index_is_refused_and_can_be_built_again(copy: Path) -> None:
    index = build_index(copy)
    labels = (index / "labels.npy").read_bytes()
    for damage in (labels[:-20], labels[:60], b"", b"no array"):
        (index / "labels.npy").write_bytes(damage)
        assert "delete it, it is then built again" in failure(copy)
    np.save(index / "labels.npy", LABELS[:-1])
    assert "is not the index of these records" in failure(copy)
    (index / "index.json").write_text("{")
    assert "delete it" in failure(copy)
    shutil.rmtree(index)
    np.testing.assert_array_equal(open_records(copy).labels, LABELS[ORDER])
