"""What the user can mend, and what ends a run: the errors that are told in one line, without a traceback."""

from typing import Any


class InputError(ValueError):
    """Wrong input: the message names the value, the place and the remedy, in one line.

    The command line prints the message alone and exits with status 2; a library user sees a
    ``ValueError``. Anything else that escapes is a defect of ours and keeps its traceback.
    """

    status = 2
    """Of the process, where this ends it."""


class Stopped(InputError):
    """A run that began well and cannot go on (a full disk, no finite gradient): exit status 1."""

    status = 1


class Terminated(Stopped):
    """A signal asked the run to end; its state is saved: exit status 143, as a shell gives for SIGTERM."""

    status = 143


def text_labels(labels: Any, expected: str) -> str:
    """The message for labels that are no numbers, names of classes mostly."""
    return (
        f"labels are {labels.dtype} of shape {labels.shape}, expected {expected}: "
        "classes, labels = np.unique(names, return_inverse=True) numbers the names"
    )
