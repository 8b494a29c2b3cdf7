"""What an engine needs to run the addresses of a suite in other processes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imbal_jax.errors import Terminated
from imbal_jax.import_paths import import_object, search
from imbal_jax.suite.definition import Suite, SuiteAddress
from imbal_jax.suite.line import failed

RUN = "imbal_jax.suite.run:run"

Taken = Callable[[SuiteAddress, dict[str, Any]], None]
"""Called with each line as it is there."""


@dataclass(frozen=True)
class Job:
    """Everything besides the address.

    suite: that of a ``Grid``, which has no functions. folder: where the suite's own modules lie. run: the import path
    of ``(suite, address, out, *, commit) -> line``.
    """

    suite: Suite
    out: Path
    commit: str
    folder: Path
    run: str = RUN


def run_one(job: Job, address: SuiteAddress) -> dict[str, Any]:
    """The line of one run; an error makes it a failed one. Raises Terminated where a signal stopped the run."""
    search(job.folder)
    function = import_object(job.run, "run")
    try:
        return dict(function(job.suite, address, job.out, commit=job.commit))
    except Terminated:
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        return failed(f"{type(error).__name__}: {said}"[:500])
