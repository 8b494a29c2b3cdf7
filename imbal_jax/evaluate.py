"""Restore a checkpoint, score images with it, say what the scores are worth."""

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from rich.console import Console

import imbal_jax
from imbal_jax import priors
from imbal_jax.augment import intensities
from imbal_jax.checkpoint import Checkpoints
from imbal_jax.config import Config, to_json
from imbal_jax.correction import make_corrector
from imbal_jax.data.pipeline import standardize
from imbal_jax.data.sources import Splits, load
from imbal_jax.data.stream import slices
from imbal_jax.errors import InputError
from imbal_jax.methods import Method
from imbal_jax.network import Network, SecondStageNetwork
from imbal_jax.parallel import AXIS, replicate
from imbal_jax.recipe import build, compose, make_mesh, make_optimizer, steps_of
from imbal_jax.report import RunResult, write_report
from imbal_jax.state import TrainState, init_state
from imbal_jax.step import ApplyFn, make_eval_step
from imbal_jax.tasks import score, task_for
from imbal_jax.tracking import make_console, read_history, results_table

Scorer = Callable[[Mapping[str, Any], np.ndarray], np.ndarray]

RESULT = "result.json"
SCORES = "test_scores.npz"


def make_scorer(
    apply_fn: ApplyFn,
    predict: Callable[[Any], jax.Array],
    mesh: Mesh,
    shared: Mapping[str, Any],
    batch_size: int,
    mirror: bool = False,
) -> Scorer:
    """Return ``(variables, images uint8 or uint16 [N, H, W, C]) -> scores float32 [N, C]``.

    predict: outputs of the network -> what is asked of it: ``Task.predictor``, or its features.

    Images are scored in batches of one shape; the last one is padded, and the padding's scores are dropped, so
    the number of devices or the batch size decides nothing but the rounding. ``mirror``: the mean of the
    probabilities of each image and of its mirror image, at twice the cost.
    """
    eval_step = make_eval_step(apply_fn, predict)
    mean, deviation = jnp.asarray(shared["mean"]), jnp.asarray(shared["deviation"])

    def local(variables: Mapping[str, Any], images: jax.Array) -> jax.Array:
        inputs = standardize(intensities(images), mean, deviation)
        scores = eval_step(variables, inputs)
        return (scores + eval_step(variables, inputs[:, :, ::-1])) / 2 if mirror else scores

    compiled = jax.jit(
        jax.shard_map(local, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS), check_vma=False)
    )
    size = -(-batch_size // mesh.size) * mesh.size

    def scorer(variables: Mapping[str, Any], images: np.ndarray) -> np.ndarray:
        parts = []
        for part in slices(images, size):
            padded = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
            placed = jax.device_put(padded, NamedSharding(mesh, P(AXIS)))
            parts.append(np.asarray(compiled(variables, placed))[: len(part)])
        return np.concatenate(parts)

    return scorer


def score_test(
    config: Config,
    method: Method,
    splits: Splits,
    shared: Mapping[str, Any],
    scorer: Scorer,
    variables: Mapping[str, Any],
) -> np.ndarray:
    """Probabilities of the test split, corrected as ``method`` says by what validation teaches."""
    scores = scorer(variables, splits.test.images)
    if method.correction == "none":
        return scores
    seen = scorer(variables, splits.validation.images)
    correct = make_corrector(method, shared, data_priors(config, splits), splits.validation.labels, seen)
    return correct(scores).astype(np.float32)


def data_priors(config: Config, splits: Splits) -> np.ndarray | None:
    """The class priors where the model will be used: those of the config, or of the training split."""
    if splits.train.many_labels:
        return None
    given = config.data.deployment_priors
    if given is None:
        return priors.class_priors(priors.class_counts(splits.train.labels, len(splits.classes)))
    if len(given) != len(splits.classes) or not np.isclose(sum(given), 1) or min(given) <= 0:
        raise InputError(
            f"data.deployment-priors are {' '.join(map(str, given))}: give {len(splits.classes)} shares above 0, "
            f"one for each of {', '.join(splits.classes)}, with sum 1"
        )
    return np.asarray(given)


@dataclass(frozen=True)
class Scored:
    """What a finished run leaves besides its checkpoints; written to and read from its folder."""

    best_step: int
    seconds: float
    skipped: int
    labels: np.ndarray
    scores: np.ndarray

    def write(self, folder: Path) -> None:
        np.savez_compressed(folder / SCORES, labels=self.labels, scores=self.scores)
        values = {"best_step": self.best_step, "seconds": round(self.seconds, 1), "skipped": self.skipped}
        partial = folder / (RESULT + ".partial")  # the last file to appear says that the run is finished
        partial.write_text(json.dumps(values) + "\n")
        partial.replace(folder / RESULT)

    @staticmethod
    def read(folder: Path) -> "Scored | None":
        """What was written to ``folder``, or None where the run did not finish."""
        if not (folder / RESULT).is_file():
            return None
        try:
            values = json.loads((folder / RESULT).read_text())
            with np.load(folder / SCORES) as arrays:
                return Scored(labels=arrays["labels"], scores=arrays["scores"], **values)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder / RESULT} cannot be read ({error}): delete it and run again"
            ) from error


