"""``results.json``: the numbers of a report, for programs."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imbal_jax.config import Config
from imbal_jax.files import write_text
from imbal_jax.report import RunResult
from imbal_jax.runs.points_table import PointValues, Rate, point_values
from imbal_jax.tasks.mask_table import intervals

FILE = "results.json"


def write_results(
    folder: Path,
    config: Config,
    results: Sequence[RunResult],
    classes: Sequence[str],
    split: str,
    averages: Sequence[RunResult] = (),
) -> Path:
    """Write the numbers of the runs, unrounded, to ``folder``: the layout is a public contract.

    ``{"runs": [{"method", "seed", "step", "split", "rows", "operating_points"}]}``: ``rows`` maps each class and
    "macro" to its metrics, of the raw calls (before calibration, no thresholds); ``operating_points`` maps each
    class but the negative one to ``threshold``, ``rule``, ``sensitivity``, ``specificity``, ``ppv``,
    ``called_per_1000`` and ``intervals``, the 95 % intervals of the three rates as [low, high]. Of masks it maps each
    finding to ``threshold``, ``rule`` and ``intervals`` by case, and ``rows`` are of what is called there. Of another
    task that does not decide there are none. What is undefined (NaN) is null.

    averages: of methods with several seeds, the result of their averaged probabilities: under "averages", with
    ``metrics``, those at the operating points, in place of ``rows``, and without seed and step.
    split: train, validation, test, or all. Raises InputError where the file cannot be written.
    """
    path = folder / FILE
    runs = [_run(config, result, classes, split) for result in results]
    content: dict[str, Any] = {"runs": runs}
    if averages:
        together = [_run(config, result, classes, split) | {"metrics": result.shown} for result in averages]
        content["averages"] = [
            {k: v for k, v in run.items() if k not in ("seed", "step", "rows")} for run in together
        ]
    write_text(path, json.dumps(_defined(content), indent=1, allow_nan=False) + "\n")
    return path


def _run(config: Config, result: RunResult, classes: Sequence[str], split: str) -> dict[str, Any]:
    points = point_values(result, classes, config.data.negative_class) if result.decides else {}
    thresholds = _of_masks(config, result)
    return {
        "method": result.method,
        "seed": result.seed,
        "step": result.best_step,
        "split": split,
        "rows": result.table,
        "operating_points": {name: _point(values) for name, values in points.items()} or thresholds,
    }


def _of_masks(config: Config, result: RunResult) -> dict[str, Any]:
    """Of masks: the threshold of each finding, and intervals by case of what is called there."""
    if result.masks is None or result.groups is None:
        return {}
    within = intervals(result.masks.of_cases(result.groups))
    return {
        name: {
            "threshold": result.masks.thresholds[place],
            "rule": f"largest Dice of the pixels of all {config.deploy.mask_threshold} images together",
            "intervals": {key: list(pair) for key, pair in within[place].items()},
        }
        for place, name in enumerate(result.masks.findings)
    }


def _point(values: PointValues) -> dict[str, Any]:
    rates: dict[str, Rate] = {name: getattr(values, name) for name in ("sensitivity", "specificity", "ppv")}
    return {
        "threshold": values.threshold,
        "rule": values.rule,
        **{name: rate.value for name, rate in rates.items()},
        "called_per_1000": values.called,
        "intervals": {name: [rate.low, rate.high] for name, rate in rates.items()},
    }


def _defined(value: Any) -> Any:
    """None in place of numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _defined(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_defined(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
