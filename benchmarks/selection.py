"""Which criterion chooses the better checkpoint: paired, on the same runs.

    python benchmarks/selection.py train --draws 20 [--config FILE] [--methods A B] [-- --data.dir DIR ...]
    python benchmarks/selection.py compare

train: every draw is another split and seed (of phantoms: other phantoms). Each method is trained once a draw, in the
draw's workdir under --runs, and at every evaluation its probabilities on validation and test are kept. A finished
run is a line of the ledger, benchmarks/results/selection.jsonl: what each criterion's checkpoint reaches on test, the
metrics of the run as ``imbal-jax train`` deploys it, and what it ran on. The same command goes on where it was
stopped.
compare: each criterion chooses one evaluation by validation alone; a threshold a class is chosen there by Youden's
rule; both are scored on test. Differences to ``auroc + average_precision`` are taken within a run; mean, standard
error over draws and wins go to benchmarks/results/selection.json.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ledger import append, read

CRITERIA = {
    "auto": "the default: one of the two below, by the number of positives",
    "auroc + average_precision": "ranks by two metrics",
    "sensitivity + f_score at operating points then average_precision": "the article's rule, at the thresholds",
    "sensitivity + f_score": "the article's rule, of the class called",
    "average_precision": "ranks",
    "step": "the last",
}
REFERENCE = "auroc + average_precision"
MEASURES = ("balanced_accuracy", "sensitivity", "specificity", "auroc", "average_precision")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["train", "compare"])
    parser.add_argument("--draws", type=int, nargs="+", default=[20], help="how many, or first and end")
    parser.add_argument("--config", type=Path, default=Path("configs/quickstart.py"))
    parser.add_argument("--methods", nargs="+", help="of the config; by default all")
    parser.add_argument("--runs", type=Path, default=Path("workdirs/selection"))
    results = Path(__file__).parent / "results"
    parser.add_argument("--ledger", type=Path, default=results / "selection.jsonl")
    parser.add_argument("--out", type=Path, default=results / "selection.json")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:end])
    options.options = words[end + 1 :]
    if options.what == "train":
        from imbal_jax.cli import use_all_cores

        use_all_cores(64, None)
        for draw in range(*options.draws):
            train(options, draw)
    else:
        compare(options)


def train(options: argparse.Namespace, draw: int) -> None:
    """The runs of one draw, as ``imbal-jax train`` makes them, with test scored at every evaluation besides."""
    from imbal_jax.config import load_config, override

    config = override(load_config(options.config), options.options)
    config = replace(config, seed=draw, data=replace(config.data, split_seed=draw))
    done = {(line["config"], line["draw"], line["method"]) for line in read(options.ledger)}
    for method in config.methods:
        if options.methods and method.name not in options.methods:
            continue
        if (config.name, draw, method.name) not in done:
            run(options, replace(config, methods=(method,)), draw)


def run(options: argparse.Namespace, config: Any, draw: int) -> None:
    """One run, from its training to its line of the ledger."""
    from environment import environment

    from imbal_jax.train import fit

    (method,) = config.methods
    workdir = options.runs / f"{config.name}_{draw}"
    stored = workdir.with_name(f"{workdir.name}_{method.name}.npz")
    scores = workdir / "scores" / method.name

    def keep(seen):
        test, held = seen.splits.test, seen.splits.validation
        write(
            scores / f"{seen.step}.npz",
            validation=seen.outputs,
            test=seen.score(test),
            validation_labels=held.labels,
            test_labels=test.labels,
            validation_groups=held.groups,
            classes=np.array(held.classes),
            negative=np.array(config.data.negative_class or ""),
        )

    (result,) = fit(config, workdir, watch=keep)
    if not stored.is_file():
        steps = sorted(int(at.stem) for at in scores.glob("*.npz"))
        kept = [np.load(scores / f"{step}.npz") for step in steps]
        parts = {
            part: np.stack([one[part] for one in kept]).astype(np.float32) for part in ("validation", "test")
        }
        write(stored, **{**kept[0], **parts}, steps=np.array(steps))
    line = {
        "config": config.name,
        "draw": draw,
        "method": method.name,
        "options": without_folders(options.options),
        "criteria": scores_of(stored),
        "raw": result.table["macro"],
        "deployed": result.shown["macro"],
        "seconds": round(result.seconds, 1),
        **environment(),
    }
    append(options.ledger, line)


def without_folders(words: list[str]) -> list[str]:
    """The options without the folder of the data, which names a machine."""
    places = [place for place, word in enumerate(words) if word == "--data.dir"]
    dropped = {*places, *(place + 1 for place in places)}
    return [word for place, word in enumerate(words) if place not in dropped]


def write(path: Path, **arrays: np.ndarray) -> None:
    """An NPZ file, whole or not at all: what is there counts as done."""
    from imbal_jax.files import write_npz

    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, arrays, compressed=True)


def scores_of(path: Path) -> dict[str, dict[str, float]]:
    """What each criterion's checkpoint of a stored run reaches on test."""
    from imbal_jax import metrics
    from imbal_jax.decisions.at_points import rates_at_points
    from imbal_jax.decisions.criterion_text import parse_criterion
    from imbal_jax.decisions.default_criterion import AUTO, default_criterion
    from imbal_jax.decisions.selection import best_step
    from imbal_jax.decisions.threshold_rules import parse_rule
    from imbal_jax.metrics.labels import one_against_rest
    from imbal_jax.runs.deployment_choice import choose_points
    from imbal_jax.tasks import MANY_LABELS, ONE_LABEL

    with np.load(path) as stored:
        run = {name: stored[name] for name in stored.files}
    classes, negative = tuple(map(str, run["classes"])), str(run["negative"]) or None
    task = MANY_LABELS if run["test_labels"].ndim == 2 else ONE_LABEL
    rules = [parse_rule("youden")] * len(classes)
    labels, truth = run["validation_labels"], one_against_rest(run["test_labels"], len(classes))
    of_interest = [c for c, name in enumerate(classes) if name != negative]
    tables = [task.flat(task.table(labels, kept, classes, negative)) for kept in run["validation"]]
    found = {}
    default, _ = default_criterion(labels, run["validation_groups"], classes, negative)
    for text in CRITERIA:
        criterion = parse_criterion(default if text == AUTO else text)
        history = [
            {
                "step": int(step),
                **table,
                **rates_at_points(
                    criterion,
                    rules,
                    labels,
                    kept,
                    classes,
                    negative_class=negative,
                    groups=run["validation_groups"],
                ),
            }
            for step, table, kept in zip(run["steps"], tables, run["validation"], strict=True)
        ]
        at = run["steps"].tolist().index(best_step(history, criterion))
        points = choose_points(rules, labels, run["validation"][at], run["validation_groups"])
        scores = run["test"][at]
        rows = []
        for c in of_interest:
            known = truth[:, c] >= 0
            positive, own = truth[known, c] == 1, scores[known, c]
            if not positive.any() or positive.all():
                continue
            called = points[c].decide(own)
            sensitivity, specificity = called[positive].mean(), (~called[~positive]).mean()
            rows.append(
                (
                    (sensitivity + specificity) / 2,
                    sensitivity,
                    specificity,
                    float(metrics.auroc(positive.astype(int), own)),
                    float(metrics.average_precision(positive.astype(int), own)),
                )
            )
        found[text] = {"evaluation": at, **dict(zip(MEASURES, np.mean(rows, axis=0).tolist(), strict=True))}
    return found


