"""Host time a training step: data on the device and many steps a dispatch, against batches fed by the host.

    python benchmarks/host_time.py [--repeats 9]

A small network on 28x28 images, batch 64, balanced, through the trainer's own two paths, blocks of 100 steps in
turn. fed: the batch is gathered in numpy by other threads, put on the device, one step a dispatch. resident: the
batch is gathered on the device, 10 or 50 steps a dispatch. Host time is the processor time of the thread that drives
the device, from asking for the steps to having their result; seconds by the clock stand beside it. Medians go to
benchmarks/results/host_time.json.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from environment import environment

from imbal_jax.config import Config, Model, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.load import Splits
from imbal_jax.engine import parallel
from imbal_jax.methods import find_method
from imbal_jax.tasks import ONE_LABEL
from imbal_jax.training.stage import first_stage

STEPS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "host_time.json")
    options = parser.parse_args()

    labels = (np.arange(4000) % 101 == 0).astype(np.int32)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 28, 28, 1), np.uint8)
    data = Dataset(images, labels, np.arange(len(labels)), ("normal", "abnormal"))
    base = Config(
        name="host",
        model=Model(name="cnn", options={"width": 4, "stages": 2}),
        train=Train(batch_size=64, devices=1),
    )
    ways = {
        "fed": make_run(replace(base, train=replace(base.train, resident=False)), data),
        "resident_10": make_run(replace(base, train=replace(base.train, steps_per_dispatch=10)), data),
        "resident_50": make_run(replace(base, train=replace(base.train, steps_per_dispatch=50)), data),
    }
    rows = []
    for repeat in range(options.repeats):
        row = {"load_average": os.getloadavg()[0]}
        for name in sorted(ways, reverse=bool(repeat % 2)):
            began, processor = time.perf_counter(), time.thread_time()
            ways[name](STEPS)
            row[name + "_clock_us"] = 1e6 * (time.perf_counter() - began) / STEPS
            row[name + "_host_us"] = 1e6 * (time.thread_time() - processor) / STEPS
        rows.append(row)
    medians = {key: median(row[key] for row in rows) for key in rows[0]}
    ratios = {
        f"{name}_over_fed_{kind}": median(row[f"{name}_{kind}_us"] / row[f"fed_{kind}_us"] for row in rows)
        for name in ("resident_10", "resident_50")
        for kind in ("host", "clock")
    }
    options.out.write_text(
        json.dumps(
            {**environment(), "microseconds_a_step": medians, "ratios": ratios, "repeats": rows}, indent=1
        )
        + "\n"
    )
    for key, value in {**medians, **ratios}.items():
        print(f"{key:32} {value:10.3f}")


def make_run(config: Config, data: Dataset) -> Callable[[int], None]:
    """``count -> None``: so many training steps, warmed up, the result awaited at each dispatch."""
    method = find_method("stratified")
    mesh = parallel.make_mesh(1)
    stage = first_stage(config, method, ONE_LABEL, Splits(data, data, data, table=[]), mesh)
    carried: list[Any] = [parallel.replicate(stage.state, mesh)]
    advance = stage.advance

    def run(count: int) -> None:
        while count > 0:
            carried[0], metrics, taken = advance(carried[0], min(count, config.train.steps_per_dispatch))
            float(metrics["loss"])
            count -= taken

    run(STEPS)
    return run


if __name__ == "__main__":
    main()
