"""Words of a command line become a dataclass; a mistake is one line."""

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from imbal_jax.errors import InputError

T = TypeVar("T")


def parse(kind: type[T], words: Sequence[str], *, prog: str, default: T | None = None) -> T:
    """The dataclass ``kind`` that ``words`` describe, typed; ``default`` gives what they leave out.

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
    message = re.sub(r"\s+", " ", " ".join(lines)).replace("Error parsing Config: ", "").strip()
    return message or "the options could not be read, see --help"
