"""``imbal-jax enroll``: further classes for a finished run whose head is a memory, without a gradient step."""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from imbal_jax.config import Config
from imbal_jax.console import make_console, say
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.load import Splits, enrolled, load
from imbal_jax.engine import keys
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.engine.state import TrainState, init_state
from imbal_jax.errors import InputError
from imbal_jax.methods import GROWING, Method
from imbal_jax.report import RunResult
from imbal_jax.runs.address import RunAddress, find_run
from imbal_jax.runs.claim import claim
from imbal_jax.runs.data_claim import claim_geometry, claim_splits
from imbal_jax.runs.enrolled_cost import print_cost
from imbal_jax.runs.lock import locked
from imbal_jax.runs.outputs import RunOutputs, read_result
from imbal_jax.runs.rescore import score_restored
from imbal_jax.runs.restore import Deployed, restore_deployed
from imbal_jax.runs.run_report import write_run_report
from imbal_jax.runs.run_result import deploy_run
from imbal_jax.tasks import task_for
from imbal_jax.training.build import build
from imbal_jax.training.checkpoint import Checkpoints
from imbal_jax.training.inference import feature_extractor
from imbal_jax.training.network import Network, SecondStageNetwork
from imbal_jax.training.optimizer import make_optimizer
from imbal_jax.training.support import kept_rows, with_rows


def enroll(run: Path, folder: Path, out: Path | None = None, *, console: Console | None = None) -> RunResult:
    """A run that knows the classes of ``run`` and those of the images in ``folder``; its workdir is ``out``.

    run: one finished run of ``prototype_head`` or ``memory_head``, as ``address.find_run`` reads it. Its memory takes
    the features of the images, of each class up to ``memory_size`` or their mean; nothing else changes. folder: as in
    ``further_classes.read_further_classes``. out: a folder that does not exist; None: beside the workdir of ``run``,
    called as it is and as ``folder``.

    Prints what that costs the old classes on the run's test split, and how the new ones do on images of theirs that
    ``folder`` holds out. Calibration and thresholds are fitted again on validation; without an image of each new
    class there, the probabilities stay those of the head.

    Raises InputError for a run without such a head, for images of no further class, for an ``out`` that exists, and
    where the data of ``run`` are not where they were.
    """
    console = console or make_console()
    tell = partial(say, console)
    address = find_run(run)
    _check_growing(address)
    out = out or address.workdir.with_name(f"{address.workdir.name}-{Path(os.path.abspath(folder)).name}")
    if out.exists():
        raise InputError(f"--out {out} is there already: name a folder that is not, the new run is a workdir")
    mesh = make_mesh(1)
    deployed = restore_deployed(address, mesh)
    own = load(deployed.config, address.workdir, tell)
    claim_splits(address.workdir, own.members)
    splits = enrolled(own, folder, address.workdir, tell)
    before = RunOutputs.read(address.folder)
    assert before is not None  # find_run found it finished
    config = _config(deployed, folder, splits, tell)
    network, state = _grown(config, deployed, own, splits, mesh)
    with locked(out):
        after, result = _write(config, deployed, out, splits, network, state, mesh)
        write_run_report(config, out / "report.html", [result], splits)
    print_cost(before, after, splits, deployed.method.name, out, console)
    return result


def _check_growing(address: RunAddress) -> None:
    method = address.definition()
    if method.second_stage not in GROWING:
        raise InputError(
            f"{address.folder} has no memory that a class can be added to, its method is {method.name}: train one of "
            f"{', '.join(GROWING)}"
        )


def _config(deployed: Deployed, folder: Path, splits: Splits, tell: Any) -> Config:
    """The config of the new run: one method and seed, the data with ``folder``."""
    was = deployed.config
    data = replace(was.data, enrolled=(*was.data.enrolled, os.path.abspath(folder)), deployment_priors=None)
    if was.data.deployment_priors is not None:
        tell("data.deployment-priors of the run have no share for the new classes: they are left out")
    if was.data.source == "phantom" and was.data.dir is None:
        data = replace(data, dir=deployed.address.workdir / "phantoms")
    deploy = was.deploy
    known = len(deployed.deployment.classes)
    unseen = [
        splits.classes[c] for c in range(known, len(splits.classes)) if c not in splits.validation.labels
    ]
    if unseen and deploy.calibration != "none":
        tell(
            f"validation has no image of {', '.join(unseen)}: probabilities are those of the head, not calibrated"
        )
        deploy = replace(deploy, calibration="none")
    seed = deployed.address.seed
    return replace(was, methods=(deployed.method,), seed=seed, seeds=(seed,), data=data, deploy=deploy)


def _grown(
    config: Config, deployed: Deployed, own: Splits, splits: Splits, mesh: Mesh
) -> tuple[Network | SecondStageNetwork, TrainState]:
    """The network with rows for the new classes, whose memory holds their features."""
    network, empty = build(config, deployed.method, splits.train)
    variables = jax.tree.map(_in_corner, jax.device_get(empty), dict(deployed.variables))
    further = splits.train.take(np.arange(len(own.train), len(splits.train)))
    variables["memory"] = _remembered(config, deployed, further, variables["memory"], mesh)
    optimizer = make_optimizer(config.optim, 1)
    state = init_state(variables, optimizer, keys.run(config.seed), ema=config.optim.averages)
    return network, replace(state, step=jnp.int32(deployed.step))


def _in_corner(new: Any, old: Any) -> np.ndarray:
    """``old``, with zeros behind it up to the shape of ``new``."""
    grown = np.zeros(np.shape(new), np.asarray(old).dtype)
    grown[tuple(slice(size) for size in np.shape(old))] = old
    return grown


def _remembered(
    config: Config, deployed: Deployed, further: Dataset, memory: Mapping[str, np.ndarray], mesh: Mesh
) -> dict[str, np.ndarray]:
    """``memory`` with what the method keeps of the images of ``further``, class by class."""
    stage = deployed.network
    assert isinstance(stage, SecondStageNetwork)  # _check_growing
    layers = {k: v for k, v in deployed.variables.items() if k not in ("params", "frozen", "memory")}
    layers["params"] = deployed.variables["frozen"]
    extract = feature_extractor(stage.network, mesh, config.train.batch_size)
    seen = extract(layers, deployed.deployment.inputs.statistics, further.images)
    keys_, filled = memory["keys"].copy(), memory["filled"].copy()
    for c in range(len(deployed.deployment.classes), len(further.classes)):
        rows = kept_rows(further.labels, c, deployed.method, config.seed)
        keys_[c], filled[c] = with_rows(deployed.method, seen, further.labels == c, rows)
    return {"keys": keys_, "filled": filled}


def _write(
    config: Config,
    deployed: Deployed,
    out: Path,
    splits: Splits,
    network: Network | SecondStageNetwork,
    state: TrainState,
    mesh: Mesh,
) -> tuple[RunOutputs, RunResult]:
    """The run's folder, as training would leave it: checkpoint, scores, deployment, and the claims of its workdir."""
    method: Method = deployed.method
    folder = RunAddress(out, method.name, config.seed).folder
    task = task_for(config.task, splits.train, config.metrics)
    scored = score_restored(
        config,
        method,
        task,
        splits,
        (network, state),
        mesh,
        numbers=read_result(deployed.address.folder),
        statistics=deployed.deployment.inputs.statistics,
    )
    claim(out, config)
    claim_geometry(out, splits.train)
    claim_splits(out, splits.members)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(state, 0.0)
    scored.write(folder)
    return scored, deploy_run(config, method, splits, folder, scored, mesh)
