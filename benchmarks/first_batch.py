"""Seconds until the first batch of patches, and batches a second afterwards, beside MONAI; run by segmentation.py.

Every way runs in a process of its own, in turn; the arrays (uint8 images, int8 masks) are decoded and lie in memory
before the clock starts, the packages are imported and the backend is up. Images and masks are cut together. PyTorch
has one thread, as in a worker of its DataLoader: a second one only waits on arrays of this size.

ours          list_places, make_plan, arrays put on the device, the program traced and compiled, its first batch.
ours, again   the same command a second time: the compiled program comes from JAX's cache on disk, which keeps by
              default what took a second to compile, here everything. The library does not set the cache.
transform     RandCropByPosNegLabel alone, image and mask as one tensor: it prepares nothing, and searches the mask at
              each crop.
prepared      MONAI's pipeline for speed: CacheDataset of FgBgToIndicesd and RandCropByPosNegLabeld with the indices,
              DataLoader in the process. Until its first batch the cache is filled.
"""

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

BATCH = 16
LEAST_SECONDS = 1.0  # that batches are counted for

NextBatch = Callable[[], Any]
Seconds = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("way", choices=tuple(WAYS))
    parser.add_argument("arrays", type=Path)
    parser.add_argument("size", type=int)
    options = parser.parse_args()
    images, masks, groups = (
        np.load(options.arrays / f"{name}.npy") for name in ("images", "masks", "groups")
    )
    prepare = WAYS[options.way]()
    begun = time.perf_counter(), time.process_time()
    batch, parts = prepare(images, masks, groups, options.size)
    batch()
    first, worked = time.perf_counter() - begun[0], time.process_time() - begun[1]
    count, begun = 0, (time.perf_counter(), time.process_time())
    while time.perf_counter() - begun[0] < LEAST_SECONDS:
        batch()
        count += 1
    found = {
        "first_batch_seconds": first,
        "first_batch_processor_seconds": worked,
        "batches_a_second": count / (time.perf_counter() - begun[0]),
        "batches_a_processor_second": count / (time.process_time() - begun[1]),
        "parts": {**parts, "rest": first - sum(parts.values())},
    }
    print(json.dumps(found))


# In the process of one way. Each function imports what it needs, and returns what the clock is to measure.


def ours() -> Callable[..., tuple[NextBatch, Seconds]]:
    import jax

    from imbal_jax.data.feeding.patches import cropped, cut
    from imbal_jax.data.feeding.places import list_places
    from imbal_jax.sampling import make_plan

    jax.devices()

    def prepare(
        images: np.ndarray, masks: np.ndarray, groups: np.ndarray, size: int
    ) -> tuple[NextBatch, Seconds]:
        times = [time.perf_counter()]
        pools = list_places(masks, groups, 2, size)
        times.append(time.perf_counter())
        plan = make_plan(pools.members, BATCH, "balanced")
        resident = jax.device_put((images, masks, pools.patches, plan))
        times.append(time.perf_counter())

        parts = dict(zip(("listing", "plan_and_placing"), np.diff(times).tolist(), strict=True))

        @jax.jit
        def patches(resident: Any, step: Any) -> Any:
            images, masks, patches, plan = resident
            at = cut(patches, plan, step, None, by_image=False)
            return cropped(images, at, size), cropped(masks, at, size)

        def compiled(event: str, seconds: float, **_: Any) -> None:
            if event == "/jax/core/compile/backend_compile_duration":
                parts["compiling"] = parts.get("compiling", 0.0) + seconds

        jax.monitoring.register_event_duration_secs_listener(compiled)
        steps = itertools.count()
        return lambda: jax.block_until_ready(patches(resident, np.uint32(next(steps)))), parts

    return prepare


def transform() -> Callable[..., tuple[NextBatch, Seconds]]:
    import torch
    from monai.transforms import RandCropByPosNegLabel

    torch.set_num_threads(1)

    def prepare(
        images: np.ndarray, masks: np.ndarray, groups: np.ndarray, size: int
    ) -> tuple[NextBatch, Seconds]:
        crop = RandCropByPosNegLabel((size, size), pos=1, neg=1, num_samples=1)
        rng = np.random.default_rng(0)

        def one(place: int) -> Any:
            image, mask = torch.from_numpy(images[place]).movedim(-1, 0), torch.from_numpy(masks[place][None])
            return crop(torch.cat([image.float(), mask.float()]), label=mask)[0]

        return lambda: torch.stack([one(place) for place in rng.integers(0, len(images), BATCH)]), {}

    return prepare


