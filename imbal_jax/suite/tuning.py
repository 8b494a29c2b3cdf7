"""One search space for all methods, and stages that are chosen by what earlier ones reached on validation.

Every method gets the same trials: the same learning rates and weight decays, quasirandom, and one knob of its own.
Trials and finalists are chosen by validation alone, on draws and seeds that the final stage does not use.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import qmc, rankdata

from imbal_jax.errors import InputError
from imbal_jax.methods import Method, find_method
from imbal_jax.suite.definition import Line, Setting, Stage

LEARNING_RATE = (1e-4, 1e-1)
WEIGHT_DECAY = (1e-5, 1e-1)
MEASURE = "sensitivity_at_90"
"""Of validation, at the chosen checkpoint: what trials and methods are chosen by; it needs no threshold."""

KNOBS: tuple[tuple[str, Callable[[Method], bool], tuple[float, float]], ...] = (
    ("tau", lambda m: m.loss in ("logit_adjusted", "vector_scaling"), (0.5, 2.0)),
    ("gamma", lambda m: "focal" in m.loss, (0.5, 3.0)),
    ("gamma", lambda m: m.loss == "class_dependent_temperature", (0.05, 0.5)),
    ("max_margin", lambda m: m.loss == "ldam", (0.2, 1.0)),
    ("power", lambda m: m.weights == "inverse", (0.25, 1.25)),
    ("correction_tau", lambda m: m.correction == "logit_adjusted", (0.5, 2.0)),
    ("defer", lambda m: bool(m.deferred), (0.5, 0.9)),
    ("mixing_alpha", lambda m: m.mixing != "none", (0.1, 1.0)),
)
"""Option, the methods that have it, and its range; a method turns the first that it has."""


def knob(method: str, share: float) -> str:
    """The method with its knob at ``share`` of the range, as ``--methods`` names it; as it is where it has none."""
    defined = find_method(method)
    for option, has_it, (low, high) in KNOBS:
        if has_it(defined):
            return f"{method},{option}={low + share * (high - low):.3g}"
    return method


def trials(
    methods: Sequence[str], count: int = 5, *, seed: int = 0, also: Sequence[str] = ()
) -> tuple[Setting, ...]:
    """``count`` settings for each method, called trial0, trial1, ...

    Learning rate and weight decay are spread over the logarithm by a scrambled Halton sequence, equal in all methods;
    its third coordinate turns the knob. also: options that all of them have besides.
    """
    points = qmc.Halton(3, scramble=True, rng=np.random.default_rng(seed)).random(count)
    settings = []
    for t, point in enumerate(points):
        rate, decay = (
            low * (high / low) ** share
            for (low, high), share in zip((LEARNING_RATE, WEIGHT_DECAY), point[:2], strict=True)
        )
        common = ("--optim.learning-rate", f"{rate:.3g}", "--optim.weight-decay", f"{decay:.3g}", *also)
        for method in methods:
            turned = knob(method, point[2])
            own = ("--methods", turned) if turned != method else ()
            settings.append(Setting(name=f"trial{t}", overrides=(*common, *own), methods=(method,)))
    return tuple(settings)


def reached(line: Line, measure: str = MEASURE) -> float:
    """What a run reached on validation at its chosen checkpoint; -inf for a failed run or an undefined value."""
    curve = line.get("curve") or {}
    steps, values = curve.get("step", []), curve.get(measure, [])
    if line.get("outcome") != "done" or line.get("best_step") not in steps:
        return -np.inf
    value = values[steps.index(line["best_step"])] if values else None
    return -np.inf if value is None else float(value)


def finalists(count: int, always: Sequence[str]) -> Callable[[Sequence[Line], Stage], Stage]:
    """A ``Stage.choose`` that fills in the methods and their trials: ``always``, then those of the best mean rank.

    The settings of the stage give the number of trials: it is chosen with as many as it names.
    """
    if count < len(always):
        raise InputError(f"{count} finalists cannot hold {', '.join(always)}: ask for at least {len(always)}")

    def choose(lines: Sequence[Line], stage: Stage) -> Stage:
        ranked = by_rank(lines)
        methods = tuple(always) + tuple(name for name in ranked if name not in always)[: count - len(always)]
        return replace(stage, methods=methods, settings=trials(methods, max(1, len(stage.settings))))

    return choose


def by_rank(lines: Sequence[Line]) -> list[str]:
    """The methods from best to worst, by their mean rank over cells of the mean over seeds."""
    values: dict[str, dict[str, list[float]]] = {}
    for line in lines:
        values.setdefault(str(line["cell"]), {}).setdefault(str(line["method"]), []).append(reached(line))
    methods = list(dict.fromkeys(str(line["method"]) for line in lines))
    ranks: dict[str, list[float]] = {method: [] for method in methods}
    for of_cell in values.values():
        known = [method for method in methods if method in of_cell]
        means = [np.mean(of_cell[method]) for method in known]
        for method, rank in zip(known, rankdata(-np.array(means)), strict=True):
            ranks[method].append(float(rank))
    return sorted(methods, key=lambda method: (np.mean(ranks[method]), methods.index(method)))


def tuned(stage_of_trials: str, name: str = "tuned") -> Callable[[Sequence[Line], Stage], Stage]:
    """A ``Stage.choose`` that gives each method, in each cell, the best of its trials.

    stage_of_trials: the stage whose lines they are; its methods are those of the stage. Where all trials of a method
    failed in a cell, the first one stands.
    """

    def choose(lines: Sequence[Line], stage: Stage) -> Stage:
        of_trials = [line for line in lines if line["stage"] == stage_of_trials]
        best: dict[tuple[str, str], tuple[float, Line]] = {}
        for line in sorted(of_trials, key=lambda line: str(line["key"])):
            place, value = (str(line["cell"]), str(line["method"])), reached(line)
            if place not in best or value > best[place][0]:
                best[place] = value, line
        methods = tuple(dict.fromkeys(str(line["method"]) for line in of_trials))
        settings = tuple(
            Setting(
                name=name, overrides=_words(best[cell.name, method][1]), cells=(cell.name,), methods=(method,)
            )
            for cell in stage.cells
            for method in methods
            if (cell.name, method) in best
        )
        return replace(stage, methods=methods, settings=settings)

    return choose


def _words(line: Line) -> tuple[str, ...]:
    options: Mapping[str, str] = line["options"]
    return tuple(word for name, value in options.items() for word in (f"--{name}", str(value)))
