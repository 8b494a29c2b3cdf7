"""What a config calls for: the mesh, the batches, the model, the optimiser."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from imbal_jax import models, parallel
from imbal_jax.augment import Augment
from imbal_jax.config import Config, Optim
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.pipeline import REPEATED, pixel_statistics
from imbal_jax.errors import InputError
from imbal_jax.methods import Method
from imbal_jax.sampling import Plan, make_plan, plan_counts, resample
from imbal_jax.step import ApplyFn, linen_apply
from imbal_jax.tasks import Task, class_arrays

NO_AUGMENTATION = Augment()


def compose(
    config: Config, method: Method, task: Task, train: Dataset, num_shards: int, total_steps: int
) -> tuple[Plan, np.ndarray | None, dict[str, np.ndarray]]:
    """The plan of every batch, the items behind it (None: the data set's own order), and the method's arrays."""
    labels = train.labels
    items = None
    if method.resample != "none":
        if task.name.startswith("many"):
            raise InputError(f"method {method.name}: resample={method.resample} needs one label an image")
        items = resample(labels, method.resample, config.seed)
    drawn = labels if items is None else labels[items]
    composition = method.composition if isinstance(method.composition, str) else np.array(method.composition)
    try:
        plan = make_plan(
            drawn,
            config.train.batch_size,
            composition,
            seed=config.seed,
            num_shards=num_shards,
            total_steps=total_steps,
        )
    except ValueError as error:
        raise InputError(
            f"method {method.name}, train.batch-size {config.train.batch_size}: {error}"
        ) from error
    classes = len(train.classes)
    drawn_counts = np.bincount(drawn, minlength=classes) if drawn.ndim == 1 else drawn.sum(axis=0)
    stream = drawn_counts if method.composition == "natural" else plan_counts(plan)[:classes]
    shared = class_arrays(method, labels, classes, stream)
    shared |= pixel_statistics(train.images)
    shared["augment_key"] = np.asarray(jax.random.key_data(jax.random.key(config.seed + 1)))
    if method.perturb_repeats:
        counts = np.bincount(labels, minlength=classes)
        repeats = (drawn_counts / counts) / (drawn_counts / counts).min()
        base = 0.0 if config.augment == NO_AUGMENTATION else 1.0
        shared["strength"] = (base + 1 - 1 / repeats).astype(np.float32)
    return plan, items, shared


def build_model(config: Config, train: Dataset) -> tuple[ApplyFn, dict[str, Any]]:
    """The model's pure function and its initial variables."""
    options: dict[str, Any] = {
        "norm": config.model.norm,
        "dtype": jnp.dtype(config.model.dtype),
        "dropout": config.model.dropout,
        "axis_name": None if config.train.backend == "jit" else parallel.AXIS,
        **config.model.options,
    }
    model = models.make_model(config.model.name, num_outputs=len(train.classes), **options)
    example = jnp.zeros((1, *train.images.shape[1:]), jnp.float32)
    variables = jax.jit(lambda key: model.init(key, example, train=False))(jax.random.key(config.seed))
    return linen_apply(model), dict(variables)


def make_optimizer(options: Optim, total_steps: int) -> optax.GradientTransformation:
    """The optimiser with its schedule over ``total_steps``, decay on kernels only, and clipping."""
    warmup = round(options.warmup * total_steps)
    if options.schedule == "cosine":
        rate = optax.warmup_cosine_decay_schedule(
            0.0 if warmup else options.learning_rate,
            options.learning_rate,
            warmup,
            max(total_steps, warmup + 1),
        )
    else:
        rate = optax.warmup_constant_schedule(
            0.0 if warmup else options.learning_rate, options.learning_rate, warmup
        )

    def kernels(params: Any) -> Any:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    if options.optimizer == "adamw":
        core = optax.adamw(rate, weight_decay=options.weight_decay, mask=kernels)
    else:
        core = optax.chain(
            optax.add_decayed_weights(options.weight_decay, mask=kernels),
            optax.sgd(rate, momentum=options.momentum or None, nesterov=options.momentum > 0),
        )
    return optax.chain(optax.clip_by_global_norm(options.clip_norm), core) if options.clip_norm else core


def augmentation(config: Config, method: Method) -> Augment:
    """What images are perturbed by at strength 1."""
    own = config.augment
    return REPEATED if method.perturb_repeats and own == NO_AUGMENTATION else own


def make_mesh(config: Config) -> Mesh:
    """The devices that the config asks for; InputError where there are fewer or the batch does not divide."""
    try:
        mesh = parallel.make_mesh(config.train.devices)
    except ValueError as error:
        raise InputError(f"train.devices: {error}") from error
    if config.train.batch_size % mesh.size:
        raise InputError(
            f"train.batch-size {config.train.batch_size} does not divide over {mesh.size} devices: "
            "change it, or set --train.devices"
        )
    return mesh
