"""Files are read whole or refused in one line, and written whole or not at all."""

import json
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from imbal_jax import files
from imbal_jax.errors import InputError


def test_json_comes_back_as_it_was(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": [1, 2.5, None]})
    assert files.read_json(tmp_path / "a.json", "") == json.loads((tmp_path / "a.json").read_text())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe{", b"null", b"[" * 100_000])
def test_damaged_json_is_one_line_with_a_remedy(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(files.DamagedError, match="delete it") as raised:
        files.read_json(tmp_path / "a.json", "delete it")
    assert "\n" not in str(raised.value)


def test_an_absent_file_is_not_called_damaged(tmp_path):
    with pytest.raises(InputError, match="no file") as raised:
        files.read_json(tmp_path / "a.json", "")
    assert not isinstance(raised.value, files.DamagedError)


def test_a_member_that_is_no_array_is_damage(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"no array")
    with pytest.raises(InputError, match=r"a.npz is damaged \(x is no array\): fetch it again"):
        files.read_npz(path, ["x"], "fetch it again")


def test_damaged_npz_is_one_line(tmp_path):
    path = tmp_path / "a.npz"
    files.write_npz(path, {"x": np.arange(1000)})
    np.testing.assert_array_equal(files.read_npz(path, ["x"], "")["x"], np.arange(1000))
    whole = path.read_bytes()
    inside = bytearray(whole)
    inside[200:240] = bytes(40)
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, x=np.array([{}], object))
    single = tmp_path / "single.npy"
    np.save(single, np.arange(3))
    for content in (whole[: len(whole) // 2], b"", b"<!DOCTYPE html>", bytes(inside), pickled.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(files.DamagedError, match="fetch it again"):
            files.read_npz(path, ["x"], "fetch it again")
    path.write_bytes(whole)
    with pytest.raises(files.DamagedError, match="no array y"):
        files.read_npz(path, ["x", "y"], "")
    path.write_bytes(single.read_bytes())
    with pytest.raises(files.DamagedError, match="single array"):
        files.read_npz(path, ["x"], "")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_modes_follow_the_umask_or_are_private(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "a", "")
        files.write_text(tmp_path / "b", "", private=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "nowhere"])
def test_what_is_there_and_no_file_is_never_taken_for_absent(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "config.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if kind == "loop" else tmp_path / "gone")
    assert files.present(path)
    for read in (lambda: files.read_json(path, ""), lambda: files.read_npz(path, [], "")):
        with pytest.raises(InputError, match=r"config\.json cannot be read"):
            read()


@pytest.mark.parametrize("name", ["pipe", "null"])
def test_a_rename_never_replaces_a_device_or_a_pipe(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    os.mkfifo(path) if name == "pipe" else path.symlink_to("/dev/null")
    with pytest.raises(InputError, match="no ordinary file"):
        files.write_json(path, {})
    assert [p.name for p in tmp_path.iterdir()] == [name]
