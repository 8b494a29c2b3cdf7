"""What the user can mend, and what ends a run: the errors that are told in one line, without a traceback."""


class InputError(ValueError):
    """Wrong input: the message names the value, the place and the remedy, in one line.

    The command line prints the message alone and exits with status 2; a library user sees a
    ``ValueError``. Anything else that escapes is a defect of ours and keeps its traceback.
    """


class Stopped(InputError):
    """A run that began well and cannot go on (a full disk, no finite gradient): exit status 1."""
