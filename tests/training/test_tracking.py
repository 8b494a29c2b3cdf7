import io
import json
import math
import os
import re
import struct
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from imbal_jax.errors import InputError
from imbal_jax.training import tracking
from imbal_jax.training.tracking import Tracker, read_history

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


def plain_console() -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=False)


def tracker(folder: Path | None, *, resume_step: int = 0, console: Console | None = None) -> Tracker:
    return Tracker(
        folder,
        total_steps=100,
        title="phantom",
        resume_step=resume_step,
        console=console or plain_console(),
        tensorboard=False,
    )


def run(folder: Path, first: int, last: int, *, finish: bool) -> None:
    """Ten-step dispatches from first to last; an evaluation every 20 steps; at the end the test."""
    with tracker(folder, resume_step=first) as track:
        for step in range(first + 10, last + 1, 10):
            track.train(step, {"loss": 1 / step, "gradient_norm": step / 3})
            if step % 20 == 0:
                track.evaluation(step, {"auroc": math.sin(step), "loss": 0.1}, best=step == 40)
        if finish:
            track.test(40, {"auroc": 0.1 + 0.2})


def scalars(folder: Path) -> list[tuple[int, str, float]]:
    """Reads event files by their documented layout (TFRecord of Event messages), in order of time."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns):
        data, place = file.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack("<Q", data[place : place + 8])
            event = Event.FromString(data[place + 12 : place + 12 + length])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            place += 16 + length
    return found


def test_killed_and_resumed_run_leaves_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path / "whole", 0, 100, finish=True)
    run(tmp_path / "parts", 0, 70, finish=False)  # killed at 70, after the checkpoint of 40
    run(tmp_path / "parts", 40, 100, finish=True)
    whole = (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert whole.count(b"\n") == 10 + 5 + 1
    assert (tmp_path / "parts" / "metrics.jsonl").read_bytes() == whole


def test_resuming_a_finished_run_writes_its_test_record_once(tmp_path: Path) -> None:
    run(tmp_path, 0, 100, finish=True)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    run(tmp_path, 100, 100, finish=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(min_value=0, max_value=10_000))
def test_last_line_torn_at_any_byte_is_dropped(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("torn")
    run(folder, 0, 100, finish=True)
    path = folder / "metrics.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    safe = sum(len(line) for line in lines[:3])  # all of the records up to step 20 were flushed
    path.write_bytes(whole[: safe + cut % (len(whole) - safe)])
    assert len(read_history(folder)) >= 3
    run(folder, 20, 100, finish=True)
    assert path.read_bytes() == whole


def test_starting_at_step_zero_begins_the_file_anew(tmp_path: Path) -> None:
    run(tmp_path, 0, 100, finish=True)
    run(tmp_path, 0, 10, finish=False)
    assert [record["step"] for record in read_history(tmp_path)] == [10]


def test_record_is_on_disk_before_the_next_step(tmp_path: Path) -> None:
    with tracker(tmp_path) as track:
        track.train(10, {"loss": 0.5})
        assert (tmp_path / "metrics.jsonl").read_text() == '{"kind": "train", "loss": 0.5, "step": 10}\n'


def test_numbers_survive_the_file_exactly_and_undefined_ones_are_null(tmp_path: Path) -> None:
    values = {
        "third": 1 / 3,
        "tiny": 5e-324,
        "float32": np.float32(0.1),
        "jax": jnp.float32(0.1),
        "count": np.int32(7),
        "nan": float("nan"),
        "inf": jnp.inf,
    }
    with tracker(tmp_path) as track:
        track.evaluation(10, values, best=True)
    (record,) = read_history(tmp_path)
    assert record == {
        "kind": "validation",
        "step": 10,
        "best": True,
        "third": 1 / 3,
        "tiny": 5e-324,
        "float32": float(np.float32(0.1)),
        "jax": float(np.float32(0.1)),
        "count": 7,
        "nan": None,
        "inf": None,
    }
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert list(json.loads(line)) == sorted(record)


def test_damage_before_the_last_line_names_the_line(tmp_path: Path) -> None:
    run(tmp_path, 0, 40, finish=False)
    lines = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_bytes(lines[0] + b"\0\0\0\n" + lines[2])
    with pytest.raises(InputError, match=r"metrics\.jsonl is damaged \(line 2 .*delete this line"):
        read_history(tmp_path)


def test_full_disk_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(InputError) as caught, tracker(tmp_path) as track:
        track.train(10, {"loss": 0.5})
    assert str(caught.value) == (
        f"cannot write {tmp_path / 'metrics.jsonl'}: No space left on device; nothing saved is lost: "
        "free space and run the same command to continue"
    )


def test_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*: Not a directory; nothing saved is lost"):
        tracker(tmp_path / "file" / "run").__enter__()


def test_full_disk_under_tensorboard_is_reported_not_lost_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    opened = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *rest: opened("/dev/full" if "tfevents" in str(path) else path, *rest)
    )
    track = Tracker(tmp_path, total_steps=10, title="phantom", console=plain_console())
    with pytest.raises(InputError, match=r"cannot write .*tensorboard: No space left on device"):
        track.__enter__()


def test_metric_may_not_take_the_name_of_a_field(tmp_path: Path) -> None:
    with tracker(tmp_path) as track, pytest.raises(ValueError, match="step"):
        track.train(10, {"step": 3.0})


def test_speed_goes_to_tensorboard_and_not_into_the_history(tmp_path: Path) -> None:
    with Tracker(tmp_path, total_steps=20, title="phantom", console=plain_console()) as track:
        track.progress(10, loss=0.5, images_per_second=math.nan)
        track.progress(20, loss=0.5, images_per_second=256.0)
        track.train(20, {"loss": 0.5})
        track.evaluation(20, {"auroc": math.nan, "f_score": 0.25}, best=False)
    assert scalars(tmp_path / "tensorboard") == [
        (20, "speed/images_per_second", 256.0),
        (20, "train/loss", 0.5),
        (20, "validation/f_score", 0.25),
    ]
    assert "images" not in (tmp_path / "metrics.jsonl").read_text()


def test_first_process_only_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Tracker(None, total_steps=10, title="phantom") as track:
        track.progress(10, loss=0.5, images_per_second=1.0)
        track.train(10, {"loss": 0.5})
        track.evaluation(10, {"auroc": 0.5}, best=True)
    assert capsys.readouterr().out == ""


def test_log_file_gets_few_plain_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(0.01 * tick for tick in range(10_000))
    monkeypatch.setattr(tracking, "monotonic", lambda: next(clock))
    console = plain_console()
    with tracker(tmp_path, console=console) as track:
        for step in range(1, 101):
            track.progress(step, loss=1 / step, images_per_second=1234.5)
        track.message("[bold]not markup[/bold]")
    text = console.file.getvalue()
    assert not CONTROL.search(text)
    lines = text.splitlines()
    assert len(lines) == 2 + 1 + 10 + 1  # title and compiling, the first result, every tenth, the message
    assert "compiling" in lines[1]
    assert lines[-1] == "[bold]not markup[/bold]"


def test_slow_run_prints_every_ten_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100_000, 3))
    monkeypatch.setattr(tracking, "monotonic", lambda: next(clock))
    console = plain_console()
    with tracker(tmp_path, console=console) as track:
        for _ in range(9):
            track.progress(1, loss=1.0, images_per_second=1.0)  # at 0, 3, ... 24 s: shown at 0, 12, 24
    assert console.file.getvalue().count("step 1/100") == 3


def test_time_left_leaves_compilation_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(tracking, "monotonic", lambda: now)
    with tracker(tmp_path) as track:
        assert math.isnan(track.seconds_left())
        now = 500.0  # compiling
        track.progress(10, loss=1.0, images_per_second=math.nan)
        assert math.isnan(track.seconds_left())
        now = 502.0
        track.progress(20, loss=1.0, images_per_second=1.0)
        assert track.seconds_left() == pytest.approx(80 * 0.2)


def test_terminal_gets_one_bar_that_says_compiling_until_the_first_result(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, _environ={})
    with tracker(tmp_path, console=console) as track:
        track._live.refresh()
        assert "compiling" in console.file.getvalue()
        track.progress(10, loss=0.5, images_per_second=1234.5)
        track._live.refresh()
        before = console.file.getvalue()
        track.message("above")
    after = console.file.getvalue()[len(before) :]
    assert "compiling" not in after
    assert "loss 0.5  1,234 images/s" in after
    assert "above" in after
