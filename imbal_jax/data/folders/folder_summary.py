"""Summary of a labelled folder: counts of rows, files, labels, patients, refusals and flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from imbal_jax.data.folders.copies import COPIES
from imbal_jax.data.images.refusal import FLAGS, REASONS

LISTED = 20  # row numbers that are printed; the table of what was left out has all


@dataclass(frozen=True)
class FolderSummary:
    """Counts of the rows and files that were used or left out; ``str`` gives the lines to print.

    refused: files by reason, the keys of ``refusal.REASONS``.
    unwindowed: images scaled by percentiles although the header's window was asked for.
    unknown_patients: images with no patient in table or header, each counted as a patient of its own.
    notes: how table, patients and split were understood.
    splits: indices of the folder's own split, None where it has none or another is asked for.
    unmatched_numbers: rows of the table that have no file.
    copies: files left out as copies, by the keys of ``copies.COPIES``.
    unknown_headers: files that no row names and whose header cannot be read.
    flags: images by flag.
    passed: lines on entries below the folder that are no images.
    """

    rows: int
    files: int
    read: int
    refused: dict[str, int]
    unmatched_rows: int
    unmatched_files: int
    patients: int
    unknown_patients: int
    unwindowed: int
    labels: dict[str, int] = field(default_factory=dict)
    unmatched_numbers: tuple[int, ...] = ()
    copies: dict[str, int] = field(default_factory=dict)
    unknown_headers: int = 0
    flags: dict[str, int] = field(default_factory=dict)
    passed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    splits: Mapping[str, np.ndarray] | None = None

    def __str__(self) -> str:
        lines = [
            f"{self.read} images of {self.patients} patients read; {self.files} files, {self.rows} rows",
            "labels: " + ", ".join(f"{name} {count}" for name, count in self.labels.items()),
        ]
        lines += [
            f"refused {count}: {reason}: {REASONS[reason]}" for reason, count in sorted(self.refused.items())
        ]
        lines += [f"left out {count}: {word}: {COPIES[word]}" for word, count in sorted(self.copies.items())]
        numbers = listed_numbers(self.unmatched_numbers)
        notes = (
            (self.unmatched_rows, f"rows of the table without a file: {numbers}"),
            (self.unmatched_files, "files without a row, left out"),
            (self.unknown_headers, "of these whose header cannot be read: a row may ask for them"),
            (self.unwindowed, "images without a usable window, scaled by percentiles"),
        )
        lines += [f"{count} {what}" for count, what in notes if count]
        flags = {flag: count for flag, count in self.flags.items() if flag != "unwindowed"}  # reported above
        more = {"colour-dropped": ": --data.channels 3 keeps the colour"}
        lines += [
            f"{count} flagged {flag}: {FLAGS[flag]}{more.get(flag, '')}" for flag, count in flags.items()
        ]
        return "\n".join([*lines, *self.notes, *self.passed])


def listed_numbers(numbers: Sequence[int]) -> str:
    """The first numbers of rows, and how many more there are."""
    more = f" and {len(numbers) - LISTED:,} more" if len(numbers) > LISTED else ""
    return ", ".join(map(str, numbers[:LISTED])) + more


def flag_counts(flags: np.ndarray) -> dict[str, int]:
    """How many of the images have each flag."""
    counts = {flag: int((flags >> place & 1).sum()) for place, flag in enumerate(FLAGS)}
    return {flag: count for flag, count in counts.items() if count}
