"""How a training proceeds class by class: losses, gradients and head vectors, on a fixed probe of training images.

Gradient descent on very unbalanced data first makes the rare classes worse, because the gradient of the common class
points away from what they need (Francazi, Baity-Jesi and Lucchi, ICML 2023, arXiv 2207.00391). Its signs are the
norm of each class's mean gradient and the cosine between that of the majority and that of a rare class, below 0 where
the majority's step harms the rare class. Late in a training the head vectors of the rare classes may merge (minority
collapse: Fang et al., PNAS 2021, arXiv 2101.12699); their cosine goes to 1.

Cost: an evaluation takes one forward and one backward pass over the probe, as a training step over as many images
does. Measured for a small CNN at 32 pixels, 10 evaluations of 128 images take 0.9 s of a processor, including the
metrics of 1,600 validation images: 1.5 % of a run of a minute. The compilation, 4.6 s, is shared by all runs of one
process whose static parts are equal.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.pipeline import standardize
from imbal_jax.engine import keys
from imbal_jax.methods import Method
from imbal_jax.metrics.labels import decided_by_default, is_exclusive, one_against_rest
from imbal_jax.tasks import Task
from imbal_jax.training.network import Network, SecondStageNetwork
from imbal_jax.training.watch import Watched
from imbal_jax.transforms.augment import intensities

PER_CLASS, IN_ALL, LEAST = 64, 256, 8
"""Images of a class, unless that makes more than so many in all, but at least 8."""

REST = "none of them"  # the group of the images without any of many labels

Numbers = dict[str, float | None]


@dataclass(frozen=True)
class Probe:
    """Some training images of every class that has any, unaugmented; the majority first.

    G groups of n images: of one label the classes, of many labels the images with each label and those without any.
    images: uint8 or uint16 [G, n, H, W, channels]. labels: [G, n] or [G, n, L].
    counted: float32 [G, n], 0 for the repeats that fill up a group of fewer than n images.
    names: of the groups. rare: places of those with fewer training images than an equal share; where all have it, of
    all but the majority. columns: of the head, for each group; -1 where it has none. classes: the names of the data.
    """

    images: np.ndarray
    labels: np.ndarray
    counted: np.ndarray
    names: tuple[str, ...]
    rare: tuple[int, ...]
    columns: tuple[int, ...]
    classes: tuple[str, ...]


def probe_of(train: Dataset, *, per_class: int | None = None, seed: int = 0) -> Probe:
    """The probe of a training split: the same for every method. seed: chooses the images.

    per_class: how many of each group at most; None: 64, fewer where there are more than four groups.
    """
    truth = one_against_rest(train.labels, len(train.classes)) == 1
    members = {name: np.flatnonzero(truth[:, c]) for c, name in enumerate(train.classes)}
    if not is_exclusive(train.labels):
        members[REST] = np.flatnonzero(~truth.any(axis=1) & (train.labels >= 0).any(axis=1))
    counts = {name: len(rows) for name, rows in members.items() if len(rows)}
    majority = REST if counts.get(REST) else max(counts, key=counts.__getitem__)
    names = (majority, *(name for name in counts if name != majority))
    share = sum(counts.values()) / len(counts)
    rare = tuple(g for g, name in enumerate(names) if g and counts[name] < share)
    asked = min(PER_CLASS, max(LEAST, IN_ALL // len(names))) if per_class is None else per_class
    size = min(asked, max(counts.values()))
    rows, counted = [], []
    for g, name in enumerate(names):
        rng = np.random.default_rng([seed, len(members[name]), g])
        chosen = np.sort(rng.permutation(members[name])[:size])
        rows.append(np.resize(chosen, size))
        counted.append(np.arange(size) < len(chosen))
    flat = np.concatenate(rows)
    unique, place = np.unique(flat, return_inverse=True)
    images = np.asarray(train.images[unique])[place]
    return Probe(
        images=images.reshape(len(names), size, *images.shape[1:]),
        labels=train.labels[flat].reshape(len(names), size, *train.labels.shape[1:]),
        counted=np.array(counted, np.float32),
        names=names,
        rare=rare or tuple(range(1, len(names))),
        columns=tuple(train.classes.index(name) if name in train.classes else -1 for name in names),
        classes=train.classes,
    )


def dynamics_of(seen: Watched, probe: Probe) -> Numbers:
    """What a ledger's curve has of one evaluation, besides the metrics; None where it is undefined.

    ``loss/CLASS``: mean over its images of the loss that the method's objective gives each alone, so without class
    weights, mixing, contrast and mining; None of a loss that ranks images. ``gradient_norm/CLASS``: the length of the
    gradient of that mean, with respect to all that is trained, in evaluation mode. Of a loss that ranks: of the part
    of the probe's loss that comes through these images, times the number of groups. ``gradient_cosine/CLASS``:
    between the gradients of a rare class and of the majority; ``gradient_cosine``: their mean.
    ``head_cosine``: see ``head_cosine``. ``recall/CLASS``: on validation, of the class called.
    """
    program, state = seen.stage.program, seen.state
    variables = jax.device_get({"params": state.params, **state.model_state})
    measure = gradients_by_class(
        program.network,
        program.task,
        probed_method(program.method),
        program.optim.label_smoothing,
        program.uncertain,
    )
    shared = jax.device_get(seen.stage.shared)
    found = jax.device_get(
        measure(variables, shared, np.int32(seen.step), probe.images, probe.labels, probe.counted)
    )
    losses, norms, cosines = ([finite(value) for value in found[key]] for key in ("loss", "norm", "cosine"))
    of_rare = {probe.names[g]: cosines[g] for g in probe.rare}
    defined = [value for value in of_rare.values() if value is not None]
    return {
        **{f"loss/{name}": value for name, value in in_all(probe, losses).items()},
        **{f"gradient_norm/{name}": value for name, value in in_all(probe, norms).items()},
        **{f"gradient_cosine/{name}": value for name, value in of_rare.items()},
        "gradient_cosine": float(np.mean(defined)) if defined else None,
        "head_cosine": head_cosine(variables, probe),
        **recalls(seen.splits.validation.labels, seen.kept, probe.classes),
    }


def probed_method(method: Method) -> Method:
    """The part of a method that says what the loss of one image is. method: a static part."""
    return replace(
        method, auxiliary="none", views=1, contrast_views=0, hard_negatives=0.0, normalize="weights"
    )


@lru_cache(maxsize=32)
def gradients_by_class(
    network: Network | SecondStageNetwork,
    task: Task,
    method: Method,
    label_smoothing: float = 0.0,
    uncertain: str = "ignore",
) -> Callable[..., Mapping[str, jax.Array]]:
    """``(variables, shared, step, images, labels, counted) -> loss, norm, cosine``, each [G]; compiled once a shape.

    Arguments as the fields of ``Probe``; cosine: with the gradient of the first group. One group is differentiated
    after the other, so that two gradients are in memory, not G.
    """
    objective = task.objective(method, label_smoothing=label_smoothing, uncertain=uncertain)
    ranks = method.loss_row.ranks

    def measured(variables: Any, shared: Any, step: Any, images: Any, labels: Any, counted: Any) -> Any:
        now = shared.at_step(step, keys.images_of_step(shared.images_key, step))
        groups, size = images.shape[:2]

        def of_one(outputs: Any, label: Any) -> jax.Array:
            alone = jax.tree.map(lambda value: value[None], outputs)
            return objective(alone, {"labels": label[None], "shared": now}, None)[0]

        def of_all(outputs: Any) -> jax.Array:
            own = {method.loss: variables["params"][method.loss]} if method.loss_row.variables else {}
            flat = labels.reshape(groups * size, *labels.shape[2:])
            return objective({**outputs, **own}, {"labels": flat, "shared": now}, None)[0]

        def of_group(params: Any, group: Any) -> jax.Array:
            images, labels, counted, slopes = group
            outputs = _outputs(network, {**variables, "params": params}, images, now)
            if ranks:
                return groups * sum(jnp.vdot(slopes[name], outputs[name]) for name in outputs)
            return (counted * jax.vmap(of_one)(outputs, labels)).sum() / counted.sum()

        slopes = None
        if ranks:
            seen = _outputs(network, variables, images.reshape(groups * size, *images.shape[2:]), now)
            slopes = jax.tree.map(lambda slope: slope.reshape(groups, size, -1), jax.grad(of_all)(seen))
        _, (loss, squares, products) = _group_by_group(
            of_group, variables["params"], (images, labels, counted, slopes)
        )
        norm = jnp.sqrt(squares)
        cosine = products / (norm * norm[0])  # 0 / 0, undefined, where a gradient is 0
        return {"loss": jnp.full(groups, jnp.nan) if ranks else loss, "norm": norm, "cosine": cosine}

    return jax.jit(measured)


def _outputs(network: Any, variables: Any, images: jax.Array, shared: Any) -> dict[str, jax.Array]:
    """What the loss of an image reads of it."""
    inputs = standardize(intensities(images), shared.mean, shared.deviation)
    found = network.judged(variables, inputs)
    return {name: found[name] for name in ("logits", "features") if name in found}


def _group_by_group(loss_of: Callable[[Any, Any], jax.Array], params: Any, groups: Any) -> Any:
    """Loss, squared length of its gradient, and product of that with the first group's, of each group."""

    def one_more(first: jax.Array, at: Any) -> Any:
        place, group = at
        loss, gradient = jax.value_and_grad(loss_of)(params, group)
        vector = ravel_pytree(gradient)[0].astype(jnp.float32)
        first = jnp.where(place == 0, vector, first)
        return first, (loss, vector @ vector, vector @ first)

    start = jnp.zeros(sum(np.size(leaf) for leaf in jax.tree.leaves(params)))
    return jax.lax.scan(one_more, start, (jnp.arange(len(groups[0])), groups))


