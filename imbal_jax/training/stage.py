"""A stage of a run: what is trained, from where, on which batches, for how long."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jax.sharding import Mesh

from imbal_jax.config import Config
from imbal_jax.data.dataset import Images
from imbal_jax.data.feeding.pipeline import Pipeline, Resident, spreads
from imbal_jax.data.feeding.plans import Plans
from imbal_jax.data.feeding.shared import Shared
from imbal_jax.data.feeding.stream import HostBatches, stream_steps
from imbal_jax.data.load import Splits
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.engine import hosts, keys, parallel
from imbal_jax.engine.fully_sharded import fully_shard
from imbal_jax.engine.spread_rows import spread_rows
from imbal_jax.engine.state import TrainState, init_state
from imbal_jax.methods import WITH_SUPPORT, Method, static_part
from imbal_jax.tasks import Task
from imbal_jax.training.build import build_network
from imbal_jax.training.composition import (
    augmentation,
    compose,
    second_stage_method,
    second_steps_of,
    steps_of,
)
from imbal_jax.training.evaluation import evaluation
from imbal_jax.training.inference import feature_extractor
from imbal_jax.training.network import Network, SecondStageNetwork
from imbal_jax.training.optimizer import NO_CHANGE, rate_change_of
from imbal_jax.training.program import Program, fed_step, resident_steps
from imbal_jax.training.second_stage import FeaturePipeline, choose_tau, nearest_mean
from imbal_jax.training.support import write_support

Advance = Callable[[TrainState, int], tuple[TrainState, Mapping[str, Any], int]]
"""``(state, at most so many steps) -> (state, metrics, steps taken)``; the metrics may still be on their way."""


@dataclass(frozen=True)
class Stage:
    """program: what is compiled. state: at step 0. shared: what all examples share. advance: takes steps.
    batches: what the host feeds, or would where images are resident."""

    program: Program
    state: TrainState
    shared: Shared
    advance: Advance
    batches: HostBatches

    @property
    def network(self) -> Network | SecondStageNetwork:
        return self.program.network

    @property
    def total_steps(self) -> int:
        return self.program.total_steps


@dataclass(frozen=True)
class Source:
    """From what batches are made: images or features, their labels, which of them, and what else is read."""

    images: Images
    labels: np.ndarray
    plans: Plans
    shared: Shared
    extra: Mapping[str, np.ndarray] | None = None


def first_stage(config: Config, method: Method, task: Task, splits: Splits, mesh: Mesh) -> Stage:
    """The first stage of ``method``, at its start."""
    total_steps = steps_of(config, method, splits.train)
    plans, shared = compose(config, method, task, splits.train, mesh.size, total_steps)
    network, variables = build_network(config, method, splits.train)
    pipeline = Pipeline(
        augmentation(config, method),
        method.image_mixing,
        method.views,
        task.transform,
        task.inputs,
        spread=is_spread(config, splits.train.images, mesh),
    )
    masks = spreads(splits.train.labels)
    program = _program(config, network, task, method, total_steps, pipeline, mesh, spread_labels=masks)
    return _begin(config, program, variables, Source(splits.train.images, splits.train.labels, plans, shared))


def second_stage(
    config: Config, method: Method, task: Task, splits: Splits, mesh: Mesh, trained: Mapping[str, Any]
) -> Stage:
    """The second stage of ``method``, on the variables that the first left."""
    training, train = second_stage_method(method), splits.train
    total_steps = second_steps_of(config, method, train)
    plans, shared = compose(config, training, task, train, mesh.size, max(1, total_steps))
    network, _ = build_network(config, method, train)
    stage = SecondStageNetwork.of(network, method)
    variables = stage.init(keys.second_stage_variables(config.seed), trained)
    pipeline: Pipeline | FeaturePipeline = Pipeline(augmentation(config, method), transform=task.transform)
    source = Source(train.images, train.labels, plans, shared)
    classes = len(splits.classes)

    def features(images: Images) -> np.ndarray:
        extract = feature_extractor(network, mesh, config.train.batch_size)
        return extract(trained, shared.statistics, images)

    if method.second_stage == "tau_norm":
        head = _normalized_head(config, task, splits, trained["params"]["head"], features)
        variables["params"] = {"head": head}
    elif method.second_stage == "nearest_mean":
        variables["params"] = {"head": nearest_mean(features(train.images), train.labels, classes)}
    elif method.second_stage in WITH_SUPPORT:
        seen = features(train.images)
        support = write_support(method, seen, train.labels, classes, config.seed)
        variables["memory"] = {"keys": support.keys, "filled": support.filled}
        if method.second_stage == "attention_head":
            # on features as they are kept, not of perturbed images: a query must not find itself in the support
            pipeline = FeaturePipeline("originals")
            source = Source(seen, train.labels, plans, shared, pipeline.arrays(seen, train.labels, classes))
        else:
            variables["params"] = {"strength": np.float32(support.strength)}
    elif method.second_stage == "smote" or method.second_stage == "smoothed_bootstrap":
        pipeline, seen = FeaturePipeline(method.second_stage), features(train.images)
        source = Source(seen, train.labels, plans, shared, pipeline.arrays(seen, train.labels, classes))
    program = _program(config, stage, task, training, total_steps, pipeline, mesh)
    return _begin(config, program, variables, source)


def _normalized_head(
    config: Config,
    task: Task,
    splits: Splits,
    head: Mapping[str, Any],
    features: Callable[[Images], np.ndarray],
) -> dict[str, np.ndarray]:
    """The head of the exponent whose validation predictions the criterion prefers."""
    # if no criterion selects a checkpoint, none can compare two values of tau either
    criterion = parse_criterion(config.select)
    if set(criterion.names) == {"step"}:
        criterion = parse_criterion("balanced_accuracy")
    seen, held = features(splits.validation.images), splits.validation
    predict = task.predictor(Method(name="linear head"))

    def value(head: Mapping[str, Any]) -> float:
        kept = np.asarray(predict(seen @ head["kernel"] + head["bias"]))
        return criterion.value({"step": 0, **evaluation(config, task, criterion, held, kept)})

    return choose_tau(head, value)[1]


def _program(
    config: Config,
    network: Network | SecondStageNetwork,
    task: Task,
    method: Method,
    total_steps: int,
    pipeline: Pipeline | FeaturePipeline,
    mesh: Mesh,
    *,
    spread_labels: bool = False,
) -> Program:
    second = isinstance(network, SecondStageNetwork)
    return Program(
        network=network,
        task=task,
        method=static_part(method),
        optim=config.optim,
        total_steps=total_steps,
        rate_change=NO_CHANGE if second else rate_change_of(method, total_steps),
        uncertain=config.data.uncertain,
        pipeline=pipeline,
        mesh=mesh,
        backend=config.train.backend,
        accumulation=config.train.accumulation,
        sharded=config.train.shard_parameters,
        spread_labels=spread_labels,
    )


def _begin(config: Config, program: Program, variables: dict[str, Any], source: Source) -> Stage:
    if program.sharded:  # before the optimiser's state is made, which is larger and takes the same shardings
        variables = fully_shard(variables, program.mesh)
    state = init_state(variables, program.optimizer(), keys.run(config.seed), ema=config.optim.averages)
    batches = HostBatches(
        images=source.images,
        labels=source.labels,
        plans=source.plans,
        places=parallel.local_places(config.train.batch_size, program.mesh),
    )
    return Stage(program, state, source.shared, feed(config, program, source, batches), batches)


def is_resident(config: Config, images: Images, mesh: Mesh) -> bool:
    """Whether the images stay on the devices: asked for, in memory, and small enough for those of each process."""
    if not config.train.resident or not isinstance(images, np.ndarray):
        return False
    return _have_room(images.nbytes, mesh) or is_spread(config, images, mesh)


def is_spread(config: Config, images: Images, mesh: Mesh) -> bool:
    """Whether each image stays on one device: asked for, or too many for each and few enough for all together."""
    if not config.train.resident or not isinstance(images, np.ndarray) or config.train.backend == "pmap":
        return False
    if config.train.spread_images:
        return mesh.size > 1
    share = -(-images.nbytes // mesh.size)
    return not _have_room(images.nbytes, mesh) and _have_room(share, mesh)


def _have_room(nbytes: int, mesh: Mesh) -> bool:
    """``parallel.room_for`` of the devices of every process, all of which ask."""
    return all(hosts.gathered(parallel.room_for(nbytes, mesh)))


def placed(program: Program, source: Source) -> Resident:
    """The arrays of ``source`` on the devices."""
    arrays = Resident(source.images, source.labels, source.plans, source.shared, source.extra)
    if not program.pipeline.spread:
        return parallel.place_resident(arrays, program.mesh)
    masks = spreads(source.labels)
    rest = replace(arrays, images=None, labels=None if masks else source.labels)
    spread = {"images": source.images, **({"labels": source.labels} if masks else {})}
    return replace(
        parallel.place_resident(rest, program.mesh),
        **{name: spread_rows(np.asarray(array), program.mesh) for name, array in spread.items()},
    )


def feed(config: Config, program: Program, source: Source, batches: HostBatches) -> Advance:
    """Steps on data that is resident on the device, or fed by the host."""
    mesh = program.mesh
    if source.extra or is_resident(config, source.images, mesh):
        resident = placed(program, source)
        many = resident_steps(program)
        return lambda state, count: (*many(state, resident, count), count)
    shared = parallel.replicate(source.shared, mesh)
    return stream_steps(fed_step(program), batches, mesh, shared=shared, workers=config.data.workers)
