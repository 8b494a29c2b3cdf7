"""The patient of an image: the table's, else the header's PatientID, else its StudyInstanceUID, else unknown."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from imbal_jax.data.tables.labels_table import Table
from imbal_jax.errors import InputError

TABLE, HEADER, STUDY, NOBODY = "table", "PatientID", "StudyInstanceUID", "nobody"


@dataclass(frozen=True)
class Whose:
    """The patient of one image. key: the same for two images of one patient. source: TABLE, HEADER, STUDY or NOBODY.

    likeness: the same for identifiers that may be one person's, "" unknown. header: key of the header's PatientID,
    None where it has none.
    """

    key: Any
    source: str
    likeness: Any = ""
    header: Any = None


@dataclass(frozen=True)
class Patients:
    """Counts of how the patients of a data set were identified; ``lines`` are to be printed.

    by: patients by the source that identifies them. unknown: images without a patient, each counted as its own.
    doubtful: PatientIDs of headers that are several patients in the table.
    alike: patients whose identifiers differ in leading zeros, case or punctuation only.
    """

    by: dict[str, int]
    unknown: int
    doubtful: int
    alike: int

    def lines(self, column: str) -> list[str]:
        """column: the heading of the table's patients."""
        names = {TABLE: f"column {column}", HEADER: "the header's PatientID", STUDY: "StudyInstanceUID"}
        told = ", ".join(f"by {names[source]}: {self.by[source]}" for source in names if self.by.get(source))
        lines = [f"patients {told}"] if told else []
        notes = (
            (self.unknown, "images without a patient: each counts as its own, splits may share patients"),
            (
                self.by.get(STUDY, 0),
                "patients are studies, without a PatientID: a person with two studies may be in two splits; name the "
                "table's column of patients, --data.columns patient=COLUMN",
            ),
            (
                self.doubtful,
                "patients of the headers are several patients in the table's column: one may be in several splits",
            ),
            (
                self.alike,
                "patients differ from others only in leading zeros, case or punctuation (001, 1): counted separately",
            ),
        )
        return lines + [f"{count} {what}" for count, what in notes if count]


def headers_know_better(table: Table, named: Iterable[bool]) -> bool:
    """Whether a column of lesions, cases or studies is ignored, as each header has (``named``) a PatientID."""
    return table.person_like and all(named)


def count_patients(whose: Sequence[Whose], table: Table) -> Patients:
    """Raises InputError where a column of lesions or cases would separate the images of one PatientID."""
    of_key: dict[Any, str] = {}
    names, likes = defaultdict(set), defaultdict(set)
    for one in whose:
        of_key.setdefault(one.key, one.source)
        if one.likeness != "":
            likes[one.likeness].add(one.key)
        if one.header is not None:
            names[one.header].add(one.key)
    doubtful = sum(len(keys) > 1 for keys in names.values())
    if doubtful and table.person_like:
        column = table.patient_column
        raise InputError(
            f"some headers have no PatientID, and column '{column}' separates the images of {doubtful} patients of "
            f"the headers: set --data.columns patient={column} if it identifies people, or patient= to use headers"
        )
    by = Counter(of_key.values())
    return Patients(
        by={source: by[source] for source in (TABLE, HEADER, STUDY) if by[source]},
        unknown=by[NOBODY],
        doubtful=doubtful,
        alike=sum(len(keys) - 1 for keys in likes.values()),
    )
