"""Losses for masks compared on the same cases, and what patches and tiles cost.

    python benchmarks/segmentation.py losses --data skin_lesions --data.dir DIR [--seeds 3] [--runs DIR]
    python benchmarks/segmentation.py losses --data phantom_lesions [--seeds 3] [--runs DIR]
    python benchmarks/segmentation.py speed [--data.dir DIR] [--only batches]

losses: eight losses, each with several seeds on one split at 64 pixels. Dice by case on test, at the threshold that
validation chose; the difference of each loss to cross-entropy is taken case by case, averaged over the seeds, with an
interval (95 %) from resampling the cases. skin_lesions: the outlines of HAM10000, a fifth of the pixels.
phantom_lesions: 0.07 % of the pixels; unlearned: Dice on validation fell below a tenth of its best.
The same command goes on where it was stopped; results/segmentation_DATA.json.
speed: a step on patches of the plan beside a step on plain crops of the same size; tiles a second; the first batch
and the batches a second beside MONAI's RandCropByPosNegLabel, alone and prepared (first_batch.py), on 40 images and,
where DIR is given, on the 8,625 outlines of HAM10000; whole steps, from cutting patches to updated parameters, beside
MONAI's BasicUNet of as many parameters (0.4 % more) in PyTorch; paired, in one run; results/segmentation_speed.json,
of which --only replaces a part.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

LOSSES = {
    "ce": "ce",
    "weighted": "weighted_ce",
    "dice": "loss=dice",
    "dice + ce": "loss=dice+cross_entropy",
    "tversky": "loss=tversky",
    "focal tversky": "loss=focal_tversky",
    "unified focal": "loss=unified_focal",
    "lovasz": "loss=lovasz_softmax",
}
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["losses", "speed"])
    parser.add_argument("--data", choices=["skin_lesions", "phantom_lesions"], default="phantom_lesions")
    parser.add_argument("--data.dir", dest="dir", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--only", nargs="+", choices=("steps", "tiles", "batches", "whole_steps"))
    parser.add_argument("--runs", type=Path, default=Path("workdirs/segmentation"))
    options = parser.parse_args()
    from imbal_jax.cli import use_all_cores

    use_all_cores(64, None)
    if options.what == "losses":
        losses(options)
    else:
        speed(options)


# Losses


def config_of(options: argparse.Namespace) -> Any:
    """A small U-Net at 64 pixels; of the phantoms, patches would hide how rare the lesions are."""
    from imbal_jax.config import Config, Data, Model, Optim, Train
    from imbal_jax.methods import find_method
    from imbal_jax.transforms.augment import Augment

    if options.data == "skin_lesions":
        data = Data(source="skin_lesions", dir=options.dir, image_size=64, negative_class="background")
        epochs = options.epochs or 2.0
    else:
        data = Data(
            source="phantom_lesions",
            image_size=64,
            negative_class="background",
            phantom_images=4000,
            phantom_imbalance=9,
        )
        epochs = options.epochs or 4.0
    return Config(
        name=options.data,
        methods=tuple(find_method(text) for text in LOSSES.values()),
        select="dice",
        data=data,
        model=Model(name="unet", options={"depth": 3, "width": 8}),
        optim=Optim(learning_rate=3e-3, weight_decay=1e-2, warmup=0.1, ema_decay=0.98),
        train=Train(epochs=epochs, batch_size=32, evaluations=8),
        augment=Augment(flip=True, flip_vertical=True, quarter_turns=True),
    )


def losses(options: argparse.Namespace) -> None:
    from environment import environment

    from imbal_jax.metrics.mask_counts import MASK_METRICS
    from imbal_jax.train import fit

    config = replace(config_of(options), seeds=tuple(range(options.seeds)))
    results = fit(config, options.runs / options.data)
    named = {text: name for name, text in LOSSES.items()}
    by_case: dict[str, np.ndarray] = {}
    rows: dict[str, dict[str, Any]] = {}
    for text, name in named.items():
        runs = [result for result in results if result.method == config_name(text)]
        cases = [result.masks.of_cases(result.groups)[:, 0] for result in runs]
        held = cases[0][:, 1].sum(axis=-1) > 0
        by_case[name] = np.mean([MASK_METRICS["dice"](of[held], True) for of in cases], axis=0)
        rows[name] = {
            "dice": [result.table["macro"]["dice"] for result in runs],
            "iou": [result.table["macro"]["iou"] for result in runs],
            "average_precision": [result.table["macro"]["average_precision"] for result in runs],
            "dice_by_case": float(by_case[name].mean()),
            "threshold": [next(iter(result.thresholds.values())) for result in runs],
            "unlearned": [unlearned(result) for result in runs],
            "seconds": [result.seconds for result in runs],
        }
    rng = np.random.default_rng(0)
    count = len(by_case["ce"])
    drawn = rng.multinomial(count, np.full(count, 1 / count), 5000) / count
    for name, values in by_case.items():
        difference = values - by_case["ce"]
        low, high = np.quantile(drawn @ difference, [0.025, 0.975])
        rows[name]["difference_to_ce"] = {
            "mean": float(difference.mean()),
            "interval": [float(low), float(high)],
        }
        print(
            f"{name:14s} Dice by case {values.mean():.3f}, to ce {difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        )
    content = {
        "data": options.data,
        "seeds": options.seeds,
        "cases_with_the_finding": count,
        "share_of_pixels": float(
            results[0].masks.tables[:, 0, 1].sum() / results[0].masks.tables[:, 0].sum()
        ),
        "losses": rows,
        "environment": environment(),
    }
    write(f"segmentation_{options.data}.json", content)


def config_name(text: str) -> str:
    from imbal_jax.methods import find_method

    return find_method(text).name


def unlearned(result: Any) -> bool:
    """Whether the trainer said at some evaluation that the finding was lost (``Task.lost``)."""
    from imbal_jax.tasks import MASKS

    seen = [record for record in result.history if record["kind"] == "validation"]
    classes = ("background", *result.masks.findings)
    return any(MASKS.lost(seen[:count], classes) for count in range(1, len(seen) + 1))


# Speed

SIZE, PATCH, BATCH, IMAGES = 256, 96, 16, 40


def masked_images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, SIZE, SIZE, 1)).astype(np.uint8)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    at = rng.uniform(20, SIZE - 20, (IMAGES, 2, 1, 1))
    return images, ((rows - at[:, 0]) ** 2 + (columns - at[:, 1]) ** 2 <= 60).astype(np.int8)


def speed(options: argparse.Namespace) -> None:
    from environment import environment

    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "steps": steps,
        "tiles": tiles,
        "batches": lambda: batches_beside_monai(options.dir),
        "whole_steps": steps_beside_monai,
    }
    name = "segmentation_speed.json"
    content = json.loads((RESULTS / name).read_text()) if options.only else {"environment": environment()}
    for part in options.only or parts:
        content |= parts[part]()
    write(name, content)


def programs(composition: str, depth: int = 3) -> Any:
    """``state -> state`` after five steps on patches of one composition."""
    import jax

    from imbal_jax.config import Config, Data, Model, Patch, Train
    from imbal_jax.data.dataset import Dataset
    from imbal_jax.data.load import Splits
    from imbal_jax.methods import find_method
    from imbal_jax.tasks import MASKS
    from imbal_jax.training import stage as stages
    from imbal_jax.training.build import make_mesh

    images, masks = masked_images()
    data = Dataset(images, masks, np.arange(IMAGES), ("background", "spot"))
    config = Config(
        name="speed",
        data=Data(source="arrays", image_size=SIZE),
        patch=Patch(size=PATCH),
        model=Model(name="unet", options={"depth": depth, "width": 8}),
        train=Train(batch_size=BATCH, epochs=1000, devices=1),
    )
    method = find_method(f"composition={composition}")
    stage = stages.first_stage(config, method, MASKS, Splits(data, data, data, []), make_mesh(config))

    def run(state: Any) -> Any:
        state, metrics, _ = stage.advance(state, 5)
        jax.block_until_ready(metrics["loss"])
        return state

    return run, run(stage.state)


def steps(repeats: int = 9) -> dict[str, Any]:
    """Seconds of a step on the plan's patches over those on plain crops, in turn."""
    made = {name: programs(composition) for name, composition in (("plan", "balanced"), ("plain", "natural"))}
    states, seconds = {name: state for name, (_, state) in made.items()}, {name: [] for name in made}
    for _ in range(repeats):
        for name, (run, _) in made.items():
            begun = time.perf_counter()
            states[name] = run(states[name])
            seconds[name].append((time.perf_counter() - begun) / 5)
    ratios = [plan / plain for plan, plain in zip(seconds["plan"], seconds["plain"], strict=True)]
    found = {name: statistics.median(of) for name, of in seconds.items()}
    ratio = statistics.median(ratios)
    print(
        f"step on patches of the plan {found['plan']:.3f} s, on plain crops {found['plain']:.3f} s: {ratio:.3f}"
    )
    return {"step_seconds": found, "plan_over_plain": ratio, "ratios": ratios}


