"""ResNet-32 training on the CPU: ours beside PyTorch, in one run.

    python benchmarks/resnet32_pytorch.py [--repeats 9] [--steps 2] [--only ours pytorch] [--threads N]

One step: forward, backward, SGD with momentum 0.9 and weight decay; batch 128, 32x32x3, BatchNorm
over all 128 images, float32. Ways that alternate, so that whatever else the machine does hits all of
them: XLA's own convolution, ours, ours with the rectifier of flax, ours with one step a dispatch, ours on
two XLA CPU devices (half the batch each, BatchNorm synchronised), PyTorch eager channels_last. The steps of
a repeat are one dispatch, as in training (`--train.steps-per-dispatch`). Medians over the repeats, and the
median of the ratio to PyTorch within a repeat, go to benchmarks/results/resnet32_pytorch.json.
`cpu_ms_per_image` is processor time (all threads), and `cpu_speed_to_pytorch` the ratio by it: with one core
(`taskset -c 0 ... --threads 1`) it hardly depends on what else runs.
Run it on an idle machine: where other programs take the cores, PyTorch's OpenMP threads wait for each
other spinning, which shows as processor time and makes its images/s look far worse than they are.
`hardware.load` in the result tells (it should be near the number of cores).
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import jax
import numpy as np
import optax
import torch
from environment import processor as processor_name
from flax import linen as nn
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

sys.path.insert(0, str(Path(__file__).parents[1]))

from imbal_jax.models import resnet, resnet32

BATCH, CLASSES = 128, 10
RESULT = Path(__file__).parent / "results" / "resnet32_pytorch.json"

Step = Callable[[], float]


def random_batch() -> tuple[np.ndarray, np.ndarray]:
    """Images [128, 32, 32, 3] and labels [128]."""
    random = np.random.default_rng(0)
    images = random.standard_normal((BATCH, 32, 32, 3), dtype=np.float32)
    return images, random.integers(0, CLASSES, BATCH).astype(np.int32)


def jax_step(devices: int, steps: int = 1) -> Step:
    """So many compiled training steps on so many devices; a call runs them, waits, and returns the last loss."""
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    model = resnet32(num_outputs=CLASSES, norm="batch", axis_name="data")
    optimizer = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.1, momentum=0.9))
    images, labels = random_batch()
    variables = jax.jit(lambda key: model.init(key, images[:1], train=True))(jax.random.key(0))
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

        (loss, statistics), gradient = jax.value_and_grad(objective, has_aux=True)(params)
        loss, gradient = lax.psum((loss, gradient), "data")
        updates, momentum = optimizer.update(gradient, momentum, params)
        return (optax.apply_updates(params, updates), statistics, momentum), loss

    def many(state: Any, images: jax.Array, labels: jax.Array, count: jax.Array) -> tuple[Any, jax.Array]:
        def next_step(_: jax.Array, carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
            return step(carry[0], images, labels)

        return lax.fori_loop(0, count, next_step, (state, np.float32(0)))

    # check_vma=False: the gradient of each device is its own, and the psum above adds them.
    sharded = jax.shard_map(
        many, mesh=mesh, in_specs=(P(), P("data"), P("data"), P()), out_specs=(P(), P()), check_vma=False
    )
    count = np.int32(steps)
    compiled = jax.jit(sharded, donate_argnums=0).lower(state, images, labels, count).compile()
    holder = [state]

    def run() -> float:
        holder[0], loss = compiled(holder[0], images, labels, count)
        return float(loss)

    return run


class TorchBlock(torch.nn.Module):
    """Two 3x3 convolutions beside the shortcut of option A."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv0 = torch.nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm0 = torch.nn.BatchNorm2d(outputs)
        self.conv1 = torch.nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm1 = torch.nn.BatchNorm2d(outputs)
        self.stride, self.pad = stride, (outputs - inputs) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(self.conv1(torch.relu(self.norm0(self.conv0(x)))))
        if self.stride > 1:
            x = torch.nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return torch.relu(y + x)


