"""What of a suite is done and what can be run now, as the lines of its ledger say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from imbal_jax.errors import InputError
from imbal_jax.import_paths import explained
from imbal_jax.suite.definition import Line, Stage, Suite, SuiteAddress, definitions


@dataclass(frozen=True)
class Grid:
    """The runs of a suite beside the lines of its ledger.

    suite: the stages that can be run, later ones as they were chosen, and no functions, so that other processes can
        have it.
    definitions: of every run that can be run, the digest of its config, by key.
    lines: of every run that is done, the line that counts, by key.
    pending: the runs without a line.
    changed: lines of runs whose config was another then. foreign: lines of runs that the suite does not have.
    waiting: names of stages that are chosen when the stages before them are done.
    """

    suite: Suite
    definitions: Mapping[str, str]
    lines: Mapping[str, Line]
    pending: tuple[SuiteAddress, ...]
    changed: tuple[Line, ...]
    foreign: tuple[Line, ...]
    waiting: tuple[str, ...]


def grid(suite: Suite, lines: Iterable[Line]) -> Grid:
    """The state of ``suite``; InputError where a stage's ``choose`` fails.

    Of several lines of a run the first that did not fail counts, else the last.
    """
    by_key: dict[str, list[Line]] = {}
    for line in lines:
        by_key.setdefault(str(line.get("key")), []).append(line)
    stages: list[Stage] = []
    waiting: list[str] = []
    digests: dict[str, str] = {}
    counted: dict[str, Line] = {}
    pending: list[SuiteAddress] = []
    changed: list[Line] = []
    for stage in suite.stages:
        if stage.choose is not None:
            if pending or waiting:
                waiting.append(stage.name)
                continue
            stage = chosen(stage, list(counted.values()))
        stages.append(stage)
        digests |= definitions(suite, stage)
        for address in stage.addresses():
            now = digests[address.key]
            here = by_key.pop(address.key, [])
            changed += [line for line in here if line.get("definition") != now]
            if one := _counts([line for line in here if line.get("definition") == now]):
                counted[address.key] = one
            else:
                pending.append(address)
    later = [line for here in by_key.values() for line in here]
    return Grid(
        replace(suite, stages=tuple(stages), checks=()),
        digests,
        counted,
        tuple(pending),
        tuple(changed),
        tuple(line for line in later if line.get("stage") not in waiting),
        tuple(waiting),
    )


def pending(suite: Suite, lines: Iterable[Line]) -> list[SuiteAddress]:
    """The runs that can be run now and have no line of their present definition, in the order to run them."""
    return list(grid(suite, lines).pending)


def chosen(stage: Stage, lines: Sequence[Line]) -> Stage:
    """The stage that ``stage.choose`` makes of the lines of earlier stages."""
    assert stage.choose is not None
    with explained(f"choose of stage {stage.name}"):
        made = stage.choose(lines, stage)
    if not isinstance(made, Stage) or made.name != stage.name:
        raise InputError(
            f"choose of stage {stage.name} returned {made!r:.80}: return a Stage of the same name"
        )
    return replace(made, choose=None)


def _counts(lines: Sequence[Line]) -> Line | None:
    return next((line for line in lines if line.get("outcome") != "failed"), lines[-1] if lines else None)
