"""AutoAugment's operations against Pillow, and how often its policy applies them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from imbal_jax.transforms.augment import Augment, augment
from imbal_jax.transforms.autoaugment import OPERATIONS, POLICY, autoaugment

LEVELS = range(10)
FILL = (128, 128, 128)


def affine(picture: Image.Image, *matrix: float) -> Image.Image:
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, fillcolor=FILL)


def pillow(name: str, picture: Image.Image, level: int, sign: int) -> Image.Image:
    share = level / 9
    width, height = picture.size
    match name:
        case "shear_x":
            return affine(picture, 1, sign * 0.3 * share, 0, 0, 1, 0)
        case "shear_y":
            return affine(picture, 1, 0, 0, sign * 0.3 * share, 1, 0)
        case "translate_x":
            return affine(picture, 1, 0, sign * 150 / 331 * share * width, 0, 1, 0)
        case "translate_y":
            return affine(picture, 1, 0, 0, 0, 1, sign * 150 / 331 * share * height)
        case "rotate":
            return picture.rotate(sign * 30 * share, fillcolor=FILL)
        case "brightness" | "colour" | "contrast" | "sharpness":
            enhance = {"colour": "Color"}.get(name, name.capitalize())
            return getattr(ImageEnhance, enhance)(picture).enhance(1 + sign * 0.9 * share)
        case "invert":
            return ImageOps.invert(picture)
        case "posterize":
            return ImageOps.posterize(picture, 8 - round(4 * share))
        case "solarize":
            return ImageOps.solarize(picture, 256 * (1 - share))
        case "autocontrast":
            return ImageOps.autocontrast(picture)
    return ImageOps.equalize(picture)


def pictures() -> list[np.ndarray]:
    """Noise, a ramp that does not fill the range, one grey level, and a picture that is not square."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    ramp = np.stack([40 + 3 * y + x, 200 - 4 * x + y, 90 + (y * x) % 97], -1).clip(0, 255)
    return [
        rng.integers(0, 256, (32, 32, 3)),
        ramp,
        np.full((32, 32, 3), 77),
        rng.integers(60, 180, (24, 32, 3)),
    ]


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_pillows(name: str) -> None:
    operation = jax.jit(OPERATIONS[name])
    for pixels in pictures():
        picture = Image.fromarray(pixels.astype(np.uint8))
        for level in LEVELS:
            for sign in (1, -1):
                expected = np.asarray(pillow(name, picture, level, sign), np.float32)
                found = np.asarray(operation(jnp.asarray(pixels, jnp.float32), float(level), float(sign)))
                away = np.abs(found - expected).max(-1)
                # whether a place half way between two pixels goes to the one or to the other is rounding
                away[half_way(name, level, sign, pixels.shape)] = 0
                exact = name not in ("autocontrast", "sharpness", "brightness", "colour", "contrast")
                assert away.max() <= (255 if name == "rotate" else 0 if exact else 1), (level, sign)
                assert (away > 0).mean() < (0.01 if exact else 0.06), (level, sign)


def half_way(name: str, level: int, sign: int, shape: tuple[int, ...]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    amount = sign * 0.3 * level / 9
    at = {"shear_x": x + amount * y, "shear_y": y + amount * x}.get(name, np.full(x.shape, 0.5))
    return np.abs(at - np.rint(at)) < 1e-3


def test_each_operation_is_applied_as_often_as_the_policy_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from imbal_jax.transforms import autoaugment as module

    # each operation multiplies the pixel by a prime of its own: what was applied can be read from the product
    primes = dict(zip(OPERATIONS, (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43), strict=True))
    marked = tuple(lambda pixels, level, sign, p=p: pixels * p for p in primes.values())
    monkeypatch.setattr(module, "_BRANCHES", marked)
    draws = 20_000
    keys = jax.random.split(jax.random.key(0), draws)
    image = jnp.full((1, 1, 1), 1 / 255)
    products = np.rint(
        np.asarray(jax.vmap(lambda key: module.autoaugment(key, image))(keys)).ravel() * 255
    ).astype(int)
    for name, prime in primes.items():
        chance = np.mean([1 - np.prod([1 - p for op, p, _ in pair if op == name]) for pair in POLICY])
        share = (products % prime == 0).mean()
        assert share == pytest.approx(chance, abs=5 * np.sqrt(max(chance, 1e-3) / draws)), name
    assert (products == 1).mean() == pytest.approx(
        np.mean([(1 - a[1]) * (1 - b[1]) for a, b in POLICY]), abs=0.01
    )


def test_the_policy_has_25_pairs_and_is_drawn_by_the_key() -> None:
    assert len(POLICY) == 25
    image = jnp.asarray(pictures()[0] / 255, jnp.float32)
    one, same, other = (np.asarray(autoaugment(jax.random.key(k), image)) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert one.min() >= 0
    assert one.max() <= 1


def test_augment_applies_it_after_geometry_and_not_at_strength_0() -> None:
    images = np.stack([p for p in pictures() if p.shape == (32, 32, 3)]).astype(np.uint8)
    keys = jax.random.split(jax.random.key(3), len(images))
    config = Augment(policy="autoaugment_cifar10")
    changed = np.asarray(augment(keys, images, config))
    assert changed.shape == images.shape
    assert (changed != images / np.float32(255)).any()
    np.testing.assert_allclose(
        np.asarray(augment(keys, images, config, 0.0)), images / np.float32(255), atol=1e-7
    )
