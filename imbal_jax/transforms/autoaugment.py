"""AutoAugment's policy for CIFAR-10, on device: two of 14 operations an image, by one of 25 sub-policies.

Cubuk, Zoph, Mane, Vasudevan and Le, AutoAugment, CVPR 2019 (arXiv 1805.09501), table 7. Pixels are whole
numbers from 0 to 255 and operations are those of Pillow, as the policy was found with them, but for one grey level
where a value before rounding down is whole. What comes from beyond the border is mid-grey, 128; moved pixels are the
nearest ones.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

LEVELS = 10
GREY = 128.0

# operation, probability, level; twice
POLICY: tuple[tuple[tuple[str, float, int], tuple[str, float, int]], ...] = (
    (("invert", 0.1, 7), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, 8), ("equalize", 0.9, 2)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("colour", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 5), ("equalize", 0.5, 1)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("colour", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 7), ("autocontrast", 0.4, 8)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("colour", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 3)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 8), ("equalize", 0.6, 4)),
    (("colour", 0.9, 9), ("equalize", 0.6, 6)),
    (("autocontrast", 0.8, 4), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("colour", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 3)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, 2), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 8), ("invert", 0.1, 3)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, 1)),
)


def autoaugment(key: jax.Array, image: jax.Array) -> jax.Array:
    """One image by a sub-policy drawn from ``key``.

    image: float32 [H, W, C] in [0, 1], C 1 or 3; rounded to 256 levels. Returns the same shape and range. Each
    operation is applied with its probability; those with a direction take either with probability 1/2.
    """
    which, applied, signs = jax.random.split(key, 3)
    place = jax.random.randint(which, (), 0, len(POLICY))
    draws, turns = jax.random.uniform(applied, (2,)), jax.random.bernoulli(signs, 0.5, (2,))
    pixels = jnp.round(255.0 * image)
    for n in (0, 1):
        codes, chances, levels = (jnp.asarray(column) for column in _COLUMNS[n])
        changed = jax.lax.switch(
            codes[place], _BRANCHES, pixels, levels[place], jnp.where(turns[n], 1.0, -1.0)
        )
        pixels = jnp.where(draws[n] < chances[place], changed, pixels)
    return pixels / 255.0


# Operations: pixels [H, W, C] of whole numbers, level 0 to 9, sign 1 or -1 -> pixels

Operation = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def shear_x(pixels: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """Rows shifted in proportion to their place, by up to 0.3 of it."""
    amount = sign * 0.3 * level / (LEVELS - 1)
    return _sampled(pixels, lambda y, x: (y, x + amount * y))


def shear_y(pixels: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """Columns shifted in proportion to their place, by up to 0.3 of it."""
    amount = sign * 0.3 * level / (LEVELS - 1)
    return _sampled(pixels, lambda y, x: (y + amount * x, x))


def translate_x(pixels: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """Moved along a row by up to 150 / 331 of the width."""
    amount = sign * (150 / 331) * level / (LEVELS - 1) * pixels.shape[1]
    return _sampled(pixels, lambda y, x: (y, x + amount))


def translate_y(pixels: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """Moved along a column by up to 150 / 331 of the height."""
    amount = sign * (150 / 331) * level / (LEVELS - 1) * pixels.shape[0]
    return _sampled(pixels, lambda y, x: (y + amount, x))


def rotate(pixels: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """Counterclockwise about the centre by up to 30 degrees."""
    radians = -sign * jnp.deg2rad(30.0) * level / (LEVELS - 1)
    height, width = pixels.shape[:2]
    cos, sin = jnp.cos(radians), jnp.sin(radians)

    def source(y: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, x = y - height / 2, x - width / 2
        return -sin * x + cos * y + height / 2, cos * x + sin * y + width / 2

    return _sampled(pixels, source)


def brightness(pixels: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """Away from black or towards it."""
    return _blend(jnp.zeros_like(pixels), pixels, _factor(level, sign))


def colour(pixels: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """Away from the grey picture or towards it."""
    return _blend(jnp.broadcast_to(_grey(pixels), pixels.shape), pixels, _factor(level, sign))


def contrast(pixels: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """Away from the mean grey or towards it."""
    mean = jnp.floor(_grey(pixels).mean() + 0.5)
    return _blend(jnp.full_like(pixels, mean), pixels, _factor(level, sign))


def sharpness(pixels: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """Away from the smoothed picture or towards it; the border is not smoothed."""
    height, width = pixels.shape[:2]
    near = sum(
        pixels[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)
    )
    inner = jnp.floor((near + 4 * pixels[1:-1, 1:-1]) / 13 + 0.5)
    return _blend(pixels.at[1:-1, 1:-1].set(inner), pixels, _factor(level, sign))


def invert(pixels: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """The negative."""
    return 255.0 - pixels


def posterize(pixels: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """The highest 8 to 4 bits of each pixel."""
    step = 2.0 ** jnp.round(4 * level / (LEVELS - 1))
    return jnp.floor(pixels / step) * step


def solarize(pixels: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """Pixels at or above a threshold inverted, which falls from 256 to 0."""
    return jnp.where(pixels >= 256.0 * (1 - level / (LEVELS - 1)), 255.0 - pixels, pixels)


def autocontrast(pixels: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """Each channel stretched to the whole range."""
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    scale = 255.0 / jnp.maximum(high - low, 1.0)
    stretched = jnp.clip(jnp.floor((pixels - low) * scale + 1e-3), 0.0, 255.0)
    return jnp.where(high > low, stretched, pixels)


def equalize(pixels: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
    """Each channel by its cumulative histogram, Pillow's table."""

    def of_channel(channel: jax.Array) -> jax.Array:
        values = channel.astype(jnp.int32).ravel()
        counts = jnp.zeros(256, jnp.int32).at[values].add(1)
        step = (values.size - counts[values.max()]) // 255
        table = (step // 2 + jnp.cumsum(counts) - counts) // jnp.maximum(step, 1)
        return jnp.where(step > 0, jnp.clip(table, 0, 255)[values], values).reshape(channel.shape)

    return jax.vmap(of_channel, 2, 2)(pixels).astype(pixels.dtype)


OPERATIONS: dict[str, Operation] = {
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
    "rotate": rotate,
    "brightness": brightness,
    "colour": colour,
    "contrast": contrast,
    "sharpness": sharpness,
    "invert": invert,
    "posterize": posterize,
    "solarize": solarize,
    "autocontrast": autocontrast,
    "equalize": equalize,
}
_BRANCHES = tuple(OPERATIONS.values())
_NAMES = list(OPERATIONS)
_COLUMNS = tuple(
    (
        np.array([_NAMES.index(pair[n][0]) for pair in POLICY], np.int32),
        np.array([pair[n][1] for pair in POLICY], np.float32),
        np.array([pair[n][2] for pair in POLICY], np.float32),
    )
    for n in (0, 1)
)


_MORE, _LESS = (np.float32(1 + sign * 0.9 * np.arange(LEVELS) / (LEVELS - 1)) for sign in (1, -1))


def _factor(level: jax.Array, sign: jax.Array) -> jax.Array:
    at = level.astype(jnp.int32)
    return jnp.where(sign > 0, jnp.asarray(_MORE)[at], jnp.asarray(_LESS)[at])


def _blend(one: jax.Array, other: jax.Array, share: jax.Array) -> jax.Array:
    """``one`` at a share of 0, ``other`` at 1, beyond it where the share is larger; rounded down, as Pillow does."""
    return jnp.floor(jnp.clip(one + share * (other - one), 0.0, 255.0))


def _grey(pixels: jax.Array) -> jax.Array:
    """[H, W, 1], by the weights of ITU-R 601-2 in sixteenths of a bit."""
    if pixels.shape[-1] == 1:
        return pixels
    weights = jnp.array([19595, 38470, 7471], jnp.int32)
    return (((pixels.astype(jnp.int32) * weights).sum(-1, keepdims=True) + 0x8000) >> 16).astype(pixels.dtype)


def _sampled(
    pixels: jax.Array, source: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
) -> jax.Array:
    """The nearest pixel to where each comes from. source: centres of pixels (y, x) -> places in the picture."""
    height, width = pixels.shape[:2]
    y, x = jnp.meshgrid(jnp.arange(height) + 0.5, jnp.arange(width) + 0.5, indexing="ij")
    at_y, at_x = (jnp.floor(at).astype(jnp.int32) for at in source(y, x))
    inside = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)
    found = pixels[jnp.clip(at_y, 0, height - 1), jnp.clip(at_x, 0, width - 1)]
    return jnp.where(inside[..., None], found, GREY)
