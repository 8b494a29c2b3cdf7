"""Repeats a run of the ledger and says whether it gives the same results."""

import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from rich.console import Console

from imbal_jax.console import say
from imbal_jax.errors import InputError, Stopped, did_you_mean
from imbal_jax.suite.curve import aimed
from imbal_jax.suite.definition import Line, parse_key
from imbal_jax.suite.engines.job import Job
from imbal_jax.suite.engines.local import run_local
from imbal_jax.suite.grid import Grid
from imbal_jax.suite.ledger import append_line
from imbal_jax.suite.line import completed

SAME = 1e-6
"""Largest difference, relative to numbers above 1, on the same versions and processor."""
ELSEWHERE = 0.05
"""Largest difference of a test metric on other versions, another processor or number of cores: their rounding
differs, and training amplifies it."""

# When, where and how fast: what may differ between two equal runs
CIRCUMSTANCES = {
    "time",
    "commit",
    "versions",
    "hardware",
    "cores",
    "reason",
    "seconds",
    "compile_seconds",
    "total_seconds",
    "images_per_second",
    "peak_memory_mib",
}


@dataclass(frozen=True)
class Agreement:
    """compared: how many values. largest: difference of two numbers. differing: where and what, a text each."""

    compared: int
    largest: float
    differing: tuple[str, ...]


def rerun(
    job: Job, state: Grid, lines: tuple[Line, ...], key: str, *, workers: int, console: Console
) -> None:
    """Run ``key`` in OUT/rerun and say how it compares with its line; raises Stopped where it does not agree.

    A failed run that is done now gets a second line, which counts from then on. Raises InputError where the ledger
    has no such line, or where the suite now defines the run otherwise.
    """
    address = parse_key(key)
    before = aimed(line_of(state, lines, key), job.suite.target)
    apart = replace(job, out=job.out / "rerun")
    shutil.rmtree(address.folder(apart.out), ignore_errors=True)
    found: list[dict[str, Any]] = []
    run_local(apart, [address], lambda _, line: found.append(dict(line)), workers=workers)
    if not found:
        raise InputError(f"{key} is repeated by another command at this moment: wait until that ends")
    now = completed(job.suite, address, found[0], job.commit)
    if before["outcome"] == "failed" and now["outcome"] != "failed":
        append_line(job.out, now)
        say(
            console,
            f"{key}: failed before ({before['reason']}), {now['outcome']} now; the ledger has the new line",
        )
        return
    same = all(before.get(what) == now.get(what) for what in ("versions", "hardware"))
    same &= before.get("cores", now.get("cores")) == now.get("cores")  # earlier lines do not say
    where = (
        "the same versions and processor" if same else "other versions, another processor or number of cores"
    )
    if before.get("commit") != now["commit"]:
        where += f", commit {now['commit'] or 'unknown'} after {before.get('commit') or 'unknown'}"
    result = agreement(before, now) if same else agreement(of_metrics(before), of_metrics(now), ELSEWHERE)
    tolerance = f"tolerance {SAME if same else ELSEWHERE:g}, {where}"
    if result.differing:
        unsaid = "; the line does not say on how many cores it ran" if same and "cores" not in before else ""
        raise Stopped(f"{key} does not agree ({tolerance}): {'; '.join(result.differing[:5])}{unsaid}")
    say(
        console,
        f"{key} agrees: {result.compared} values, largest difference {result.largest:.2g} ({tolerance})",
    )


def line_of(state: Grid, lines: tuple[Line, ...], key: str) -> Line:
    """The line of the ledger that counts for a run."""
    if key in state.lines:
        return state.lines[key]
    keys = [line["key"] for line in lines]
    if key not in keys:
        raise InputError(f"the ledger has no run {key}: {did_you_mean(key, keys)}--list lists them")
    now = state.definitions.get(key)
    if now is None:
        raise InputError(
            f"suite {state.suite.name} does not have the run {key} now: restore the suite as it was"
        )
    then = next(line.get("definition") for line in lines if line["key"] == key)
    raise InputError(
        f"{key} was run with another definition ({then} then, {now} now): restore the suite as it was to repeat it"
    )


def of_metrics(line: Line) -> dict[str, Any]:
    """The part of a line that is compared between versions and processors."""
    return {"outcome": line["outcome"], "metrics": line.get("metrics")}


def agreement(before: Line, now: Line, tolerance: float = SAME) -> Agreement:
    """Compare all values of two lines but those of ``CIRCUMSTANCES``."""
    compared, largest, differing = 0, 0.0, []
    here, there = dict(leaves(now)), dict(leaves(before))
    for place in dict.fromkeys([*there, *here]):
        a, b = there.get(place), here.get(place)
        compared += 1
        if _is_number(a) and _is_number(b):
            difference = abs(a - b)
            largest = max(largest, difference)
            right = difference <= tolerance * max(1.0, abs(a))
        else:
            right = a == b
        if not right:
            differing.append(f"{place} is {_shown(a)} in the ledger and {_shown(b)} now")
    return Agreement(compared, largest, tuple(differing))


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The values inside of objects and lists with their places, ``metrics.auroc``, without circumstances."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key not in CIRCUMSTANCES:
                yield from leaves(each, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from leaves(each, f"{place}.{index}")
    else:
        yield place, value


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: Any) -> str:
    return "missing" if value is None else f"{value:.9g}" if isinstance(value, float) else repr(value)
