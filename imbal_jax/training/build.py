"""Devices and network of a run, made from its config."""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from imbal_jax import models
from imbal_jax.config import Config
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.splits.class_split import episode_steps
from imbal_jax.engine import hosts, keys, parallel
from imbal_jax.errors import InputError, named
from imbal_jax.import_paths import is_import_path
from imbal_jax.methods import Method, static_part
from imbal_jax.models.own import PlainModel, averages_alone
from imbal_jax.tasks import find_task, task_name
from imbal_jax.tasks.task import Task, as_mapping
from imbal_jax.training.network import Network, SecondStageNetwork

ELSEWHERE = {
    "norm": "set --model.norm",
    "dtype": "set --model.dtype",
    "dropout": "set --model.dropout",
    "head": "methods choose it, as head=cosine",
    "views": "methods choose it, as views=2",
    "axis_name": "the trainer sets it",
    "param_dtype": "parameters are float32",
}
"""Options of the built-in models that are no ``model.options``."""


def build_network(config: Config, method: Method, train: Dataset) -> tuple[Network, dict[str, Any]]:
    """The network of the first stage of ``method``, and its initial variables."""
    own = is_import_path(config.model.name)
    task = find_task(task_name(config.task, train))
    num_outputs = task.num_outputs(train)
    if misplaced := [name for name in config.model.options if name in ELSEWHERE and not own]:
        raise InputError(f"model.options has {misplaced[0]}: leave it out, {ELSEWHERE[misplaced[0]]}")
    if len(train) and not own:
        _check_inputs(config, task)
    options: dict[str, Any] = {
        "norm": config.model.norm,
        "dtype": jnp.dtype(config.model.dtype),
        "dropout": config.model.dropout,
        "axis_name": None if config.train.backend == "jit" else parallel.AXIS,
        **config.model.options,
    }
    if config.model.dropout and method.views > 1:
        options["views"] = method.views
    if method.head != "linear":
        options["head"] = method.head
    model = models.make_model(config.model.name, num_outputs=num_outputs, **options)
    network = Network(model, static_part(method))
    example = example_inputs(config, train.images.shape[1:])
    if not own:
        variables = _initial(network)(keys.initial_variables(config.seed), example)
        if len(train):  # else it is restored, and was checked before training
            _check_shape(config, _logits_shape(network, _Shapes.of(example)), example, train, task)
        return network, variables
    _check_parts(config, method, model)
    variables = _called(config, network.init, keys.initial_variables(config.seed), example)
    _check_own(config, method, network, variables, example, train, task=task)
    return network, variables


@lru_cache(maxsize=8)
def _initial(network: Network) -> Callable[..., dict[str, Any]]:
    """``network.init`` compiled, once for runs of equal networks."""
    return jax.jit(network.init)


def _called(config: Config, function: Callable[..., Any], *arguments: Any) -> Any:
    """``function`` of the user's own model, compiled; InputError where it raises."""
    try:
        return jax.jit(function)(*arguments)
    except InputError:
        raise
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        raise InputError(
            f"model {config.model.name} cannot be called with images {_shape_text(arguments[-1])}: "
            f"{type(error).__name__}: {said}"
        ) from error


def _shape_text(inputs: Any) -> str:
    shapes = {name: list(value.shape) for name, value in inputs.items()} if isinstance(inputs, dict) else None
    return (
        str(list(inputs.shape))
        if shapes is None
        else ", ".join(f"{name} {at}" for name, at in shapes.items())
    )


def _check_parts(config: Config, method: Method, model: Any) -> None:
    """InputError where ``method`` needs features of a model that gives logits only."""
    if not isinstance(model, PlainModel):
        return
    parts = {
        f"auxiliary={method.auxiliary}": method.auxiliary != "none",
        f"second_stage={method.second_stage}": method.second_stage != "none",
        f"loss={method.loss}": "features" in method.loss_row.reads,
    }
    for part, asked in parts.items():
        if asked:
            raise InputError(
                f"method {method.name}: {part} needs features, and model {config.model.name} gives logits only: let "
                'its call take outputs="features" and "both", as the models of imbal_jax.models do'
            )


def _check_inputs(config: Config, task: Task) -> None:
    """InputError for a built-in model of other inputs than the task gives."""
    takes = models.inputs_of(config.model.name)
    if config.model.name in models.MODELS and takes != task.network_takes:
        fitting = [name for name in models.MODELS if models.inputs_of(name) == task.network_takes]
        raise InputError(
            f"model {config.model.name} takes {takes}, and the task of {task.name} gives {task.network_takes}: "
            f"choose from {', '.join(fitting)}"
        )


def example_inputs(config: Config, shape: tuple[int, ...]) -> Any:
    """Zeros of the shape of one input. shape: of a training picture, [H, W, C]."""
    height, width, channels = shape
    if config.episode.ways:
        steps = episode_steps(config)
        return {
            "images": jnp.zeros((1, steps, height, width, channels), jnp.float32),
            "labels": jnp.zeros((1, steps), jnp.int32),
        }
    side = config.patch.size
    return jnp.zeros((1, side or height, side or width, channels), jnp.float32)


