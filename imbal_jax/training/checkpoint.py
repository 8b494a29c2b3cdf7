"""Checkpoints on disk: the latest two and the best one, written by Orbax, checked when read back."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from imbal_jax.engine import hosts
from imbal_jax.engine.fully_sharded import whole_on_host
from imbal_jax.engine.state import TrainState
from imbal_jax.errors import InputError, Stopped
from imbal_jax.files import DamagedError, read_json, write_json

CHANGED = "its content differs from what was saved"
LATEST = 2  # checkpoints; the one before the last is used if the last is damaged
ITEMS = ("state", "digest", "history")  # folders of what is saved
FILES = "files.json"  # beside what Orbax wrote: size and BLAKE2b of each of its files


@dataclass(frozen=True)
class _LatestAndBest:
    """Keeps the latest two and the best; on ties the earliest is best, as in ``decisions.selection``."""

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        steps = sorted(info.step for info in checkpoints)
        merits = {info.step: _merit(info.metrics) for info in checkpoints}
        best = max(steps, key=lambda step: (merits[step], -step)) if steps else None
        return [info.step in steps[-LATEST:] or info.step == best for info in checkpoints]


def _merit(metrics: Any) -> tuple[bool, float]:
    """A save between two evaluations is never the best."""
    if not metrics:
        return False, -np.inf
    return bool(metrics.get("evaluated", True)), float(metrics["selection"])


class Checkpoints:
    """The checkpoints of one run under ``folder``.

    ``save`` and ``restore`` raise InputError, in one line with the remedy, when the disk is full or nothing can
    be read; ``say`` receives a line about each checkpoint that was skipped. Only a checkpoint whose files differ from
    what was written counts as damaged. It is moved to ``FOLDER.damaged``; a failed read deletes nothing.

    Of several processes all save, restore and list the same steps together. alone: only the first does, of which the
    others know nothing, to read.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = print, *, alone: bool = False) -> None:
        # hides Orbax's notices, and its traceback of an error that is reported below
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self.folder = Path(folder).absolute()
        self.say = say
        self._histories: dict[int, list[dict[str, Any]]] = {}
        self._together = hosts.count() > 1 and not alone
        if self._together:
            hosts.by_first(self._prepare)
        else:
            self._prepare()
        processes = ocp.options.MultiprocessingOptions(
            primary_host=0, active_processes={0} if alone and hosts.count() > 1 else None
        )
        try:
            self._manager = ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    best_fn=lambda metrics: metrics["selection"],
                    best_mode="max",
                    preservation_policy=_LatestAndBest(),
                    enable_async_checkpointing=False,
                    create=False,
                    multiprocessing_options=processes,
                ),
            )
        except OSError as error:
            raise self._unwritable(error) from error

    def _prepare(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for step in filter(str.isdecimal, os.listdir(self.folder)):
                _restore_metrics(self.folder / step)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"cannot write checkpoints under {self.folder}: {_reason(error)}")

    def delete_unfinished(self) -> None:
        """Delete what saves that were killed have left: Orbax deletes it only before it saves the same step again.

        For the run that holds the workdir: what another one is writing looks the same.
        """

        def delete() -> None:
            try:
                for path in self.folder.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
                    shutil.rmtree(path)
            except OSError as error:
                raise self._unwritable(error) from error

        hosts.by_first(delete)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return hosts.from_first(self._steps) if self._together else self._steps()

    def _steps(self) -> list[int]:
        return sorted(map(int, self._manager.all_steps()))

    def save(
        self, state: TrainState, selection: float | None, history: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Write ``state`` with its value of the selection criterion; older ones go only when it is complete.

        selection: None for a save between two evaluations. history: the evaluations up to this step, from which the
        best is chosen (``history``).
        """
        step, evaluated = int(state.step), selection is not None
        value = float(selection) if selection is not None else -np.inf
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_plain(state)),
                    digest=ocp.args.JsonSave(
                        {
                            "blake2b": digest(state),
                            "history": _digest_of(history),
                            "selection": value,
                            "evaluated": evaluated,
                        }
                    ),
                    history=ocp.args.JsonSave({"validation": list(history)}),
                ),
                metrics={"selection": value, "evaluated": evaluated},
            )
            self._manager.wait_until_finished()
            if hosts.is_first():
                written = self.folder / str(step)
                for marker in written.rglob("commit_success.txt"):
                    marker.write_bytes(b"")  # Orbax writes the folder's path into it, and asks for no content
                write_json(written / FILES, _fingerprints(written))
        except Exception as error:
            kept = [s for s in self._steps() if s != step]
            last = f"the checkpoint of step {kept[-1]} is whole" if kept else "there is no earlier checkpoint"
            raise Stopped(
                f"cannot write the checkpoint of step {step} under {self.folder}: {_reason(error)}; {last}: "
                "free space and run the same command to continue"
            ) from error

    def restore_step(self, like: TrainState, step: int) -> TrainState:
        """The state saved at ``step``; InputError where there is none, DamagedError, or Stopped as ``restore``."""
        there = self.steps()
        if step not in there:
            remedy = (
                f"there are {there}"
                if there
                else f"there are none; restore them from a copy, or delete {self.folder.parent} and train again"
            )
            raise InputError(f"no checkpoint of step {step} under {self.folder}: {remedy}")
        return self._checked(like, step)

    def restore(self, like: TrainState) -> TrainState | None:
        """The state saved at the latest step that can be read; None where there is none.

        like: a fresh state whose shapes and shardings the result takes. A damaged checkpoint is reported and set
        aside, and the one before it is tried. Raises Stopped where one is whole and could not be read, for want of
        memory, or because it is of another network.
        """
        steps = self.steps()[::-1]
        for place, candidate in enumerate(steps):
            try:
                return self._checked(like, candidate)
            except DamagedError as error:
                earlier = steps[place + 1 :]
                then = f"going on from step {earlier[0]}" if earlier else "starting again from step 0"
                self.say(f"{error}; {self.set_aside(candidate)}; {then}")
        return None

    def history(self, step: int) -> list[dict[str, Any]]:
        """The evaluations that were saved with the checkpoint of ``step``, which was restored before."""
        return self._histories[step]

    def set_aside(self, step: int) -> str:
        """Move the checkpoint of ``step`` to ``FOLDER.damaged``, which no run reads; returns the message."""

        def moved() -> str:
            beside = self.folder.with_name(self.folder.name + ".damaged")
            number, target = 1, beside / str(step)
            while target.exists():
                number, target = number + 1, beside / f"{step}-{number}"
            try:
                beside.mkdir(exist_ok=True)
                os.rename(self.folder / str(step), target)
            except OSError as error:
                raise Stopped(
                    f"the checkpoint of step {step} under {self.folder} is damaged and cannot be moved "
                    f"({error.strerror}): move it away and run the same command to continue"
                ) from None
            return f"moved to {beside.name}/{target.name}"

        said = hosts.from_first(moved) if self._together else moved()
        self._manager.reload()
        return said

    def _checked(self, like: TrainState, step: int) -> TrainState:
        """``_read``; on failure, DamagedError if the files are damaged, else Stopped."""
        where = self.folder / str(step)
        damage = None
        if (
            self._together
        ):  # before they read together, as one that failed alone would leave the others waiting
            damage = hosts.from_first(lambda: _damage(where))
            if damage:
                raise DamagedError(f"the checkpoint of step {step} is damaged ({damage})")
        try:
            return self._read(like, step)
        except Exception as error:
            reason = _reason(error)
        damage = damage if self._together else _damage(where)
        if damage is None and reason == CHANGED:  # of an earlier version, without a list of its files
            damage = CHANGED
        if damage:
            raise DamagedError(f"the checkpoint of step {step} is damaged ({damage})")
        raise Stopped(
            f"the checkpoint of step {step} under {self.folder} cannot be read ({reason}); nothing was deleted: "
            "as far as is known, its files are as they were written. Free memory, make them readable, or use the "
            "config and version that wrote them"
        )

    def _read(self, like: TrainState, step: int) -> TrainState:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _plain(like))
        read = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract),
                digest=ocp.args.JsonRestore(),
                history=ocp.args.JsonRestore(),
            ),
        )
        plain = _plain(like)  # Orbax gives optimiser states back as plain tuples
        state = replace(like, **jax.tree.unflatten(jax.tree.structure(plain), jax.tree.leaves(read["state"])))
        history = read["history"]["validation"]
        sums = (read["digest"]["blake2b"], read["digest"]["history"])
        if sums != (digest(state), _digest_of(history)):
            raise ValueError(CHANGED)
        self._histories[step] = history
        return state


def _plain(state: TrainState) -> dict[str, Any]:
    """The state without the random key, which follows from the seed, and without an unused average."""
    left_out = {"rng"} | ({"ema_params"} if state.ema_params is None else set())
    return {name: value for name, value in vars(state).items() if name not in left_out}


def digest(state: TrainState) -> str:
    """A checksum over all arrays of the state except the random key, however they lie on devices and processes."""
    total = hashlib.blake2b(digest_size=16)
    for leaf in jax.tree.leaves(_plain(state)):
        array = whole_on_host(leaf)
        total.update(f"{array.shape}{array.dtype}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _restore_metrics(folder: Path) -> None:
    """Rewrite a damaged metrics file from its copy: Orbax would otherwise open no checkpoint of the run."""
    path = folder / "metrics" / "metrics"
    try:
        if isinstance(read_json(path, "").get("selection"), int | float):
            return
    except DamagedError:
        pass
    except InputError:
        return
    try:
        copy = read_json(folder / "digest" / "metadata", "")
        values = {"selection": copy["selection"], "evaluated": copy.get("evaluated", True)}
    except (InputError, KeyError):
        values = {"selection": -np.inf, "evaluated": False}
    write_json(path, values)


def _digest_of(history: Sequence[Mapping[str, Any]]) -> str:
    text = json.dumps(list(history), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _fingerprints(folder: Path) -> dict[str, str]:
    """Size and BLAKE2b of every file below ``folder``, by its path there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != FILES:
            with path.open("rb") as stream:
                sum_ = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
            found[path.relative_to(folder).as_posix()] = f"{path.stat().st_size}:{sum_}"
    return found


def _damage(folder: Path) -> str | None:
    """How a checkpoint's files differ from what was written; "" where they do not, None where that is not known."""
    if gone := [item for item in ITEMS if not (folder / item).is_dir()]:
        return f"gone: {', '.join(gone)}"
    try:
        wanted = read_json(folder / FILES, "")
        there = _fingerprints(folder)
    except DamagedError:
        return f"{FILES} is damaged"
    except (InputError, OSError):
        return None
    lost = sorted(wanted.keys() - there.keys())
    changed = sorted(name for name in wanted.keys() & there.keys() if wanted[name] != there[name])
    said = [f"files gone: {len(lost)}"] if lost else []
    said += [f"files that differ from what was written: {len(changed)}"] if changed else []
    return ", ".join(said)


def _reason(error: BaseException) -> str:
    """The message of the operating system or the storage layer, without those of the wrappers around it."""
    text = str(error) or type(error).__name__
    known = (
        "No space left on device",
        "File too large",
        "Permission denied",
        "Read-only file system",
        "Disk quota",
    )
    for phrase in known:
        if phrase.lower() in text.lower():
            return phrase
    first = text.strip().splitlines()[0]
    return first if len(first) <= 160 else first[:157] + "..."
