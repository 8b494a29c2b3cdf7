"""Whole counts from proportions."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax.sampling import make_plan, plan_counts

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(3), [90, 23, 5])).astype(np.int32)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda p: sum(p) > 1e-3), st.integers(3, 200))
def test_rounded_counts_sum_to_the_batch_and_keep_every_wanted_class(proportions, batch_size):
    counts = plan_counts(make_plan(LABELS, batch_size, proportions))
    assert counts.sum() == batch_size
    exact = np.array(proportions) / sum(proportions) * batch_size
    assert ((counts > 0) == (exact > 0)).all()
    assert (np.abs(counts - exact) < 3).all()
