"""Progress and records of a run: console, metrics.jsonl, TensorBoard.

``metrics.jsonl`` holds one JSON object a line and nothing that depends on the clock or the machine's
speed, so a run that was killed and resumed leaves the same bytes as one that never stopped.
"""

import errno
import json
import math
import os
import struct
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from imbal_jax.console import PLAIN_LINE_SECONDS, UNDEFINED, duration, number, say
from imbal_jax.errors import InputError, Stopped
from imbal_jax.files import present, read_bytes, read_jsonl, write_bytes

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event

HISTORY = "metrics.jsonl"
WINDOW = 30  # dispatches in the moving average of the speed


class Tracker:
    """Draws progress and appends records, from entering the ``with`` block to leaving it.

    Write the records of a step before saving its checkpoint. On resuming at ``resume_step``, records of
    later steps are dropped, and so are an incomplete last line and test records, which the end of the run
    writes again. ``resume_step=0`` empties the file. If the console is not a terminal, a plain line without
    control codes is printed every ten seconds or every tenth of the run.

    Args:
      folder: receives ``metrics.jsonl`` and ``tensorboard/``; None draws and writes nothing (every
        process of a many-host run but the first).
      total_steps: the step at which the run ends.
      title: printed once, at the start.
      resume_step: the step of the restored checkpoint.

    Raises:
      InputError: the folder cannot be written to, or ``metrics.jsonl`` is damaged before its last line.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        total_steps: int,
        title: str,
        resume_step: int = 0,
        console: Console | None = None,
        tensorboard: bool = True,
        example: str = "image",
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.total_steps = total_steps
        self.title = title
        self.resume_step = resume_step
        self.console = Console(quiet=True) if folder is None else console or Console()
        self._example = example
        self._with_tensorboard = tensorboard and folder is not None
        self._tensorboard: _TensorBoard | None = None
        self._history: int | None = None
        self._live: Progress | None = None
        self._marks: deque[tuple[int, float]] = deque(maxlen=WINDOW)
        self._plain_after = (0, -math.inf)  # tenth of the run and time of the last plain line

    def __enter__(self) -> Self:
        if self.folder is not None:
            self._history = _open_history(self.folder, self.resume_step)
            if self._with_tensorboard:
                try:
                    with _explained(self.folder / "tensorboard"):
                        self._tensorboard = _TensorBoard(self.folder / "tensorboard", self.resume_step)
                except BaseException:
                    os.close(self._history)
                    raise
        self.message(self.title)
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Progress(
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}", markup=False),
                TimeElapsedColumn(),
                console=self.console,
                refresh_per_second=4,
            )
            self._bar = self._live.add_task(
                "", total=self.total_steps, completed=self.resume_step, status="compiling"
            )
            self._live.start()
        else:
            self.message(f"step {self.resume_step}/{self.total_steps}  compiling")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if self._history is not None:
            os.close(self._history)
            self._history = None
        if self._tensorboard is not None:
            self._tensorboard.close()
            self._tensorboard = None

    def progress(self, step: int, *, loss: float, images_per_second: float) -> None:
        """Shows where the run is; the first call ends "compiling" and is left out of the speed."""
        now = monotonic()
        self._marks.append((step, now))
        left = self.seconds_left()
        speed = f"{images_per_second:,.0f}" if math.isfinite(images_per_second) else UNDEFINED
        status = f"loss {float(loss):.4g}  {speed} {self._example}s/s"
        if math.isfinite(left):
            status += f"  {duration(left)} left"
        if self._tensorboard is not None and self.folder is not None:
            with _explained(self.folder / "tensorboard"):
                self._tensorboard.scalars(step, "speed", {"images_per_second": images_per_second})
        if self._live is not None:
            self._live.update(self._bar, completed=step, status=status)
            return
        tenth, last = self._plain_after
        reached = 10 * step // max(self.total_steps, 1)
        if reached > tenth or now - last >= PLAIN_LINE_SECONDS:
            self._plain_after = (reached, now)
            self.message(f"step {step}/{self.total_steps}  {status}")

    def seconds_left(self) -> float:
        """Seconds to the last step, from the latest dispatches without the first; NaN while unknown."""
        if len(self._marks) < 2:
            return math.nan
        (first_step, first_time), (last_step, last_time) = self._marks[0], self._marks[-1]
        if last_step <= first_step:
            return math.nan
        seconds_per_step = (last_time - first_time) / (last_step - first_step)
        return seconds_per_step * max(self.total_steps - last_step, 0)

    def train(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends a training record."""
        self._append("train", step, metrics, {})

    def evaluation(self, step: int, metrics: Mapping[str, float], *, best: bool) -> None:
        """Appends a validation record and prints its first four metrics, in the order given."""
        self._append("validation", step, metrics, {"best": bool(best)})
        self._print_metrics(f"step {step}  validation", metrics, "  best so far" if best else "")

    def test(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends a test record of the checkpoint saved at ``step``."""
        self._append("test", step, metrics, {})
        self._print_metrics(f"step {step}  test", metrics, "")

    def message(self, text: str) -> None:
        """Prints a line, above the bar where there is one."""
        say(self.console, text)

    def _print_metrics(self, start: str, metrics: Mapping[str, float], end: str) -> None:
        shown = [f"{name} {number(value)}" for name, value in list(metrics.items())[:4]]
        self.message("  ".join([start, *shown]) + end)

    def _append(self, kind: str, step: int, metrics: Mapping[str, float], extra: Mapping[str, bool]) -> None:
        reserved = {"kind", "step", "best"} & metrics.keys()
        if reserved:
            raise ValueError(f"metrics may not be called {sorted(reserved)}: the record uses these names")
        if self._history is None or self.folder is None:
            return
        record = {"kind": kind, "step": int(step), **extra}
        record |= plain_record(metrics)
        with _explained(self.folder / HISTORY):
            _write(self._history, _line(record))
        if self._tensorboard is not None:
            with _explained(self.folder / "tensorboard"):
                self._tensorboard.scalars(step, kind, metrics)


def read_history(folder: Path) -> list[dict]:
    """The records of ``folder/metrics.jsonl`` in order; empty without the file; a torn last line is left out.

    Raises:
      InputError: a line before the last one is not a record, or the file may not be read.
    """
    path = Path(folder) / HISTORY
    return read_jsonl(path, "delete this line and run again", _is_record) if present(path) else []


def _is_record(record: Mapping[str, object]) -> bool:
    return isinstance(record.get("kind"), str) and type(record.get("step")) is int


def _open_history(folder: Path, resume_step: int) -> int:
    """Drops what the resumed run will write again; returns the descriptor to append to."""
    path = folder / HISTORY
    with _explained(path):
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_fifo():
            raise InputError(f"{path} cannot be written: it is no ordinary file; move it away")
        if resume_step == 0:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        records = read_history(folder)
        kept = b"".join(_line(r) for r in records if r["step"] <= resume_step and r["kind"] != "test")
        if not path.exists() or kept != read_bytes(path):
            write_bytes(path, kept)
        return os.open(path, os.O_WRONLY | os.O_APPEND)


def _line(record: Mapping[str, object]) -> bytes:
    return (json.dumps(record, sort_keys=True, allow_nan=False) + "\n").encode()


def _write(descriptor: int, data: bytes) -> None:
    # unbuffered, so that records survive a kill and ENOSPC is raised here
    while data:
        data = data[os.write(descriptor, data) :]


def plain_record(record: Mapping[str, float]) -> dict[str, float | int | None]:
    """The record as ``metrics.jsonl`` holds it: plain numbers, None where one is not finite."""
    return {name: _json_number(value) for name, value in record.items()}


def _json_number(value: float) -> float | int | None:
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, int) or math.isfinite(value) else None


@contextmanager
def _explained(path: Path, verb: str = "write") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = (
            "free space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"make it possible to {verb}"
        )
        raise Stopped(
            f"cannot {verb} {path}: {error.strerror or error}; nothing saved is lost: {remedy} "
            "and run the same command to continue"
        ) from error


class _TensorBoard:
    """Scalars in an event file, unbuffered: SummaryWriter's thread ends without an error on a full disk."""

    def __init__(self, folder: Path, resume_step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # imports torch where that is installed
        from tensorboardX.record_writer import masked_crc32c

        self._event, self._checksum = Event, masked_crc32c
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time())}.{os.getpid()}"
        self._file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            self._write(Event(wall_time=time(), file_version="brain.Event:2"))
            # makes TensorBoard ignore what an earlier run wrote for later steps
            start = Event(wall_time=time(), step=resume_step + 1 if resume_step else 0)
            start.session_log.status = SessionLog.START
            self._write(start)
        except OSError:
            self.close()
            raise

    def scalars(self, step: int, kind: str, metrics: Mapping[str, float]) -> None:
        event = self._event(wall_time=time(), step=int(step))
        for name, value in metrics.items():
            if math.isfinite(value):
                event.summary.value.add(tag=f"{kind}/{name}", simple_value=float(value))
        self._write(event)

    def close(self) -> None:
        os.close(self._file)

    def _write(self, event: "Event") -> None:
        # a TFRecord: length, its checksum, data, its checksum
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        checks = [struct.pack("<I", self._checksum(part)) for part in (length, data)]
        _write(self._file, length + checks[0] + data + checks[1])
