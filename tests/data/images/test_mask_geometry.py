"""Masks go where their pictures go, and back."""

import numpy as np
import pytest

from imbal_jax.data.images.geometry import Geometry
from imbal_jax.errors import InputError

FITS = ("pad", "squeeze", "crop")
SHAPES = [(40, 120), (121, 43), (33, 50), (64, 64), (9, 7), (300, 211)]


def disc(shape, share=0.25):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    middle = shape[0] * 0.47, shape[1] * 0.52
    return np.hypot(rows + 0.5 - middle[0], columns + 0.5 - middle[1]) <= share * min(shape)


def sampled(mask, size, fit):
    """The value at the middle of each pixel of the square, by coordinates alone; -1 beside the picture."""
    h, w = mask.shape
    top = left = 0
    if fit == "crop":
        side = min(h, w)
        top, left, h, w = (h - side) // 2, (w - side) // 2, side, side
    high, wide = size, size
    if fit == "pad":
        high, wide = (max(1, round(size * n / max(h, w))) for n in (h, w))
    out = np.full((size, size), -1, int)
    for i in range(high):
        for j in range(wide):
            y, x = (i + 0.5) / high * h, (j + 0.5) / wide * w
            out[(size - high) // 2 + i, (size - wide) // 2 + j] = mask[
                top + int(y + 1e-9), left + int(x + 1e-9)
            ]
    return out


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [16, 75])
def test_a_mask_is_sampled_at_the_middle_of_each_pixel(fit, shape, size) -> None:
    mask = np.random.default_rng(1).integers(0, 5, shape).astype(np.int8)
    fitted = Geometry(size, fit).mask(mask)
    assert fitted.dtype == np.int8
    np.testing.assert_array_equal(fitted, sampled(mask, size, fit))
    layers = np.stack([mask, 4 - mask], -1)
    np.testing.assert_array_equal(Geometry(size, fit).mask(layers)[..., 0], fitted)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [32, 150])
def test_picture_and_mask_stay_within_half_a_pixel(fit, shape, size) -> None:
    """The centre of gravity of a disc that is drawn in both."""
    drawn = disc(shape)
    geometry = Geometry(size, fit)
    picture = geometry.array(drawn.astype(np.float32))[..., 0] / 255.0
    mask = geometry.mask(drawn.astype(np.int8)) == 1
    places = np.mgrid[:size, :size]
    of_picture = [(picture * at).sum() / picture.sum() for at in places]
    of_mask = [at[mask].mean() for at in places]
    assert np.abs(np.subtract(of_picture, of_mask)).max() < 0.5
    if min(shape) > size / 4:
        inner = picture > 0.98
        assert mask[inner].mean() > 0.98
        assert not mask[picture < 0.02].mean() > 0.02


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(40, 120), (121, 43), (33, 50), (64, 64), (300, 211)])
@pytest.mark.parametrize("size", [48, 200])
def test_a_restored_mask_lies_where_it_was_drawn(fit, shape, size) -> None:
    drawn = disc(shape).astype(np.int8)
    geometry = Geometry(size, fit)
    back = geometry.restore(geometry.mask(drawn), *shape)
    assert back.shape == shape
    assert back.dtype == np.int8
    seen = back >= 0
    if fit == "crop":
        side = min(shape)
        assert seen.sum() == side * side
    else:
        assert seen.all()
    pixel = max(1.0, max(shape) / size)  # of the square, in pixels of the picture
    places = np.mgrid[: shape[0], : shape[1]]
    for at in places:
        assert abs(at[back == 1].mean() - at[drawn == 1].mean()) < 0.5 * pixel
    edge = 2 * np.pi * 0.25 * min(shape) * pixel  # the disc's border, a pixel wide
    assert (back != drawn)[seen].sum() <= 0.6 * edge


@pytest.mark.parametrize("fit", FITS)
def test_restored_probabilities_are_interpolated_and_unknown_beside(fit) -> None:
    size, shape = 20, (60, 90)
    geometry = Geometry(size, fit)
    ramp = np.broadcast_to(np.linspace(0, 1, shape[1], dtype=np.float32), shape)
    square = geometry.array(np.ascontiguousarray(ramp))[..., 0].astype(np.float32) / 255
    back = geometry.restore(np.stack([square, 1 - square], -1), *shape)
    assert back.shape == (*shape, 2)
    assert back.dtype == np.float32
    seen = np.isfinite(back[..., 0])
    assert seen.all() == (fit != "crop")
    assert seen[:, 15:75].all()
    inner = seen & (ramp > 0.2) & (ramp < 0.8)
    np.testing.assert_allclose(back[..., 0][inner], ramp[inner], atol=0.02)
    np.testing.assert_allclose(back.sum(-1)[seen], 1, atol=1e-5)
    assert (geometry.restore(square, *shape, beside=0.0)[~seen] == 0).all()


def test_pixels_that_are_not_square_are_fitted_as_their_picture() -> None:
    drawn = np.zeros((20, 60), np.float32)
    drawn[5:15, 20:40] = 1
    for fit in FITS:
        geometry = Geometry(30, fit)
        picture = geometry.array(drawn, aspect=3.0)[..., 0]
        mask = geometry.mask(drawn.astype(np.int8), aspect=3.0)
        assert (mask[picture > 240] == 1).all()
        assert (mask[picture < 15] <= 0).all()
        np.testing.assert_array_equal(geometry.restore(mask, 20, 60, aspect=3.0) == 1, drawn == 1)


def test_a_type_that_cannot_hold_minus_one_is_refused() -> None:
    with pytest.raises(InputError, match="a mask of uint8 cannot hold -1"):
        Geometry(8).mask(np.zeros((4, 8), np.uint8))
    assert Geometry(8).mask(np.ones((4, 8), np.uint8), beside=0).max() == 1
