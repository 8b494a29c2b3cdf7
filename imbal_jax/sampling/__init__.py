"""Batch composition as a pure function of the step: no state, no epoch shuffle, the same on any device count.

The items of a class form a pool. The k-th draw from pool c is

    order[offset_c + permutation(seed, c, k div n_c)(k mod n_c)]

a fresh keyed permutation for each pass over the pool, so an item is drawn once before any is drawn twice.
A batch of step t takes draws t q_c .. (t + 1) q_c - 1 from each pool c, q_c being its fixed quota. The
permutation is evaluated one point at a time, so that any batch of any step costs O(batch).
"""

from imbal_jax.sampling.draws import batch_indices
from imbal_jax.sampling.plan import COMPOSITIONS, Plan, make_plan, plan_counts
from imbal_jax.sampling.pools import resample

__all__ = ["COMPOSITIONS", "Plan", "batch_indices", "make_plan", "plan_counts", "resample"]
