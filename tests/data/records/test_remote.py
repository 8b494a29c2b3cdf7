"""Records on object storage are fetched once, whole, and read as local ones are."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from prepared import prepare

from imbal_jax.cli import main
from imbal_jax.config import Data
from imbal_jax.data.ingest.manifest import write_checksums
from imbal_jax.data.read import read
from imbal_jax.data.records import remote
from imbal_jax.data.records.record_set import open_records
from imbal_jax.data.records.remote import fetch_set, remote_address
from imbal_jax.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 1), np.uint8)
LABELS = (np.arange(40) % 4 == 0).astype(int)
PATIENTS = np.array([f"{i // 2:03d}" for i in range(40)])
SPLITS = {"train": np.arange(20, 40), "validation": np.arange(12, 20), "test": np.arange(12)}
CONFIG = """
from imbal_jax.config import Config, Data, Model, Train
from imbal_jax.methods import METHODS


def get_config():
    return Config(
        name="remote",
        methods=(METHODS["ce"],),
        data=Data(source="records", negative_class="normal"),
        model=Model(name="cnn", options={"patch": 4, "width": 4, "stages": 1}),
        train=Train(epochs=1, batch_size=8, evaluations=1),
    )
"""
ADDRESS = "memory://bucket/sets/radiographs/1.0.0"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = prepare(tmp_path_factory.mktemp("set"), IMAGES, LABELS, PATIENTS, SPLITS)
    open_records(folder)  # with its index
    write_checksums(folder)
    return folder


@pytest.fixture
def storage(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A storage that holds the set, and counts what is fetched from it."""
    monkeypatch.setenv("IMBAL_JAX_CACHE", str(tmp_path / "cache"))
    files = fsspec.filesystem("memory")
    files.put(str(made), "/bucket/sets/radiographs/1.0.0", recursive=True)
    got: list[str] = []
    original = MemoryFileSystem.get_file

    def counted(self: Any, path: str, *rest: Any, **more: Any) -> Any:
        got.append(path.rpartition("/")[2])
        return original(self, path, *rest, **more)

    monkeypatch.setattr(MemoryFileSystem, "get_file", counted)
    files.got = got
    yield files
    files.rm("/bucket", recursive=True)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("address", [ADDRESS, "memory://bucket/sets"])
def test_the_set_is_read_as_the_local_one(made: Path, storage: Any, tmp_path: Path, address: str) -> None:
    said: list[str] = []
    data, split = read(Data(source="records", dir=Path(address)), tmp_path, said.append)
    local, local_split = read(Data(source="records", dir=made), tmp_path, lambda line: None)
    np.testing.assert_array_equal(data.images[:], local.images[:])
    np.testing.assert_array_equal(data.labels, local.labels)
    np.testing.assert_array_equal(data.groups, local.groups)
    assert {part: of.tolist() for part, of in split.items()} == {
        p: of.tolist() for p, of in local_split.items()
    }
    assert any(line.startswith(f"{address} is read from ") for line in said)
    assert sorted(storage.got) == sorted(path.rpartition("/")[2] for path in names(made))


def test_what_is_there_is_not_fetched_again_and_what_changed_is(made: Path, storage: Any) -> None:
    folder = fetch_set(ADDRESS)
    del storage.got[:]
    assert fetch_set(ADDRESS) == folder
    assert storage.got == []
    (folder / "checksums.json").unlink()
    fetch_set(ADDRESS)
    assert storage.got == ["checksums.json"]
    storage.rm("/bucket/sets/radiographs/1.0.0/checksums.json")
    del storage.got[:]
    shard = next(name for name in names(made) if "train.array_record-00000" in name)
    storage.put(str(made / shard), f"/bucket/sets/radiographs/1.0.0/{shard}")  # at another time
    fetch_set(ADDRESS)
    assert storage.got == [shard]
    assert not (folder / "checksums.json").exists(), "what the set no longer has is deleted"


