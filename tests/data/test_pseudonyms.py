"""The key file: whole or absent, its owner's alone, and never one that somebody else knows."""

import os
import stat
from pathlib import Path

import pytest

from imbal_jax.data import pseudonyms as module
from imbal_jax.data.pseudonyms import open_key, read_key
from imbal_jax.errors import InputError


def test_a_new_key_is_the_owners_alone_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    made = open_key(tmp_path / "a.key")
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a.key"]
    assert open_key(tmp_path / "a.key").fingerprint == made.fingerprint
    assert open_key(tmp_path / "b.key").fingerprint != made.fingerprint


def test_an_empty_key_of_a_full_disk_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    path.touch(0o644)
    made = open_key(path)
    assert read_key(path).fingerprint == made.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["a.key"]


@pytest.mark.parametrize("content", [b"ab" * 20, b"\xff" * 64, b"zz" * 32, b"ab" * 33, b"\n"])
def test_what_is_no_key_is_refused_with_the_remedy_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InputError, match=r"is no key: 64 hexadecimal digits\. Restore it from a copy, or, "):
        open_key(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("failing", ["fsync", "link"])
def test_a_disk_that_is_full_leaves_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, failing, full)
    if failing == "link":  # as on a file system without hard links: the file is renamed
        assert open_key(tmp_path / "a.key").fingerprint
        assert [path.name for path in tmp_path.iterdir()] == ["a.key"]
        return
    with pytest.raises(InputError, match="No space left on device; free space"):
        open_key(tmp_path / "a.key")
    assert list(tmp_path.iterdir()) == []


def test_of_two_processes_the_first_makes_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "a.key", module.os.link
    first = []

    def late(source: Path, target: Path) -> None:
        monkeypatch.setattr(module.os, "link", real)
        first.append(open_key(path))
        real(source, target)

    monkeypatch.setattr(module.os, "link", late)
    assert open_key(path).fingerprint == first[0].fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["a.key"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="giving files away takes root")
def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    open_key(tmp_path / "a.key")
    os.chown(tmp_path / "a.key", 12345, -1)
    with pytest.raises(InputError, match="belongs to another user"):
        open_key(tmp_path / "a.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    open_key(tmp_path / "a.key")
    (tmp_path / "a.key").chmod(mode)
    with pytest.raises(InputError, match="is readable by others: run chmod 600 on it"):
        open_key(tmp_path / "a.key")


def test_a_pipe_or_a_folder_is_no_key_and_nothing_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("pipe", "folder"):
        with pytest.raises(InputError, match="is no ordinary file"):
            open_key(tmp_path / name)
