"""Tables of which several processes write a part each, and which the first of them joins, in their order."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from imbal_jax.engine import hosts
from imbal_jax.files import replacing

T = TypeVar("T")


def own_part(path: Path | None, process: int | None = None) -> Path | None:
    """Where this process, or another one, writes its part of the table at ``path``; the table itself where it is
    alone."""
    if path is None or hosts.count() == 1:
        return path
    return path.with_name(f"{path.name}.part{hosts.index() if process is None else process}")


def own_share(items: Sequence[T]) -> Sequence[T]:
    """The items that are this process's: neighbours, as many as any other has or one more."""
    processes, process = hosts.count(), hosts.index()
    begin, end = (len(items) * k // processes for k in (process, process + 1))
    return items[begin:end]


def join_parts(path: Path | None, *, private: bool = False, keep: bool = True) -> None:
    """Make one table of all parts, which are deleted; every process calls it.

    private: readable by its owner only. keep: False makes no table.
    """
    if path is None or hosts.count() == 1:
        return
    hosts.gathered(None)  # all are written

    def join() -> None:
        parts = [part for k in range(hosts.count()) if (part := own_part(path, k)) is not None]
        if keep:
            with replacing(path, private=private) as whole:
                for part in parts:
                    with part.open("rb") as stream:
                        shutil.copyfileobj(stream, whole)
        for part in parts:
            part.unlink()

    hosts.by_first(join)
