"""Damaged copies of real files: none may crash the reader, hang it, or make it take 2 GiB."""

import os
import selectors
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SECONDS = 20  # for one file; the slowest whole one takes a tenth of a second
MEBIBYTES = 2048


@dataclass
class Outcome:
    counts: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    peak: int = 0


def read_mutated(first: int, last: int, folder: Path) -> Outcome:
    """What became of copies first to last; a process that dies or hangs is a failure, and its successor goes on."""
    outcome = Outcome()
    while first < last:
        command = [
            sys.executable,
            str(Path(__file__).with_name("mutated_dicom.py")),
            str(first),
            str(last),
            folder,
        ]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # Rust says there when it panics
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        at, hung = first - 1, False
        with selectors.DefaultSelector() as selector, process:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(SECONDS if at >= first else 60):
                    hung = True
                    process.kill()
                    break
                line = process.stdout.readline().decode().split(maxsplit=3)
                if not line:
                    break
                at = int(line[0])
                if len(line) == 4:
                    outcome.counts[line[3].split()[0]] += 1
                    outcome.slowest = max(outcome.slowest, float(line[1]))
                    outcome.peak = max(outcome.peak, int(line[2]))
                    if line[3].startswith("CRASH"):
                        outcome.failures.append(f"{at}: {line[3]}")
        if hung or process.returncode:
            outcome.failures.append(f"{at}: {'hung' if hung else f'died with {process.returncode}'}")
        first = at + 1
    return outcome


def check(outcome: Outcome, files: int) -> None:
    print(
        f"{files} files: {dict(outcome.counts.most_common())}; slowest {outcome.slowest:.2f} s, "
        f"peak {outcome.peak} MiB, {len(outcome.failures)} failures"
    )
    assert not outcome.failures
    assert outcome.counts.total() == files
    assert outcome.peak < MEBIBYTES
    # The damage reaches what it is for: some is survived, some found in the header, some by the decoders.
    assert outcome.counts["read"] > files // 10
    assert outcome.counts["undecodable"] > files // 20
    assert outcome.counts["bad-header"] + outcome.counts["no-pixels"] > files // 20


def test_200_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    check(read_mutated(0, 200, tmp_path), 200)


@pytest.mark.slow
def test_10_000_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    check(read_mutated(0, 10_000, tmp_path), 10_000)
