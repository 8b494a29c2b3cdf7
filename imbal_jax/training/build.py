"""What a config calls for: the mesh, the batches, the model, the optimiser."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from imbal_jax import models
from imbal_jax.config import Config, Optim
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.pipeline import REPEATED, Plans, pixel_statistics
from imbal_jax.data.labels import UNCERTAIN
from imbal_jax.engine import parallel
from imbal_jax.engine.pesg import pesg
from imbal_jax.errors import InputError
from imbal_jax.methods import TRAINED, Method
from imbal_jax.sampling import Plan, make_plan, plan_counts, resample
from imbal_jax.tasks import Task, class_arrays
from imbal_jax.training.network import Network, SecondStageNetwork
from imbal_jax.transforms.augment import Augment
from imbal_jax.transforms.mixing import PARTNER

NO_AUGMENTATION = Augment()


def compose(
    config: Config, method: Method, task: Task, train: Dataset, num_shards: int, total_steps: int
) -> tuple[Plans, dict[str, np.ndarray]]:
    """The plans of every batch, and the method's arrays."""
    task.check(method)
    labels = as_drawn(train.labels, config.data.uncertain)
    items = None
    if method.resample != "none":
        if task.name.startswith("many"):
            raise InputError(f"method {method.name}: resample={method.resample} needs one label an image")
        items = resample(labels, method.resample, config.seed)
    drawn = labels if items is None else labels[items]

    def plan_of(composition: str | tuple[float, ...], seed: int) -> Plan:
        try:
            return make_plan(
                drawn,
                config.train.batch_size,
                composition if isinstance(composition, str) else np.array(composition),
                seed=seed,
                num_shards=num_shards,
                total_steps=total_steps,
            )
        except ValueError as error:
            raise InputError(
                f"method {method.name}, train.batch-size {config.train.batch_size}: {error}"
            ) from error

    plan = plan_of(method.composition, config.seed)
    late = "composition" in method.deferred
    partner = PARTNER.get(method.mixing)
    plans = Plans(
        plan=plan,
        before=plan_of("natural", config.seed) if late else None,
        # another seed, or every image would be its own partner
        partner=plan_of(method.composition if partner == "same" else partner, config.seed + 1)
        if partner
        else None,
        items=items,
    )

    # Arrays
    classes = len(train.classes)
    drawn_counts = np.bincount(drawn, minlength=classes) if drawn.ndim == 1 else (drawn == 1).sum(axis=0)
    stream = drawn_counts if method.composition == "natural" else plan_counts(plan)[:classes]
    negative = config.data.negative_class
    shared = class_arrays(
        method,
        train.labels,
        classes,
        stream,
        train.classes.index(negative) if negative in train.classes else None,
        config.data.uncertain,
    )
    shared |= pixel_statistics(train.images)
    shared["augment_key"] = np.asarray(jax.random.key_data(jax.random.key(config.seed + 1)))
    if method.deferred:
        shared["switch"] = np.array(
            [round(method.defer * total_steps), round(method.ramp * total_steps)], np.int32
        )
    if partner:
        shared["mixing_steps"] = np.array(
            [round(share * total_steps) for share in method.mixing_span], np.int32
        )
    if late and labels.ndim == 1:
        shared["priors_before"] = (drawn_counts / drawn_counts.sum()).astype(np.float32)
    if method.perturb_repeats:
        counts = np.bincount(labels, minlength=classes)
        repeats = (drawn_counts / counts) / (drawn_counts / counts).min()
        base = 0.0 if config.augment == NO_AUGMENTATION else 1.0
        shared["strength"] = (base + 1 - 1 / repeats).astype(np.float32)
    return plans, shared


def as_drawn(labels: np.ndarray, uncertain: str) -> np.ndarray:
    """The labels by which batches are composed: many, where -1 is trained as a positive, hold 1 in its place."""
    if labels.ndim == 1 or uncertain not in ("ones", "soft"):
        return labels
    return np.where(labels == UNCERTAIN, labels.dtype.type(1), labels)


