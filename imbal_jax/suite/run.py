"""One run of a suite: trained, measured, and told in a line of the ledger."""

import platform
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

import imbal_jax
from imbal_jax import train
from imbal_jax.arguments import out_of_memory
from imbal_jax.config import Config, Data
from imbal_jax.cores import usable_cores
from imbal_jax.data.load import Splits, load
from imbal_jax.data.sources.ideal_observer import ideal_observer
from imbal_jax.errors import InputError, Stopped, Terminated
from imbal_jax.runs.address import RunAddress
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.suite.curve import Curve
from imbal_jax.suite.definition import Suite, SuiteAddress, config_of
from imbal_jax.suite.line import identity
from imbal_jax.suite.measure import line_of

COMPILING = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
"""Events of jax.monitoring that add up to what a compilation takes: tracing, lowering, XLA."""
DATA_SETS = 4  # kept in memory; runs come cell by cell
STATUS = Path("/proc/self/status")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def run(suite: Suite, address: SuiteAddress, out: Path | str, *, commit: str = "") -> dict[str, Any]:
    """Train and measure one run of ``suite`` in this process; returns its ledger line, plain JSON values.

    A run that fails returns a line too: ``outcome`` is ``diverged`` where the network left the range of its numbers,
    else ``failed``, and ``reason`` is one line. Data sets and compilations are shared with the runs before it in the
    process. What is written below OUT/runs is deleted: a run is short, and is begun again rather than resumed.
    InputError for an address that the suite does not have.

    commit: of the code, for the line. Everything that is no ``Exception`` (SIGINT, SIGTERM) is passed on.
    """
    config, began = config_of(suite, address), time.monotonic()
    folder = address.folder(Path(out))
    line = _about(suite, address, commit)
    with _compilations() as compiled:
        try:
            line |= _measured(suite, address, config, folder, Path(out) / "data")
            line["outcome"] = "done"
        except Terminated:
            raise
        except Stopped as error:
            line |= {"outcome": "diverged" if _has_diverged(error) else "failed", "reason": str(error)}
        except InputError as error:
            line |= {"outcome": "failed", "reason": str(error)}
        except Exception as error:
            reason = out_of_memory(error) if isinstance(error, MemoryError | RuntimeError) else ""
            line |= {
                "outcome": "failed",
                "reason": reason or f"{type(error).__name__}: {error}".splitlines()[0],
            }
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    total = time.monotonic() - began
    return line | {
        "compile_seconds": round(compiled.seconds, 3),
        "total_seconds": round(total, 3),
        "peak_memory_mib": _peak_memory(),
    }


def _measured(
    suite: Suite, address: SuiteAddress, config: Config, folder: Path, data: Path
) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    _forget_peak_memory()
    splits = splits_of(config.data, data)
    curve = Curve(folder / "curve.jsonl", seed=address.draw, target=suite.target)
    quiet = Console(file=StringIO(), width=120)
    train.fit(config, folder, splits, console=quiet, watch=curve, report=False)
    (method,) = config.methods
    scored = RunOutputs.read(RunAddress(folder, method.name, config.seed).folder)
    assert scored is not None  # fit has finished
    line = line_of(
        config,
        splits,
        scored,
        curve.columns(method.name),
        cell=address.cell,
        draw=address.draw,
        posterior=_posterior(suite, address, config, splits),
        target=suite.target,
    )
    speed = line["images"] / line["seconds"] if line["images"] and line["seconds"] else None
    return line | {"images_per_second": speed and round(speed, 1)}


def _posterior(suite: Suite, address: SuiteAddress, config: Config, splits: Splits) -> np.ndarray | None:
    if not suite.stage(address.stage).cell(address.cell).bayes:
        return None
    labels = splits.validation.labels
    priors = np.bincount(labels, minlength=len(splits.classes)) / len(labels)
    return ideal_observer(config.data, priors)(np.asarray(splits.test.images))


@lru_cache(maxsize=DATA_SETS)
def splits_of(options: Data, folder: Path) -> Splits:
    """The data of a cell and a draw, as every run of them has it."""
    config = replace(Config(name="suite"), data=options)
    return load(config, folder, lambda line: None)


def _about(suite: Suite, address: SuiteAddress, commit: str) -> dict[str, Any]:
    """What is known of a run before it begins."""
    setting = suite.stage(address.stage).setting(address.setting, address.cell, address.method)
    words = setting.overrides
    return {
        **identity(suite, address),
        "outcome": "failed",
        "reason": "",
        "time": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "commit": commit,
        "versions": {
            "imbal_jax": imbal_jax.__version__,
            **{name: version(name) for name in PACKAGES},
            "python": platform.python_version(),
        },
        "hardware": hardware(),
        "cores": usable_cores(),
        "options": {
            name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=False)
        },
    }


@lru_cache(maxsize=1)
def hardware() -> str:
    """The devices, and the processor where they are that."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{jax.device_count()} x {device.device_kind}"
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [text.split(":", 1)[1].strip() for text in lines if text.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _has_diverged(error: Stopped) -> bool:
    return any(word in str(error) for word in ("NaN", "finite"))


# What a run costs


@dataclass
class _Compiled:
    seconds: float = 0.0


_listening: list[_Compiled] = []
_lock = threading.Lock()


def _heard(event: str, duration_secs: float, **_: Any) -> None:
    if event in COMPILING:
        for compiled in _listening:
            compiled.seconds += duration_secs


@contextmanager
def _compilations() -> Iterator[_Compiled]:
    """The seconds that compilations take inside; jax has no way to stop listening, so one listener is kept."""
    with _lock:
        if not getattr(_heard, "registered", False):
            jax.monitoring.register_event_duration_secs_listener(_heard)
            _heard.registered = True  # type: ignore[attr-defined]
    compiled = _Compiled()
    _listening.append(compiled)
    try:
        yield compiled
    finally:
        _listening.remove(compiled)


def _forget_peak_memory() -> None:
    """Begin a new peak of the resident memory, where Linux allows."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_memory() -> float | None:
    """Peak memory in MiB: of the device, or on a CPU of this process, the interpreter and its data included."""
    statistics = jax.devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return round(statistics["peak_bytes_in_use"] / 2**20, 1)
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    peaks = [int(text.split()[1]) for text in lines if text.startswith("VmHWM:")]
    return round(peaks[0] / 1024, 1) if peaks else None
