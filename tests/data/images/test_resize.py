import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imbal_jax.data.images.resize import BeyondLevelsError, fit_levels, fit_square, straight


def whole_first(
    stored: np.ndarray, levels: np.ndarray, shown: np.ndarray, size: int, aspect: float
) -> np.ndarray:
    """Every pixel shown in float64, then Pillow's own two-step resizing: float64 [size, size] in [0, 1]."""
    picture = shown[stored.astype(int) - levels[0]]
    rows, columns = picture.shape
    tall, wide = rows * max(aspect, 1), columns * max(1 / aspect, 1)
    height, width = (max(1, round(size * side / max(tall, wide))) for side in (tall, wide))
    small = Image.fromarray(picture.astype(np.float32)).resize(
        (width, height), Image.Resampling.HAMMING, reducing_gap=2.0
    )
    square = np.zeros((size, size))
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = np.clip(small, 0, 1)
    return square


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from([np.uint8, np.int8, np.uint16, np.int16]),
    shape=st.tuples(st.integers(1, 150), st.integers(1, 150) | st.sampled_from([64, 128])),
    size=st.integers(1, 40) | st.just(14),
    aspect=st.sampled_from([1.0, 1.0, 0.5, 1.7]),
    window=st.tuples(st.floats(-0.3, 0.9), st.floats(0.01, 1.5)),
    step=st.sampled_from([1.0, 0.5, 0.1]),
    form=st.sampled_from(["rising", "falling", "sigmoid", "padded"]),
    span=st.sampled_from([255, 4095, 65535]),
    seed=st.integers(0, 2**31),
)
def test_levels_shown_after_averaging_give_what_pixels_shown_before_it_give(
    kind: type,
    shape: tuple[int, int],
    size: int,
    aspect: float,
    window: tuple[float, float],
    step: float,
    form: str,
    span: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    limits = np.iinfo(kind)
    first = int(rng.integers(limits.min, limits.max - 200))
    last = int(rng.integers(first + 100, min(limits.max, first + span) + 1))
    stored = rng.integers(first, last + 1, shape).astype(kind)
    levels = np.arange(int(stored.min()), int(stored.max()) + 1)
    # Bounds on whole levels, between them, and beyond the picture's own.
    low = np.round((first + window[0] * (last - first)) / step) * step
    high = low + max(step, np.round(window[1] * (last - first) / step) * step)
    shown = np.clip((levels - low) / (high - low), 0, 1)
    if form == "falling":
        shown = 1 - shown
    elif form == "sigmoid":
        shown = 1 / (1 + np.exp(-6 * (shown - 0.4)))
    elif form == "padded":
        shown[len(shown) // 2] = 0
    expected = whole_first(stored, levels, shown, size, aspect)
    for bits, error in ((8, 0.5 / 255 + 3e-5), (16, 5e-5)):
        result = fit_levels(stored, levels, shown, size, aspect, bits)
        assert result.dtype == (np.uint8 if bits == 8 else np.uint16)
        assert np.abs(result / (2**bits - 1) - expected).max() < error


def test_both_ways_agree_on_a_picture_shown_beforehand() -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 4096, (301, 200)).astype(np.uint16)
    levels, shown = np.arange(4096), np.arange(4096) / 4095
    np.testing.assert_allclose(
        fit_levels(stored, levels, shown, 50, bits=16).astype(int),
        fit_square((stored / 4095).astype(np.float32), 50, bits=16).astype(int),
        atol=2,
    )


def test_a_line_is_known_by_where_it_leaves_black_and_white() -> None:
    levels = np.arange(-50, 200)
    rising = np.clip((levels - 10.5) / 100, 0, 1)
    low, high, falling = straight(levels, rising)
    assert (low, high, falling) == (pytest.approx(10.5), pytest.approx(110.5), False)
    assert straight(levels, 1 - rising)[2]
    assert straight(levels, rising**2) is None
    holed = rising.copy()
    holed[100] = 0
    assert straight(levels, holed) is None
    assert straight(levels, (levels > 0).astype(float)) is None


@pytest.mark.parametrize(
    "form", [lambda x: x, lambda x: 1 - x, np.sqrt, lambda x: np.clip(2 * x - 0.3, 0, 1)]
)
def test_a_value_above_the_last_level_is_found_wherever_it_is(form: object) -> None:
    levels = np.arange(1000)
    stored = np.random.default_rng(0).integers(0, 1000, (130, 130)).astype(np.uint16)
    fit_levels(stored, levels, form(levels / 999), 20)
    for place in ((0, 0), (77, 33), (129, 129)):
        beyond = stored.copy()
        beyond[place] = 1000
        with pytest.raises(BeyondLevelsError):
            fit_levels(beyond, levels, form(levels / 999), 20)
