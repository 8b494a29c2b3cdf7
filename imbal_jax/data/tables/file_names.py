"""Parts of a file's path as a table writes it: folders, name without its ending, and the patient that it names."""

import re
import unicodedata
from collections.abc import Sequence

from imbal_jax.data.tables.cells import plain_text

ENDINGS = ("dcm", "dicom", "png", "jpg", "jpeg", "tif", "tiff", "bmp")  # that a table may leave out

_PATIENT_NAME = re.compile(r"((?:patient|pat|person|subject|subj|sub|participant)[-_ ]?\d+)(?![^\W_])")
_MIMIC_PATIENT = re.compile(r"p\d{8}")
_EYE = re.compile(r"(.*[^\W_])(?:[-_ ](?:left|right|l|r|od|os)|(?<=\d)(?:l|r|od|os))")


def name_parts(path: str, *, fold: bool = True) -> tuple[str, ...]:
    """The folders and the name of a path in one form, its drive, root and ``..`` left out."""
    path = path.replace("\\", "/").strip()
    text = plain_text(path) if fold else unicodedata.normalize("NFC", path)
    if ":" in text:
        text = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*:/*", "", text)  # C:/ and file:///
    text = text.casefold() if fold else text
    return tuple(part for part in text.split("/") if part not in ("", ".", ".."))


def without_ending(name: str) -> str:
    """A name without the ending that a table may leave out."""
    stem, _, ending = name.rpartition(".")
    return stem if stem and ending.lower() in ENDINGS else name


def names_patient(name: str) -> bool:
    """Whether a folder or file is called as a patient usually is, as patient00001."""
    return _PATIENT_NAME.match(name.casefold()) is not None or _MIMIC_PATIENT.fullmatch(name) is not None


def patients_by_path(keys: Sequence[str]) -> tuple[list[str], str] | None:
    """The patients that all paths name, and by what; else None.

    As ``patient00001/study1/1.jpg``, or by the eye, ``10_left`` or ``Image_01L``.
    """
    paths = [name_parts(key) for key in keys]
    named = [
        next((found[1] for part in path if (found := _PATIENT_NAME.match(part))), "")
        or next((part for part in path[:-1] if _MIMIC_PATIENT.fullmatch(part)), "")
        for path in paths
    ]
    if all(named) and len(set(named)) > 1:
        return named, "the patient's name"
    eyes = [_EYE.fullmatch(without_ending(path[-1])) if path else None for path in paths]
    if all(eyes) and len(paths) > 1:
        ends = {
            without_ending(path[-1]).rpartition(found[1])[2]
            for path, found in zip(paths, eyes, strict=True)
            if found
        }
        if len(ends) > 1:
            return [found[1] for found in eyes if found], "the name before left and right"
    return None
