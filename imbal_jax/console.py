"""Console output: plain lines, and numbers formatted for people."""

import codecs
import math
import unicodedata
from typing import TextIO

from rich.console import Console
from rich.text import Text

UNDEFINED = "–"
WIDE = 124  # characters: the results table with its headings spelled out
PLAIN_LINE_SECONDS = 10.0  # between progress lines in a log file: often enough to see that the run is alive


def say(console: Console, text: str, *, wrap: bool = False) -> None:
    """Print lines as they are: names of classes, runs and folders are not markup, and ``:cat:`` is not an emoji.

    wrap: break lines at the width of the console, as prose; else they are left whole, to be copied or searched.
    """
    if text:
        console.print(Text(text), soft_wrap=not wrap)


def make_console() -> Console:
    """The console of a run: as wide as the terminal, or wide enough for the results table in a log file."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def number(value: float, digits: int = 3) -> str:
    """A metric for people: ``0.912``; a dash where it is undefined."""
    return f"{value:.{digits}f}" if math.isfinite(value) else UNDEFINED


def percent(share: float) -> str:
    """A share for people: ``17.0 %``, ``1.2 %``, ``0.012 %``; a dash where it is undefined."""
    if not math.isfinite(share):
        return UNDEFINED
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    return f"{100 * share:.1f} %" if share >= 0.01 else f"{100 * share:.2g} %"


def duration(seconds: float) -> str:
    """``0:07``, ``12:34`` or ``1:02:03``; a dash while unknown."""
    if not math.isfinite(seconds):
        return UNDEFINED
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


SPELLINGS = {
    "–": "-",
    "—": "-",
    "≥": ">=",
    "≤": "<=",
    "×": "x",
    "±": "+-",
    "…": "...",
    "\u2011": "-",
    "\u00a0": " ",
}


def encode_or_spell(*streams: TextIO) -> None:
    """Let streams whose encoding lacks a character write something close to it, and not fail."""
    codecs.register_error("spell", _spelled)
    for stream in streams:
        encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
        if not encoding.startswith("utf") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="spell")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = ""
    for character in error.object[error.start : error.end]:
        plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        text += SPELLINGS.get(character) or plain or "?"
    return text, error.end
