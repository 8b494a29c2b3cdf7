"""Metrics of sequences of bits, from what evaluation keeps of each, and the best that n-grams allow."""

from collections.abc import Sequence

import numpy as np

from imbal_jax.data.sources.sequence_kinds import ORDER

KEPT = ("bits", "wrong_bits", "asked")
"""Columns that evaluation keeps of each sequence: its cross-entropy in bits, outputs on the wrong side of 0.5, and
how many outputs are asked for."""


def summary(kept: np.ndarray) -> dict[str, float]:
    """Means over the sequences: bits and wrong bits a sequence, and the share of sequences with a wrong bit.

    kept: float [N, 3], columns as ``KEPT``.
    """
    kept = np.asarray(kept, np.float64)
    return {
        "bits_per_sequence": float(kept[:, 0].mean()),
        "wrong_bits": float(kept[:, 1].mean()),
        "sequence_errors": float((kept[:, 1] > 0).mean()),
        "asked_bits": float(kept[:, 2].mean()),
    }


def optimal_bits(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float64 [N]: bits of the best estimator of n-grams whose tables have the prior Beta(1/2, 1/2).

        P(next = 1 | N1, N0) = (N1 + 1/2) / (N1 + N0 + 1),    eq. 10 of Graves et al. 2014

    N1 and N0 count the ones and zeros that followed the same five bits earlier in the sequence. inputs: bits [N, T];
    targets: the next bit [N, T], -1 where it is not asked for.
    """
    count, steps = inputs.shape
    everyone, span = np.arange(count), ORDER - 1
    powers = 2 ** np.arange(span - 1, -1, -1)
    seen = np.zeros((count, 2**span, 2))
    bits = np.zeros(count)
    for t in range(span - 1, steps):
        asked = targets[:, t] >= 0
        context = inputs[:, t - span + 1 : t + 1] @ powers
        bit = np.maximum(targets[:, t], 0)
        before = seen[everyone, context]
        chance = (before[everyone, bit] + 0.5) / (before.sum(axis=1) + 1)
        bits -= np.where(asked, np.log2(chance), 0)
        seen[everyone[asked], context[asked], bit[asked]] += 1
    return bits


def last_lines(values: Sequence[float]) -> list[str]:
    """The line on the bits of the runs, with all decimals: their mean, and of several each one's too."""
    each = f" ({', '.join(f'{value:.4f}' for value in values)})" if len(values) > 1 else ""
    return [f"bits per sequence: {np.mean(values):.4f}{each}"] if len(values) else []
