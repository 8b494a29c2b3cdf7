"""Chooses network, size, patches and methods for pictures with masks, each with its reason."""

from dataclasses import replace

import numpy as np

from imbal_jax.config import Config, Model, Optim, Patch, Train
from imbal_jax.console import percent
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.labels import is_overlapping
from imbal_jax.init.advice import Advice, batch_for
from imbal_jax.init.survey import Survey
from imbal_jax.methods import METHODS, find_method
from imbal_jax.tasks.mask_table import pixel_counts
from imbal_jax.transforms.augment import Augment

CPU_PATCH, ACCELERATOR_PATCH = 64, 128
RARE = 0.02  # of the pixels; random patches of a rarer finding mostly hold none
DEEPEST, COARSEST = 4, 8  # levels of the U-Net; pixels a side at its lowest level, at least


def advise_masks(found: Survey, name: str, accelerator: bool) -> Advice:
    """A config for ``found``, pictures with masks, that lacks its epochs. Arguments as for ``advice.advise``."""
    data = found.data
    apart = not is_overlapping(data.labels)
    options = replace(found.options, negative_class=data.classes[0] if apart else None)
    size = data.images.shape[1]
    patch = ACCELERATOR_PATCH if accelerator else CPU_PATCH
    patch = patch if size >= 2 * patch else 0
    whole = found.images * (1 - options.validation_share - options.test_share)
    train = whole * (size / patch) ** 2 if patch else whole
    rarest, share = rarest_finding(data)
    rare = share < RARE
    second = "loss=dice+cross_entropy" + (",composition=balanced" if rare else "")
    depth = int(np.clip(np.log2(max(1, (patch or size) // COARSEST)), 1, DEEPEST))
    config = Config(
        name=name,
        title=f"{', '.join(data.classes[apart:])} on {found.images:,} images",
        methods=(METHODS["ce"], find_method(second)),
        select="iou",
        data=options,
        patch=Patch(size=patch),
        model=Model(name="unet", options={"depth": depth, "width": 16}),
        optim=Optim(learning_rate=2e-3, weight_decay=0.01, warmup=0.1, ema_decay=0.99),
        train=Train(batch_size=min(16, batch_for(train)), evaluations=5),
        augment=Augment(flip=True, rotation=10, zoom=0.1, brightness=0.1, contrast=0.2),
    )
    seen = f"{rarest}, the rarest, is {percent(share)} of the pixels"
    balanced = "; balanced, as many patches of each class" if rare else ""
    reasons = {
        "methods": f"{seen}. ce is what the other is compared with; dice is of the overlap in each image{balanced}",
        "select": "the best checkpoint on validation: iou, dice, or such as precision where sensitivity >= 0.9",
        "data.image_size": f"the longer side of the pictures is {found.pictures.side} (median); thin objects need it",
        "data.channels": "most pictures are in colour" if options.channels == 3 else "",
        "data.negative_class": "the background; macro scores are means over the others" if apart else "",
        "patch": "side of the squares that batches hold; whole images are predicted by tiles of it"
        if patch
        else "",
        "augment": "flip: set False where left and right differ in meaning; add flip_vertical and quarter_turns "
        "where nothing is upright",
        "optim.ema_decay": "evaluation uses a moving average of the weights",
    }
    return Advice(config, {key: reason for key, reason in reasons.items() if reason})


def rarest_finding(data: Dataset) -> tuple[str, float]:
    """The finding of the fewest pixels, and its share of the known ones."""
    counts, known = pixel_counts(data.labels, len(data.classes))
    shares = counts.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    first = int(not is_overlapping(data.labels))
    rarest = first + int(np.argmin(shares[first:]))
    return data.classes[rarest], float(shares[rarest])
