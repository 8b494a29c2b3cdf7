"""Exceptions reported as one line without a traceback: wrong input, and runs that cannot go on."""

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


def text_labels(labels: Any, expected: str) -> str:
    """The message for labels that are not numbers; usually they are class names."""
    return (
        f"labels are {labels.dtype} of shape {labels.shape}, expected {expected}: "
        "classes, labels = np.unique(names, return_inverse=True) numbers the names"
    )