def prepared() -> Callable[..., tuple[NextBatch, Seconds]]:
    import torch
    from monai.data import CacheDataset, DataLoader
    from monai.transforms import Compose, FgBgToIndicesd, RandCropByPosNegLabeld

    torch.set_num_threads(1)

    def prepare(
        images: np.ndarray, masks: np.ndarray, groups: np.ndarray, size: int
    ) -> tuple[NextBatch, Seconds]:
        begun = time.perf_counter()
        cases = [
            {"image": np.moveaxis(image, -1, 0), "mask": mask[None]}
            for image, mask in zip(images, masks, strict=True)
        ]
        crop = RandCropByPosNegLabeld(
            ["image", "mask"],
            label_key="mask",
            spatial_size=(size, size),
            pos=1,
            neg=1,
            num_samples=1,
            fg_indices_key="mask_fg_indices",
            bg_indices_key="mask_bg_indices",
        )
        steps = Compose([FgBgToIndicesd("mask"), crop])
        data = CacheDataset(cases, steps, num_workers=os.cpu_count(), progress=False)
        loader = DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=0)

        def endless() -> Iterator[Any]:
            while True:
                yield from loader

        batches = endless()
        return lambda: next(batches), {"filling_the_cache": time.perf_counter() - begun}

    return prepare


WAYS = {"ours": ours, "transform": transform, "prepared": prepared}


# In the process that compares


def compare(
    images: np.ndarray, masks: np.ndarray, groups: np.ndarray, size: int, repeats: int
) -> dict[str, Any]:
    """Medians over the repeats of each way, in turn, and what follows from them."""
    ways = ("ours", "ours, again", "transform", "prepared")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, array in (("images", images), ("masks", masks), ("groups", groups)):
            np.save(folder / f"{name}.npy", array)
        measured("ours, again", folder, size)  # fills JAX's cache
        rows = [
            {name: measured(name, folder, size) for name in (ways if repeat % 2 else ways[::-1])}
            for repeat in range(repeats)
        ]
    found: dict[str, dict[str, Any]] = {}
    for name in ways:
        of = [row[name] for row in rows]
        found[name] = {key: median(one[key] for one in of) for key in of[0] if key != "parts"}
        found[name]["lowest"] = min(one["first_batch_seconds"] for one in of)
        found[name]["parts"] = {part: median(one["parts"][part] for one in of) for part in of[0]["parts"]}

    def ratio(name: str, to: str, what: str) -> float:
        return median(row[name][what] / row[to][what] for row in rows)

    own, plain = found["ours"], found["transform"]
    gained = 1 / plain["batches_a_second"] - 1 / own["batches_a_second"]
    waited = own["first_batch_seconds"] - plain["first_batch_seconds"]
    compared = [("ours", "prepared"), ("ours, again", "prepared"), ("ours", "transform")]
    return {
        "images": list(images.shape),
        "patch": size,
        "batch": BATCH,
        "repeats": repeats,
        "load_average": os.getloadavg()[0],
        "ways": found,
        "ratios": {
            f"{name} over {to}": {
                what: ratio(name, to, what) for what in own if what not in ("parts", "lowest")
            }
            for name, to in compared
        },
        "batches_until_ahead_of_transform": max(1, math.ceil(waited / gained)),
    }


def measured(name: str, folder: Path, size: int) -> dict[str, Any]:
    """What ``main`` prints of one way, in a new process."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION_CACHE")}
    if name == "ours, again":
        kept |= {
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
    way = name.split(",")[0]
    command = [sys.executable, "-W", "ignore", __file__, way, str(folder), str(size)]
    ran = subprocess.run(command, env=kept, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def printed(title: str, found: dict[str, Any]) -> None:
    print(f"{title}: {found['images']}, patches of {found['patch']}, {found['batch']} a batch")
    for name, way in found["ways"].items():
        parts = ", ".join(f"{part.replace('_', ' ')} {seconds:.3f}" for part, seconds in way["parts"].items())
        print(
            f"  {name:12s} first batch {way['first_batch_seconds']:.3f} s ({parts}), of a processor "
            f"{way['first_batch_processor_seconds']:.3f} s; {way['batches_a_second']:.0f} batches a second, "
            f"{way['batches_a_processor_second']:.0f} of a processor"
        )
    for name, of in found["ratios"].items():
        print(
            f"  {name}: first batch {of['first_batch_seconds']:.2f} x the time, "
            f"{of['first_batch_processor_seconds']:.2f} x that of a processor; "
            f"batches a second {of['batches_a_second']:.1f} x, "
            f"of a processor {of['batches_a_processor_second']:.1f} x"
        )
    print(f"  ours is ahead of transform after {found['batches_until_ahead_of_transform']} batches")


if __name__ == "__main__":
    main()
