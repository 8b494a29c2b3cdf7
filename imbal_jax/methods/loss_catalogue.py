"""The losses that a method may name. A new loss is its function in losses/, one row here, and its test."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from imbal_jax import losses
from imbal_jax.engine.pesg import auc_margin_variables, pesg
from imbal_jax.losses.sigmoid import sigmoid_pair
from imbal_jax.losses.single_label import log_odds
from imbal_jax.methods.loss import ClassArrays, Loss, LossFunction, Scene

Options = Mapping[str, float]
RankingLoss = Callable[..., jax.Array]  # (scores, targets, *, mask, axis_name, **options) -> one number


# ---------------------------------------------------------------------------------------------------------------
# Ranking: scores of one label an image, or of each label
# ---------------------------------------------------------------------------------------------------------------


def _class_odds(scene: Scene) -> tuple[jax.Array, jax.Array]:
    """Log odds of each class against the rest, [B, C], and membership; one column for two classes."""
    logits = scene.logits.astype(jnp.float32)
    targets = jax.nn.one_hot(scene.targets, logits.shape[-1])
    if logits.shape[-1] == 2:
        return logits[:, 1:] - logits[:, :1], targets[:, 1:]
    return log_odds(logits), targets


def _labels_apart(scene: Scene) -> tuple[jax.Array, jax.Array]:
    """Logits and positive labels: an uncertain label that is trained as 0.7 ranks with the positives."""
    return scene.logits.astype(jnp.float32), (scene.targets > 0.5).astype(jnp.float32)


def _of_classes(loss: RankingLoss) -> LossFunction:
    return lambda s: loss(*_class_odds(s), mask=s.mask, axis_name=s.axis_name, **s.options)


def _of_labels(loss: RankingLoss) -> LossFunction:
    return lambda s: loss(*_labels_apart(s), mask=s.mask, axis_name=s.axis_name, **s.options)


def _auc_margin(scene: Scene, scores: jax.Array, targets: jax.Array) -> jax.Array:
    dual = scene.outputs["auc_margin"]
    return losses.auc_margin(
        sigmoid_pair(scores)[0],
        targets,
        dual["a"],
        dual["b"],
        dual["alpha"],
        mask=scene.mask,
        axis_name=scene.axis_name,
        **scene.options,
    )


def _saddle_optimizer(
    learning_rate: optax.ScalarOrSchedule,
    *,
    total_steps: int,
    weight_decay: float,
    direction: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """The dual variable ascends (``engine.pesg``), in ten stages."""
    period = max(1, total_steps // 10)
    return pesg(learning_rate, period=period, weight_decay=weight_decay, direction=direction)


# ---------------------------------------------------------------------------------------------------------------
# Many labels
# ---------------------------------------------------------------------------------------------------------------


def _with_positive_weights(values: jax.Array, scene: Scene) -> jax.Array:
    return values * (1 + scene.targets * (scene.arrays.class_weights - 1))


# ---------------------------------------------------------------------------------------------------------------
# Masks
# ---------------------------------------------------------------------------------------------------------------


def _boundary(probabilities: jax.Array, targets: jax.Array, *, mask: jax.Array | None) -> jax.Array:
    return losses.boundary(probabilities, losses.batch_distances(targets, mask), mask)


def _hausdorff(
    probabilities: jax.Array, targets: jax.Array, *, mask: jax.Array | None, alpha: float
) -> jax.Array:
    distances = losses.batch_distances(targets, mask)
    return losses.hausdorff(probabilities, targets, distances, alpha=alpha, mask=mask)


# ---------------------------------------------------------------------------------------------------------------
# Data on which a loss is plain cross-entropy
# ---------------------------------------------------------------------------------------------------------------


def _at_zero(option: str) -> Callable[[Options, ClassArrays], str | None]:
    return lambda options, arrays: f"{option} is 0" if options[option] == 0 else None


def _at_even_batches(options: Options, arrays: ClassArrays) -> str | None:
    even = np.allclose(arrays.priors, 1 / len(arrays.priors))
    return "the batches hold as many images of each class" if even else None


def _at_even_counts(options: Options, arrays: ClassArrays) -> str | None:
    return "all classes have as many images" if np.allclose(arrays.counts, arrays.counts[0]) else None


def _at_no_rare_class(options: Options, arrays: ClassArrays) -> str | None:
    counts = np.asarray(arrays.counts, np.float64)
    threshold = options["relative_threshold"] / len(counts)
    idle = counts.min() / counts.sum() >= threshold or options["gamma"] == 0
    return f"no class has less than {threshold:.3g} of the images" if idle else None


def _uniform_sigmoids(classes: int) -> Any:
    """Each sigmoid starts at 1 / C, as in the authors' code.

    From 1/2, the many negatives of the common classes would dominate the first steps.
    """
    return -jnp.log(max(classes - 1.0, 1.0))


COSINE_SCALE = 30.0
"""Factor on the logits of a cosine head; Cao et al. 2019 give it for LDAM."""

_ROWS = (
    # One label and many labels
    Loss(
        name="cross_entropy",
        one_label=lambda s: losses.cross_entropy(s.logits, s.targets),
        many_labels=lambda s: losses.binary_cross_entropy(
            s.logits, s.targets, s.arrays.class_weights, s.mask
        ),
        reads=("class_weights",),
    ),
    Loss(
        name="focal",
        one_label=lambda s: losses.focal(s.logits, s.targets, **s.options),
        many_labels=lambda s: _with_positive_weights(
            losses.sigmoid_focal(s.logits, s.targets, mask=s.mask, **s.options), s
        ),
        options={"gamma": 2.0},
        reads=("class_weights",),
        idle=_at_zero("gamma"),
    ),
    # One label
    Loss(
        name="bayesian",
        one_label=lambda s: losses.bayesian_cross_entropy(
            s.logits, s.targets, None, axis_name=s.axis_name, mask=s.mask
        ),
        priors_removed=1.0,
    ),
    Loss(
        name="class_balanced_focal",
        one_label=lambda s: losses.class_balanced_focal(
            s.logits, s.targets, s.arrays.counts, beta=s.beta, **s.options
        ),
        options={"gamma": 0.5},
        reads=("counts", "beta"),
        initial_bias=_uniform_sigmoids,
    ),
    Loss(
        name="poly1",
        one_label=lambda s: losses.poly1(s.logits, s.targets, **s.options),
        options={"epsilon": 1.0},
        idle=_at_zero("epsilon"),
    ),
    Loss(
        name="logit_adjusted",
        one_label=lambda s: losses.logit_adjusted(s.logits, s.targets, s.arrays.priors, **s.options),
        options={"tau": 1.0},
        reads=("priors",),
        priors_removed="tau",
        idle=_at_even_batches,
    ),
    Loss(
        name="balanced_softmax",
        one_label=lambda s: losses.balanced_softmax(s.logits, s.targets, s.arrays.priors),
        reads=("priors",),
        priors_removed=1.0,
        idle=_at_even_batches,
    ),
    Loss(
        name="vector_scaling",
        one_label=lambda s: losses.vector_scaling(s.logits, s.targets, s.arrays.priors, **s.options),
        options={"gamma": 0.15, "tau": 1.0},
        reads=("priors",),
        priors_removed="tau",
        idle=_at_even_batches,
    ),
    Loss(
        name="class_dependent_temperature",
        one_label=lambda s: losses.class_dependent_temperature(
            s.logits, s.targets, s.arrays.counts, **s.options
        ),
        options={"gamma": 0.15},
        reads=("counts",),
        idle=_at_even_counts,
    ),
    Loss(
        name="ldam",
        one_label=lambda s: losses.ldam(s.logits, s.targets, s.arrays.counts, **s.options),
        options={"max_margin": 0.5, "scale": COSINE_SCALE},
        reads=("counts",),
        cosine_scale="scale",
    ),
    Loss(
        name="equalization",
        one_label=lambda s: losses.equalization(
            s.logits,
            s.targets,
            s.arrays.counts,
            s.key,
            s.options["relative_threshold"] / s.logits.shape[-1],
            s.options["gamma"],
        ),
        options={"relative_threshold": 0.5, "gamma": 0.9},  # the threshold is relative to 1 / C
        reads=("counts", "key"),
        idle=_at_no_rare_class,
    ),
    Loss(
        name="influence_balanced",
        one_label=lambda s: losses.influence_balanced(
            s.logits, s.targets, s.outputs["features"], constant_weight=False, **s.options
        ),
        options={"alpha": 1000.0},
        reads=("features",),
    ),
    Loss(
        name="label_aware_smoothing",
        one_label=lambda s: losses.label_aware_smoothing(s.logits, s.targets, s.arrays.counts, **s.options),
        options={"head": 0.4, "tail": 0.1},
        reads=("counts",),
    ),
    # Many labels
    Loss(
        name="asymmetric",
        many_labels=lambda s: _with_positive_weights(
            losses.asymmetric(s.logits, s.targets, mask=s.mask, **s.options), s
        ),
        options={"gamma_neg": 4.0, "gamma_pos": 1.0, "clip": 0.05},
        reads=("class_weights",),
    ),
    Loss(
        name="distribution_balanced",
        many_labels=lambda s: losses.distribution_balanced(
            s.logits, s.targets, s.arrays.counts, s.arrays.known, mask=s.mask, **s.options
        ),
        options={"kappa": 0.05, "scale": 2.0, "gamma": 2.0},
        reads=("counts", "known"),
    ),
    Loss(
        name="class_balanced_sigmoid_focal",
        many_labels=lambda s: losses.class_balanced_sigmoid_focal(
            s.logits, s.targets, s.arrays.counts, beta=s.beta, mask=s.mask, **s.options
        ),
        options={"gamma": 2.0},
        reads=("counts", "beta"),
    ),
    # Ranking
    Loss(
        name="auc_margin",
        one_label=lambda s: _auc_margin(s, *_class_odds(s)),
        many_labels=lambda s: _auc_margin(s, *_labels_apart(s)),
        options={"margin": 1.0},
        ranks=True,
        variables=lambda classes: auc_margin_variables(1 if classes == 2 else classes),
        optimizer=_saddle_optimizer,
    ),
    Loss(
        name="pairwise_auc",
        one_label=_of_classes(losses.pairwise_auc),
        many_labels=_of_labels(losses.pairwise_auc),
        options={"margin": 1.0},
        ranks=True,
    ),
    Loss(
        name="partial_auc",
        one_label=_of_classes(losses.partial_auc),
        many_labels=_of_labels(losses.partial_auc),
        options={"max_fpr": 0.1, "margin": 1.0},
        ranks=True,
    ),
    Loss(
        name="smooth_ap",
        one_label=_of_classes(losses.smooth_ap),
        many_labels=_of_labels(losses.smooth_ap),
        options={"temperature": 1.0},
        ranks=True,
    ),
    # Masks
    Loss(name="dice", overlap=losses.dice, options={"smooth": 1e-5}),
    Loss(name="jaccard", overlap=losses.jaccard, options={"smooth": 1e-5}),
    Loss(name="generalized_dice", overlap=losses.generalized_dice, options={"smooth": 1e-5}),
    Loss(name="tversky", overlap=losses.tversky, options={"alpha": 0.3, "beta": 0.7, "smooth": 1e-5}),
    Loss(
        name="focal_tversky",
        overlap=losses.focal_tversky,
        options={"alpha": 0.3, "beta": 0.7, "gamma": 4 / 3, "smooth": 1e-5},
    ),
    Loss(name="lovasz_softmax", overlap=losses.lovasz_softmax),
    Loss(
        name="unified_focal",
        overlap=losses.unified_focal,
        options={"weight": 0.5, "delta": 0.6, "gamma": 0.5},
    ),
    Loss(name="matthews", overlap=losses.matthews, options={"smooth": 1e-5}),
    Loss(
        name="cl_dice",
        overlap=lambda p, t, mask, iterations, smooth: losses.cl_dice(p, t, int(iterations), smooth, mask),
        options={"iterations": 3.0, "smooth": 1.0},
    ),
    Loss(name="boundary", overlap=_boundary),
    Loss(name="hausdorff", overlap=_hausdorff, options={"alpha": 2.0}),
)

LOSSES: dict[str, Loss] = {row.name: row for row in _ROWS}
"""What a ``Method`` may name as its loss, by name."""
