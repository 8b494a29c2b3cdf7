"""What is to be said of a ledger before it is used: lines that do not count, and why."""

from collections.abc import Iterable
from pathlib import Path

from imbal_jax.errors import InputError
from imbal_jax.methods import find_method
from imbal_jax.suite.definition import Line
from imbal_jax.suite.grid import Grid


def notes(path: Path, state: Grid) -> list[str]:
    """A line for the runs of another definition, and one for runs that the suite does not have."""
    said: list[str] = []
    if state.changed:
        line = state.changed[0]
        then, now = line.get("definition") or "none", state.definitions[line["key"]]
        said.append(
            f"{path}: {_lines(state.changed)} of another definition (as {line['key']}: {then} then, {now} now) are "
            "kept and not used, and their runs are run again; to use them, restore the suite as it was, or keep them "
            "apart with another --out"
        )
    if state.foreign:
        unknown = unknown_methods(state.foreign)
        why = f", of methods that this version does not know: {', '.join(unknown)}" if unknown else ""
        said.append(
            f"{path}: {_lines(state.foreign)} of runs that suite {state.suite.name} does not have (as "
            f"{state.foreign[0]['key']}{why}) are kept and not used"
        )
    return said


def unknown_methods(lines: Iterable[Line]) -> list[str]:
    """The methods of ``lines`` that this version cannot build."""
    unknown = []
    for name in dict.fromkeys(str(line.get("method")) for line in lines):
        try:
            find_method(name)
        except InputError:
            unknown.append(name)
    return unknown


def check_suite(path: Path, lines: Iterable[Line], name: str) -> None:
    """InputError where a ledger has lines, and none of suite ``name``."""
    names = dict.fromkeys(str(line.get("suite")) for line in lines)
    if names and name not in names:
        raise InputError(f"{path} is the ledger of suite {', '.join(names)}: choose another --out for {name}")


def _lines(lines: tuple[Line, ...]) -> str:
    return "1 line" if len(lines) == 1 else f"{len(lines)} lines"
