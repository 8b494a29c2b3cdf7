"""A folder that is made once for all workers of a test run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder ``name``, which ``make`` fills for whoever asks first; nobody may change it afterwards.

    With pytest-xdist each worker has a base folder of its own inside one of the whole run; the others wait.
    """
    base = factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / name
    with FileLock(f"{folder}.lock"):
        if not (done := folder.with_name(f"{name}.done")).is_file():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def own_copy(factory: pytest.TempPathFactory, workdir: Path) -> Path:
    """A copy of a workdir for one worker, which may lock it and write to it; pictures inside it move along."""
    copy = factory.mktemp(workdir.name) / "runs"
    shutil.copytree(workdir, copy)
    config = copy / "config.json"
    config.write_text(config.read_text().replace(str(workdir), str(copy)))
    return copy
