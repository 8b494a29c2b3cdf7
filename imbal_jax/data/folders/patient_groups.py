"""Numbers the patients of a folder's images, from its table and the headers of its files."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from imbal_jax.data.dicom.dicom_file import open_dicom
from imbal_jax.data.dicom.header import patient_of
from imbal_jax.data.folders.decoded_files import Decoded
from imbal_jax.data.images.refusal import ReadError
from imbal_jax.data.tables.cells import patient_likeness
from imbal_jax.data.tables.labels_table import Row, Table
from imbal_jax.data.tables.patients import (
    HEADER,
    NOBODY,
    STUDY,
    TABLE,
    Patients,
    Whose,
    count_patients,
    headers_know_better,
)


def patient_groups(
    folder: Path, table: Table, rows: Sequence[Row], paths: Sequence[str], decoded: Decoded
) -> tuple[np.ndarray, Patients]:
    """int32 [N], one number a patient, and how patients were identified; call it inside ``quiet()``.

    The table's patient counts, and where it says nothing the header's. Where some images have the one and some the
    other, headers are read again: ``decoded`` holds numbers only, and p7 of the table has to be p7 of the header.
    """
    if headers_know_better(table, ((decoded.patients >= 0) & ~decoded.studies).tolist()):
        table = replace(table, patient_column="", person_like=False)
        rows = [replace(row, patient="") for row in rows]
    whose = [
        _whose(folder / path, table, row, place, decoded)
        for place, (row, path) in enumerate(zip(rows, paths, strict=True))
    ]
    numbers: dict[object, int] = {}
    groups = [numbers.setdefault(one.key, len(numbers)) for one in whose]
    return np.array(groups, np.int32), count_patients(whose, table)


def _whose(path: Path, table: Table, row: Row, place: int, decoded: Decoded) -> Whose:
    """The patient of one image. place: its index in ``decoded``."""
    header, study = int(decoded.patients[place]), bool(decoded.studies[place])
    source = STUDY if study else HEADER
    if row.patient:
        named = header >= 0 and not study
        return Whose(("name", row.patient), TABLE, patient_likeness(row.patient), header if named else None)
    if header < 0:
        return Whose(("image", place), NOBODY)
    if not table.has_patients:
        return Whose(header, source, "" if study else int(decoded.likeness[place]))
    who = header_patient(path)
    key = ("study" if study else "name", who)
    return Whose(key, source, "" if study else patient_likeness(who), header)


def header_patient(path: Path) -> str:
    """What the header calls the patient, "" where it can no longer be read."""
    with suppress(ReadError):
        return patient_of(open_dicom(path, pixels=False)).partition(" ")[2]
    return ""


def unknown_patients(rows: Sequence[Row], from_header: np.ndarray) -> np.ndarray:
    """bool [N]: images whose patient neither the table nor the header names."""
    return np.array([not row.patient for row in rows], bool) & (from_header < 0)
