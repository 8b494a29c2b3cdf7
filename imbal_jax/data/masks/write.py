"""Writes masks as PNG files, one a picture."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from imbal_jax.errors import InputError
from imbal_jax.files import write_bytes


def write_mask_png(path: Path, mask: np.ndarray, classes: Sequence[str]) -> None:
    """Write a mask as a grey PNG file without loss; the file is there whole or not at all.

    mask: whole numbers or booleans [h, w]: of two classes, or of one name (a label that overlaps others), 0 and 1
        become 0 and 255, which any viewer shows; of more classes each pixel holds the index of its class, in 8 bits
        up to 256 classes, in 16 beyond. -1, what is ignored or was cut off, becomes 0, the background.
    Raises InputError for another shape, for a value that is no class, and where the file cannot be written.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype.kind not in "biu":
        raise InputError(f"a mask to write is {mask.dtype} {list(mask.shape)}, expected whole numbers [h, w]")
    count = max(2, len(classes))
    low, high = (int(mask.min()), int(mask.max())) if mask.size else (0, 0)
    if low < -1 or high >= count:
        raise InputError(f"a mask to write holds {low if low < -1 else high}, expected 0..{count - 1}, or -1")
    kind = np.uint8 if count <= 256 else np.uint16
    stored = (np.where(mask < 0, 0, mask).astype(np.int32) * (255 if count == 2 else 1)).astype(kind)
    content = io.BytesIO()
    Image.fromarray(stored).save(content, "PNG")
    write_bytes(path, content.getvalue())
