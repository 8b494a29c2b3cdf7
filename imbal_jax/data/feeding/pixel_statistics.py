"""Mean and standard deviation of the training images' pixels."""

import functools
from collections.abc import Mapping

import numpy as np

from imbal_jax.data.dataset import Images

SAMPLE = 16_384
"""Most images that the pixel statistics are computed from; two seconds at 224 x 224 pixels."""


def pixel_statistics(images: Images) -> dict[str, np.float32]:
    """Mean and standard deviation of the pixels, scaled to [0, 1]: float32 scalars.

    Over all images, or over 16,384 of them if there are more. These are drawn by the number of images alone, so that
    a set is standardised alike on disk and in memory.
    """
    if not isinstance(images, np.ndarray):
        return dict(_statistics_on_disk(images))  # type: ignore[arg-type]  # ImagesOnDisk: hashed by identity
    return _statistics(images)


@functools.lru_cache(maxsize=4)
def _statistics_on_disk(images: Images) -> Mapping[str, np.float32]:
    return _statistics(images)  # read once, whatever the number of methods


def _statistics(images: Images) -> dict[str, np.float32]:
    count, levels = len(images), int(np.iinfo(images.dtype).max) + 1
    drawn = np.arange(count)
    if count > SAMPLE:
        drawn = np.sort(np.random.default_rng(0).choice(count, SAMPLE, replace=False))
    # by histogram: exact, and no float copy of the data set
    histogram = np.zeros(levels, np.int64)
    for part in np.array_split(drawn, -(-len(drawn) // 256)):
        histogram += np.bincount(images[part].reshape(-1), minlength=levels)
    values = np.arange(levels) / (levels - 1)
    mean = np.average(values, weights=histogram)
    deviation = np.sqrt(np.average((values - mean) ** 2, weights=histogram))
    return {"mean": np.float32(mean), "deviation": np.float32(max(deviation, 1e-6))}
