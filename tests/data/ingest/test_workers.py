"""A file that takes its reader down, or never lets go of it, costs that file and nothing else."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest
from picture_folders import MARKER, radiograph
from trapped_folder import Trapped

from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.ingest.journal import Place, Read, Segment, frames, segments
from imbal_jax.data.ingest.reading import Job, Task
from imbal_jax.data.ingest.workers import interrupted_after, read_files
from imbal_jax.data.pseudonyms import open_key
from imbal_jax.errors import Stopped

GOOD = [f"{i}.dcm" for i in range(12)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (*GOOD, "deadly.dcm", "endless.dcm", "odd.dcm", "once.dcm"):
        radiograph(tmp_path / "films" / name, seed=len(name))
    return tmp_path / "films"


def read(
    folder: Path, names: list[str], *, workers: int = 2, seconds: float = 30.0, key_name: str = "key"
) -> dict[str, Read]:
    open_key(folder.parent / "key")
    journal = folder.parent / "journal"
    journal.mkdir()
    job = Job(
        folder=Trapped(folder),
        key_file=folder.parent / key_name,
        geometry=Geometry(16),
        by_accession=False,
        wanted=frozenset(),
    )
    found: dict[str, Read] = {}

    def take(task: Task, read: Read, place: Place | None) -> None:
        assert task.path not in found, "one file was answered for twice"
        assert read.pixels == (place is not None and place.length > 0)
        found[task.path] = read

    tasks = [Task(name, named=True) for name in names]
    read_files(job, tasks, journal, workers=workers, seconds=seconds, found=take)
    kept = {read.file: read for segment in segments(journal) for read, _ in frames(segment)}
    assert kept == {read.file: read for read in found.values()}, "the journal says something else"
    return found


@pytest.mark.parametrize(
    ("name", "seconds", "reason"),
    [("deadly.dcm", 30.0, "crashed"), ("endless.dcm", 0.3, "timed-out"), ("once.dcm", 30.0, "")],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_refused_after_two_attempts_and_all_others_are_read(
    folder: Path, name: str, seconds: float, reason: str, workers: int
) -> None:
    found = read(folder, [*GOOD[:5], name, *GOOD[5:]], workers=workers, seconds=seconds)
    assert {n: read.reason for n, read in found.items()} == {**dict.fromkeys(GOOD, ""), name: reason}


def test_an_error_that_nobody_foresaw_is_told_by_its_place_and_not_by_its_text(folder: Path) -> None:
    found = read(folder, [*GOOD[:2], "odd.dcm"])
    assert found["odd.dcm"].reason == "crashed"
    assert found["odd.dcm"].hint.startswith("RuntimeError in trapped_folder.py, line ")
    assert MARKER not in str(found)


def test_no_process_is_left_behind(folder: Path) -> None:
    read(folder, [*GOOD, "deadly.dcm"])
    assert multiprocessing.active_children() == []


def test_processes_that_cannot_begin_are_told_of(folder: Path) -> None:
    with pytest.raises(Stopped, match="cannot be started"):
        read(folder, GOOD, key_name="nowhere")


def test_a_frame_that_was_changed_ends_what_a_segment_tells(folder: Path, tmp_path: Path) -> None:
    import numpy as np

    segment = Segment(tmp_path)
    for i in range(3):
        segment.append(Read(f"{i}"), np.full((4, 4, 1), i, np.uint8))
    segment.close()
    path = tmp_path / segment.name
    data = bytearray(path.read_bytes())
    assert [read.file for read, _ in frames(path)] == ["0", "1", "2"]
    data[-1] ^= 1
    path.write_bytes(data)
    assert [read.file for read, _ in frames(path)] == ["0", "1"]


def test_an_interruption_amid_the_start_of_a_process_comes_after_it() -> None:
    done, before = [], signal.getsignal(signal.SIGINT)

    def start() -> None:
        with interrupted_after():
            os.kill(os.getpid(), signal.SIGINT)
            done.extend(range(1000))

    with pytest.raises(KeyboardInterrupt):
        start()
    assert done == list(range(1000))
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interruption_that_is_ignored_stays_so_and_other_threads_are_left_alone() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupted_after():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    entered = []

    def enter() -> None:
        with interrupted_after():
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [True]