def tiles() -> dict[str, Any]:
    """Tiles a second of whole images."""
    import jax

    from imbal_jax import models
    from imbal_jax.engine.tiles import Tiles, tiled

    model = models.make_model("unet", num_outputs=2, depth=3, width=8)
    x = np.zeros((2, 999, 960, 3), np.float32)
    variables = model.init(jax.random.key(0), x[:, :PATCH, :PATCH], train=False)
    cut = Tiles(PATCH, 0.5)
    whole = jax.jit(tiled(lambda v, image: jax.nn.softmax(model.apply(v, image)), cut))
    jax.block_until_ready(whole(variables, x))
    begun = time.perf_counter()
    jax.block_until_ready(whole(variables, x))
    seconds = time.perf_counter() - begun
    count = 2 * len(cut.starts(999)) * len(cut.starts(960))
    print(f"{count} tiles of {PATCH} pixels in {seconds:.1f} s: {count / seconds:.0f} a second")
    return {"tiles_a_second": count / seconds, "seconds_an_image_of_999x960": seconds / 2}


def batches_beside_monai(folder: Path | None, repeats: int = 3) -> dict[str, Any]:
    """The first batch of patches and those after it beside MONAI (``first_batch``), on spots and on real outlines."""
    from environment import environment
    from first_batch import compare, printed

    images, masks = masked_images()
    found = {"spots": compare(images, masks, np.arange(IMAGES), PATCH, repeats)}
    printed("spots", found["spots"])
    if folder is not None:
        from imbal_jax.config import Data
        from imbal_jax.data.read import read

        data, _ = read(Data(source="skin_lesions", dir=folder, image_size=96), folder, lambda text: None)
        found["skin_lesions"] = compare(np.asarray(data.images), data.labels, data.groups, 64, repeats)
        printed("skin_lesions", found["skin_lesions"])
    return {"batches_beside_monai": {**found, "environment": environment()}}


