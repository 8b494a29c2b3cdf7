"""Bootstrap intervals at 100,000 cases: ours beside a loop over scikit-learn, in one run.

    python benchmarks/intervals.py [--cases 100000] [--repeats 5] [--loop 20]

AUROC and average precision at prevalences of 10 %, 1 % and 0.1 %; 1000 replicates of ours, with one seed a repeat,
and in turn with it ``--loop`` replicates of the loop: draw the positives and the negatives with replacement, call
scikit-learn. Its seconds are scaled to 1000 replicates. Ours runs on one core. DeLong's interval, which draws
nothing, and the paired bootstrap of two scores are timed beside them.
Medians of the repeats, and of the ratios within a repeat, go to benchmarks/results/intervals.json. The target is
2 seconds on 2 cores.
"""

import argparse
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
from environment import environment
from sklearn.metrics import average_precision_score, roc_auc_score

from imbal_jax import metrics

SAMPLES = 1000
PREVALENCES = (0.1, 0.01, 0.001)
PEERS = {"auroc": roc_auc_score, "average_precision": average_precision_score}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--cases", type=int, default=100_000)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--loop", type=int, default=20)
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "intervals.json")
    options = options.parse_args()

    result = {
        **environment(),
        "scikit-learn": version("scikit-learn"),
        **{"cases": options.cases, "replicates": SAMPLES, "repeats": options.repeats},
        "loop_replicates": options.loop,
        "rows": [],
    }
    print(f"{result['processor']}, {result['cores']} cores; {options.cases:,} cases, {SAMPLES} replicates")
    print(f"{'':18}{'prevalence':>11}{'ours s':>9}{'loop s':>9}{'ratio':>8}{'paired s':>10}{'delong s':>10}")
    for name in PEERS:
        for prevalence in PREVALENCES:
            row = measured(name, prevalence, options.cases, options.repeats, options.loop)
            result["rows"].append(row)
            delong = f"{row['delong_s']:10.4f}" if "delong_s" in row else ""
            print(f"{name:18}{prevalence:11.1%}{row['ours_s']:9.2f}{row['loop_s']:9.2f}{row['ratio']:8.1f}"
                  f"{row['paired_s']:10.2f}{delong}", flush=True)  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {options.out}")


def measured(name: str, prevalence: float, cases: int, repeats: int, loop: int) -> dict[str, float | str]:
    rng = np.random.default_rng(0)
    labels = (np.arange(cases) < round(prevalence * cases)).astype(int)
    first, second = (rng.normal(size=cases) + 1.5 * labels for _ in range(2))
    metric, peer = getattr(metrics, name), PEERS[name]
    calls: dict[str, Callable[[int], object]] = {
        "ours_s": lambda seed: metrics.bootstrap(metric, labels, first, samples=SAMPLES, seed=seed),
        "loop_s": lambda seed: loop_over(peer, labels, first, loop, seed),
        "paired_s": lambda seed: metrics.paired_bootstrap(
            metric, labels, first, second, samples=SAMPLES, seed=seed
        ),
    }
    if name == "auroc":
        calls["delong_s"] = lambda seed: metrics.delong(labels, first)

    metric(labels, first)
    times: dict[str, list[float]] = {call: [] for call in calls}
    for repeat in range(repeats):
        for key, call in calls.items():
            began = time.perf_counter()
            call(repeat)
            spent = time.perf_counter() - began
            times[key].append(spent * SAMPLES / loop if key == "loop_s" else spent)
    ratio = median(theirs / ours for theirs, ours in zip(times["loop_s"], times["ours_s"], strict=True))
    return {
        **{"metric": name, "prevalence": prevalence, "ratio": ratio},
        **{key: median(values) for key, values in times.items()},
        "ours_s_highest": max(times["ours_s"]),
    }


def loop_over(
    peer: Callable[..., float], labels: np.ndarray, scores: np.ndarray, samples: int, seed: int
) -> None:
    """The stratified bootstrap as it is written by hand."""
    rng = np.random.default_rng(seed)
    sides = [np.flatnonzero(labels == side) for side in (0, 1)]
    values = []
    for _ in range(samples):
        drawn = np.concatenate([rng.choice(side, side.size) for side in sides])
        values.append(peer(labels[drawn], scores[drawn]))
    np.quantile(values, [0.025, 0.975])


if __name__ == "__main__":
    main()
