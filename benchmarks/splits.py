"""Splits by patient: ours beside scikit-learn's StratifiedGroupKFold, on real label lists and in one run.

    python benchmarks/splits.py --data ../shared/data [--seeds 5]

Five folds of one label: Kermany (three classes) and NIH ChestX-ray14 by the first finding of each image (fifteen
classes). Of each seed: the label-ratio error (mean over folds and classes of the share of a class in the fold less
its share in all, without sign), the largest deviation of a fold from a fifth of the images, and the seconds, ours
and theirs in turn. scikit-learn has no split by patient for many labels, so for the fourteen labels of NIH in
64/16/20 there is our error and time alone, with the largest deviation of a label from its share, relative to it.
Medians over the seeds go to benchmarks/results/splits.json.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from environment import environment
from sklearn.model_selection import StratifiedGroupKFold

from imbal_jax.data.sources.nih import NIH_LABELS, nih_labels, nih_table
from imbal_jax.data.splits.patient_split import k_folds, split_by_group, split_summary

FOLDS = 5
FRACTIONS = {"train": 0.64, "validation": 0.16, "test": 0.2}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "splits.json")
    options = options.parse_args()

    with np.load(options.data / "chest_xray_kermany" / "kermany_64.npz") as arrays:
        names = arrays["patient"]
        kermany = (
            arrays["labels"].astype(int),
            np.array([n.lstrip("BV-") if n[0] in "BV" else n for n in names]),
        )
    rows = nih_table(options.data / "labels_nih14" / "Data_Entry_2017_v2020.csv.gz").values()
    many, patients = (
        np.array([nih_labels(found) for found, _ in rows], np.int8),
        np.array([p for _, p in rows]),
    )
    first = np.where(many.any(1), many.argmax(1), many.shape[1])

    results = {
        "kermany": compare(*kermany, options.seeds),
        "nih, first finding": compare(first, patients, options.seeds),
    }
    results["nih, fourteen labels"] = fourteen(many, patients, options.seeds)
    for name, result in results.items():
        print(name, json.dumps(result, indent=1))
    text = json.dumps({"environment": environment(), "seeds": options.seeds, "results": results}, indent=1)
    options.out.write_text(text + "\n")


def compare(labels: np.ndarray, groups: np.ndarray, seeds: int) -> dict[str, float]:
    """Medians over the seeds, ours and scikit-learn's; worse_seeds: those in which our error is the larger."""

    def sklearns(seed: int) -> list[np.ndarray]:
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
        return [held for _, held in folds.split(labels, labels, groups)]

    def ours(seed: int) -> list[np.ndarray]:
        return [held for _, held in k_folds(labels, groups, FOLDS, seed=seed)]

    measured = [[measure(labels, groups, split, seed) for split in (ours, sklearns)] for seed in range(seeds)]
    medians = {
        f"{who}{quantity}": median(row[at][quantity] for row in measured)
        for at, who in enumerate(("", "sklearn_"))
        for quantity in ("error", "size_deviation", "seconds")
    }
    return medians | {
        "worse_seeds": sum(row[0]["error"] > row[1]["error"] + 1e-12 for row in measured),
        "time_ratio": median(row[0]["seconds"] / row[1]["seconds"] for row in measured),
    }


def measure(
    labels: np.ndarray, groups: np.ndarray, split: Callable[[int], list[np.ndarray]], seed: int
) -> dict[str, float]:
    began = time.perf_counter()
    folds = split(seed)
    seconds = time.perf_counter() - began
    parts = {str(i): fold for i, fold in enumerate(folds)}
    summary = split_summary(labels, groups, parts, [str(c) for c in range(labels.max() + 1)])
    return {
        "error": summary.ratio_error,
        "size_deviation": float(np.abs(summary.images / len(labels) - 1 / FOLDS).max()),
        "seconds": seconds,
    }


def fourteen(labels: np.ndarray, groups: np.ndarray, seeds: int) -> dict[str, float]:
    rows = []
    for seed in range(seeds):
        began = time.perf_counter()
        parts = split_by_group(labels, groups, FRACTIONS, seed=seed)
        seconds = time.perf_counter() - began
        summary = split_summary(labels, groups, parts, NIH_LABELS)
        wanted = np.outer(list(FRACTIONS.values()), (labels == 1).sum(0))
        rows.append((summary.ratio_error, float(np.abs(summary.class_images / wanted - 1).max()), seconds))
    return dict(
        zip(
            ("error", "largest_relative_deviation", "seconds"),
            map(median, zip(*rows, strict=True)),
            strict=True,
        )
    )


if __name__ == "__main__":
    main()
