"""Chooses network, size, batch and methods by what was found, each with its reason."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.console import percent
from imbal_jax.data.labels import image_counts
from imbal_jax.data.tables.csv_table import spelling
from imbal_jax.data.tables.label_columns import NORMAL_NAMES
from imbal_jax.init.look import Pictures
from imbal_jax.init.survey import Survey
from imbal_jax.methods import METHODS
from imbal_jax.tasks import task_for
from imbal_jax.transforms.augment import Augment

CPU_SIDE, ACCELERATOR_SIDE = 96, 224  # pixels; beyond, a processor takes hours
MASKED_CPU_SIDE, MASKED_ACCELERATOR_SIDE = 256, 1024  # where batches hold patches
UNBALANCED, RARE = 3.0, 20.0  # frequent images to rare ones, from which on a remedy is suggested
SHORTEST, LONGEST = 3, 100  # epochs
MORE_THAN_A_PROCESSOR = 20_000  # training images from which on a ResNet-50 pays on an accelerator


@dataclass(frozen=True)
class Advice:
    """A config for the data, and by the name of a field why it has this value."""

    config: Config
    reasons: dict[str, str]


def side_for(pictures: Pictures, accelerator: bool, *, masked: bool = False) -> int:
    """The side of the images, pixels: that of the pictures, up to what the machine can train on, in steps of 8.

    masked: whether they have masks, and batches hold patches of them.
    """
    if masked:
        most = MASKED_ACCELERATOR_SIDE if accelerator else MASKED_CPU_SIDE
    else:
        most = ACCELERATOR_SIDE if accelerator else CPU_SIDE
    side = min(pictures.side or most, most)
    return max(16, side if side <= 32 else side // 8 * 8)


def advise(found: Survey, name: str, accelerator: bool) -> Advice:
    """A config for ``found`` that lacks its epochs. name: of the run. accelerator: a GPU or TPU is there."""
    data = found.data
    counts = image_counts(data.image_labels, len(data.classes)) * found.images / len(data)
    many = task_for("auto", data).label_kind == "many"
    negative = negative_class(data.classes, counts, many=many)
    options = replace(found.options, negative_class=negative)
    train = found.images * (1 - options.validation_share - options.test_share)
    methods, why = suggested(counts, found.images, data.classes, many=many)
    size = data.images.shape[1]
    config = Config(
        name=name,
        title=title_of(options, data.classes, counts, found.images, many=many),
        methods=tuple(METHODS[method] for method in methods),
        data=options,
        model=network_for(size, train, accelerator),
        optim=Optim(learning_rate=2e-3, weight_decay=0.05, warmup=0.1, ema_decay=0.99),
        train=Train(batch_size=batch_for(train), evaluations=10),
        augment=Augment(flip=True, shift=0.08, rotation=10, zoom=0.1, brightness=0.1, contrast=0.2),
    )
    machine = "an accelerator" if accelerator else "a processor without accelerator"
    reasons = {
        "methods": why,
        "data.image_size": f"the pictures' longer side is {found.pictures.side} pixels (median); for {machine}",
        "data.channels": "most pictures are in colour" if options.channels == 3 else "",
        "data.negative_class": "the class that is no finding; macro scores are means over the others"
        if negative is not None
        else "",
        "train.batch_size": f"about {train:,.0f} images are for training",
        "augment": "flip: set False where left and right differ in meaning",
        "optim.ema_decay": "evaluation uses a moving average of the weights",
    }
    return Advice(config, {key: reason for key, reason in reasons.items() if reason})


def negative_class(classes: tuple[str, ...], counts: np.ndarray, *, many: bool) -> str | None:
    """The class that is no finding: by its name, else of two the more frequent one; None where nobody can tell."""
    if many:
        return None
    named = [name for name in classes if spelling(name) in NORMAL_NAMES]
    if named:
        return named[0]
    return classes[int(np.argmax(counts))] if len(classes) == 2 else None


def suggested(
    counts: np.ndarray, images: float, classes: tuple[str, ...], *, many: bool
) -> tuple[tuple[str, ...], str]:
    """Names of methods, plain cross-entropy first, and the reason for them.

    counts: images of each class or label, [C]. images: in all.
    """
    rarest = int(np.argmin(counts))
    rare, name = float(counts[rarest]), classes[rarest]
    frequent = images - rare if many else float(counts.max())
    ratio = frequent / max(rare, 1)
    share = percent(rare / images)
    seen = f"{name}, the rarest, is on {rare:,.0f} of {images:,.0f} images ({share}), 1 to {ratio:,.0f}"
    ce = "ce is what the others are compared with"
    if many:
        if ratio < UNBALANCED:
            return ("ce",), f"{seen}: nearly balanced"
        rarer = ("ce", "weighted_ce", "asymmetric") if ratio >= RARE else ("ce", "weighted_ce")
        return rarer, f"{seen}. weighted_ce makes up for it in the loss" + (
            ", asymmetric lets easy negatives go" if ratio >= RARE else ""
        ) + f"; {ce}"
    if ratio < UNBALANCED:
        return ("ce",), f"{seen}: nearly balanced"
    adjusted = "logit_adjusted allows for the frequencies in the loss"
    if ratio < RARE:
        return ("ce", "logit_adjusted"), f"{seen}. {adjusted}; {ce}"
    return ("ce", "logit_adjusted", "stratified"), (
        f"{seen}: most batches hold none. {adjusted}, stratified draws batches of equal shares; {ce}"
    )


def network_for(size: int, train: float, accelerator: bool) -> Model:
    """A network for ``size`` pixels and ``train`` images that the machine can train in minutes."""
    if accelerator and size >= 128:
        return Model(name="resnet50" if train >= MORE_THAN_A_PROCESSOR else "resnet18", dtype="bfloat16")
    patch = 4 if size >= 80 else 2 if size >= 40 else 1
    options: dict[str, int | float | bool | str | tuple[int, ...]] = {
        "width": 32,
        "groups": 8,
        "shortcut": "pooled",
    }
    return Model(name="resnet_small", dropout=0.2, options={"patch": patch, **options})


def batch_for(train: float) -> int:
    """A power of two, 64 or as many as leave ten steps an epoch, at least 8."""
    batch = 64
    while batch > 8 and train < 10 * batch:
        batch //= 2
    return batch


def epochs_for(speed: float, train: int, minutes: float) -> float:
    """Epochs of ``train`` images that take about ``minutes``, evaluations included. speed: images a second."""
    return float(min(LONGEST, max(SHORTEST, round(0.8 * 60 * minutes * speed / max(train, 1)))))


def title_of(data: Data, classes: tuple[str, ...], counts: np.ndarray, images: int, *, many: bool) -> str:
    """A heading for the report: what is looked for, and on how many images."""
    if many:
        return f"{len(classes)} findings on {images:,} images"
    findings = [name for name in classes if name != data.negative_class]
    listed = ", ".join(findings[:4]) + (f" and {len(findings) - 4} more" if len(findings) > 4 else "")
    if data.negative_class is None:
        return f"{len(classes)} classes on {images:,} images: {listed}"
    positives = sum(counts[classes.index(name)] for name in findings)
    return f"{listed} on {positives:,.0f} of {images:,} images"


def name_of(where: Path) -> str:
    """The name of a run on the data at ``where``."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in where.resolve().stem.lower()).strip("_")
    return plain or "own_data"
