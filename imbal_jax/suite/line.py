"""The part of a ledger's line that is known before the run: its address, its cell, its definition."""

from datetime import UTC, datetime
from typing import Any

from imbal_jax.suite.definition import Line, Suite, SuiteAddress, config_of, digest


def identity(suite: Suite, address: SuiteAddress) -> dict[str, Any]:
    """Suite, key, address, cell and definition of a run."""
    cell = suite.stage(address.stage).cell(address.cell)
    return {
        "suite": suite.name,
        "key": address.key,
        "stage": address.stage,
        "cell": address.cell,
        "set": cell.set,
        "ratio": cell.ratio,
        "positives": cell.positives,
        "draw": address.draw,
        "method": address.method,
        "setting": address.setting,
        "seed": address.seed,
        "definition": digest(config_of(suite, address)),
    }


def completed(suite: Suite, address: SuiteAddress, line: Line, commit: str) -> dict[str, Any]:
    """``line`` with all that ``identity`` knows, its reason, the time and the commit."""
    known = identity(suite, address)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {**known, "reason": "", "time": now, "commit": commit, **line, **known}


def failed(reason: str) -> dict[str, Any]:
    """The outcome of a run that gave no result."""
    return {"outcome": "failed", "reason": reason}
