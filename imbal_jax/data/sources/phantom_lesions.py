"""Synthetic pictures with small bright lesions and their masks, made in memory; lesions are a rare class of pixels.

Nothing here comes from a patient: grey textures with stripes like ribs, and soft ellipses of varying contrast.
"""

import numpy as np

from imbal_jax.config import Data
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import AskedGeometry
from imbal_jax.errors import InputError

CLASSES = ("background", "lesion")
CONTRAST = (
    0.16,
    0.40,
)  # of a lesion, where the whole range is 1; the texture's standard deviation is about 0.1
SOFT = 0.5  # width of the border, as a part of the radius
NOISE = 0.03  # standard deviation of a pixel
OCTAVES = ((4, 0.08), (9, 0.05), (20, 0.03))  # points of a coarse grid a side, standard deviation
COUNTS = (0.6, 0.3, 0.1)  # shares of images with one, two and three lesions
SMALLEST = 4.0  # pixels of a lesion; below, an image has one
LARGEST = 0.2  # of the pixels of an image with lesions
TOGETHER = 256  # images made at once


def read_phantom_lesions(options: Data, asked: AskedGeometry) -> Dataset:
    """``options.phantom_images`` pictures uint8 [N, size, size, 1] (3 where asked), masks of background and lesion.

    round(N / (1 + phantom_imbalance)) of them have one to three lesions. ``lesion_share`` is the share of lesion
    pixels among all pixels of all images. Patients have two images each, both with or both without lesions (but
    one). The same options give the same pictures. Raises InputError where the lesions would be smaller than a pixel
    or larger than a fifth of their images, naming what to change.
    """
    images, size, imbalance = options.phantom_images, asked.size, options.phantom_imbalance
    ill = round(images / (1 + imbalance))
    if not 0 < ill <= images:
        raise InputError(
            f"{images} images at 1:{imbalance:g} are {ill} with a lesion: raise --data.phantom-images or lower "
            "--data.phantom-imbalance"
        )
    mean = options.lesion_share * images * size * size / ill
    if not 1 <= mean <= LARGEST * size * size:
        raise InputError(
            f"data.lesion-share {options.lesion_share:g} in {ill} of {images} images of {size} x {size} is "
            f"{mean:.3g} pixels of lesion in each, allowed are 1 to {LARGEST * size * size:.0f}: change it, "
            "--data.phantom-imbalance or --data.image-size"
        )
    rng = np.random.default_rng([options.split_seed, 17])
    pictures = np.empty((images, size, size, 1), np.uint8)
    masks = np.zeros((images, size, size), np.int8)
    pairs = rng.permutation(-(-images // 2))
    places = (2 * pairs[:, None] + np.arange(2)).ravel()
    has_lesion = np.zeros(images, bool)
    has_lesion[places[places < images][:ill]] = True
    areas = np.exp(rng.normal(0, 0.4, ill))
    areas *= mean / areas.mean()
    area_of = dict(zip(np.flatnonzero(has_lesion).tolist(), areas.tolist(), strict=True))
    for start in range(0, images, TOGETHER):
        values = _backgrounds(min(TOGETHER, images - start), size, rng)
        for place in range(start, start + len(values)):
            if has_lesion[place]:
                masks[place] = _add_lesions(values[place - start], area_of[place], rng)
        values += np.float32(NOISE) * rng.standard_normal(values.shape, np.float32)
        pictures[start : start + len(values), ..., 0] = np.rint(np.clip(values, 0, 1) * 255)
    geometry = asked.geometry()
    share = masks.mean()
    return Dataset(
        geometry.arrays(pictures),
        masks,
        np.arange(images) // 2,
        CLASSES,
        (f"phantom lesions: in {ill:,} of {images:,} images, {100 * share:.3g} % of all pixels",),
        geometry,
    )


def _backgrounds(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """float32 [count, size, size] in about 0.2 to 0.7: two darker fields, stripes, texture."""
    values = np.full((count, size, size), 0.45, np.float32)
    for points, deviation in OCTAVES:
        up = _interpolation(points, size)
        coarse = rng.standard_normal((count, points, points), np.float32) * np.float32(deviation)
        values += up @ coarse @ up.T
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    spacing, phase, slope = (
        rng.uniform(low, high, (count, 1, 1)).astype(np.float32)
        for low, high in ((0.22, 0.4), (0.0, 1.0), (-0.5, 0.5))
    )
    stripes = np.cos(2 * np.pi * ((axis[:, None] + slope * axis * axis) / spacing + phase))
    values += np.float32(0.04) * stripes
    fields = np.exp(-(((np.abs(axis) - 0.45) / 0.3) ** 2)) * np.exp(-((axis[:, None] / 0.8) ** 2))
    return values - np.float32(0.15) * fields


def _interpolation(points: int, size: int) -> np.ndarray:
    """float32 [size, points]: linear interpolation of a coarse grid."""
    at = np.linspace(0, points - 1, size)
    return np.clip(1 - np.abs(at[:, None] - np.arange(points)), 0, 1).astype(np.float32)


def _add_lesions(picture: np.ndarray, area: float, rng: np.random.Generator) -> np.ndarray:
    """Add lesions of ``area`` pixels in all to a picture; returns its mask, int8 [size, size]."""
    size = len(picture)
    count = 1 + int(rng.choice(len(COUNTS), p=COUNTS))
    count = max(1, min(count, int(area / SMALLEST)))
    shares = rng.uniform(0.5, 1.5, count)
    rows, columns = np.ogrid[:size, :size]
    mask = np.zeros((size, size), bool)
    for part in area * shares / shares.sum():
        longer = rng.uniform(1, 1.6)  # of the axes of the ellipse
        radius = np.sqrt(part / np.pi)
        margin = min(size / 2 - 1, radius * np.sqrt(longer) + 1)
        y, x = rng.integers(int(margin), max(int(margin) + 1, int(np.ceil(size - margin))), 2)
        turn = rng.uniform(0, np.pi)
        down, across = rows - y, columns - x
        along = (down * np.cos(turn) + across * np.sin(turn)) / np.sqrt(longer)
        beside = (across * np.cos(turn) - down * np.sin(turn)) * np.sqrt(longer)
        distance = np.hypot(along, beside)
        # exactly as many pixels as asked, those nearest to the middle
        wanted = max(1, round(part))
        inside = np.argpartition(distance.ravel(), wanted - 1)[:wanted]
        edge = distance.ravel()[inside].max()
        width = max(SOFT * radius, 0.75)
        profile = np.clip((edge + 0.25 - distance) / width + 0.5, 0, 1)
        picture += (rng.uniform(*CONTRAST) * profile).astype(np.float32)
        mask.ravel()[inside] = True
    return mask.astype(np.int8)
