"""Shards of a grid: ``3/16`` is the third of sixteen parts, for commands that share the work without talking."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from imbal_jax.errors import InputError
from imbal_jax.suite.definition import Suite, SuiteAddress


@dataclass(frozen=True)
class Shard:
    """Part ``number``, from 1, of ``count``."""

    number: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, suite: Suite) -> Iterator[SuiteAddress]:
        """The runs of this part: of each stage every ``count``-th, whatever of it is done already.

        The parts are disjoint, and together they are all runs.
        """
        for stage in suite.stages:
            for place, address in enumerate(stage.addresses()):
                if place % self.count == self.number - 1:
                    yield address


def parse_shard(text: str | None) -> Shard:
    """The shard that ``text``, I/N, names; the whole for None. InputError for another form."""
    if text is None:
        return Shard()
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"--shard is {text!r}: give I/N, from 1/N to N/N, as 3/16")
    return Shard(int(found[1]), int(found[2]))
