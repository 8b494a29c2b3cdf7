"""Exceptions reported as one line without a traceback: wrong input, and runs that cannot go on."""

import errno
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
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
