"""ResNet-32 training on the CPU: ours beside PyTorch, in one run.

    python benchmarks/resnet32_pytorch.py [--repeats 7] [--steps 4]

One step: forward, backward, SGD with momentum 0.9 and weight decay; batch 128, 32x32x3, BatchNorm
over all 128 images, float32. Four ways, alternating, so that whatever else the machine does hits
all of them: XLA's own convolution, ours, ours on two XLA CPU devices (half the batch each, BatchNorm
synchronised), PyTorch eager channels_last with two threads. Medians of the repeats, and the median
of the ratios to PyTorch within a repeat, go to benchmarks/results/resnet32_pytorch.json.
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"

import argparse
import json
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from imbal_jax.models import convolution, resnet32

BATCH, CLASSES, THREADS = 128, 10, 2
RESULT = Path(__file__).parent / "results" / "resnet32_pytorch.json"


def jax_step(devices: int, own_convolution: bool) -> Callable[[], None]:
    """One training step in JAX, compiled; a call runs it and waits."""
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    model = resnet32(num_outputs=CLASSES, norm="batch", axis_name="data")
    optimizer = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.1, momentum=0.9))
    images, labels = batch()
    variables = model.init(jax.random.key(0), images[:1], train=True)
    state = (variables["params"], variables["batch_stats"], optimizer.init(variables["params"]))
    state = jax.device_put(state, NamedSharding(mesh, P()))
    images, labels = jax.device_put((images, labels), NamedSharding(mesh, P("data")))

    def step(state: Any, images: jax.Array, labels: jax.Array) -> tuple[Any, jax.Array]:
        params, statistics, momentum = state

        def objective(params: Any) -> tuple[jax.Array, Any]:
            variables = {"params": params, "batch_stats": statistics}
            logits, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.sum() / BATCH, updates["batch_stats"]

        local = lax.pcast(params, "data", to="varying")
        (loss, statistics), gradient = jax.value_and_grad(objective, has_aux=True)(local)
        return loss, gradient

    raise NotImplementedError