def monai_batches(images: np.ndarray, masks: np.ndarray) -> Any:
    """A function that returns the next float32 [BATCH, 2, PATCH, PATCH], images and masks, each time."""
    import torch
    from monai.transforms import RandCropByPosNegLabel

    crop = RandCropByPosNegLabel((PATCH, PATCH), pos=1, neg=1, num_samples=1)
    tensors = [
        (torch.from_numpy(image[..., 0][None].astype(np.float32)), torch.from_numpy(mask[None]))
        for image, mask in zip(images, masks, strict=True)
    ]
    rng = np.random.default_rng(0)

    def batch() -> Any:
        pairs = []
        for place in rng.integers(0, IMAGES, BATCH):
            image, mask = tensors[place]
            pairs.append(crop(torch.cat([image, mask.float()]), label=mask)[0])
        return torch.stack(pairs)

    return batch


def steps_beside_monai(repeats: int = 9) -> dict[str, Any]:
    """Seconds of a whole step (patches, cross-entropy, AdamW), ours and MONAI's network in PyTorch in turn."""
    import jax
    import torch
    from monai.networks.nets import BasicUNet

    images, masks = masked_images()
    batch = monai_batches(images, masks)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=(8, 16, 32, 64, 128, 8))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def monais() -> None:
        for _ in range(5):
            both = batch()
            optimizer.zero_grad()
            logits = network(both[:, :1] / 255)
            torch.nn.functional.cross_entropy(logits, both[:, 1].long()).backward()
            optimizer.step()

    run, state = programs("balanced", depth=4)
    monais()
    seconds: dict[str, list[float]] = {"ours": [], "monai": []}
    for _ in range(repeats):
        begun = time.perf_counter()
        state = run(state)
        seconds["ours"].append((time.perf_counter() - begun) / 5)
        begun = time.perf_counter()
        monais()
        seconds["monai"].append((time.perf_counter() - begun) / 5)
    ratio = statistics.median(
        theirs / own for own, theirs in zip(seconds["ours"], seconds["monai"], strict=True)
    )
    found = {name: statistics.median(of) for name, of in seconds.items()}
    parameters = {
        "ours": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "monai": sum(of.numel() for of in network.parameters()),
    }
    print(
        f"whole step {found['ours']:.3f} s, MONAI's BasicUNet {found['monai']:.3f} s: {ratio:.2f} times as fast"
    )
    return {"whole_step_seconds": found, "whole_step_monai_over_ours": ratio, "parameters": parameters}


def write(name: str, content: dict[str, Any]) -> None:
    path = RESULTS / name
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
