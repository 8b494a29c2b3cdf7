"""Stand-ins for a training run, which worker processes import by name."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from imbal_jax.suite import Suite, SuiteAddress


def quick(suite: Suite, address: SuiteAddress, out: Path, *, commit: str) -> dict[str, Any]:
    """A done run whose metric is a function of its address, and a note of the process and the order."""
    note(out, address)
    time.sleep(float(os.environ.get("RUN_SECONDS", "0.02")))
    return line(address)


def troubled(suite: Suite, address: SuiteAddress, out: Path, *, commit: str) -> dict[str, Any]:
    """As ``quick``, but focal kills its process, crt raises, and weighted_ce diverges."""
    note(out, address)
    if address.method == "focal":
        os.kill(os.getpid(), signal.SIGKILL)
    if address.method == "crt":
        raise ValueError("no features\nfor the head")
    if address.method == "weighted_ce":
        return {
            "outcome": "diverged",
            "reason": "20 updates without a finite loss",
            "metrics": {"auroc": float("nan")},
        }
    return line(address)


def once_killed(suite: Suite, address: SuiteAddress, out: Path, *, commit: str) -> dict[str, Any]:
    """As ``quick``, but the first try of focal kills its process."""
    tried = note(out, address)
    if address.method == "focal" and tried == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return line(address)


def always_killed(suite: Suite, address: SuiteAddress, out: Path, *, commit: str) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def line(address: SuiteAddress) -> dict[str, Any]:
    return {
        "outcome": "done",
        "total_seconds": 0.02,
        "threads": os.environ.get("PJRT_NPROC"),
        "metrics": {"balanced_accuracy": 0.5 + 0.01 * address.draw + 0.001 * len(address.method)},
    }


def note(out: Path, address: SuiteAddress) -> int:
    """Append the process and the key to OUT/tries.jsonl; returns how often the run was tried by now."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "tries.jsonl"
    with path.open("a") as stream:
        stream.write(json.dumps({"pid": os.getpid(), "key": address.key, "at": time.time()}) + "\n")
    return sum(json.loads(text)["key"] == address.key for text in path.read_text().splitlines())


def slow(suite: Suite, address: SuiteAddress, out: Path, *, commit: str) -> dict[str, Any]:
    """As ``quick``, and takes 0.7 seconds."""
    note(out, address)
    time.sleep(0.7)
    return line(address)
