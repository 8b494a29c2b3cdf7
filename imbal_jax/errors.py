"""Exceptions reported as one line without a traceback: wrong input, runs that cannot go on; parts of such lines."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class InputError(ValueError):
    """Wrong input: the message names the value, the place and the remedy, in one line.

    The command line prints the message alone and exits with status 2; a library user sees a
    ``ValueError``. Any other exception is a bug in this package and keeps its traceback.
    """

    status = 2
    """Exit status of the process."""


class Stopped(InputError):
    """A run that started and cannot continue (a full disk, no finite gradient): exit status 1."""

    status = 1


class Terminated(Stopped):
    """A signal asked the run to end; its state is saved: exit status 143, as a shell gives for SIGTERM."""

    status = 143


@contextmanager
def named(what: str) -> Iterator[None]:
    """A ValueError inside becomes an InputError that begins with ``what``; an InputError stays as it is."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{what}: {error}") from error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for a message, "did you mean NAME? ", or "" where nothing known is like ``word``."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}? " if close else ""


def text_labels(labels: Any, expected: str) -> str:
    """The message for labels that are not numbers; usually they are class names."""
    return (
        f"labels are {labels.dtype} of shape {labels.shape}, expected {expected}: "
        "classes, labels = np.unique(names, return_inverse=True) numbers the names"
    )


def first_line(error: BaseException) -> str:
    """The first line of what another library says, at most 200 characters; its type where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
