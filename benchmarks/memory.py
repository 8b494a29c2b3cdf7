"""Networks with a memory: training sequences per CPU-second, beside the same networks in PyTorch.

    python benchmarks/memory.py speed [--repeats 15]

The setting of Santoro et al. 2016: batches of 16 episodes of 50 pictures of 20x20, one-hot labels of 5 classes, an
LSTM of 200, a memory of 128 slots of 40 with 4 heads, cross-entropy at every step, Adam. MANN and the LSTM alone,
ours and PyTorch eager, are called in turn, one update each, in one process that is pinned to one core; before, it is
checked that with the same weights they give the same loss. Times are of the process on the CPU, so that what else
the machine runs takes caches from both and time from none; those of compilation too. Medians go to
benchmarks/results/memory_speed.json.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from environment import environment
from mann_pytorch import TorchLSTM, TorchMANN

from imbal_jax.losses import cross_entropy
from imbal_jax.models import make_model
from imbal_jax.models.episode_inputs import encoded_labels, one_step_late

BATCH, STEPS, SIDE, WAYS = 16, 50, 20, 5
MEMORY = {"slots": 128, "width": 40, "reads": 4}
SAME_LOSS = 1e-4

Update = Callable[[], float]
"""One update of the weights; returns the loss before it."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("what", choices=["speed"])
    options.add_argument("--repeats", type=int, default=15)
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "memory_speed.json")
    options = options.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before jax counts the cores, at its first use
    torch.set_num_threads(1)

    result: dict[str, Any] = {**environment(), "torch": torch.__version__, "repeats": options.repeats}
    updates: dict[str, Update] = {}
    for name, arguments in (("mann", MEMORY), ("episode_lstm", {})):
        updates[name], params, compile_cpu_seconds = in_jax(name, arguments)
        result[f"compile_cpu_seconds_{name}"] = compile_cpu_seconds
        peer = TorchMANN(params, **MEMORY) if name == "mann" else TorchLSTM(params)
        updates[f"{name}_torch"] = in_torch(peer)
    first = {name: update() for name, update in updates.items()}
    for name in ("mann", "episode_lstm"):
        if abs(first[name] - first[f"{name}_torch"]) > SAME_LOSS:
            raise SystemExit(
                f"{name}: loss {first[name]}, in PyTorch {first[f'{name}_torch']}: not the same network"
            )

    times = measured(updates, options.repeats)
    result["load_average_at_end"] = os.getloadavg()[0]
    result["cpu_ms_an_update"] = {name: 1e3 * median(seconds) for name, seconds in times.items()}
    result["sequences_a_cpu_second"] = {name: BATCH / median(seconds) for name, seconds in times.items()}
    result["range_of_sequences_a_cpu_second"] = {
        name: [BATCH / max(seconds), BATCH / min(seconds)] for name, seconds in times.items()
    }
    result["ratio_to_torch"] = {
        name: median(theirs / ours for ours, theirs in zip(times[name], times[f"{name}_torch"], strict=True))
        for name in ("mann", "episode_lstm")
    }
    show(result)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")


def episode_batch() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    images = (random.random((BATCH, STEPS, SIDE, SIDE, 1)) < 0.15).astype(np.float32)
    return {"images": images, "labels": random.integers(0, WAYS, (BATCH, STEPS), dtype=np.int32)}


def in_jax(name: str, arguments: dict[str, Any]) -> tuple[Update, Any, float]:
    """An update of our network, its first weights, and the CPU-seconds that its compilation took."""
    model = make_model(name, num_outputs=WAYS, **arguments)
    inputs = jax.tree.map(jnp.asarray, episode_batch())
    params = model.init(jax.random.key(0), inputs)["params"]
    optimizer = optax.adam(1e-3)

    def step(params: Any, state: Any, inputs: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            return cross_entropy(model.apply({"params": params}, inputs, train=True), inputs["labels"]).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        changes, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, changes), state, value

    initial = jax.tree.map(np.array, params)
    carry = [params, optimizer.init(params)]
    began = time.process_time()
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(*carry, inputs).compile()
    compile_cpu_seconds = time.process_time() - began

    def update() -> float:
        carry[0], carry[1], value = compiled(*carry, inputs)
        return float(value)

    return update, initial, compile_cpu_seconds


def in_torch(network: torch.nn.Module) -> Update:
    batch = episode_batch()
    shown = np.asarray(one_step_late(encoded_labels(jnp.asarray(batch["labels"]), WAYS)))
    steps = np.concatenate([batch["images"].reshape(BATCH, STEPS, -1), shown], axis=-1).swapaxes(0, 1)
    inputs, labels = torch.from_numpy(steps.copy()), torch.from_numpy(batch["labels"]).long()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def update() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(inputs).flatten(0, 1), labels.flatten())
        loss.backward()
        optimizer.step()
        return loss.item()

    return update


def measured(updates: dict[str, Update], repeats: int) -> dict[str, list[float]]:
    """CPU-seconds of each update, called in turn; the first two rounds warm caches and allocators up."""
    times: dict[str, list[float]] = {name: [] for name in updates}
    for repeat in range(repeats + 2):
        for name, update in updates.items():
            began = time.process_time()
            update()
            if repeat > 1:
                times[name].append(time.process_time() - began)
    return times


def show(result: dict[str, Any]) -> None:
    print(f"{result['processor']}, one core, load {result['load_average_at_start']:.1f}")
    print(f"{'':16}{'sequences a CPU-second':>24}{'PyTorch':>10}{'ratio':>8}{'compile':>11}")
    for name in ("mann", "episode_lstm"):
        rate = result["sequences_a_cpu_second"]
        print(
            f"{name:16}{rate[name]:24.0f}{rate[f'{name}_torch']:10.0f}{result['ratio_to_torch'][name]:8.2f}"
            f"{result[f'compile_cpu_seconds_{name}']:11.1f}"
        )


if __name__ == "__main__":
    main()
