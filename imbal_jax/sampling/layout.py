"""Layout: the order of the draws within a batch and within a pass, and the draws of a stream in 2^i steps."""

import numpy as np


def spread(sizes: np.ndarray, jitter: np.ndarray) -> np.ndarray:
    """All entries in the order of (rank + u_c) / n_c: a run of M entries holds about M n_c / N of pool c."""
    # 16 bits of jitter, for u_c to stay clear of 0 and 1 by more than float64 rounds at rank 2^31.
    shift = ((jitter >> 16) + 0.5) / 2**16
    keys = np.concatenate([(np.arange(n) + u) / max(n, 1) for n, u in zip(sizes, shift, strict=True)])
    return np.argsort(keys, kind="stable")  # timsort: merges the sorted runs


def arrange(quota: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lay a batch out as gcd(quota) equal patterns, evenly mixed: shards that divide the counts are equal."""
    patterns = np.gcd.reduce(quota)
    part = quota // patterns
    stream = np.repeat(np.arange(len(quota)), part)
    draw = np.arange(part.sum()) - np.repeat(np.cumsum(part) - part, part)
    mixed = np.argsort((draw + 0.5) / part[stream], kind="stable")
    stream, draw = np.tile(stream[mixed], patterns), np.tile(draw[mixed], patterns)
    draw += np.repeat(np.arange(patterns), part.sum()) * part[stream]
    return stream, np.stack(np.divmod(draw, sizes[stream]))


def stage_positions(starts: np.ndarray, quotas: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(pass, position) of each stream at the start of each stage: int64 [K, 2, S]."""
    drawn = np.zeros_like(quotas)
    drawn[1:] = np.cumsum(np.diff(starts)[:, None] * quotas[:-1], axis=0)
    return np.stack(np.divmod(drawn, np.maximum(sizes, 1)), axis=1)


def strides(quotas: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(passes, positions) gained by each stream in 2^i steps: int64 [K, 32, 2, S]."""
    drawn = quotas[:, None, :] << np.arange(32)[None, :, None]
    return np.stack(np.divmod(drawn, np.maximum(sizes, 1)), axis=2)
