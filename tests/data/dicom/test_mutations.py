"""Damaged copies of real files: none may crash the reader, hang it, or make it take 2 GiB."""

import os
import selectors
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import write
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from imbal_jax.data.images.refusal import DECODED_LIMIT, PIXEL_LIMIT, WIDE_LIMIT

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
            str(Path(__file__).parents[2] / "mutated_dicom.py"),
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


# Linux counts in ru_maxrss what the parent took before; VmHWM is the process's own.
READ = """
import sys
from imbal_jax.data.dicom.radiograph import read_radiograph
print(read_radiograph(sys.argv[1], size=224, bits=16).shape)
print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
SYNTAXES = (None, RLELossless, JPEGLSLossless, JPEG2000Lossless)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("kind", "pixels", "syntax"),
    [
        *((np.uint8, PIXEL_LIMIT, syntax) for syntax in SYNTAXES),
        *((np.uint16, DECODED_LIMIT // 2, syntax) for syntax in SYNTAXES),
        (np.uint32, WIDE_LIMIT // 4, None),
    ],
)
def test_the_largest_picture_that_is_read_takes_no_2_gib(
    tmp_path: Path, kind: type, pixels: int, syntax: str | None
) -> None:
    side = int(pixels**0.5)
    ramp = np.linspace(0, 1, side)
    picture = (ramp[:, None] * ramp * 0.99 * np.iinfo(kind).max).astype(kind)
    path = write(tmp_path / "a.dcm", picture)
    if syntax is not None:
        file = pydicom.dcmread(path)
        file.compress(syntax)
        file.save_as(path)
        del file
    del picture
    result = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True)
    shape, peak = result.stdout.splitlines()
    print(f"{side}x{side} {kind.__name__} {syntax}: {peak} MiB")
    assert shape == "(224, 224)"
    assert int(peak) < MEBIBYTES
