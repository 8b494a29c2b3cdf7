"""Simulated ledgers with the stages of a whole suite, and with the first fall of the rare class in their curves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from suite.simulated import World, simulated_ledger

FINALISTS = (
    "ce", "weighted_ce", "bayesian_ce", "stratified", "logit_adjusted", "ldam_drw", "balanced_softmax", "crt",
)  # fmt: skip
EFFECTS = dict(zip(FINALISTS, (0.0, 0.012, 0.004, -0.02, 0.035, 0.02, 0.03, 0.015), strict=True))


def growing(effect: float) -> Any:
    """An effect that grows with the ratio: half at 1:30, whole at 1:1,000."""
    return lambda ratio, positives: effect * np.log10(ratio) / 3


def whole_ledger(
    methods: Sequence[str] = FINALISTS, *, seeds: int = 12, screened: Sequence[str] = (), sets: int = 3
) -> list[dict[str, Any]]:
    """A screen of ``screened`` (3 seeds, 2 ratios, 2 sets), 5 trials, and finals of ``methods``."""
    names = ("phantoms", "ham10000", "cifar10")[:sets]
    effects = {method: growing(EFFECTS[method]) for method in methods}
    known = {
        "diverges": {"stratified": 0.05},
        "fails": {"crt": 0.02},
        "speed": {"logit_adjusted": 1.6, "crt": 0.6},
        "bayes": 0.93,
        "target": 0.72,
    }
    lines = []
    if screened:
        many = {m: growing(0.03 * np.sin(3 * i) - 0.005 if i else 0.0) for i, m in enumerate(screened)}
        screen = World(stage="screen", effects=many, sets=names[:2], ratios=(30.0, 1000.0), seeds=3, **known)
        lines += simulated_ledger(screen, rng=1)
        trials = tuple(f"trial{i}" for i in range(5))
        tune = World(
            stage="tune", effects=effects, sets=names, seeds=1, settings=trials, first_seed=100, **known
        )
        lines += simulated_ledger(tune, rng=2)
    final = World(
        effects=effects,
        sets=names,
        positives=(10, 50),
        seeds=seeds,
        settings=("tuned",),
        first_seed=200,
        **known,
    )
    few = [
        line for line in simulated_ledger(final, rng=3) if (line["positives"], line["ratio"]) != (10, 10.0)
    ]
    default = World(effects=effects, sets=names[:1], seeds=seeds, first_seed=200, **known)
    return [_falling(line) for line in [*lines, *few, *simulated_ledger(default, rng=4)]]


def _falling(line: dict[str, Any]) -> dict[str, Any]:
    """The line with a recall of the rare class that begins at a half and falls before it rises."""
    curve = line.get("curve")
    if curve:
        fall = 0.5 if line["method"] in ("ce", "ldam_drw") else 0.3
        steps = np.array(curve["step"])
        early = 0.5 * np.exp(-steps / 60) - fall * np.exp(-(((np.log(steps) - np.log(130)) / 0.5) ** 2))
        curve["recall/nodule"] = np.round(np.clip(np.array(curve["recall/nodule"]) + early, 0, 1), 4).tolist()
    return line
