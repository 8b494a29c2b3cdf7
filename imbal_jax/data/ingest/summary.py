"""Summary of an ingest: the outcome for every file and row, and the content of each split."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from imbal_jax.data.ingest.reading import INGEST_REASONS
from imbal_jax.data.labels import known_counts
from imbal_jax.data.splits.patient_split import SplitSummary
from imbal_jax.files import write_json

SUMMARY = "summary.json"
Splits = dict[str, dict[str, Any]]
LISTED = 20  # row numbers that the console shows; the file has all


@dataclass(frozen=True)
class Summary:
    """Counts; nothing here names a file or a patient.

    files: below the folder. records: images in the data set. refused: files by reason. hints: packages that would
    make some of them readable, or where reading failed. unmatched_rows: numbers of the table's rows without a file.
    unlabelled: files that no row asks for, listed in the manifest. masks: files of masks and fields of view.
    unknown_patients: images that became a patient each. doubtful_patients: patients of the headers that the table
    takes for several. notes: how table, patients and split were understood. flags: images by flag.
    splits: of each split its images, patients, and for each class the images and patients that have it and the
    images on which it is known. missing: a line for each class that a split has no example of.
    label_ratio_error: ``SplitSummary.ratio_error``.
    """

    rows: int
    files: int
    records: int
    refused: dict[str, int]
    hints: tuple[str, ...]
    unmatched_rows: tuple[int, ...]
    unlabelled: int
    patients: int
    unknown_patients: int
    doubtful_patients: int
    notes: tuple[str, ...]
    flags: dict[str, int]
    classes: tuple[str, ...]
    many_labels: bool
    splits: Splits
    missing: tuple[str, ...]
    label_ratio_error: float
    masks: int = 0

    def write(self, folder: Path) -> None:
        write_json(folder / SUMMARY, asdict(self))

    def table(self) -> Table:
        """Classes by splits: images and prevalence."""
        table = Table(title="Images and prevalence")
        table.add_column("")
        for name in ("all", *self.splits):
            table.add_column(Text(name), justify="right")
        table.add_row("images", *(f"{n:,}" for n in self._counts("images")))
        table.add_row("patients", *(f"{n:,}" for n in self._counts("patients")), end_section=True)
        for name in self.classes:
            numbers = [split["classes"][name] for split in self.splits.values()]
            cells = [(of["images"], of["known"]) for of in numbers]
            cells.insert(0, (sum(count for count, _ in cells), sum(known for _, known in cells)))
            table.add_row(Text(name), *(f"{count:,}  {share(count, known)}" for count, known in cells))
        return table

    def _counts(self, name: str) -> list[int]:
        counts = [int(split[name]) for split in self.splits.values()]
        return [sum(counts), *counts]

    def lines(self) -> list[str]:
        """Lines on what the table does not show."""
        said = [
            f"{self.records:,} of {self.files:,} files became records of {self.patients:,} patients; "
            f"{self.rows:,} rows",
            f"label-ratio error {100 * self.label_ratio_error:.2f} percentage points: how far, on average, a "
            "class's share in a split is from its share in all",
        ]
        said += [
            f"refused {count:,}: {reason}: {INGEST_REASONS[reason]}" for reason, count in self.refused.items()
        ]
        said += [f"hint: {hint}" for hint in self.hints]
        if self.unmatched_rows:
            numbers = ", ".join(map(str, self.unmatched_rows[:LISTED]))
            rest = len(self.unmatched_rows) - LISTED
            more = f" and {rest:,} more, see {SUMMARY}" if rest > 0 else ""
            said.append(f"{len(self.unmatched_rows):,} rows of the table without a file: {numbers}{more}")
        notes = (
            (self.masks, "files hold masks or fields of view"),
            (self.unlabelled, "files that no row asks for, listed in the manifest"),
        )
        said += [f"{count:,} {what}" for count, what in notes if count]
        said += self.notes
        said += [f"{count:,} flagged {flag}" for flag, count in self.flags.items()]
        return [*said, *(f"{line}; its scores there are undefined" for line in self.missing)]


def share(count: int, known: int) -> str:
    if not known:
        return "–"
    percent = 100 * count / known
    return f"{percent:.1f} %" if percent >= 1 or count == 0 else f"{percent:.2g} %"


def split_counts(labels: np.ndarray, indices: Mapping[str, np.ndarray], counts: SplitSummary) -> Splits:
    """``Summary.splits``. labels: int [N], or [N, L] with 1, 0, -1; counts: of these indices."""
    return {
        split: {
            "images": int(counts.images[s]),
            "patients": int(counts.patients[s]),
            "classes": {
                name: {
                    "images": int(counts.class_images[s, c]),
                    "patients": int(counts.class_patients[s, c]),
                    "known": int(known_counts(labels[chosen], len(counts.classes))[c]),
                }
                for c, name in enumerate(counts.classes)
            },
        }
        for s, (split, chosen) in enumerate(indices.items())
    }
