"""What balancing costs a training step: nothing one can measure.

    python benchmarks/balancing_cost.py [--model resnet18] [--image-size 64] [--batch-size 32] [--repeats 9]

The same model trained two ways, blocks of steps in turn, so that whatever else the machine does hits both:
plain      natural batches, plain cross-entropy, no augmentation
balanced   balanced batches, class-weighted cross-entropy, flip, shift, rotation, zoom and contrast
Everything runs inside the compiled step, on resident data, by the trainer's own pipeline. The ratio of seconds a
step, balanced over plain, is taken within each repeat; its median goes to benchmarks/results/balancing_cost.json.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from imbal_jax.cli import use_all_cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4, help="steps in a block")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "balancing_cost.json")
    options = parser.parse_args()
    use_all_cores(options.batch_size, None)

    import jax
    import numpy as np
    import optax
    from environment import environment

    from imbal_jax.config import Config, Model, Train
    from imbal_jax.data.dataset import Dataset
    from imbal_jax.data.feeding.pipeline import Pipeline, Resident
    from imbal_jax.engine import parallel
    from imbal_jax.engine.state import init_state
    from imbal_jax.engine.step import make_train_step
    from imbal_jax.methods import find_method
    from imbal_jax.tasks import ONE_LABEL
    from imbal_jax.training.build import build_network
    from imbal_jax.training.composition import augmentation, compose
    from imbal_jax.transforms.augment import Augment

    rng = np.random.default_rng(0)
    side = options.image_size
    labels = (np.arange(2048) % 101 == 0).astype(np.int32)
    images = rng.integers(0, 256, (len(labels), side, side, 1), np.uint8)
    data = Dataset(images, labels, np.arange(len(labels)), ("normal", "abnormal"))
    mesh = parallel.make_mesh()
    base = Config(name="cost", model=Model(name=options.model), train=Train(batch_size=options.batch_size))
    perturbed = replace(base, augment=Augment(flip=True, shift=0.1, rotation=10, zoom=0.1, contrast=0.2))
    runs = {}
    for name, config, method in (
        ("plain", base, find_method("ce")),
        ("balanced", perturbed, find_method("composition=balanced,weights=inverse")),
    ):
        plans, shared = compose(config, method, ONE_LABEL, data, mesh.size, 1000)
        network, variables = build_network(config, method, data)
        step = make_train_step(network.apply, optax.sgd(1e-3, momentum=0.9), ONE_LABEL.objective(method))
        state = parallel.replicate(init_state(variables, step.optimizer, jax.random.key(0)), mesh)
        resident = parallel.place_resident(Resident(images, labels, plans, shared), mesh)
        many = parallel.scan_steps(step, Pipeline(augmentation(config, method)).from_device, mesh)
        state, metrics = many(state, resident, 1)
        jax.block_until_ready(metrics)
        runs[name] = [many, state, resident]

    rows = []
    for repeat in range(options.repeats):
        row = {"load_average": os.getloadavg()[0]}
        for name in ("plain", "balanced") if repeat % 2 else ("balanced", "plain"):
            many, state, resident = runs[name]
            began, processor = time.perf_counter(), time.process_time()
            state, metrics = many(state, resident, options.steps)
            jax.block_until_ready((state, metrics))
            row[name] = (time.perf_counter() - began) / options.steps
            row[name + "_processor"] = (time.process_time() - processor) / options.steps
            runs[name][1] = state
        row["ratio"] = row["balanced"] / row["plain"]
        row["processor_ratio"] = row["balanced_processor"] / row["plain_processor"]
        rows.append(row)
        print(
            f"plain {row['plain']:.3f} s  balanced {row['balanced']:.3f} s  ratio {row['ratio']:.3f}",
            flush=True,
        )

    result = {
        **environment(),
        "model": options.model,
        "image_size": side,
        "batch_size": options.batch_size,
        "seconds_a_step": {name: median(row[name] for row in rows) for name in ("plain", "balanced")},
        "ratio": median(row["ratio"] for row in rows),
        "processor_ratio": median(row["processor_ratio"] for row in rows),
        "repeats": rows,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(
        f"balanced / plain: {result['ratio']:.3f} by the clock, {result['processor_ratio']:.3f} in processor time"
    )


if __name__ == "__main__":
    main()