def run_result(config: Config, method: Method, splits: Splits, folder: Path, scored: Scored) -> RunResult:
    """Everything the report shows of one finished run."""
    return RunResult(
        method=method.name,
        summary=method.summary,
        history=read_history(folder),
        criterion=config.select,
        best_step=scored.best_step,
        table=score(scored.labels, scored.scores, splits.classes, config.data.negative_class),
        labels=scored.labels,
        scores=scored.scores,
        seconds=scored.seconds,
        skipped_steps=scored.skipped,
    )


def write_run_report(config: Config, workdir: Path, results: list[RunResult], splits: Splits) -> Path:
    """``report.html`` of the given results."""
    return write_report(
        workdir / "report.html",
        title=config.title or config.name,
        runs=results,
        classes=splits.classes,
        negative_class=config.data.negative_class,
        images=splits.test.images,
        split_table=splits.table,
        config=_without_paths(to_json(config)),
        environment={
            "imbal_jax": imbal_jax.__version__,
            "jax": jax.__version__,
            "python": platform.python_version(),
            "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        },
    )


def _without_paths(values: dict[str, Any]) -> dict[str, Any]:
    """A report is handed on: the folder's name may say whose data it is."""
    return {**values, "data": {k: v for k, v in values["data"].items() if k != "dir"}}


def restore(
    config: Config, method: Method, splits: Splits, folder: Path, mesh: Mesh, step: int
) -> tuple[Network | SecondStageNetwork, TrainState]:
    """The network of a finished run and its state at ``step``; InputError where the checkpoint is damaged."""
    network, variables = build(config, method, splits.train)
    optimizer = make_optimizer(config.optim, 1, method)
    like = init_state(variables, optimizer, jax.random.key(config.seed), ema=config.optim.averages)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return network, checkpoints.restore(replicate(like, mesh), step)


def rescore(config: Config, workdir: Path, console: Console | None = None) -> list[RunResult]:
    """Score the chosen checkpoint of each finished run in ``workdir`` on the test split again; print and report.

    Raises InputError where no run is finished or a checkpoint is damaged.
    """
    console = console or make_console()
    finished = [method for method in config.methods if (workdir / method.name / RESULT).is_file()]
    if not finished:
        raise InputError(f"no run in {workdir} is finished: train it to its end first")
    splits = load(config, workdir, lambda text: console.print(text, markup=False, highlight=False))
    mesh = make_mesh(config)
    task = task_for(splits.train)
    results = []
    for method in finished:
        folder = workdir / method.name
        before = Scored.read(folder)
        network, state = restore(config, method, splits, folder, mesh, before.best_step)
        total = steps_of(config, method, splits.train)
        _, shared = compose(config, method, task, splits.train, mesh.size, total)
        scorer = make_scorer(
            network.apply,
            task.predictor(method),
            mesh,
            shared,
            4 * config.train.batch_size,
            config.train.mirror_scores,
        )
        scores = score_test(config, method, splits, shared, scorer, state.evaluation_variables)
        scored = replace(before, labels=splits.test.labels, scores=scores)
        scored.write(folder)
        results.append(run_result(config, method, splits, folder, scored))
    write_run_report(config, workdir, results, splits)
    console.print(results_table({r.method: r.table for r in results}, console.width))
    console.print(f"report: {workdir / 'report.html'}", markup=False, highlight=False, soft_wrap=True)
    return results
