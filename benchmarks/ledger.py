"""Results of long studies, a JSON line a run: read again, and appended to after a kill."""

import json
from pathlib import Path
from typing import Any


def read(ledger: Path) -> list[dict[str, Any]]:
    """The whole lines of a ledger; what a kill left of one is passed over: its run is run again."""
    found = []
    for text in ledger.read_text().splitlines() if ledger.is_file() else ():
        try:
            found.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return found


def append(ledger: Path, line: dict[str, Any]) -> None:
    """Add a line, on a line of its own also behind what a kill left."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    torn = ledger.is_file() and not ledger.read_bytes().endswith(b"\n") and ledger.stat().st_size > 0
    with ledger.open("a") as stream:
        stream.write(("\n" if torn else "") + json.dumps(line) + "\n")
