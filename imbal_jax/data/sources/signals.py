"""Known signals at known places in Gaussian noise: images whose best possible score is known.

The task of signal detection theory (Burgess et al. 1981; Barrett and Myers 2004, chapter 13). A normal image is
white noise about a constant background. An image of a finding has, in addition, the signal of its class, always of
the same shape and amplitude, at one of K fixed places. The ideal observer (``ideal_observer``) knows all of this, so
that the Bayes score is known at every ratio and prevalence.

Images are made on the device, each by a key of its own: image i of a class depends on the seed, the split, the class
and i. Sets of other sizes and ratios therefore share images, and every training set has the same test set beside it.

    Barrett and Myers, Foundations of Image Science, Wiley 2004.
    Burgess, Wagner, Jennings and Barlow, Efficiency of human visual signal discrimination, Science 214, 1981.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from imbal_jax.config import Data
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.tables.given_split import PARTS
from imbal_jax.errors import InputError

NORMAL = "normal"
CLASSES = (NORMAL, "blob", "ring", "gabor")

BACKGROUND = 128.0  # grey levels
NOISE = 16.0
"""Standard deviation of the noise, in grey levels.

Rounding to whole levels adds a variance of 1/12 (Sheppard's correction), so that d'^2 falls by 1 / (1 + 12 NOISE^2),
0.033 %. No signal exceeds ``PEAK`` standard deviations: 0 and 255 are then at least 4.9 of them away from the mean of
every pixel, and clipping costs less than 0.001 % of d'^2.
"""
PEAK = 3.0
CHUNK_PIXELS = 2**17  # of one call on the device: on a CPU they stay in its cache

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Signals:
    """What the images of a set look like.

    classes: names of ``CLASSES``, one of them normal. size: pixels a side. places: K, where a signal may be, equally
    likely, on a square grid. detectability: d' of every signal at every place, |signal| / NOISE with the Euclidean
    norm over the pixels.
    """

    classes: tuple[str, ...]
    size: int
    places: int
    detectability: float

    @property
    def findings(self) -> tuple[str, ...]:
        return tuple(name for name in self.classes if name != NORMAL)

    def templates(self) -> np.ndarray:
        """float64 [C, K, size, size], the signal of each class at each place in grey levels; 0 for normal."""
        grid = int(np.ceil(np.sqrt(self.places)))
        centres = (np.arange(grid) + 0.5) * self.size / grid - 0.5
        y, x = np.mgrid[: self.size, : self.size].astype(np.float64)
        found = np.zeros((len(self.classes), self.places, self.size, self.size))
        for c, name in enumerate(self.classes):
            if name == NORMAL:
                continue
            for place in range(self.places):
                row, column = divmod(place, grid)
                shape = _shape(
                    name, (y - centres[row]) * 16 / self.size, (x - centres[column]) * 16 / self.size
                )
                found[c, place] = shape * self.detectability * NOISE / np.linalg.norm(shape)
        return found


def _shape(name: str, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A signal about (0, 0), before its amplitude; coordinates in sixteenths of the image's side."""
    radius = np.hypot(y, x)
    if name == "blob":
        return np.exp(-0.5 * (radius / 1.25) ** 2)
    if name == "ring":
        return np.exp(-0.5 * ((radius - 2.5) / 0.8) ** 2)
    return np.exp(-0.5 * (radius / 1.75) ** 2) * np.cos(2 * np.pi * x / 4)


def signals_of(options: Data) -> Signals:
    """The signals that ``options`` ask for; InputError for a value that cannot be had."""
    classes = options.classes or CLASSES
    if unknown := [name for name in classes if name not in CLASSES]:
        raise InputError(f"data.classes names {unknown[0]!r}: signals have the classes {', '.join(CLASSES)}")
    if NORMAL not in classes or len(classes) < 2 or len(set(classes)) < len(classes):
        raise InputError(
            f"data.classes is {' '.join(classes)}: name normal and at least one of {', '.join(CLASSES[1:])}, each "
            "once"
        )
    most = (options.image_size // 4) ** 2
    if not 1 <= options.signal_places <= most:
        raise InputError(
            f"data.signal-places is {options.signal_places}: give 1 to {most} places for images of "
            f"{options.image_size} pixels"
        )
    if options.detectability <= 0:
        raise InputError(f"data.detectability is {options.detectability:g}: give a d' above 0")
    signals = Signals(classes, options.image_size, options.signal_places, options.detectability)
    peak = float(np.abs(signals.templates()).max()) / NOISE
    if peak > PEAK:
        highest = np.floor(100 * options.detectability * PEAK / peak) / 100
        raise InputError(
            f"data.detectability is {options.detectability:g}, with which signals in images of "
            f"{options.image_size} pixels would be clipped: give at most {highest:g}"
        )
    return signals


def class_counts(options: Data) -> dict[str, np.ndarray]:
    """Part -> int64 [C], how many images of each class ``read_signals`` makes.

    Train: round(phantom_images / (1 + phantom_imbalance)) abnormal images, so that P (1 + R) images at the ratio R
    hold exactly P. They are divided equally among the findings; earlier ones take what is left over. Validation and
    test: ``signal_positives`` of each finding, and ``signal_imbalance`` normal images for each of these.

    Raises InputError for fewer abnormal images than findings, and for ratios and numbers below 1.
    """
    signals = signals_of(options)
    images, ratio, findings = options.phantom_images, options.phantom_imbalance, len(signals.findings)
    for name, value in (("phantom-imbalance", ratio), ("signal-imbalance", options.signal_imbalance)):
        if value < 1:
            raise InputError(
                f"data.{name} is {value:g}: it counts normal images for one abnormal image, 1 or more"
            )
    abnormal = round(images / (1 + ratio))
    if abnormal < findings:
        raise InputError(
            f"data.phantom-images {images} at 1:{ratio:g} are {abnormal} abnormal, fewer than the {findings} "
            f"findings: ask for at least {round(findings * (1 + ratio))} images, or a lower data.phantom-imbalance"
        )
    if min(options.signal_positives) < 1:
        given = " ".join(map(str, options.signal_positives))
        raise InputError(f"data.signal-positives is {given}: give 1 or more for validation and for test")
    each = {"train": [(abnormal + findings - 1 - f) // findings for f in range(findings)]}
    normal = {"train": images - abnormal}
    for part, count in zip(("validation", "test"), options.signal_positives, strict=True):
        each[part], normal[part] = [count] * findings, round(findings * count * options.signal_imbalance)
    counts = {}
    for part in PARTS:
        of = {NORMAL: normal[part], **dict(zip(signals.findings, each[part], strict=True))}
        counts[part] = np.array([of[name] for name in signals.classes])
    return counts


def read_signals(options: Data, progress: Progress | None = None) -> tuple[Dataset, Mapping[str, np.ndarray]]:
    """The data set that ``options`` ask for, and its split: training, validation and test images, uint8.

    options: ``class_counts`` says how many; ``classes``, ``image_size``, ``signal_places`` and ``detectability`` are
        those of ``Signals``; ``split_seed`` draws all images.
    progress: called with (images made, images).

    Each image is a group of its own, a phantom. The same options give the same images on the same kind of device;
    another kind, whose logarithms are rounded otherwise, may give some pixels that differ by one grey level. Raises
    InputError for options that cannot be had.
    """
    signals, counts = signals_of(options), class_counts(options)
    if options.channels == 3:
        raise InputError("data.channels is 3: signals are grey, leave it out")
    if options.split == "patient":
        raise InputError("data.split is patient: signals are drawn in three splits, leave it out")
    # Test first, so that the groups of its images are the same beside every training set
    parts = PARTS[::-1]
    ends = np.cumsum([0, *(counts[part].sum() for part in parts)])
    images = np.empty((ends[-1], signals.size, signals.size, 1), np.uint8)
    labels = np.empty(ends[-1], np.int32)
    for at, part in enumerate(parts):
        where = slice(ends[at], ends[at + 1])
        in_order = np.repeat(np.arange(len(signals.classes)), counts[part])
        labels[where] = np.random.default_rng([options.split_seed, PARTS.index(part)]).permutation(in_order)
        seen = None if progress is None else lambda done, start=ends[at]: progress(start + done, ends[-1])
        make_images(signals, labels[where], (options.split_seed, PARTS.index(part)), images[where], seen)
    data = Dataset(images, labels, np.arange(len(images)), signals.classes, grouped_by="phantom")
    return data, {part: np.arange(ends[at], ends[at + 1]) for at, part in enumerate(parts)}


def make_images(
    signals: Signals,
    labels: np.ndarray,
    seed: tuple[int, int],
    out: np.ndarray | None = None,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """uint8 [N, size, size, 1], an image of each class in ``labels`` (int [N], indices of ``signals.classes``).

        g = clip(round(BACKGROUND + s_ck + NOISE z), 0, 255),   k uniform on 0..K-1, z standard normal by pixel

    The i-th image of a class is the same for the same ``seed`` (two numbers), whatever the other labels are.
    out: where to write them. progress: called with how many are made.
    """
    out = np.empty((len(labels), signals.size, signals.size, 1), np.uint8) if out is None else out
    key = jax.random.fold_in(jax.random.key(seed[0]), seed[1])
    templates = jnp.asarray(signals.templates(), jnp.float32)
    streams = np.array([CLASSES.index(name) for name in signals.classes], np.uint32)[labels]
    numbers = np.empty(len(labels), np.uint32)  # of each image within its class
    for c in range(len(signals.classes)):
        of_class = np.flatnonzero(labels == c)
        numbers[of_class] = np.arange(len(of_class))
    chunk = max(1, CHUNK_PIXELS // signals.size**2)
    for start in range(0, len(labels), chunk):
        rows = np.arange(start, start + chunk) % len(labels)  # the last chunk is filled up: one compilation
        made = _draw(key, templates, labels[rows], streams[rows], numbers[rows])
        stop = min(start + chunk, len(labels))
        out[start:stop, ..., 0] = np.asarray(made)[: stop - start]
        if progress is not None:
            progress(stop)
    return out


@jax.jit
def _draw(
    key: jax.Array, templates: jax.Array, labels: jax.Array, streams: jax.Array, numbers: jax.Array
) -> jax.Array:
    """uint8 [B, size, size]. labels, streams (which do not depend on ``Signals.classes``), numbers: [B]."""

    def one(label: jax.Array, stream: jax.Array, number: jax.Array) -> jax.Array:
        of_image = jax.random.fold_in(jax.random.fold_in(key, stream), number)
        of_place, of_noise = jax.random.split(of_image)
        place = jax.random.randint(of_place, (), 0, templates.shape[1])
        noise = jax.random.normal(of_noise, templates.shape[2:])
        levels = jnp.round(BACKGROUND + templates[label, place] + NOISE * noise)
        return jnp.clip(levels, 0, 255).astype(jnp.uint8)

    return jax.vmap(one)(labels, streams, numbers)
