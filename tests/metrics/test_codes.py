"""Codes of probabilities: order, tails, and the same on host and device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax.metrics.codes import BINS, decode, encode

fast = settings(max_examples=200, deadline=None)
# every float32 from 0 to 1, by its bits, and those just below 1
by_bits = st.integers(0, 0x3F800000).map(lambda bits: np.int32(bits).view(np.float32))
probability = st.one_of(by_bits, st.integers(0, 4096).map(lambda k: np.float32(1 - k * 2.0**-24)))


def spread(number=200_000):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=number) * 8
    p = (1 / (1 + np.exp(-logits))).astype(np.float32)
    ends = [0, 1, 0.5, np.nextafter(np.float32(0.5), np.float32(0)), 1e-40, np.finfo(np.float32).tiny]
    return np.concatenate([p, np.array(ends, np.float32), np.arange(1025, dtype=np.float32) / 1024])


@fast
@given(probability, probability)
def test_codes_never_reverse_the_order(a, b):
    first, second = encode(np.float32([a, b]))
    assert first == second or (a < b) == (first < second)


@fast
@given(probability, st.integers(0, BINS - 1))
def test_a_code_is_reached_exactly_from_its_decoded_probability_on(p, code):
    p = np.float32(p)
    assert (encode(p) >= code) == (p >= decode(code))
    own = encode(p)
    assert decode(own) <= p


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16, np.float16])
def test_numpy_and_the_device_give_the_same_codes(dtype):
    p = spread().astype(dtype)
    on_device = jax.jit(encode)(jnp.asarray(p))
    assert on_device.dtype == jnp.uint16
    np.testing.assert_array_equal(on_device, encode(p))


def test_both_tails_are_resolved_to_a_thousandth_of_the_odds_and_a_half_is_a_bound():
    for tail in (np.float32(2.0**-30) * np.float32(1.002) ** np.arange(0, 14_000),):
        tail = tail[tail < 0.5].astype(np.float32)
        assert (np.diff(encode(tail).astype(int)) >= 1).all()
    high = 1 - np.arange(1, 1000).astype(np.float32) * np.float32(2.0**-24)
    assert (np.diff(encode(high).astype(int)) < 0).all()
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert encode(np.float32([0, below, 0.5, 1])).tolist() == [0, BINS // 2 - 1, BINS // 2, BINS - 1]
    codes = np.arange(BINS)
    assert (np.diff(decode(codes)) >= 0).all()
    middle = codes[(codes > 100) & (codes < BINS // 2 + 10_000)]
    np.testing.assert_array_equal(encode(decode(middle)), middle)


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ValueError, match="1 probabilities are outside 0 to 1"):
        encode(np.array([0.5, wrong]))
    with pytest.raises(ValueError, match="whole numbers from 0 to 65535"):
        decode([BINS])