class _Shapes(NamedTuple):
    """Shapes and types of inputs, hashable."""

    leaves: tuple[tuple[tuple[int, ...], Any], ...]
    tree: Any

    @classmethod
    def of(cls, inputs: Any) -> "_Shapes":
        leaves, tree = jax.tree.flatten(inputs)
        return cls(tuple((leaf.shape, leaf.dtype) for leaf in leaves), tree)

    def inputs(self) -> Any:
        leaves = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in self.leaves]
        return jax.tree.unflatten(self.tree, leaves)


@lru_cache(maxsize=8)
def _logits_shape(network: Network, shapes: _Shapes) -> tuple[int, ...]:
    """Of the logits for inputs of some shapes: traced, not computed, once for runs of equal networks."""

    def of_inputs(inputs: Any) -> Any:
        return _logits(network, network.init(jax.random.key(0), inputs), inputs)

    return jax.eval_shape(of_inputs, shapes.inputs()).shape


def _logits(network: Network, variables: Mapping[str, Any], inputs: Any) -> Any:
    return as_mapping(network.apply(variables, inputs, train=False, rngs={}))["logits"]


def _check_shape(config: Config, shape: tuple[int, ...], example: Any, train: Dataset, task: Task) -> None:
    """InputError unless the logits are one an image and class, or of masks one a pixel and class."""
    classes, own_task = task.num_outputs(train), task.any_logits or is_import_path(config.task)
    space: tuple[int, ...] = ()
    if config.episode.ways:
        space = (episode_steps(config),)
    elif train.mask_shape:
        space = example.shape[1:3]
    fits = shape == (1, *space, classes)
    if own_task:
        fits = shape[-1:] == (classes,) and shape[:1] == (1,)
    if fits:
        return
    expected = f"[{', '.join(['B', *map(str, space), str(classes)])}]"
    if own_task:
        expected = f"[B, ..., {classes}]"
    given = f"[{', '.join(['B', *map(str, shape[1:])])}]"
    remedy = "; for masks, --model.name unet" if train.mask_shape and len(shape) == 2 else ""
    raise InputError(
        f"model {config.model.name} gives logits {given}, expected {expected}, one for each class{remedy}"
    )


def _check_own(
    config: Config,
    method: Method,
    network: Network,
    variables: Mapping[str, Any],
    example: Any,
    train: Dataset,
    *,
    task: Task,
) -> None:
    """InputError where the user's own model gives other logits than the task reads, or cannot be trained as asked."""
    name = config.model.name
    logits = _called(config, partial(_logits, network, variables), example)
    if len(train):  # else it is restored, without labels
        _check_shape(config, jnp.shape(logits), example, train, task)
    biased = method.head == "linear" and method.loss_row.initial_bias is not None
    if biased and "bias" not in variables["params"].get("head", {}):
        raise InputError(
            f"method {method.name}: {method.loss} starts from a bias of its own, and model {name} has no layer "
            "called head with a bias: call its last layer head"
        )
    alone = config.train.backend != "jit" and averages_alone(network.model, variables)
    if alone and parallel.make_mesh(config.train.devices).size > 1:
        raise InputError(
            f"model {name} has running averages and knows no axis_name over which the devices share them: give it "
            "one, set --train.backend jit, or --train.devices 1"
        )


def build(
    config: Config, method: Method, train: Dataset
) -> tuple[Network | SecondStageNetwork, dict[str, Any]]:
    """The network that a run of ``method`` saves, and variables of the shapes that it saves."""
    network, variables = build_network(config, method, train)
    if method.second_stage == "none":
        return network, variables
    stage = SecondStageNetwork.of(network, method)
    return stage, stage.init(keys.second_stage_variables(config.seed), variables)


def make_mesh(config: Config) -> Mesh:
    """The devices that the config asks for; InputError where there are fewer or the batch does not divide.

    Of several processes all devices, so that none is left without.
    """
    with named("train.devices"):
        mesh = parallel.make_mesh(config.train.devices)
    if hosts.count() > 1:
        if config.train.backend == "pmap":
            raise InputError("train.backend is pmap, which is for one process: take shard_map or jit")
        if mesh.size != jax.device_count():
            raise InputError(
                f"train.devices is {mesh.size}, and {hosts.count()} processes have {jax.device_count()}: leave it out"
            )
    if config.train.batch_size % mesh.size:
        raise InputError(
            f"train.batch-size {config.train.batch_size} does not divide over {mesh.size} devices: "
            "change it, or set --train.devices"
        )
    if config.train.shard_parameters and config.train.backend != "jit":
        raise InputError(f"train.shard-parameters needs --train.backend jit, not {config.train.backend}")
    share = config.train.batch_size // mesh.size
    if share % config.train.accumulation:
        raise InputError(
            f"train.accumulation {config.train.accumulation} does not divide the {share} images of a device: "
            "give a divisor of train.batch-size over train.devices"
        )
    return mesh
