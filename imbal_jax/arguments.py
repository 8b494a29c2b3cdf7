"""The words of a command line, parsed into a dataclass, and the messages that name them: one line each."""

import contextlib
import dataclasses
import errno
import io
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

import tyro

from imbal_jax.errors import InputError

T = TypeVar("T")
COLUMN_ROLES = ("file", "accession", "patient", "label", "split", "mask")

_UNFIT = re.compile(
    r"^Error parsing (--\S+): no type matching (?:\{None\}\|)?(\S+) could be .* from \[(.*?)\]\..*$"
)
_SECTION = re.compile(r"^Error parsing \w+: ")
_NO_NUMBER = re.compile(
    r"^Error parsing (--\S+): (invalid literal for int|could not convert string to float).*: ('.*')$"
)
_NUMBERS = {"invalid literal for int": "a whole number", "could not convert string to float": "a number"}


def parse(kind: type[T], words: Sequence[str], *, prog: str, default: T | None = None) -> T:
    """The dataclass ``kind`` that ``words`` describe; ``default`` has the values of options that are not given.

    Raises InputError in one line for an unknown option or a value of the wrong type. ``--help`` prints all options
    and raises SystemExit(0).
    """
    given: Any = {} if default is None else {"default": default}
    if "--help" in words or "-h" in words:
        return tyro.cli(kind, args=["--help"], prog=prog, **given)
    captured = io.StringIO()
    try:
        with contextlib.redirect_stdout(captured), contextlib.redirect_stderr(captured):
            return tyro.cli(kind, args=list(words), prog=prog, **given)
    except SystemExit:
        raise InputError(one_line(captured.getvalue())) from None


def one_line(text: str) -> str:
    """tyro's message without its frame, its heading and its usage text."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = [re.sub(r"[^\x20-\x7e]", " ", line).strip() for line in plain.splitlines()]
    lines = [line for line in lines if line and not set(line) <= set("- ")]
    lines = lines[1:] if len(lines) > 1 else lines  # the heading says only that something is wrong
    for place, line in enumerate(lines):
        if line.startswith(("Argument helptext", "For full helptext", "usage:")):
            lines = lines[:place]
            break
    message = re.sub(r"\s+", " ", " ".join(lines)).strip()
    message = _SECTION.sub("", message)
    message = _UNFIT.sub(r"\1 is \3, expected \2", message)
    message = _NO_NUMBER.sub(lambda m: f"{m[1]} is {m[3]}, expected {_NUMBERS[m[2]]}", message)
    return message or "the options could not be read, see --help"


def parse_command(kind: type[T], words: Sequence[str], *, name: str, also: str = "") -> T:
    """The options of the command ``name``, a dataclass ``kind``; InputError names what is missing or unknown.

    also: other options that the command takes, for the message.
    """
    if "--help" in words or "-h" in words:
        return parse(kind, words, prog=f"imbal-jax {name}")
    hints = get_type_hints(kind, include_extras=True)
    positional: list[dataclasses.Field[Any]] = []
    flags: list[dataclasses.Field[Any]] = []
    for field in dataclasses.fields(cast(Any, kind)):
        hint = str(hints[field.name])
        (positional if "Positional" in hint else flags).append(field)
    known = [f"--{field.name.replace('_', '-')}" for field in flags]
    allowed = [*known, *(f"--no-{flag[2:]}" for flag in known)]
    given = [word.split("=")[0] for word in words if word.startswith("--")]
    for flag in given:
        if flag.replace("_", "-") not in allowed:
            options = ", ".join([*known, *([also] if also else [])])
            raise InputError(f"{name} does not know {flag}: its options are {options}")
        if given.count(flag) > 1:
            raise InputError(f"{name} takes {flag} once")
    needed = [field for field in positional if field.default is dataclasses.MISSING]
    if needed and (not words or words[0].startswith("-")):
        shown = " ".join(_metavar(hints[field.name], field.name) for field in positional)
        raise InputError(f"{name} needs {shown}: see imbal-jax {name} --help")
    return parse(kind, words, prog=f"imbal-jax {name}")


def split_words(words: Sequence[str], prefixes: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The options that begin with one of ``prefixes``, each with its values; and the other words."""
    chosen: list[str] = []
    others: list[str] = []
    into = others
    for word in words:
        if word.startswith("-") and not _is_number(word):
            into = chosen if word.startswith(prefixes) else others
        if into is chosen and "=" in word and word.startswith(prefixes) and word.startswith("--workdir="):
            chosen += ["--workdir", word.split("=", 1)[1]]
        else:
            into.append(word)
    return chosen, others


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _metavar(hint: Any, name: str) -> str:
    settings = [each for each in getattr(hint, "__metadata__", ()) if getattr(each, "metavar", None)]
    return settings[0].metavar if settings else name.upper()


def parse_columns(words: Sequence[str]) -> dict[str, str]:
    """Role -> heading of ``patient=subject_id file=image_path``; InputError for another form.

    ``patient=`` says that no column is the patient's.
    """
    named: dict[str, str] = {}
    for word in words:
        role, found, heading = word.partition("=")
        role = role.strip().lower()
        if not found or role not in COLUMN_ROLES:
            raise InputError(
                f"columns: {word!r} is not ROLE=COLUMN, as patient=subject_id; roles are {', '.join(COLUMN_ROLES)}"
            )
        if role in named:
            raise InputError(f"columns: {role} is named twice")
        named[role] = heading.strip()
    return named


def check_empty(words: Sequence[str]) -> None:
    """InputError for a path or a value that is empty, as an unset variable of the shell gives it."""
    empty = [before for before, word in pairwise(words) if not word.strip()]
    empty += [word[:-1] for word in words if word.startswith("--") and word.endswith("=")]
    for flag in empty:
        if flag.strip() and flag != "--title":
            raise InputError(
                f"{flag} is followed by nothing: give a value (is a variable of the shell unset?)"
            )


def os_error(error: OSError, words: Sequence[str]) -> str:
    """The message for an error of the operating system.

    The file is named only if it is below --workdir or --out: other files may be images, and their names may identify
    patients.
    """
    where = "a file"
    if isinstance(error.filename, str):
        path = Path(os.path.realpath(error.filename))
        ours = [
            Path("workdirs"),
            *(Path(word) for flag, word in pairwise(words) if flag in ("--workdir", "--out")),
        ]
        ours += [Path(word.partition("=")[2]) for word in words if word.startswith(("--workdir=", "--out="))]
        if any(path.is_relative_to(os.path.realpath(place)) for place in ours):
            where = error.filename
    written = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    reason = error.strerror or type(error).__name__
    return (
        f"cannot {'write' if written else 'read or write'} {where}: {reason}; nothing saved is lost: fix this and "
        "run the same command to continue"
    )


def out_of_memory(error: Exception) -> str:
    """The message where ``error`` says that memory, of the machine or of the device, is exhausted; "" otherwise."""
    if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
        return ""
    asked = re.search(r"[\d.]+ ?[KMGT]i?B|\d+ bytes", str(error))
    return (
        f"out of memory{f' ({asked[0]} more were asked for)' if asked else ''}: lower --train.batch-size, "
        "--data.image-size or the width of the network, or set --train.no-resident; nothing saved is lost"
    )
