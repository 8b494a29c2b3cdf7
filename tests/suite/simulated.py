"""Ledgers of a suite that never ran, with the truth known: what a statistic says of them can be checked.

The value of method m in cell c, draw d and seed s, measured on the test patients of the draw, is

    base(ratio, positives) + effect(m, ratio, positives) + shared(c, d, s) + own(c, d, s, m)
                           + patients(c, d) + patients of the method(c, d, m)

with normal terms, independent but for the patients: those of two draws have the correlation ``World.overlap``, as
re-splits of one pool of patients do; ``shared`` and ``patients`` cancel in paired differences. Replicate r adds to
the measured value a term for its resample of the patients, again one part for all methods and one for the method.
The truth of a difference to the reference is the difference of the effects.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Effect = float | Callable[[float, int], float]
REPLICATES = 100
EVALUATIONS = 20
STEPS = 600
METRICS = (
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "sensitivity_at_90",
    "average_precision",
    "auroc",
    "worst_class",
)
RAW = ("balanced_accuracy", "sensitivity", "accuracy")
RESAMPLED = ("balanced_accuracy", "average_precision", "auroc", "sensitivity_at_90")
EFFECTS: dict[str, Effect] = {
    "ce": 0.0,
    "weighted_ce": 0.02,
    "bayesian_ce": 0.0,
    "stratified": -0.03,
    "logit_adjusted": 0.05,
    "focal": 0.0,
}


@dataclass(frozen=True, kw_only=True)
class World:
    """What is true in a simulated ledger.

    effects: what each method adds to every metric, a number or a function of ratio and positives. speed: how many
    times faster than the reference it reaches its end. diverges, fails: the chance of each run to end so.
    missing: the chance of each line to be absent. one_draw: all seeds share split and test patients. overlap: share
    of the test patients of a draw that another draw tests too, and the share of images that are tested.
    post_hoc: what post-hoc logit adjustment adds to balanced accuracy. raw: what calls without a threshold add to it.
    classes: their number; the first is the negative one. bayes: the ideal observer's score in every line.
    replicated: the metrics with replicates.
    """

    sets: tuple[str, ...] = ("phantoms",)
    ratios: tuple[float, ...] = (10.0, 100.0, 1000.0)
    positives: tuple[int, ...] = (50,)
    effects: Mapping[str, Effect] = field(default_factory=lambda: dict(EFFECTS))
    speed: Mapping[str, float] = field(default_factory=dict)
    diverges: Mapping[str, float] = field(default_factory=dict)
    fails: Mapping[str, float] = field(default_factory=dict)
    missing: float = 0.0
    seeds: int = 12
    first_seed: int = 0
    one_draw: bool = False
    overlap: float = 0.2
    settings: tuple[str, ...] = ("default",)
    tuned_gain: float = 0.01
    stage: str = "final"
    shared_sd: float = 0.02
    own_sd: float = 0.01
    patients_sd: float = 0.02
    method_patients_sd: float = 0.01
    post_hoc: float = 0.03
    raw: float = -0.1
    classes: int = 2
    replicated: tuple[str, ...] = RESAMPLED
    bayes: float | None = None
    target: float = 0.7

    def base(self, ratio: float, positives: int) -> float:
        """Expected balanced accuracy of a method without effect."""
        return 0.86 - 0.06 * math.log10(ratio) - 0.02 * max(0.0, math.log10(250 / positives))

    def effect(self, method: str, ratio: float, positives: int) -> float:
        """The true difference of ``method`` to a method without effect."""
        known = self.effects[method]
        return known(ratio, positives) if callable(known) else known

    def mean(self, method: str, ratio: float, positives: int) -> float:
        """Expected balanced accuracy of ``method`` at the setting "default"."""
        return self.base(ratio, positives) + self.effect(method, ratio, positives)


def simulated_ledger(
    world: World | None = None, *, rng: int = 0, curves: bool = True
) -> list[dict[str, Any]]:
    """All lines of ``world``; the same lines for the same ``rng``. curves: with validation curves (slower)."""
    world, generator = world or World(), np.random.default_rng(rng)
    lines = []
    for name in world.sets:
        for ratio in world.ratios:
            for positives in world.positives:
                lines += _cell(world, name, ratio, positives, generator, curves)
    return lines


def _cell(world: World, name: str, ratio: float, positives: int, rng, curves: bool) -> list[dict[str, Any]]:
    seeds, methods = world.seeds, list(world.effects)
    draws = np.zeros(seeds, int) if world.one_draw else np.arange(seeds)
    held = draws.max() + 1
    shared = rng.normal(0, world.shared_sd, seeds)
    patients = _of_draws(world, rng.normal(0, world.patients_sd, held + 1))
    resampled = rng.normal(0, world.patients_sd, (held, REPLICATES))
    of_method = _of_draws(world, rng.normal(0, world.method_patients_sd, (len(methods), held + 1)))
    of_method_resampled = rng.normal(0, world.method_patients_sd, (len(methods), held, REPLICATES))
    lines = []
    for s, d in enumerate(draws):
        for m, method in enumerate(methods):
            for setting in world.settings:
                mean = world.mean(method, ratio, positives) + (setting != "default") * world.tuned_gain
                value = mean + shared[s] + rng.normal(0, world.own_sd) + patients[d] + of_method[m, d]
                address = _address(world, name, (ratio, positives), (int(d), method, setting, s), seeds)
                deviations = resampled[d] + of_method_resampled[m, d]
                if rng.random() < world.missing:
                    continue
                lines.append(_line(world, address, value, deviations, rng, curves))
    return lines


def _of_draws(world: World, terms: np.ndarray) -> np.ndarray:
    """Terms of [..., draws] with the correlation of re-splits: the first of ``terms`` is common to all."""
    return math.sqrt(world.overlap) * terms[..., :1] + math.sqrt(1 - world.overlap) * terms[..., 1:]


def _address(
    world: World, name: str, cell: tuple[float, int], run: tuple[int, str, str, int], seeds: int
) -> dict[str, Any]:
    (ratio, positives), (draw, method, setting, s) = cell, run
    seed = world.first_seed + s
    draw = world.first_seed + draw
    place = f"{name}-{ratio:g}-{positives}"
    return {
        "suite": "simulated",
        "key": f"{world.stage}/{place}/{draw}/{method}/{setting}/{seed}",
        "stage": world.stage,
        "cell": place,
        "set": name,
        "ratio": float(ratio),
        "positives": positives,
        "draw": draw,
        "method": method,
        "setting": setting,
        "seed": seed,
    }


def _line(
    world: World, address: dict[str, Any], value: float, deviations: np.ndarray, rng, curves: bool
) -> dict[str, Any]:
    method, ratio, positives = address["method"], address["ratio"], address["positives"]
    line = address | {
        "definition": "0123456789abcdef",
        "outcome": "done",
        "reason": "",
        "time": "2026-11-28T20:30:00Z",
        "commit": "c450cd8",
        "versions": {"imbal_jax": "0.1.0", "jax": "0.10.2", "python": "3.11.7"},
        "hardware": "simulated",
        "options": {} if address["setting"] == "default" else {"optim.learning_rate": 0.003},
    }
    if rng.random() < world.diverges.get(method, 0.0):
        return line | {"outcome": "diverged", "reason": "the loss is not finite at step 120", "steps": 120}
    if rng.random() < world.fails.get(method, 0.0):
        return line | {"outcome": "failed", "reason": "InputError: no memory"}
    speed = world.speed.get(method, 1.0)
    seconds = float(20 * rng.lognormal(0, 0.05))
    metrics = {metric: round(value + 0.01 * k, 6) for k, metric in enumerate(METRICS)}
    calibration = {"calibration_error": float(abs(rng.normal(0.05, 0.01))), "brier": 0.1}
    reached, curve = _learning(world, value, speed, seconds, rng)
    negatives = round(positives * ratio)
    tested = (negatives + positives) * world.overlap / (1 - 1.1 * world.overlap)
    test = [round(0.8 * tested), round(0.2 * tested), *[0] * (world.classes - 2)]
    train = [negatives, positives, *[positives] * (world.classes - 2)]
    raw = value + world.raw
    after = value + world.post_hoc + rng.normal(0, world.own_sd / 2)
    line |= {
        "steps": STEPS,
        "best_step": 400,
        "images": STEPS * 32,
        "seconds": seconds,
        "compile_seconds": 3.0,
        "total_seconds": seconds + 5.0,
        "images_per_second": STEPS * 32 / seconds,
        "peak_memory_mib": 812,
        "skipped": 0,
        "counts": {"train": train, "validation": [n // 10 for n in test], "test": test},
        "classes": ["normal", "nodule", "mass", *map(str, range(3, world.classes))][: world.classes],
        "negative_class": "normal",
        "metrics": metrics | calibration,
        "raw": dict.fromkeys(RAW, raw),
        "post_hoc": dict.fromkeys(RAW, after),
        "intervals": {m: [metrics[m] - 0.04, metrics[m] + 0.04] for m in RESAMPLED},
        "replicates": {m: np.round(metrics[m] + deviations, 4).tolist() for m in world.replicated},
        "by_class": {
            "nodule": {m: metrics[m] for m in ("sensitivity", "specificity", "average_precision", "auroc")}
        },
        "to_target": reached,
        "unlearned": float(abs(rng.normal(0, 0.01))),
    }
    if world.bayes is not None:
        line["bayes"] = dict.fromkeys(("auroc", "average_precision", "balanced_accuracy"), world.bayes)
    return line | ({"curve": curve()} if curves else {})


def _learning(
    world: World, value: float, speed: float, seconds: float, rng
) -> tuple[dict[str, Any], Callable]:
    """Steps and seconds to the target (None where it is missed), and a function that gives the curve."""
    scale = 100 / speed * rng.lognormal(0, 0.1)  # steps in which the distance to the end falls to 1/e
    rest = (value - world.target) / (value - 0.5)
    steps = -scale * math.log(rest) if rest > 0 else math.inf
    hit = steps <= STEPS
    reached = {"steps": steps if hit else None, "seconds": seconds * steps / STEPS if hit else None}

    def curve() -> dict[str, list[float]]:
        at = np.linspace(STEPS / EVALUATIONS, STEPS, EVALUATIONS)
        near = np.exp(-at / scale)
        found = {
            "step": at,
            "seconds": seconds * at / STEPS,
            "balanced_accuracy": value - (value - 0.5) * near,
            "recall/normal": 0.98 - 0.1 * near,
            "recall/nodule": (2 * value - 0.98) * (1 - near),
            "loss/normal": 0.1 + 0.3 * near,
            "loss/nodule": 0.6 + 1.5 * near,
            "gradient_norm/normal": 0.2 + 0.8 * near,
            "gradient_norm/nodule": 0.5 + 2 * near,
            "gradient_cosine": -0.3 * near,
            "head_cosine": -1 + 0.2 * near,
        }
        return {name: np.round(values, 6).tolist() for name, values in found.items()}

    return reached, curve


def of(lines: Sequence[dict[str, Any]], **address: Any) -> list[dict[str, Any]]:
    """The lines that have all of these values."""
    return [line for line in lines if all(line.get(key) == value for key, value in address.items())]
