"""Meaning of a table's cell: missing, a value of a label, a class, a patient, a split."""

import re
import unicodedata
from functools import lru_cache

from imbal_jax.data.labels import MISSING, UNCERTAIN
from imbal_jax.metrics.clusters import MISSING_WORDS

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+)", re.ASCII)
_MINUS = str.maketrans("\u2010\u2011\u2012\u2013\u2212", "-----")
_WORDS = {
    "true": 1, "yes": 1, "t": 1, "y": 1, "positive": 1, "pos": 1, "present": 1,
    "false": 0, "no": 0, "f": 0, "n": 0, "negative": 0, "neg": 0, "absent": 0,
}  # fmt: skip
# Marks of a missing value that pandas keeps as text, and errors of spreadsheets.
_MARKS = frozenset(
    (
        "?", "??", "???", "-", "--", "---", "\u2013", "\u2014", ".", "..", "...", "n.a.", "n.a", "#null!", "#div/0!",
        "#value!", "#ref!", "#name?", "#num!", "#n/a!", "#error!",
    )
)  # fmt: skip
# Beside numbers, or yes and no, these words are no class of their own.
_UNSURE = frozenset(
    (
        "unknown", "unk", "missing", "uncertain", "unsure", "unclear", "indeterminate", "equivocal", "maybe", "nil",
        "not available", "not done", "not read", "unlabeled", "unlabelled", "error", "inf", "-inf",
    )
)  # fmt: skip
_NOBODY = frozenset(
    (
        "unknown", "unk", "missing", "not available", "anonymous", "anonymized", "anonymised", "anon", "-1", "-9",
        "-99", "-999",
    )
)  # fmt: skip
_SPLITS = {
    "train": "train", "training": "train", "tr": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "validate": "validation",
    "dev": "validation", "development": "validation", "tune": "validation", "tuning": "validation",
    "test": "test", "testing": "test", "tst": "test", "te": "test", "holdout": "test",
}  # fmt: skip
# train_set, Validation Images, train2017, hold-out
_SPLIT_TAIL = re.compile(
    r"(?<=..)(sets?|splits?|data|dataset|images?|imgs|cases|cohort|part|partition|folder|20\d\d)$"
)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


def plain_text(cell: str) -> str:
    """In one normal form (NFKC), without invisible characters and surrounding space, inner space as one blank."""
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFKC", cell)).split())


def is_missing(cell: str) -> bool:
    """Whether the cell is empty or holds a missing-value mark: nan, NA, None, null, <NA>, NaT, ..."""
    return plain_text(cell).casefold() in MISSING_WORDS


def says_nothing(cell: str) -> bool:
    """Whether a label's cell is missing, or a mark such as "?", "-" or "#DIV/0!"."""
    text = plain_text(cell).casefold()
    return text in MISSING_WORDS or text in _MARKS


def is_unsure(cell: str) -> bool:
    """Whether the cell says that the value is not known: unknown, missing, uncertain, ..."""
    return plain_text(cell).casefold() in _UNSURE


@lru_cache(1024)
def label_value(cell: str) -> int | None:
    """1, 0, -1 (uncertain) or -2 (missing) of a cell of a label's column; None for anything else.

    1 is also 1.0, True, yes and positive, 0 is also False, no and negative.
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
    text = text.translate(_MINUS)
    text = _DECIMAL_COMMA.sub(r"\1.\2", text) if _DECIMAL_COMMA.fullmatch(text) else text
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return int(value) if abs(value) < 2**53 and value == int(value) else None


@lru_cache(1024)
def class_spelling(cell: str) -> str:
    """Equal for cells that name one class: case, space, hyphens between letters, normal form and the form of a number
    make no difference."""
    text = plain_text(cell).casefold()
    number = whole_number(text)
    if number is not None:
        return str(number)
    text = re.sub(r" ?/ ?", "/", text)
    return re.sub(r"(?<=[^\W\d_])[\s_-]+(?=\w)|(?<=\w)[\s_-]+(?=[^\W\d_])", " ", text)


def patient_name(cell: str) -> str:
    """The identifier of a patient in one spelling, "" where there is none; 7.0, as pandas writes it, is 7.

    "unknown", "anonymous", "?", -1 and the like name nobody. Case and leading zeros are kept;
    ``patient_likeness`` ignores them.
    """
    text = plain_text(cell)
    if re.fullmatch(r"-?\d+[.,]0*", text, re.ASCII):
        text = re.split("[.,]", text)[0]
    return "" if says_nothing(text) or text.casefold() in _NOBODY else text


def is_shortened(cell: str) -> bool:
    """Whether a number is written as 1.23457E+11, to which several identifiers may have been rounded."""
    return re.fullmatch(r"\d[.,]?\d*e\+\d+", plain_text(cell), re.ASCII | re.IGNORECASE) is not None


def patient_likeness(name: str) -> str:
    """Equal for identifiers that may be one person's: 001 and 1, p-7 and P7."""
    text = re.sub(r"(?<=\d)[\W_]+(?=\d)", "-", plain_text(name).casefold())  # 1-12 is not 11-2
    text = re.sub(r"(?!(?<=\d)-\d)[\W_]", "", text)
    return re.sub(r"(?<!\d)0+(?=\d)", "", text)


@lru_cache(1024)
def split_name(cell: str) -> str | None:
    """train, validation or test, whatever the usual spelling; "" where the cell is missing; None for another word."""
    text = plain_text(cell).casefold()
    if text in MISSING_WORDS:
        return ""
    text = re.sub(r"[\s_-]+", "", text)
    return _SPLITS.get(text) or _SPLITS.get(_SPLIT_TAIL.sub("", text))
