"""Probabilities as 16-bit codes: bins spaced like floating-point numbers, towards 0 and towards 1."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

BINS = 2**16
_HALF = BINS // 2
_SHIFT = 13  # keeps 10 of the 23 bits of a float32's fraction: 1,024 bins an octave
_LOWEST = (0x3F000000 >> _SHIFT) - _HALF  # the bin of 1/2 is 2^15: 32 octaves below it


def encode(probabilities: Any) -> Any:
    """uint16 codes of probabilities, in numpy or on the device, whichever the array is; equal codes on both.

    The codes increase with the probability. Below 1/2 a bin is 1/1,024 of an octave of p wide, from 1/2 on the same
    of 1 - p, down to 2^-33; beyond lie the bins 0 and 65,535. So both tails are resolved as by a logit, to 0.1 %, and
    a bin near 1/2 is 0.00024 wide. Only integers are computed: p >= 1/2 exactly where the code is 32,768 or above.

    Args:
      probabilities: numpy or jax array of floats, 0 to 1, any shape; read as float32.

    Returns:
      uint16, the shape of the probabilities; of the same library.

    Raises:
      ValueError: a numpy array with a value outside 0 to 1 or NaN. On the device those are not looked for.
    """
    if not hasattr(probabilities, "__array_namespace__"):
        probabilities = np.asarray(probabilities)
    xp = probabilities.__array_namespace__()
    if isinstance(probabilities, np.ndarray | np.generic):
        given = np.asarray(probabilities)
        wrong = ~((given >= 0) & (given <= 1))
        if wrong.any():
            first = given[wrong].ravel()[0]
            raise ValueError(f"{wrong.sum()} probabilities are outside 0 to 1, the first is {float(first):g}")
    p = probabilities.astype(np.float32)
    upper = p >= 0.5
    # 1 - p is exact from 1/2 on. Less 1, so that a bin of 1 - p includes its upper end, 1/2 among them.
    bits = xp.where(upper, (1 - p).astype(np.float32).view(np.int32) - 1, p.view(np.int32))
    low = xp.clip((bits >> _SHIFT) - _LOWEST, 0, _HALF - 1)
    return xp.where(upper, BINS - 1 - low, low).astype(np.uint16)


def decode(codes: ArrayLike) -> np.ndarray:
    """The smallest float32 in the bin of each code: ``encode(p) >= code`` exactly where ``p >= decode(code)``.

    Args:
      codes: integers 0 to 65,535.

    Raises:
      ValueError: another number.

    >>> print(decode([0, 32768, 65535]))
    [0.0 0.5 1.0]
    """
    code = np.asarray(codes)
    if code.dtype.kind not in "iu" or (code.size and not 0 <= code.min() <= code.max() < BINS):
        raise ValueError(f"codes must be whole numbers from 0 to {BINS - 1}")
    code = code.astype(np.int64)
    upper = code >= _HALF
    # Above 1/2, code's bin ends at the largest 1 - p, where the next lower bin of 1 - p begins.
    bits = (np.where(upper, BINS - code, code) + _LOWEST) << _SHIFT
    edge = bits.astype(np.int32).view(np.float32).astype(np.float64)
    spacing = 2.0**24  # of float32 just below 1
    return np.where(upper, 1 - np.floor(edge * spacing) / spacing, np.where(code == 0, 0, edge)).astype(
        np.float32
    )
