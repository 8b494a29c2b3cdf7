"""First section: what was compared, in two sentences, and whether it can decide anything."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import numpy as np

from imbal_jax.console import percent
from imbal_jax.report.html import counted, listed
from imbal_jax.suite.conclusions.comparison import FEWEST_PAIRS
from imbal_jax.suite.definition import Line
from imbal_jax.suite.report.blocks import Block, Notice, Text
from imbal_jax.suite.report.evidence import Evidence, typical_pairs
from imbal_jax.suite.report.view import View, ratio_text

NAMED = 10  # methods named in the sentence; more are counted


def compared(evidence: Evidence) -> tuple[Block, ...]:
    """The sentences, below the notice of a descriptive report."""
    blocks: list[Block] = [Text(f"{_what(evidence)} {_with_what(evidence.lines)}", "lead")]
    if evidence.descriptive:
        blocks.insert(0, Notice("Descriptive only", _why(evidence), large=True))
    return tuple(blocks)


def _why(evidence: Evidence) -> str:
    seeds = typical_pairs(evidence.main)
    if not seeds:
        return "No run of a method has a finished run of the reference beside it: nothing is compared."
    if seeds < FEWEST_PAIRS:
        lowest = 2 / 2**seeds
        return (
            f"With {counted(seeds, 'seed')} a condition, the exact two-sided test of paired differences cannot fall "
            f"below p = {min(lowest, 1):.3g}, whatever the runs say: these numbers show that everything works, and "
            "conclude nothing."
        )
    return "This suite shows that everything works. It was not made to conclude anything."


def _what(evidence: Evidence) -> str:
    view = evidence.main
    ratios = sorted({place.ratio for place in view.places})
    counts = sorted({place.positives for place in view.places if place.positives is not None})
    methods = [name for name in view.trained if name != view.reference]
    names = f" ({listed(methods)})" if len(methods) <= NAMED else ""
    parts = [
        f"{counted(len(view.lines), 'run')} compare {counted(len(methods), 'method')}{names} with {view.reference} "
        f"in {counted(len(view.places), 'data condition')} of {listed(view.sets)}",
        f"{_range([ratio_text(r) for r in ratios])} positives to negatives",
    ]
    if counts:
        parts.append(f"{_range([f'{count:,}' for count in counts])} positive training images")
    parts.append(f"{counted(len(view.units), 'seed')} each")
    return f"{', '.join(parts)}{_before(evidence, view)}."


def _before(evidence: Evidence, view: View) -> str:
    """The runs that led to those of the view."""
    text = ""
    if evidence.trials:
        settings = len({line["setting"] for line in evidence.trials})
        methods = len({line["method"] for line in evidence.trials})
        text += (
            f", after {counted(len(evidence.trials), 'run')} of tuning on other seeds (the same {settings} trials a "
            f"condition for each of {counted(methods, 'method')})"
        )
    if evidence.screen and evidence.screen is not view:
        screen = evidence.screen
        text += f" and a screen of {counted(len(screen.trained), 'method')} in {counted(len(screen.lines), 'run')}"
    return text


def _with_what(lines: Sequence[Line]) -> str:
    """Hours, hardware, versions, commits and days, as far as the lines tell."""
    versions = [line.get("versions") or {} for line in lines]
    names = list(dict.fromkeys(name for each in versions for name in each))
    texts = [f"{name} {_some({str(each[name]) for each in versions if name in each})}" for name in names]
    hours = sum(float(line.get("total_seconds") or 0) for line in lines) / 3600
    spent = f"{hours:.1f} hours" if hours >= 1 else counted(round(60 * hours), "minute")
    hardware = _some({str(line["hardware"]) for line in lines if line.get("hardware")}, 3)
    commits = _some({str(line["commit"])[:7] for line in lines if line.get("commit")}, 3)
    days = sorted(str(line["time"])[:10] for line in lines if line.get("time"))
    parts = [
        f" took {spent}" if hours else "",
        f" on {hardware}" if hardware else "",
        f" with {listed(texts)}" if texts else "",
        f" (commit {commits})" if commits else "",
        f", {_range(list(dict.fromkeys(map(_day, (days[0], days[-1])))))}" if days else "",
    ]
    said = "".join(parts)
    if not said:
        return "The runs do not say where they ran."
    return f"All {counted(len(lines), 'run')}{said}.{_overhead(lines)}"


def _overhead(lines: Sequence[Line]) -> str:
    """What running takes besides training; empty where no line tells."""
    names = ("seconds", "compile_seconds", "total_seconds")
    known = [line for line in lines if line.get("seconds") and None not in [line.get(name) for name in names]]
    if not known:
        return ""
    times = [[float(line[name]) for name in names] for line in known]
    training, compiling, total = np.array(times).T
    beside = np.median((total - training) / training)
    return (
        f" Training took {percent(training.sum() / total.sum())} of the time, compiling "
        f"{percent(compiling.sum() / total.sum())}; in the median run all that is not training (data, compilation, "
        f"measuring) adds {percent(beside)} to it."
    )


def _some(values: Iterable[str], most: int = 2) -> str:
    ordered = sorted(values)
    shown = listed(ordered[:most]) if len(ordered) <= most else ", ".join(ordered[:most])
    return shown + (f" and {len(ordered) - most} more" if len(ordered) > most else "")


def _range(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"


def _day(text: str) -> str:
    day = datetime.fromisoformat(text)
    return f"{day.day} {day:%B %Y}"