def torch_step(threads: int) -> Step:
    """The same training step in PyTorch eager, channels_last; returns the loss."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(16), torch.nn.ReLU()]
    width = 16
    for outputs in (16, 32, 64):
        for index in range(5):
            layers.append(TorchBlock(width, outputs, 2 if index == 0 and outputs > 16 else 1))
            width = outputs
    layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, CLASSES)]
    model = torch.nn.Sequential(*layers).to(memory_format=torch.channels_last)
    assert sum(p.numel() for p in model.parameters()) == 464_154
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    images, labels = (torch.from_numpy(array) for array in random_batch())
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def run() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(images), labels.long())
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def compiled_ways(options: argparse.Namespace) -> dict[str, tuple[Step, int]]:
    """Each way by its name: what to call, and how often for the steps of a repeat."""
    makers: dict[str, Callable[[], tuple[Step, int]]] = {
        "xla": lambda: (jax_step(1, options.steps), 1),
        "ours_flax_relu": lambda: (jax_step(1, options.steps), 1),
        "ours": lambda: (jax_step(1, options.steps), 1),
        "ours_step_by_step": lambda: (jax_step(1), options.steps),
        "ours_two_devices": lambda: (jax_step(2, options.steps), 1),
        "pytorch": lambda: (torch_step(options.threads), options.steps),
    }
    replaced = {
        "xla": ("conv_general_dilated", lax.conv_general_dilated),
        "ours_flax_relu": ("relu", nn.relu),
    }
    ways = {}
    for name in options.only or makers:
        with mock.patch.object(resnet, *replaced[name]) if name in replaced else nullcontext():
            ways[name] = makers[name]()
    return ways


def main() -> None:
    """Compile, alternate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2, help="steps timed together in one repeat")
    parser.add_argument("--only", nargs="*", help="of the ways, and pytorch among them; default: all")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of PyTorch")
    options = parser.parse_args()

    ways = compiled_ways(options)
    first_losses = {name: [step() for _ in range(calls)][-1] for name, (step, calls) in ways.items()}
    ours = [loss for name, loss in first_losses.items() if name != "pytorch"]
    np.testing.assert_allclose(ours, ours[0], rtol=1e-4, err_msg="the JAX steps must agree")

    speed: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, (step, calls) in ways.items():
            step()
            wall, processor = time.perf_counter(), time.process_time()
            for _ in range(calls):
                step()
            images = BATCH * options.steps
            speed[name].append(images / (time.perf_counter() - wall))
            cpu[name].append(1e3 * (time.process_time() - processor) / images)

    result: dict[str, Any] = {
        "batch": BATCH,
        "repeats": options.repeats,
        "steps_per_repeat": options.steps,
        "images_per_s": {name: round(median(values), 1) for name, values in speed.items()},
        "images_per_s_best": {name: round(max(values), 1) for name, values in speed.items()},
        "cpu_ms_per_image": {name: round(median(values), 2) for name, values in cpu.items()},
        "ratio_to_pytorch": {
            name: round(median(a / b for a, b in zip(values, speed["pytorch"], strict=True)), 2)
            for name, values in speed.items()
        },
        "cpu_speed_to_pytorch": {
            name: round(median(b / a for a, b in zip(values, cpu["pytorch"], strict=True)), 3)
            for name, values in cpu.items()
        },
        "threads": options.threads,
        "hardware": {"processor": processor_name(), "cores": os.cpu_count(), "load": os.getloadavg()},
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
    for name in ways:
        print(
            f"{name:18s} {result['images_per_s'][name]:7.1f} images/s"
            f"  {result['ratio_to_pytorch'][name]:5.2f} x PyTorch"
            f"  {result['cpu_ms_per_image'][name]:6.2f} CPU ms/image"
            f"  {result['cpu_speed_to_pytorch'][name]:5.2f} x PyTorch"
        )
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
