"""Ledger lines with every field that the report reads, made without training: metrics, curves, misses and failures."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Line = dict[str, Any]
METRICS = (
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "sensitivity_at_90",
    "average_precision",
    "auroc",
    "calibration_error",
    "brier",
    "worst_class",
)
REPLICATED = ("balanced_accuracy", "average_precision", "auroc", "sensitivity_at_90")
CELLS = tuple(
    (name, ratio, positives)
    for name in ("phantoms", "ham10000", "cifar10")
    for ratio, positives in ((10.0, 50), (100.0, 10), (100.0, 50), (1000.0, 10), (1000.0, 50))
)


def stage_of_lines(
    stage: str,
    methods: Sequence[str],
    cells: Sequence[tuple[str, float, int]],
    seeds: Sequence[int],
    setting: str = "default",
    *,
    suite: str = "made",
    generator: np.random.Generator,
    replicates: int = 20,
    evaluations: int = 20,
) -> Iterator[Line]:
    """Lines of a whole grid; the gain of a method over the first grows with its place in the list, up to the fourth."""
    for name, ratio, positives in cells:
        cell = f"{name}-{ratio:.0f}-{positives}"
        for seed in seeds:
            shift = generator.normal(0, 0.01)
            patients = generator.normal(0, 0.02, replicates)
            for place, method in enumerate(methods):
                gain = 0.02 * min(place, 3) * np.log10(ratio) / 3 - 0.004 * max(place - 3, 0)
                value = 0.92 - 0.06 * np.log10(ratio) - 0.4 / positives + shift + gain
                line = _line(suite, stage, cell, name, ratio, positives, method, setting, seed)
                draw = generator.random()
                if place == 2 and ratio >= 1000 and draw < 0.2:
                    yield line | {"outcome": "diverged", "reason": "the loss is not finite at step 40"}
                elif place == 5 and draw < 0.03:
                    yield line | {"outcome": "failed", "reason": "out of memory"}
                else:
                    yield line | _measured(
                        float(value), place, ratio, positives, generator, patients, evaluations
                    )


def _line(
    suite: str, stage: str, cell: str, name: str, ratio: float, positives: int, method: str, setting: str, seed: int
) -> Line:
    return {
        "suite": suite, "key": f"{stage}/{cell}/{seed}/{method}/{setting}/{seed}", "stage": stage, "cell": cell,
        "set": name, "ratio": ratio, "positives": positives, "draw": seed, "method": method, "setting": setting,
        "seed": seed, "definition": "0123456789abcdef", "outcome": "done", "reason": "",
        "time": f"2026-11-{20 + seed % 8:02d}T20:30:00Z", "commit": "c450cd8",
        "versions": {"imbal_jax": "0.1.0", "jax": "0.12.0", "python": "3.13.1"}, "hardware": "2 cores of a made-up CPU",
        "options": {},
    }  # fmt: skip


def _measured(
    value: float,
    place: int,
    ratio: float,
    positives: int,
    generator: np.random.Generator,
    patients: np.ndarray,
    evaluations: int,
) -> Line:
    value = value + float(generator.normal(0, 0.006))
    metrics = {
        "balanced_accuracy": value, "sensitivity": value - 0.03, "specificity": value + 0.03,
        "sensitivity_at_90": value - 0.02, "average_precision": value - 0.3, "auroc": value + 0.05,
        "calibration_error": 0.01 + 0.01 * place + abs(float(generator.normal(0, 0.004))),
        "brier": 0.02 + 0.005 * place, "worst_class": value - 0.1,
    }  # fmt: skip
    seconds = 30.0 * (1 + 0.15 * (place % 5)) + float(generator.normal(0, 0.5))
    curve = _curve(value, place, ratio, generator, evaluations)
    steps = np.array(curve["step"])
    late = value < 0.75
    hit = None if late else int(steps[min(len(steps) - 1, 6 + place % 4 + int(generator.integers(0, 3)))])
    rounded = {key: round(number, 4) for key, number in metrics.items()}
    return {
        "steps": 600, "best_step": 400, "images": 19200, "seconds": round(seconds, 2), "compile_seconds": 3.0,
        "total_seconds": round(seconds + 5, 2), "images_per_second": round(19200 / seconds, 1),
        "peak_memory_mib": 800 + 10 * place, "skipped": 2 if place == 3 else 0,
        "counts": {"train": [round(ratio * positives), positives], "validation": [400, 40], "test": [800, 80]},
        "classes": ["normal", "nodule"], "negative_class": "normal", "metrics": rounded,
        "raw": {"balanced_accuracy": round(value - 0.2 / (1 + place), 4)},
        "post_hoc": {"balanced_accuracy": round(value + 0.01, 4)},
        "intervals": {"balanced_accuracy": [round(value - 0.04, 4), round(value + 0.04, 4)]},
        "replicates": {key: np.round(metrics[key] + patients, 4).tolist() for key in REPLICATED},
        "by_class": {"nodule": {"sensitivity": value, "specificity": value, "average_precision": 0.5, "auroc": 0.9}},
        "bayes": {"auroc": 0.985, "average_precision": 0.9, "balanced_accuracy": 0.95},
        "curve": curve, "unlearned": round(abs(float(generator.normal(0.01 * (1 + place % 3), 0.01))), 4),
        "to_target": None if hit is None else {"steps": hit, "seconds": round(hit / 600 * seconds, 2)},
    }  # fmt: skip


def _curve(
    value: float, place: int, ratio: float, generator: np.random.Generator, evaluations: int
) -> dict[str, list]:
    steps = np.round(600 ** (np.arange(1, evaluations + 1) / evaluations)).astype(int)
    steps = np.unique(np.maximum.accumulate(steps))
    part = np.log(steps) / np.log(600)
    drop = 0.45 * np.exp(-(((part - 0.35) / 0.12) ** 2)) * np.log10(ratio) / 3 / (1 + place)
    rare = np.clip(0.5 + (value - 0.5) * part - drop + generator.normal(0, 0.01, steps.size), 0, 1)
    common = np.clip(0.5 + 0.45 * part + drop / 2, 0, 1)
    return {
        "step": steps.tolist(),
        "seconds": np.round(steps / 20, 2).tolist(),
        "balanced_accuracy": np.round((rare + common) / 2, 4).tolist(),
        "recall/normal": np.round(common, 4).tolist(),
        "recall/nodule": np.round(rare, 4).tolist(),
        "loss/normal": np.round(0.7 * (1 - 0.9 * part), 4).tolist(),
        "loss/nodule": np.round(0.7 * (1 - 0.7 * part) + 2 * drop, 4).tolist(),
        "gradient_norm/normal": np.round(0.5 * np.exp(-part), 4).tolist(),
        "gradient_norm/nodule": np.round((2 + 3 * drop) * np.exp(-part), 4).tolist(),
        "gradient_cosine": np.round(-0.5 + 0.3 * part, 4).tolist(),
        "head_cosine": np.round(-1 + 0.1 * part, 4).tolist(),
    }


def whole_suite(methods: Sequence[str], *, seeds: int = 12, screened: Sequence[str] = (), **sizes: int) -> list[Line]:
    """A screen of ``screened`` at 2 cells of 2 sets, 5 trials and finals (tuned and default) of ``methods``."""
    generator = np.random.default_rng(7)
    lines: list[Line] = []
    if screened:
        cells = [CELLS[2], CELLS[4], CELLS[7], CELLS[9]]
        lines += stage_of_lines("screen", screened, cells, range(3), generator=generator, **sizes)
        for trial in range(5):
            name = f"trial{trial}"
            lines += stage_of_lines("tune", methods, CELLS, [100], name, generator=generator, **sizes)
    lines += stage_of_lines("final", methods, CELLS, range(200, 200 + seeds), "tuned", generator=generator, **sizes)
    lines += stage_of_lines("final", methods, CELLS[:5], range(200, 200 + seeds), generator=generator, **sizes)
    return lines