def test_an_interrupted_fetch_goes_on(storage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original, left = remote._fetch, [4]

    def stops(*arguments: Any) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(remote, "_fetch", stops)
        patched.setattr(remote, "FETCHERS", 1)
        with pytest.raises(KeyboardInterrupt):
            fetch_set(ADDRESS)
    before = list(storage.got)
    assert len(before) == 4
    folder = fetch_set(ADDRESS)
    assert not set(before) & set(storage.got[4:])
    assert len(open_records(folder)) == 40


def damaged(files: Any, name: str, content: bytes) -> None:
    files.pipe_file(f"/bucket/sets/radiographs/1.0.0/{name}", content)


def test_a_file_that_is_not_as_it_was_written_is_refused(made: Path, storage: Any) -> None:
    shard = next(name for name in names(made) if "array_record" in name)
    content = bytearray((made / shard).read_bytes())
    content[len(content) // 2] ^= 1
    damaged(storage, shard, bytes(content))
    with pytest.raises(InputError, match=r"is not as it was written \(checksums\.json says so\)"):
        fetch_set(ADDRESS)
    storage.put(str(made / shard), f"/bucket/sets/radiographs/1.0.0/{shard}")
    assert len(open_records(fetch_set(ADDRESS))) == 40


def test_a_file_with_other_records_than_the_description_is_refused(made: Path, storage: Any) -> None:
    storage.rm("/bucket/sets/radiographs/1.0.0/checksums.json")
    test, train = (
        next(n for n in names(made) if f"{part}.array_record-00000" in n) for part in ("test", "train")
    )
    damaged(storage, train, (made / test).read_bytes())
    with pytest.raises(InputError, match=r"records can be read, \d+ are expected"):
        fetch_set(ADDRESS)


def test_without_an_index_one_is_built_in_the_cache_and_stays(
    made: Path, storage: Any, tmp_path: Path
) -> None:
    storage.rm("/bucket/sets/radiographs/1.0.0/index", recursive=True)
    storage.rm("/bucket/sets/radiographs/1.0.0/checksums.json")
    options = Data(source="records", dir=Path(ADDRESS))
    data, _ = read(options, tmp_path, lambda line: None)
    np.testing.assert_array_equal(data.labels, open_records(made).labels)
    written = (fetch_set(ADDRESS) / "index/labels.npy").stat().st_mtime_ns
    read(options, tmp_path, lambda line: None)
    assert (fetch_set(ADDRESS) / "index/labels.npy").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("memory://bucket/nothing", r"holds no prepared set"),
        ("memory://bucket", r"holds 2 prepared sets: name one"),
        ("nowhere://bucket/x", r"fsspec knows no nowhere://"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(storage: Any, address: str, message: str) -> None:
    storage.pipe_file("/bucket/other/dataset_info.json", b"{}")
    with pytest.raises(InputError, match=message) as raised:
        fetch_set(address)
    assert "\n" not in str(raised.value)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_package(*_: Any) -> None:
        raise ImportError("no s3fs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", no_package)
    with pytest.raises(InputError, match=r"s3:// needs a package: pip install 'imbal-jax\[s3\]'"):
        fetch_set("s3://bucket/x")


def test_an_address_survives_a_path_and_a_local_folder_is_none() -> None:
    for address in ("gs://bucket/a/b", "s3://bucket/x y", "memory://a", "file:///data/x"):
        assert remote_address(address) == remote_address(Path(address)) == address
    for folder in ("/data/set", "data", "C:/data", "a:b/c", "data/gs:/x"):
        assert not remote_address(folder)
        assert not remote_address(Path(folder))


def test_the_command_trains_and_evaluates_on_them(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMBAL_JAX_CACHE", str(tmp_path / "cache"))
    there = shutil.copytree(made, tmp_path / "there")
    (tmp_path / "my_config.py").write_text(CONFIG)
    folder = tmp_path / "run"
    command = ["train", str(tmp_path / "my_config.py"), "--workdir", str(folder)]
    assert main([*command, "--data.dir", f"file://{there}"]) == 0
    assert "file:" in json.loads((folder / "config.json").read_text())["data"]["dir"]
    first = capsys.readouterr().out
    assert "is read from" in first
    shutil.rmtree(tmp_path / "cache")  # on another machine there is none yet
    assert main(["evaluate", str(folder)]) == 0
    assert "is read from" in capsys.readouterr().out
