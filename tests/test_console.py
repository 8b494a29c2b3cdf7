"""Numbers as people read them."""

import math

import pytest

from imbal_jax.console import duration, percent


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.4, "0:07"), (754, "12:34"), (3723, "1:02:03"), (math.nan, "–"), (59.6, "1:00")]
)
def test_duration_reads_as_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.5, "50.0 %"),
        (0.012, "1.2 %"),
        (0.00012, "0.012 %"),
        (0.05, "5.0 %"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (math.nan, "–"),
    ],
)
def test_rare_shares_keep_two_digits(share: float, text: str) -> None:
    assert percent(share) == text