def compare(options: argparse.Namespace) -> None:
    """Paired differences over the draws, by config and method."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for line in read(options.ledger):
        runs.setdefault(f"{line['config']} {line['method']}", []).append(line["criteria"])
    results = {}
    for name, of_draws in runs.items():
        rows = {text: compared(of_draws, text) for text in CRITERIA}
        for text, row in rows.items():
            shown = "  ".join(
                f"{m} {row[m]['mean']:.3f} ({row[m]['difference']:+.3f} se {row[m]['standard_error'] or 0:.3f}, "
                f"{row[m]['better']}:{row[m]['worse']})"
                for m in ("balanced_accuracy", "auroc", "average_precision")
            )
            print(f"{name}, {len(of_draws)} draws  {text}: {shown}")
        results[name] = {"draws": len(of_draws), **rows}
    options.out.write_text(json.dumps({"reference": REFERENCE, "results": results}, indent=1) + "\n")


def compared(of_draws: list[dict[str, Any]], text: str) -> dict[str, dict[str, float | int | None]]:
    """Of each measure: the mean of criterion ``text`` on test, and its difference to the reference's."""
    row: dict[str, dict[str, float | int | None]] = {}
    for measure in MEASURES:
        values = np.array([draw[text][measure] for draw in of_draws])
        difference = values - np.array([draw[REFERENCE][measure] for draw in of_draws])
        error = float(difference.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
        row[measure] = {
            "mean": float(values.mean()),
            "difference": float(difference.mean()),
            "standard_error": error,
            "better": int((difference > 0).sum()),
            "worse": int((difference < 0).sum()),
        }
    return row


if __name__ == "__main__":
    main()
