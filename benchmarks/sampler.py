"""Balanced batches of ten million labels: our sampler beside torch.utils.data.WeightedRandomSampler, in one run.

    python benchmarks/sampler.py [--items 10000000] [--repeats 7]

One rare item in 9,001, batches of 256, half of each class. Three quantities, ours and PyTorch's measured in turn
so that whatever else the machine does hits both: seconds to build the plan or the sampler; seconds from the labels
to the first index in hand; indices a second after that. Ours is timed inside one jit (a scan of 2,000 batches) and
also called from Python, one batch a call; "a run's first call" adds the compilation that a process pays once.
PyTorch draws all its epoch when the first index is asked for, so its rate is the whole epoch's. The rates for a
second of processor time are what a busy machine leaves comparable.
Medians of the repeats, and of the ratios within a repeat, go to benchmarks/results/sampler.json.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from environment import processor
from torch.utils.data import WeightedRandomSampler

from imbal_jax.priors import class_counts, class_weights
from imbal_jax.sampling import Plan, batch_indices, make_plan

BATCH, RATIO, SCANNED, CALLS = 256, 9_000, 2_000, 200


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--items", type=int, default=10_000_000)
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sampler.json")
    options = options.parse_args()

    labels = (np.random.default_rng(0).permutation(options.items) <= options.items // (RATIO + 1)).astype(
        np.int32
    )
    compiling, _ = seconds(lambda: np.asarray(batch_indices(make_plan(labels, BATCH), 0)))
    plan = make_plan(labels, BATCH)
    scanned(plan, jnp.uint32(0)).block_until_ready()

    repeats = []
    for repeat in range(options.repeats):
        row = {**ours(labels, repeat), **pytorch(labels)}
        row["build_ratio"] = row["pytorch_build_s"] / row["build_s"]
        row["first_index_ratio"] = row["pytorch_first_index_s"] / row["first_index_s"]
        row["rate_ratio"] = row["indices_per_s_in_jit"] / row["pytorch_indices_per_s"]
        row["processor_rate_ratio"] = (
            row["indices_per_processor_s_in_jit"] / row["pytorch_indices_per_processor_s"]
        )
        row["load_average"] = os.getloadavg()[0]
        repeats.append(row)

    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "versions": {
            "python": platform.python_version(),
            **{module.__name__: module.__version__ for module in (jax, np, torch)},
        },
        "items": options.items,
        "rare_items": int(labels.sum()),
        "batch_size": BATCH,
        "repeats": options.repeats,
        "first_call_with_compilation_s": compiling,
        "median": {name: median(row[name] for row in repeats) for name in repeats[0]},
        "lowest": {name: min(row[name] for row in repeats) for name in repeats[0]},
        "highest": {name: max(row[name] for row in repeats) for name in repeats[0]},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")

    print(f"{result['processor']}, {result['cores']} cores, {result['versions']}")
    print(f"{options.items:,} items, {result['rare_items']:,} rare, batch {BATCH}, {options.repeats} repeats")
    print(f"{'':32}{'median':>14}{'lowest':>14}{'highest':>14}")
    for name, value in result["median"].items():
        print(f"{name:32}{value:14,.4g}{result['lowest'][name]:14,.4g}{result['highest'][name]:14,.4g}")
    print(f"a run's first call, with compilation: {compiling:.2f} s")
    print(f"written to {options.out}")


@jax.jit
def scanned(plan: Plan, start: jax.Array) -> jax.Array:
    """Draw SCANNED batches, and add them up for none to be optimised away."""

    def add(total: jax.Array, step: jax.Array) -> tuple[jax.Array, None]:
        return total + batch_indices(plan, start + step).sum(), None

    return jax.lax.scan(add, jnp.int32(0), jnp.arange(SCANNED, dtype=jnp.uint32))[0]


def ours(labels: np.ndarray, repeat: int) -> dict[str, float]:
    build, plan = seconds(lambda: jax.block_until_ready(make_plan(labels, BATCH, seed=repeat)))
    first, _ = seconds(lambda: np.asarray(batch_indices(make_plan(labels, BATCH, seed=repeat), 0)))
    processor_start = time.process_time()
    in_jit, _ = seconds(lambda: scanned(plan, jnp.uint32(repeat * SCANNED)).block_until_ready())
    in_jit_processor = time.process_time() - processor_start
    called, _ = seconds(lambda: [np.asarray(batch_indices(plan, step)) for step in range(CALLS)])
    return {
        "build_s": build,
        "first_index_s": first,
        "indices_per_s_in_jit": SCANNED * BATCH / in_jit,
        "indices_per_processor_s_in_jit": SCANNED * BATCH / in_jit_processor,
        "indices_per_s_from_python": CALLS * BATCH / called,
    }


def pytorch(labels: np.ndarray) -> dict[str, float]:
    def make() -> WeightedRandomSampler:
        weights = class_weights(class_counts(labels, 2))[labels]
        return WeightedRandomSampler(torch.from_numpy(weights), len(labels))

    build, sampler = seconds(make)
    processor_start = time.process_time()
    after_build, indices = seconds(lambda: iter(sampler))
    next_index, _ = seconds(lambda: next(indices))
    rest, drawn = seconds(lambda: sum(1 for _ in indices))
    processor_time = time.process_time() - processor_start
    return {
        "pytorch_build_s": build,
        "pytorch_first_index_s": build + after_build + next_index,
        "pytorch_indices_per_s": (drawn + 1) / (after_build + next_index + rest),
        "pytorch_indices_per_processor_s": (drawn + 1) / processor_time,
    }


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
