"""A folder of pictures with masks, of different sizes, and small runs on them."""

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

from imbal_jax.config import Config, Data, Model, Optim, Patch, Train
from imbal_jax.methods import find_method

SIDE = 32
METHOD = "loss=dice+cross_entropy,composition=balanced"


def picture(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [h, w] with a bright disc of 3 to 5 pixels' radius, and where it is, bool [h, w]."""
    y, x = np.mgrid[:height, :width]
    at, radius = rng.uniform(6, (height - 6, width - 6)), rng.uniform(3, 5)
    disc = (y - at[0]) ** 2 + (x - at[1]) ** 2 <= radius**2
    return np.clip(80 + 90 * disc + rng.normal(0, 20, disc.shape), 0, 255).astype(np.uint8), disc


def write_masked(folder: Path, sizes: list[tuple[int, int]], *, seed: int = 0) -> dict[str, np.ndarray]:
    """images/N.png and masks/N.png, and labels.csv with patients of two and a split; returns the masks by name."""
    rng, masks = np.random.default_rng(seed), {}
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    rows = ["file,patient,split"]
    for number, size in enumerate(sizes):
        pixels, disc = picture(rng, *size)
        name = f"{number}.png"
        Image.fromarray(pixels).save(folder / "images" / name)
        Image.fromarray(np.where(disc, 255, 0).astype(np.uint8)).save(folder / "masks" / name)
        split = ("train", "train", "train", "validation", "test")[number // 2 % 5]
        rows.append(f"images/{name},p{number // 2},{split}")
        masks[name] = disc
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return masks


def unresized(count: int) -> list[tuple[int, int]]:
    """Sizes whose longer side is that of the network's square: padded, and not interpolated."""
    shorter = np.random.default_rng(1).integers(18, SIDE + 1, count)
    return [(SIDE, int(s)) if k % 2 else (int(s), SIDE) for k, s in enumerate(shorter)]


def masked(folder: Path) -> Config:
    return Config(
        name="discs",
        methods=(find_method(METHOD),),
        select="dice",
        data=Data(source="folder", dir=folder, image_size=SIDE, negative_class="background"),
        patch=Patch(size=16),
        model=Model(name="unet", options={"width": 4, "depth": 1}),
        optim=Optim(learning_rate=2e-2, ema_decay=0.9),
        train=Train(epochs=3, batch_size=16, evaluations=1, steps_per_dispatch=4, devices=1),
    )


def masks_of(folder: Path) -> dict[str, np.ndarray]:
    """bool [h, w] by name."""
    return {path.name: np.asarray(Image.open(path)) > 0 for path in (folder / "masks").iterdir()}


def dice(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Of the pixels of all pairs of bool arrays together."""
    found, truth = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(path.read_text())))


def mask_of(out: Path, row: dict[str, str]) -> np.ndarray:
    """The mask that predict wrote beside its table ``out`` for one of its rows."""
    return np.asarray(Image.open(out.with_name(f"{out.stem}_masks") / f"{row['id']}.png"))
