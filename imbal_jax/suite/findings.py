"""What a ledger shows: comparisons, recommendations and their evidence, from its lines alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from imbal_jax.errors import InputError
from imbal_jax.suite.conclusions.comparison import FEWEST_PAIRS, Comparison, adjusted, compare
from imbal_jax.suite.conclusions.overall import TIMES, Overall, Profile, overall, profile, tuned_profile
from imbal_jax.suite.conclusions.regimes import Evidence, Regime, regimes
from imbal_jax.suite.conclusions.runs import (
    Line,
    Pairs,
    Place,
    Unit,
    by_run,
    counted,
    is_trial,
    overlaps,
    pairs,
    places,
    with_post_hoc,
)

LESS_IS_BETTER = ("calibration_error", "brier")


@dataclass(frozen=True, kw_only=True)
class Table:
    """The runs of one stage and one setting.

    methods: the reference, its post-hoc logit adjustment where the lines have it, then the others, best mean
    difference first. comparisons: of each method in each cell, in this order. overall: of each method. profiles: time
    to the target in steps and in seconds. regimes: recommendations. tests: comparisons with the seeds for a
    conclusion.
    """

    stage: str
    setting: str
    places: tuple[Place, ...]
    methods: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    overall: tuple[Overall, ...]
    profiles: tuple[Profile, ...]
    regimes: tuple[Regime, ...]
    tests: int

    @property
    def descriptive(self) -> bool:
        """Whether no comparison has the seeds for a conclusion."""
        return self.tests == 0

    def comparison(self, cell: str, method: str) -> Comparison | None:
        """That of a method in a cell; None where it has no run."""
        for each in self.comparisons:
            if (each.place.cell, each.method) == (cell, method):
                return each
        return None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the lines of a ledger show.

    lines: runs counted. tables: of every stage and setting but the trials of tuning. main: the table of conclusions,
    that with the most pairs in a cell; of equals a tuned one, then the last. defaults: of the same stage, or the last
    that has one, every method at its default setting; None where that is main, or where there is none. tuning: time
    to the target of the trials, each unit; empty where there are none.
    """

    reference: str
    primary: str
    lines: int
    tables: tuple[Table, ...]
    main: Table | None
    defaults: Table | None
    tuning: tuple[Profile, ...]


def conclude(lines: Sequence[Line], *, reference: str = "ce", primary: str = "balanced_accuracy") -> Findings:
    """The findings of ``lines``; equal lines give equal findings.

    primary: of "metrics", one of which more is better. Raises InputError for a metric of which less is better.
    """
    if primary in LESS_IS_BETTER:
        raise InputError(
            f"primary metric {primary!r}: less of it is better, take one of which more is better"
        )
    kept = counted(lines)
    parts: dict[tuple[str, str], list[Line]] = {}
    for line in kept:
        if not is_trial(line):
            parts.setdefault((line["stage"], line["setting"]), []).append(line)
    tables = [table(*key, part, reference, primary) for key, part in parts.items()]
    main = max(tables, key=lambda t: (_most_pairs(t), t.setting != "default"), default=None)
    others = [t for t in tables if t.setting == "default" and t is not main]
    same = [t for t in others if main is not None and t.stage == main.stage]
    return Findings(
        reference=reference,
        primary=primary,
        lines=len(kept),
        tables=tuple(tables),
        main=main,
        defaults=next(reversed(same or others), None) if main is None or main.setting != "default" else None,
        tuning=_tuning([line for line in kept if is_trial(line)]),
    )


def table(stage: str, setting: str, lines: Sequence[Line], reference: str, primary: str) -> Table:
    """The table of the lines of one stage and setting."""
    found = places(lines)
    shared = overlaps(lines)
    runs = by_run(with_post_hoc(lines, reference))
    names = list(dict.fromkeys(method for _, method in runs))
    keys = [(place, m) for place in found for m in names if (place.cell, m) in runs]
    paired: dict[tuple[str, str], Pairs] = {}
    values: dict[tuple[str, str], Pairs] = {}
    made = []
    for place, method in keys:
        key, own = (place.cell, method), runs[place.cell, method]
        other = None if method == reference else runs.get((place.cell, reference), {})
        values[key] = pairs(own, None, primary, shared.get(place.cell))
        if other is not None:
            paired[key] = pairs(own, other, primary, shared.get(place.cell))
        made.append(compare(place, method, own, other, values[key], paired.get(key)))
    comparisons: dict[tuple[str, str], Comparison] = {}
    for method in names:
        family = [each for each in made if each.method == method]
        family = adjusted(family, [paired.get((each.place.cell, method)) for each in family])
        comparisons |= {(each.place.cell, method): each for each in family}
    of_methods = {}
    for method in names:
        own_keys = [(place.cell, method) for place in found if (place.cell, method) in comparisons]
        of_methods[method] = overall(
            method,
            [comparisons[key] for key in own_keys],
            [paired.get(key) for key in own_keys],
            [values[key] for key in own_keys],
            len(found),
        )
    names.sort(key=lambda m: _order(of_methods[m], reference))
    evidence = Evidence(reference, primary, comparisons, paired, runs, shared)
    cells = [place.cell for place in found]
    return Table(
        stage=stage,
        setting=setting,
        places=tuple(found),
        methods=tuple(names),
        comparisons=tuple(comparisons[p.cell, m] for p in found for m in names if (p.cell, m) in comparisons),
        overall=tuple(of_methods[method] for method in names),
        profiles=tuple(profile(runs, names, cells, unit) for unit in TIMES),
        regimes=tuple(regimes(evidence, found, names)),
        tests=sum(each.ranks.pairs >= FEWEST_PAIRS for each in made),
    )


def _order(method: Overall, reference: str) -> tuple[bool, bool, float]:
    """The reference first, then what is best; unknown last."""
    gain = method.difference.value
    return method.method != reference, gain != gain, -gain


def _most_pairs(of: Table) -> int:
    return max((each.ranks.pairs for each in of.comparisons), default=0)


def _tuning(lines: Sequence[Line]) -> tuple[Profile, ...]:
    trials: dict[tuple[str, str], dict[Unit, list[Line]]] = {}
    for line in lines:
        studies = trials.setdefault((line["cell"], line["method"]), {})
        studies.setdefault((int(line["draw"]), int(line["seed"])), []).append(line)
    return tuple(tuned_profile(trials, unit) for unit in TIMES) if trials else ()