def steps_of(config: Config, method: Method, train: Dataset) -> int:
    """How many steps the first stage of ``method`` takes."""
    items = len(train)
    if method.epoch == "rarest":
        if train.many_labels:
            raise InputError(f"method {method.name}: epoch=rarest needs one label an image")
        counts = np.bincount(train.labels, minlength=len(train.classes))
        items = len(counts) * counts.min()
    return max(1, round(config.train.epochs * items / config.train.batch_size))


def second_steps_of(config: Config, method: Method, train: Dataset) -> int:
    """How many steps the second stage of ``method`` takes; 0 where its head has a closed form.

    ``second_epochs`` epochs of the training split, however long the first stage is, and at least ``second_steps``.
    """
    if method.second_stage not in TRAINED:
        return 0
    asked = round(method.second_epochs * len(train) / config.train.batch_size)
    return max(1, method.second_steps, asked)


def build_network(config: Config, method: Method, train: Dataset) -> tuple[Network, dict[str, Any]]:
    """The network of the first stage of ``method``, and its initial variables."""
    options: dict[str, Any] = {
        "norm": config.model.norm,
        "dtype": jnp.dtype(config.model.dtype),
        "dropout": config.model.dropout,
        "axis_name": None if config.train.backend == "jit" else parallel.AXIS,
        **config.model.options,
    }
    if method.head != "linear":
        options["head"] = method.head
    model = models.make_model(config.model.name, num_outputs=len(train.classes), **options)
    network = Network(model, method)
    example = jnp.zeros((1, *train.images.shape[1:]), jnp.float32)
    return network, jax.jit(network.init)(jax.random.key(config.seed), example)


def build(
    config: Config, method: Method, train: Dataset
) -> tuple[Network | SecondStageNetwork, dict[str, Any]]:
    """The network that a run of ``method`` saves, and variables of the shapes that it saves."""
    network, variables = build_network(config, method, train)
    if method.second_stage == "none":
        return network, variables
    stage = SecondStageNetwork(network, method.second_stage)
    return stage, stage.init(jax.random.key(config.seed + 2), variables)


def make_optimizer(
    options: Optim, total_steps: int, method: Method | None = None
) -> optax.GradientTransformation:
    """The optimiser with its schedule over ``total_steps``, decay on kernels only, and clipping.

    From the switch of a method with ``rate_after`` on, the rate is multiplied by that.
    A method with the AUC margin as its loss has a saddle to find: its dual variable ascends
    (``minimax.pesg``), in ten stages.
    """
    warmup = round(options.warmup * total_steps)
    peak = options.learning_rate
    start = 0.0 if warmup else peak
    if options.schedule == "cosine":
        rate = optax.warmup_cosine_decay_schedule(start, peak, warmup, max(total_steps, warmup + 1))
    elif options.schedule == "steps":
        milestones = {round(share * total_steps) - warmup: options.decay for share in options.milestones}
        rate = optax.join_schedules(
            [optax.linear_schedule(start, peak, warmup), optax.piecewise_constant_schedule(peak, milestones)],
            [warmup],
        )
    else:
        rate = optax.warmup_constant_schedule(start, peak, warmup)

    if method is not None and method.rate_after != 1:
        factor = optax.piecewise_constant_schedule(
            1.0, {round(method.defer * total_steps): method.rate_after}
        )
        scheduled = rate

        def rate(step: Any) -> Any:
            return scheduled(step) * factor(step)

    def kernels(params: Any) -> Any:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    if method is not None and method.loss == "auc_margin" and method.second_stage == "none":
        adam = options.optimizer == "adamw"
        return pesg(
            rate,
            period=max(1, total_steps // 10),
            weight_decay=options.weight_decay,
            direction=optax.scale_by_adam() if adam else optax.trace(options.momentum),
        )
    if options.optimizer == "adamw":
        core = optax.adamw(rate, weight_decay=options.weight_decay, mask=kernels)
    else:
        core = optax.chain(
            optax.add_decayed_weights(options.weight_decay, mask=kernels),
            optax.sgd(
                rate, momentum=options.momentum or None, nesterov=options.nesterov and options.momentum > 0
            ),
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