def head_cosine(variables: Mapping[str, Any], probe: Probe) -> float | None:
    """The mean cosine between the head vectors of the rare classes, over their pairs: 1 is minority collapse.

    Classes as far apart as they can be have -1 / (C - 1). With a single rare class, as always with two classes: the
    cosine between its vector and the majority's, -1 at best, and 1 where both classes get the same logits but for
    the bias. Of many labels: of the rare labels; None for a single one, which has nothing to merge with. None where
    the network has no linear ``head``.
    """
    head = variables["params"].get("head") or variables.get("frozen", {}).get("head") or {}
    kernel = np.asarray(head.get("kernel", np.zeros(0)), np.float64)
    if kernel.ndim != 2 or kernel.shape[1] <= max(probe.columns):
        return None
    columns = [probe.columns[g] for g in probe.rare if probe.columns[g] >= 0]
    if len(columns) == 1 and is_exclusive(probe.labels[0]):
        columns = [probe.columns[0], *columns]
    if len(columns) < 2:
        return None
    vectors = kernel[:, columns]
    length = np.linalg.norm(vectors, axis=0)
    if not length.all():
        return None
    unit = vectors / length
    pairs = np.triu_indices(len(columns), 1)
    return finite((unit.T @ unit)[pairs].mean())


def recalls(labels: np.ndarray, kept: np.ndarray, classes: Sequence[str]) -> Numbers:
    """``recall/CLASS``: the share of a class's images that are called so, by the highest probability or by 0.5."""
    truth, called = one_against_rest(labels, len(classes)) == 1, decided_by_default(labels, kept)
    return {
        f"recall/{name}": float(called[truth[:, c], c].mean()) if truth[:, c].any() else None
        for c, name in enumerate(classes)
    }


def in_all(probe: Probe, values: Sequence[float | None]) -> Numbers:
    """``values`` of the groups by name, and None for each class without training images."""
    return {**dict.fromkeys(probe.classes), **dict(zip(probe.names, values, strict=True))}


def finite(value: Any) -> float | None:
    """A float; None for NaN and infinity, which JSON has not."""
    return float(value) if math.isfinite(value) else None
