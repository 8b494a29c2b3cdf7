"""What a cell of a table says: nothing, a label's value, a class, a patient, a split."""

import re
import unicodedata
from functools import lru_cache

from imbal_jax.data.dataset import MISSING, UNCERTAIN
from imbal_jax.metrics.clusters import MISSING_WORDS

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+)", re.ASCII)
_WORDS = {"true": 1, "yes": 1, "t": 1, "y": 1, "false": 0, "no": 0, "f": 0, "n": 0}
_SPLITS = {
    "train": "train", "training": "train", "tr": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "validate": "validation",
    "dev": "validation", "development": "validation", "tune": "validation", "tuning": "validation",
    "test": "test", "testing": "test", "tst": "test", "te": "test", "holdout": "test",
}  # fmt: skip
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


def plain_text(cell: str) -> str:
    """In one normal form (NFKC), without invisible characters and surrounding space, inner space as one blank."""
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFKC", cell)).split())


def is_missing(cell: str) -> bool:
    """Whether the cell is empty, or holds what programs write for nothing: nan, NA, None, null, <NA>, NaT, ..."""
    return plain_text(cell).casefold() in MISSING_WORDS


@lru_cache(1024)
def label_value(cell: str) -> int | None:
    """1, 0, -1 (uncertain) or -2 (missing) of a cell of a label's column; None for anything else.

    1 is also 1.0, True and yes, 0 is also False and no.
    """
    text = plain_text(cell).casefold()
    if text in MISSING_WORDS:
        return MISSING
    if text in _WORDS:
        return _WORDS[text]
    number = whole_number(text)
    return number if number in (1, 0, UNCERTAIN, MISSING) else None


def whole_number(text: str) -> int | None:
    """7 of "7", "7.0", "7,0" and "7e0"; None for anything else."""
    text = _DECIMAL_COMMA.sub(r"\1.\2", text) if _DECIMAL_COMMA.fullmatch(text) else text
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return int(value) if abs(value) < 2**53 and value == int(value) else None


@lru_cache(1024)
def class_spelling(cell: str) -> str:
    """The same for cells that name one class: case, space, normal form and a number's form make no difference."""
    text = plain_text(cell).casefold()
    number = whole_number(text)
    return text if number is None else str(number)


def patient_name(cell: str) -> str:
    """The identifier of a patient in one spelling, "" where there is none; 7.0, as pandas writes it, is 7.

    Case and leading zeros are kept: ``patient_likeness`` has them in common.
    """
    text = plain_text(cell)
    if text.casefold() in MISSING_WORDS:
        return ""
    return text.split(".")[0] if re.fullmatch(r"\d+\.0+", text, re.ASCII) else text


def patient_likeness(name: str) -> str:
    """What identifiers share that may be one person's: 001 and 1, p-7 and P7."""
    text = re.sub(r"[\W_]+", "", plain_text(name).casefold())
    return re.sub(r"(?<!\d)0+(?=\d)", "", text)


@lru_cache(1024)
def split_name(cell: str) -> str | None:
    """train, validation or test, whatever the usual spelling; "" where the cell is missing; None for another word."""
    text = plain_text(cell).casefold()
    return "" if text in MISSING_WORDS else _SPLITS.get(text)
