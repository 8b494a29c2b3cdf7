"""What a config calls for: the devices and the network."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from imbal_jax import models
from imbal_jax.config import Config
from imbal_jax.data.dataset import Dataset
from imbal_jax.engine import keys, parallel
from imbal_jax.errors import InputError
from imbal_jax.methods import Method, static_part
from imbal_jax.training.network import Network, SecondStageNetwork


def build_network(config: Config, method: Method, train: Dataset) -> tuple[Network, dict[str, Any]]:
    """The network of the first stage of ``method``, and its initial variables."""
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
    model = models.make_model(config.model.name, num_outputs=len(train.classes), **options)
    network = Network(model, static_part(method))
    example = jnp.zeros((1, *train.images.shape[1:]), jnp.float32)
    return network, jax.jit(network.init)(keys.initial_variables(config.seed), example)


def build(
    config: Config, method: Method, train: Dataset
) -> tuple[Network | SecondStageNetwork, dict[str, Any]]:
    """The network that a run of ``method`` saves, and variables of the shapes that it saves."""
    network, variables = build_network(config, method, train)
    if method.second_stage == "none":
        return network, variables
    stage = SecondStageNetwork(network, method.second_stage)
    return stage, stage.init(keys.second_stage_variables(config.seed), variables)


def make_mesh(config: Config) -> Mesh:
    """The devices that the config asks for; InputError where there are fewer or the batch does not divide."""
    try:
        mesh = parallel.make_mesh(config.train.devices)
    except (
        ValueError,
        RuntimeError,
    ) as error:  # RuntimeError: the platform that JAX was told to use is absent
        raise InputError(f"train.devices: {str(error).splitlines()[0]}") from error
    if config.train.batch_size % mesh.size:
        raise InputError(
            f"train.batch-size {config.train.batch_size} does not divide over {mesh.size} devices: "
            "change it, or set --train.devices"
        )
    return mesh
