"""Images a second: making images of signals, and training the smallest network on them.

    python benchmarks/signals.py [--seconds 4] [--repeats 5]

generator: ``make_images`` into uint8 arrays on the host, one known signal at one of four places, at 16 and at 32
pixels, after its compilation. training: the trainer's own steps at 16 pixels, batch 256, plain cross-entropy, 50
steps a dispatch, images on the device; three small networks. All take turns in each repeat. Medians over the repeats,
and each repeat with the load of the machine, go to benchmarks/results/signals.json.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from environment import environment

from imbal_jax.config import Config, Data, Model, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.load import Splits
from imbal_jax.data.sources.signals import Signals, make_images, read_signals
from imbal_jax.engine import parallel
from imbal_jax.methods import find_method
from imbal_jax.tasks import ONE_LABEL
from imbal_jax.training.stage import first_stage

BATCH, DISPATCH = 256, 50
NETWORKS = {
    "patch 4, width 8, 1 stage": {"patch": 4, "width": 8, "stages": 1},
    "patch 4, width 16, 2 stages": {"patch": 4, "width": 16, "stages": 2},
    "patch 2, width 8, 2 stages": {"patch": 2, "width": 8, "stages": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "signals.json")
    options = parser.parse_args()

    about = environment()
    data, split = read_signals(
        Data(
            source="signals",
            image_size=16,
            phantom_images=40_400,
            phantom_imbalance=100,
            classes=("normal", "blob"),
        )
    )
    train = data.take(split["train"])
    ways = {f"generator, {size} pixels": generator(size) for size in (16, 32)}
    ways |= {f"training, {name}": trainer(model, train) for name, model in NETWORKS.items()}
    rows = []
    for repeat in range(options.repeats):
        row = {"load_average": os.getloadavg()[0]}
        for name in sorted(ways, reverse=bool(repeat % 2)):
            row[name] = rate(ways[name], options.seconds)
        rows.append(row)
    medians = {name: median(row[name] for row in rows) for name in ways}
    result = {**about, "images_per_second": medians, "repeats": rows}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, value in medians.items():
        print(f"{name:45} {value:10,.0f} images/s")


def rate(run: Callable[[], int], seconds: float) -> float:
    """Images a second of ``run``, which returns how many it handled."""
    began, images = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        images += run()
    return images / passed


def generator(size: int) -> Callable[[], int]:
    """Makes a block of images; warmed up."""
    signals = Signals(("normal", "blob"), size, 4, 3.0)
    labels = (np.arange(2**21 // size**2) % 101 == 0).astype(np.int32)
    blocks = iter(range(2**31))

    def run() -> int:
        return len(make_images(signals, labels, (next(blocks), 0)))

    run()
    return run


def trainer(model: dict[str, Any], data: Dataset) -> Callable[[], int]:
    """Takes a dispatch of training steps and awaits them; warmed up."""
    config = Config(
        name="signals",
        data=Data(image_size=16),
        model=Model(name="cnn", options=model),
        train=Train(batch_size=BATCH, devices=1, steps_per_dispatch=DISPATCH),
    )
    mesh = parallel.make_mesh(1)
    stage = first_stage(config, find_method("ce"), ONE_LABEL, Splits(data, data, data, table=[]), mesh)
    carried: list[Any] = [parallel.replicate(stage.state, mesh)]

    def run() -> int:
        carried[0], metrics, taken = stage.advance(carried[0], DISPATCH)
        float(metrics["loss"])
        return BATCH * taken

    run()
    return run


if __name__ == "__main__":
    main()
