"""Which criterion chooses the better checkpoint: paired, on the same runs.

    python benchmarks/selection.py train --draws 20 [--config FILE] [--runs DIR] [-- --data.dir DIR ...]
    python benchmarks/selection.py compare [--runs DIR]

train: every draw is another split and seed (of phantoms: other phantoms). Each method of the config is trained
once a draw, and at every evaluation its probabilities on validation and test are kept. What is finished is not
trained again.
compare: each criterion chooses one evaluation by validation alone; a threshold a class is chosen there by Youden's
rule; both are scored on test. Differences to ``auroc + average_precision`` are taken within a run; mean, standard
error over draws and wins go to benchmarks/results/selection.json.
"""

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

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
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--config", type=Path, default=Path("configs/quickstart.py"))
    parser.add_argument("--evaluations", type=int, default=14)
    parser.add_argument("--runs", type=Path, default=Path("workdirs/selection"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "selection.json")
    parser.add_argument("options", nargs="*", help="options of imbal-jax train, behind --")
    options = parser.parse_args()
    if options.what == "train":
        from imbal_jax.cli import use_all_cores

        use_all_cores(64, None)
        for draw in range(options.draws):
            train(options, draw)
    else:
        compare(options)


def train(options: argparse.Namespace, draw: int) -> None:
    """The runs of one draw."""
    from imbal_jax import train as trainer
    from imbal_jax.config import load_config, override
    from imbal_jax.console import make_console
    from imbal_jax.data.load import load
    from imbal_jax.engine import parallel
    from imbal_jax.tasks import task_for
    from imbal_jax.training.build import make_mesh
    from imbal_jax.training.evaluation import with_criterion
    from imbal_jax.training.stopping import StopRequest

    config = override(load_config(options.config), options.options)
    config = replace(config, seed=draw, data=replace(config.data, split_seed=draw))
    stored = {
        method.name: options.runs / f"{config.name}_{draw}_{method.name}.npz" for method in config.methods
    }
    if all(path.is_file() for path in stored.values()):
        return
    splits = load(config, options.runs / f"{config.name}_{draw}", partial(print, flush=True))
    task, mesh = task_for(config.task, splits.train), make_mesh(config)
    config, _ = with_criterion(config, task, splits.validation)
    splits = trainer.on_host(splits, mesh)
    with StopRequest() as stop:
        job = trainer.Job(config, options.runs, splits, task, mesh, make_console(), stop)
        for method in config.methods:
            if stored[method.name].is_file():
                continue
            stage = trainer.begin(job, method)
            state = parallel.replicate(stage.state, mesh)
            every = -(-stage.total_steps // options.evaluations)
            kept: dict[str, list[np.ndarray]] = {"validation": [], "test": []}
            steps = []
            while (at := int(state.step)) < stage.total_steps:
                target = min(stage.total_steps, at + every)
                while int(state.step) < target:
                    state, _, _ = stage.advance(state, min(10, target - int(state.step)))
                score = trainer.predictions(job, stage, state)
                kept["validation"].append(score(splits.validation))
                kept["test"].append(score(splits.test))
                steps.append(int(state.step))
                print(f"draw {draw} {method.name} step {steps[-1]} of {stage.total_steps}", flush=True)
            held, test = splits.validation, splits.test
            np.savez_compressed(
                stored[method.name].with_suffix(".part.npz"),
                steps=steps,
                validation=np.stack(kept["validation"]).astype(np.float32),
                test=np.stack(kept["test"]).astype(np.float32),
                validation_labels=held.labels,
                test_labels=test.labels,
                validation_groups=held.groups,
                classes=splits.classes,
                negative=config.data.negative_class or "",
            )
            stored[method.name].with_suffix(".part.npz").replace(stored[method.name])


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
    from environment import environment

    groups: dict[str, list[Path]] = {}
    for path in sorted(options.runs.glob("*.npz")):
        config, _, method = _parts(path.stem)
        groups.setdefault(f"{config} {method}", []).append(path)
    results = {}
    for name, paths in groups.items():
        runs = [scores_of(path) for path in paths]
        rows = {}
        for text in CRITERIA:
            row = {"draws": len(runs)}
            for measure in MEASURES:
                values = np.array([run[text][measure] for run in runs])
                difference = values - np.array([run[REFERENCE][measure] for run in runs])
                row[measure] = {
                    "mean": float(values.mean()),
                    "difference": float(difference.mean()),
                    "standard_error": float(difference.std(ddof=1) / np.sqrt(len(runs)))
                    if len(runs) > 1
                    else None,
                    "better": int((difference > 0).sum()),
                    "worse": int((difference < 0).sum()),
                }
            rows[text] = row
            shown = "  ".join(
                f"{m} {row[m]['mean']:.3f} ({row[m]['difference']:+.3f} se {row[m]['standard_error'] or 0:.3f}, "
                f"{row[m]['better']}:{row[m]['worse']})"
                for m in ("balanced_accuracy", "auroc", "average_precision")
            )
            print(f"{name}  {text}: {shown}")
        results[name] = rows
    options.out.write_text(
        json.dumps({**environment(), "reference": REFERENCE, "results": results}, indent=1) + "\n"
    )


def _parts(stem: str) -> tuple[str, str, str]:
    """Config, draw and method of ``CONFIG_DRAW_METHOD``."""
    words = stem.split("_")
    place = next(i for i in range(len(words) - 1, -1, -1) if words[i].isdigit())
    return "_".join(words[:place]), words[place], "_".join(words[place + 1 :])


if __name__ == "__main__":
    main()
