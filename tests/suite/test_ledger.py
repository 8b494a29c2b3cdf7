"""The ledger loses no line: killed writers, two writers, a full disk, damaged lines."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imbal_jax.errors import InputError, Stopped
from imbal_jax.suite import ledger
from imbal_jax.suite.ledger import FILE, TORN, Tail, append_line, read_ledger

WRITER = """
import sys
from pathlib import Path
from imbal_jax.suite.ledger import append_line
name, count = sys.argv[2], int(sys.argv[3])
for i in range(count):
    append_line(Path(sys.argv[1]), {"key": f"{name}{i}", "outcome": "done", "filler": "x" * (1 + 7919 * i % 60000)})
"""


def line(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "outcome": "done", **more}


def keys(out: Path) -> list[str]:
    return [each["key"] for each in read_ledger(out).lines]


def test_what_is_appended_is_read_in_order_and_no_number_is_nan(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    assert read_ledger(out).lines == ()
    given = {
        "a": np.float32(0.5),
        "b": np.array([1.0, np.nan]),
        "c": {"d": [float("inf"), -float("inf"), 1]},
        "e": (np.int64(3), None, True),
        "p": Path("x/y"),
    }
    assert append_line(out, line("one", **given)) == ""
    append_line(out, line("two"))
    text = (out / FILE).read_text()
    assert text.count("\n") == 2
    assert "NaN" not in text
    assert "Infinity" not in text
    expected = {"a": 0.5, "b": [1.0, None], "c": {"d": [None, None, 1]}, "e": [3, None, True], "p": "x/y"}
    assert json.loads(text.splitlines()[0]) == line("one", **expected)
    assert keys(out) == ["one", "two"]


@pytest.mark.parametrize("cut", [1, 20, 70_000])
def test_half_a_line_of_a_killed_writer_is_kept_aside_and_the_others_stay(tmp_path: Path, cut: int) -> None:
    append_line(tmp_path, line("one"))
    append_line(tmp_path, line("two", filler="x" * 100_000))
    path = tmp_path / FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 1 - cut])
    torn = path.read_bytes().split(b"\n")[1]
    read = read_ledger(tmp_path)
    assert ([each["key"] for each in read.lines], read.torn, read.damaged) == (["one"], True, ())
    (said,) = read.notes()
    assert "its last line is cut off, as a killed process leaves it" in said
    assert path.read_bytes().endswith(torn), "reading changes nothing"
    assert "half a line, as a killed process leaves it, was moved to ledger.torn" in append_line(
        tmp_path, line("3")
    )
    assert keys(tmp_path) == ["one", "3"]
    assert read_ledger(tmp_path).notes() == []
    assert (tmp_path / TORN).read_bytes() == torn + b"\n"


def test_a_whole_last_line_without_its_line_break_counts(tmp_path: Path) -> None:
    append_line(tmp_path, line("one"))
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-1])
    assert keys(tmp_path) == ["one"]
    assert append_line(tmp_path, line("two")) == ""
    assert keys(tmp_path) == ["one", "two"]


def test_damaged_lines_in_the_middle_are_numbered_left_there_and_not_used(tmp_path: Path) -> None:
    append_line(tmp_path, line("one"))
    foreign = b'\x00\xff\n[1]\n{"key": 3, "outcome": "done"}\n{"key": "x", "outcome": "good"}\n\n'
    with (tmp_path / FILE).open("ab") as stream:
        stream.write(foreign)
    append_line(tmp_path, line("two"))
    read = read_ledger(tmp_path)
    assert read.damaged == (2, 3, 4, 5)
    assert keys(tmp_path) == ["one", "two"]
    (said,) = read.notes()
    assert "4 damaged lines (line 2, 3, 4, 5) stay there" in said
    assert foreign in (tmp_path / FILE).read_bytes()


def test_two_writing_processes_lose_no_line_and_tear_none(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name, "60"]) for name in ("a", "b")
    ]
    assert [writer.wait(240) for writer in writers] == [0, 0]
    read = read_ledger(tmp_path)
    assert sorted(each["key"] for each in read.lines) == sorted(
        f"{name}{i}" for name in "ab" for i in range(60)
    )
    assert (read.damaged, read.torn) == ((), False)
    of_a = [each["key"] for each in read.lines if each["key"][0] == "a"]
    assert of_a == [f"a{i}" for i in range(60)], "each in its order"


def test_a_full_disk_leaves_the_ledger_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_line(tmp_path, line("one"))
    before = (tmp_path / FILE).read_bytes()

    def half(handle: int, data: bytes) -> None:
        os.write(handle, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_write", half)
        with pytest.raises(
            Stopped, match=r"cannot write .*ledger.jsonl: No space left.*run the same command again"
        ):
            append_line(tmp_path, line("two"))
    assert (tmp_path / FILE).read_bytes() == before
    append_line(tmp_path, line("two"))
    assert keys(tmp_path) == ["one", "two"]


def test_what_is_no_run_is_never_appended(tmp_path: Path) -> None:
    for wrong in ({"key": "a"}, {"outcome": "done"}, {"key": "a", "outcome": "good"}):
        with pytest.raises(ValueError, match="a line of a ledger has a key and an outcome"):
            append_line(tmp_path, wrong)
    assert not (tmp_path / FILE).exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        append_line(tmp_path / "file", line("a"))
    (tmp_path / FILE).mkdir()
    with pytest.raises(InputError, match=r"ledger.jsonl cannot be read: Is a directory"):
        read_ledger(tmp_path)


def test_the_tail_gives_each_new_line_once_when_it_is_whole(tmp_path: Path) -> None:
    tail = Tail(tmp_path)
    assert tail.new() == []
    append_line(tmp_path, line("one"))
    assert [each["key"] for each in tail.new()] == ["one"]
    append_line(tmp_path, line("two"))
    with (tmp_path / FILE).open("a") as stream:
        stream.write('{"key": "three", ')
    assert [each["key"] for each in tail.new()] == ["two"]
    with (tmp_path / FILE).open("a") as stream:
        stream.write('"outcome": "failed"}\n')
    assert [each["key"] for each in tail.new()] == ["three"]
    assert [each["key"] for each in Tail(tmp_path).new()] == []


def test_ledgers_of_several_folders_are_joined_with_cat(tmp_path: Path) -> None:
    for name in ("a", "b"):
        append_line(tmp_path / name, line(name))
    parts = [tmp_path / name / FILE for name in ("a", "b")]
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / FILE).write_bytes(
        subprocess.run(["cat", *parts], capture_output=True, check=True).stdout
    )
    assert keys(tmp_path / "all") == ["a", "b"]
