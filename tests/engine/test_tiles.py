"""Tiles: every pixel is seen, what a network says of a pixel alone is kept, seams vanish where it sees enough."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from imbal_jax.engine.tiles import Tiles, tiled


@pytest.mark.parametrize("length", [7, 8, 9, 15, 31])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.9])
def test_tiles_cover_an_axis_and_overlap_by_the_share_asked(length: int, overlap: float) -> None:
    starts = Tiles(8, overlap).starts(length)
    assert starts[0] == 0
    assert starts[-1] == max(length - 8, 0)
    covered = np.zeros(length, int)
    for start in starts:
        covered[start : start + 8] += 1
    assert covered.min() == 1
    assert all(8 - gap >= int(8 * overlap) for gap in np.diff(starts))


@pytest.mark.parametrize("shape", [(20, 13), (8, 30), (8, 8)])
def test_what_depends_on_a_pixel_alone_is_what_it_was(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).normal(size=(3, *shape, 2)).astype(np.float32)
    step = tiled(lambda variables, x: jax.nn.softmax(variables * x), Tiles(8))
    found = jax.jit(step)(jnp.float32(2), images)
    np.testing.assert_allclose(found, jax.nn.softmax(2 * images), atol=1e-6)


def test_a_mean_of_neighbours_is_that_of_the_whole_image_but_for_what_borders_weigh() -> None:
    images = np.random.default_rng(1).normal(size=(2, 40, 33, 1)).astype(np.float32)

    def blurred(variables: None, x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
        height, width = x.shape[1:3]
        parts = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        return sum(parts) / 9

    found = np.asarray(tiled(blurred, Tiles(16, 0.5))(None, images))[..., 0]
    whole = np.stack(
        [uniform_filter(image[..., 0].astype(np.float64), 3, mode="reflect") for image in images]
    )
    # a tile's outermost pixels, which see half of their neighbours, weigh little beside the middle of the next
    assert np.abs(found - whole).max() < 0.02
    aside = images[:, :32, :32]
    beside = np.asarray(tiled(blurred, Tiles(16, 0.0))(None, aside))[..., 0]
    assert np.abs(beside - np.asarray(blurred(None, aside))[..., 0]).max() > 0.2


def test_the_predictions_of_tiles_are_weighted_by_a_window_that_falls_from_the_middle() -> None:
    tiles = Tiles(8, 0.5)
    window = tiles.window
    np.testing.assert_allclose(window, window[::-1, ::-1], rtol=1e-6)
    assert window[3, 3] == window.max()
    assert window[0, 0] > 0
    # each tile answers with its own number, so that a pixel's value is the weighted mean of its tiles' numbers
    images = np.arange(12, dtype=np.float32)[None, :, None, None] * np.ones((1, 12, 8, 1), np.float32)
    found = tiled(lambda variables, x: jnp.broadcast_to(x[:, :1, :1], x.shape), tiles)(None, images)[
        0, :, 0, 0
    ]
    expected = [
        sum(window[row - start, 0] * start for start in (0, 4) if 0 <= row - start < 8)
        / sum(window[row - start, 0] for start in (0, 4) if 0 <= row - start < 8)
        for row in range(12)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_images_smaller_than_a_tile_along_one_axis_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 6 x 20 hold no tile of 8 pixels a side"):
        tiled(lambda variables, x: x, Tiles(8))(None, jnp.zeros((1, 6, 20, 1)))
