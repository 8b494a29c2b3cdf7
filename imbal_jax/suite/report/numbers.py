"""Numbers in the cells of the tables, plain text."""

import math

from imbal_jax.console import UNDEFINED
from imbal_jax.report.html import figures
from imbal_jax.suite.statistics import Estimate, Probabilities


def digits(value: float) -> str:
    """Three decimals below 10; a dash where it is unknown."""
    return figures(value, 3) if abs(value) < 10 else figures(value)


def signed(value: float) -> str:
    """``+0.023``."""
    return f"+{digits(value)}" if math.isfinite(value) and value > 0 else digits(value)


def with_interval(estimate: Estimate, *, plus: bool = False) -> str:
    """``+0.023 [0.011, 0.034]``; without the interval where it is unknown."""
    text = signed(estimate.value) if plus else digits(estimate.value)
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return text
    return f"{text} [{digits(estimate.low)}, {digits(estimate.high)}]"


def p_value(value: float) -> str:
    """``0.034``, ``< 0.001``."""
    if math.isnan(value):
        return UNDEFINED
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def three_ways(found: Probabilities) -> str:
    """``0.97 / 0.02 / 0.01``: better, equal, worse."""
    chances = (found.better, found.equal, found.worse)
    return UNDEFINED if math.isnan(sum(chances)) else " / ".join(f"{chance:.2f}" for chance in chances)
