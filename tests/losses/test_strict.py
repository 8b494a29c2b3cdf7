"""Every public loss runs under JAX's strict flags: no NaN on the way, no implicit promotion of type or rank.

Types and ranks are the same whatever the values, so they are checked by tracing, which is fast; for NaN each loss is
run op by op in float32, in which all dtypes are computed, with its defaults and with a mask."""

from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax import losses

B, C, D = 4, 3, 5
DTYPES = (jnp.float32, jnp.bfloat16, jnp.float16)
LABELS = np.array([0, 2, 0, 0], np.int32)  # class 1 is missing
COUNTS, PRIORS, WEIGHTS = np.array([90, 9, 1]), np.array([0.9, 0.09, 0.01]), np.array([0.4, 1.0, 3.0])
MASK = np.array([True, True, False, True])
LABEL_MASK = np.array([[1, 1, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]])
FEATURES = np.random.default_rng(1).normal(size=(B, D)).astype(np.float32)
UNIT = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)


@contextmanager
def strict():
    with (
        jax.debug_nans(True),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        yield


# name -> the further positional arguments, and a list of options; the first argument is differentiated
ONE_LABEL = {
    "cross_entropy": ((), [{}]),
    "weighted_cross_entropy": ((WEIGHTS,), [{}]),
    "bayesian_cross_entropy": ((None,), [{}, {"target_priors": PRIORS}]),
    "focal": ((), [{}, {"gamma": 0.0}, {"gamma": 0.5, "alpha": WEIGHTS}]),
    "ldam": ((COUNTS,), [{}, {"max_margin": 0.3, "scale": 10}]),
    "logit_adjusted": ((PRIORS,), [{}, {"tau": 2}]),
    "balanced_softmax": ((COUNTS,), [{}]),
    "vector_scaling": ((COUNTS,), [{}, {"gamma": 0.3, "tau": 0.5}]),
    "class_dependent_temperature": ((COUNTS,), [{}, {"gamma": 1}]),
    "equalization": ((COUNTS, jax.random.key(0)), [{}, {"threshold": 0.5, "gamma": 0.5}]),
    "influence_balanced": (
        (FEATURES,),
        [{}, {"class_weights": WEIGHTS, "alpha": 10, "epsilon": 0.1, "constant_weight": False}],
    ),
    "label_aware_smoothing": (
        (COUNTS,),
        [{}, {"head": 0.3, "tail": 0, "shape": "convex"}, {"shape": "linear"}],
    ),
    "poly1": ((), [{}, {"epsilon": -0.5}]),
    "class_balanced_focal": ((COUNTS,), [{}, {"beta": 0.99, "gamma": 2}]),
}
MANY_LABELS = {
    "binary_cross_entropy": ((), [{}, {"pos_weight": WEIGHTS}, {"pos_weight": 3}]),
    "sigmoid_focal": ((), [{}, {"gamma": 0.5, "alpha": 0.25}, {"alpha": WEIGHTS / 4}]),
    "asymmetric": ((), [{}, {"gamma_neg": 0.5, "gamma_pos": 0, "clip": 0}, {"differentiate_weight": False}]),
    "distribution_balanced": ((COUNTS, 100), [{}, {"scale": 1, "gamma": 0, "mu": 1}]),
    "class_balanced_sigmoid_focal": ((COUNTS,), [{}, {"weigh": "positives", "beta": 0.9, "gamma": 1}]),
}
OVERLAP = {
    "dice": [{}, {"smooth": 0}, {"smooth": 1}],
    "jaccard": [{}, {"smooth": 0.1}],
    "tversky": [{}, {"alpha": 1, "beta": 0.5}],
    "focal_tversky": [{}, {"gamma": 2}],
    "generalized_dice": [{}, {"weighting": "simple"}, {"weighting": "uniform"}],
    "lovasz_softmax": [{}],
    "unified_focal": [{}, {"weight": 1, "delta": 0.7, "gamma": 0.2}],
    "matthews": [{}, {"smooth": 0}],
    "cl_dice": [{}],
    "lovasz_hinge": [{}],
}
SURROGATES = [{"surrogate": name, "margin": 2} for name in ("squared", "squared_hinge", "hinge", "logistic")]
RANKING = {
    "auc_margin": ((0.1, 0.2, 0.3), [{}, {"margin": 2}, {"prior": 0.1}]),
    "pairwise_auc": ((), [{}, *SURROGATES]),
    "partial_auc": ((), [{}, {"max_fpr": 0.5}, *SURROGATES]),
    "soft_partial_auc": ((), [{}, {"temperature": 2}, *SURROGATES]),
    "smooth_ap": ((), [{}, {"temperature": 0.01}]),
}
CONTRASTIVE = {"sup_con": ((), [{}, {"temperature": 1}]), "balanced_contrastive": ((UNIT[:C],), [{}])}
DISTANCES = {"boundary", "hausdorff"}
OTHERS = {
    "has_positive",
    "hard_negatives",
    "present",
    "batch_distances",
    "signed_distances",
    "soft_skeleton",
    "targets_and_mask",
    "weighted_mean",
}


def extremes(shape, dtype):
    """Logits of every size that float16 holds, infinite differences left out."""
    values = np.random.default_rng(0).normal(size=shape) * 3
    values[0], values[1] = values[0] * 1e3, 0
    return jnp.asarray(np.clip(values, -1e4, 1e4), dtype)


def check(call, first, *, run=True):
    """Types and ranks by tracing value and gradient; NaN by running them op by op."""
    value_and_gradient = jax.value_and_grad(lambda x: jnp.sum(call(x)))
    with strict():
        value, gradient = jax.eval_shape(value_and_gradient, first)
        assert value.dtype == jnp.float32
        assert gradient.dtype == first.dtype
        if not run:
            return
        value, gradient = value_and_gradient(first)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_every_public_loss_is_checked_here():
    here = {*ONE_LABEL, *MANY_LABELS, *OVERLAP, *DISTANCES, *RANKING, *CONTRASTIVE, *OTHERS}
    assert here == set(losses.__all__)


@pytest.mark.parametrize("name", ONE_LABEL)
def test_losses_of_one_label(name):
    further, variants = ONE_LABEL[name]
    soft = np.random.default_rng(2).dirichlet(np.ones(C), B)
    loss = getattr(losses, name)
    for dtype in DTYPES:
        logits = extremes((B, C), dtype)
        for options in [*variants, {"mask": MASK}] if dtype == jnp.float32 else variants[-1:]:
            for labels in (jnp.asarray(LABELS), jnp.asarray(soft, dtype)):
                run = dtype == jnp.float32 and set(options) <= {"mask"}
                check(lambda z, y=labels, o=options: loss(z, y, *further, **o), logits, run=run)
    check(lambda z: loss(z, jnp.asarray(LABELS), *further, ignore_index=2), extremes((B, C), jnp.float32))
    if name != "influence_balanced":
        stacked = extremes((2, B, C), jnp.float32)
        check(lambda z: loss(z, np.tile(LABELS, (2, 1)), *further), stacked, run=False)
    check(lambda t: loss(extremes((B, C), jnp.float32), t, *further), jnp.asarray(soft, jnp.float32))


@pytest.mark.parametrize("name", MANY_LABELS)
def test_losses_of_many_labels(name):
    further, variants = MANY_LABELS[name]
    hard = np.random.default_rng(2).integers(2, size=(B, C)).astype(np.int32)
    hard[0] = 0
    loss = getattr(losses, name)
    for dtype in DTYPES:
        logits = extremes((B, C), dtype)
        for options in [*variants, {"mask": LABEL_MASK}] if dtype == jnp.float32 else variants[-1:]:
            for targets in (jnp.asarray(hard), jnp.asarray(hard * 0.8, dtype), jnp.zeros((B, C))):
                run = dtype == jnp.float32 and set(options) <= {"mask"}
                check(lambda z, t=targets, o=options: loss(z, t, *further, **o), logits, run=run)


@pytest.mark.parametrize("name", OVERLAP)
def test_losses_of_overlap(name):
    loss = getattr(losses, name)
    rng = np.random.default_rng(3)
    truth = np.eye(C)[rng.integers(2, size=(2, 3, 3))]  # without the last class
    for dtype in DTYPES:
        for p in (rng.dirichlet(np.ones(C), (2, 3, 3)), truth, 1 - truth):
            more = [*OVERLAP[name][1:], {"mask": rng.integers(2, size=(2, 3, 3))}]
            for options in [{}, *more] if dtype == jnp.float32 else [{}]:
                for targets in (jnp.asarray(truth, jnp.int32), jnp.asarray(truth, dtype)):
                    run = targets.dtype == jnp.int32 and dtype != jnp.bfloat16
                    check(lambda q, t=targets, o=options: loss(q, t, **o), jnp.asarray(p, dtype), run=run)


def test_losses_of_distances():
    rng = np.random.default_rng(4)
    truth = np.eye(C)[rng.integers(2, size=(2, 3, 3))]
    distances, mask = losses.signed_distances(truth), rng.integers(2, size=(2, 3, 3))
    for dtype in DTYPES:
        for p in (rng.dirichlet(np.ones(C), (2, 3, 3)), truth, 1 - truth):
            p, run = jnp.asarray(p, dtype), dtype != jnp.bfloat16
            for hidden in (None, mask):
                check(lambda q, m=hidden: losses.boundary(q, distances, m), p, run=run)
                check(lambda q, m=hidden: losses.hausdorff(q, truth, distances, mask=m), p, run=run)
    with strict():
        assert losses.soft_skeleton(p, 1, mask).dtype == jnp.float32


@pytest.mark.parametrize("name", RANKING)
@pytest.mark.parametrize("shape", [(B,), (B, C)])
def test_losses_of_ranks(name, shape):
    further, variants = RANKING[name]
    loss = getattr(losses, name)
    mask = MASK if len(shape) == 1 else LABEL_MASK
    for dtype in DTYPES:
        scores = jnp.asarray(np.random.default_rng(0).normal(size=shape) * 3, dtype)
        targets = np.zeros(shape, np.int32)
        targets[:1] = 1
        for options in [*variants, {"mask": mask}] if dtype == jnp.float32 else [{}]:
            for y in (targets, jnp.asarray(targets, dtype), targets > 1):
                run = dtype == jnp.float32 and len(shape) == 2 and set(options) <= {"mask"}
                check(
                    lambda h, y=y, o=options: loss(h, y, *further, **o), scores, run=run and y is not targets
                )


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_contrastive_losses(name):
    further, variants = CONTRASTIVE[name]
    loss = getattr(losses, name)
    for dtype in DTYPES:
        for features in (UNIT, np.stack([UNIT, UNIT[::-1]], axis=1)):
            for options in [*variants, {"mask": MASK}] if dtype == jnp.float32 else [{}]:
                check(
                    lambda z, o=options: loss(z, jnp.asarray(LABELS), *further, **o),
                    jnp.asarray(features, dtype),
                    run=dtype == jnp.float32 and not options,
                )


def test_what_goes_with_the_losses():
    labels = np.array([[1, 0, -1], [0, -2, 1], [1, 1, 1], [0, 0, -1]], np.int32)
    for dtype in DTYPES:
        values = extremes((B, C), dtype)
        check(lambda v: losses.weighted_mean(v, None), values)
        for weights in (LABEL_MASK, LABEL_MASK > 0, jnp.asarray(MASK)[:, None], 2, WEIGHTS[None]):
            for normalize in ("weights", "count"):
                run = dtype == jnp.float32 and weights is LABEL_MASK
                check(
                    lambda v, w=weights, n=normalize: losses.weighted_mean(v, w, normalize=n), values, run=run
                )
        with strict():
            for options in ({}, {"ratio": 1, "minimum": 2}, {"mask": LABEL_MASK}):
                assert losses.hard_negatives(values, jnp.asarray(labels == 1), **options).dtype == jnp.float32
            assert losses.hard_negatives(values[:, 0], jnp.asarray(labels[:, 0] == 1)).shape == (B,)
    with strict():
        for given in (labels, jnp.asarray(labels), jnp.asarray(labels, jnp.bfloat16)):
            for policy in ("ignore", "zeros", "ones", "soft"):
                for key in (None, jax.random.key(0)):
                    targets, mask = losses.targets_and_mask(given, policy, key=key)
                    assert (targets.dtype, mask.dtype) == (jnp.float32, jnp.bool_)
        losses.targets_and_mask(jnp.asarray([[1.0, 0.0, -1.0]]), "soft", soft=(np.zeros(3), 1))
        assert losses.has_positive(jnp.asarray(LABELS), 2, mask=MASK).shape == (B,)
        assert losses.present(jnp.asarray(np.eye(C)[np.zeros((B, 2), int)])).shape == (B, C)
