"""Composition of a method's batches: plans, and the arrays that all examples share."""

from collections.abc import Callable

import numpy as np

from imbal_jax.config import Config
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.pipeline import REPEATED
from imbal_jax.data.feeding.plans import Plans
from imbal_jax.data.feeding.shared import Shared
from imbal_jax.data.splits.class_split import episode_steps
from imbal_jax.engine import keys
from imbal_jax.errors import InputError, named
from imbal_jax.methods import TRAINED, WITH_SUPPORT, Method
from imbal_jax.priors import class_counts
from imbal_jax.sampling import Plan, make_plan, plan_counts, resample
from imbal_jax.tasks import Task
from imbal_jax.transforms.augment import Augment
from imbal_jax.transforms.mixing import PARTNER

NO_AUGMENTATION = Augment()
MOST_STEPS = 2**31 - 1  # a step is an int32


def compose(
    config: Config, method: Method, task: Task, train: Dataset, num_shards: int, total_steps: int
) -> tuple[Plans, Shared]:
    """The plans of the batches, and what all examples share; InputError where the method does not fit the data."""
    task.check(method)
    pools = task.patch_pools(train, config.patch, seed=config.seed, by_image=method.composition == "natural")
    every = task.drawn_labels(train.labels, config.data.uncertain)
    cases = None if pools is None or pools.patches.by_image else pools.members
    labels = every if cases is None else cases
    items = None if method.resample == "none" else resample(labels, method.resample, config.seed)
    drawn = labels if items is None else labels[items]
    seed, partner_seed = keys.batches(config.seed)
    plan_of = _planner(config, method, drawn, num_shards, total_steps)
    plain_of = plan_of  # before a deferred composition, patches are cut from images, not of cases
    if cases is not None:
        plain_of = _planner(config, method, every, num_shards, total_steps)

    plan, partner = plan_of(method.composition, seed), PARTNER.get(method.mixing)
    late = "composition" in method.deferred
    start, ramp = round(method.defer * total_steps), round(method.ramp * total_steps)
    same = partner == "same"  # the partners are drawn as the images are, also before the switch
    plans = Plans(
        plan=plan,
        before=plain_of("natural", seed) if late else None,
        switch=np.int32(start) if late else None,
        partner=plan_of(method.composition if same else partner, partner_seed) if partner else None,
        partner_before=plan_of("natural", partner_seed) if late and same else None,
        items=items,
        patches=None if pools is None else pools.patches,
        episodes=task.episodes(config, train),
    )

    # Arrays
    classes = len(train.classes)
    drawn_counts = task.drawn_counts(train, drawn)
    natural = method.composition == "natural"
    stream = drawn_counts if natural else task.stream_counts(train, plan_counts(plan), pools)
    negative = config.data.negative_class
    with named(f"method {method.name}"):
        arrays = task.class_arrays(
            method,
            train,
            drawn_counts,
            stream,
            negative=train.classes.index(negative) if negative in train.classes else None,
            uncertain=config.data.uncertain,
        )
    if method.perturb_repeats:
        repeats = drawn_counts / np.asarray(class_counts(labels, classes))
        repeats = repeats / repeats.min()
        base = 0.0 if config.augment == NO_AUGMENTATION else 1.0
        arrays = arrays._replace(strength=(base + 1 - 1 / repeats).astype(np.float32))
    shared = Shared(
        arrays,
        **task.input_statistics(train),
        images_key=keys.images(config.seed),
        switch=np.array([start, ramp], np.int32) if method.deferred else None,
        mixing_steps=np.array([round(share * total_steps) for share in method.mixing_span], np.int32)
        if partner
        else None,
    )
    return plans, shared


def _planner(
    config: Config, method: Method, drawn: np.ndarray, num_shards: int, total_steps: int
) -> Callable[[str | tuple[float, ...], int], Plan]:
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

    return plan_of


def steps_of(config: Config, method: Method, train: Dataset) -> int:
    """How many steps the first stage of ``method`` takes."""
    items = len(train)
    if config.patch.size:
        height, width = train.images.shape[1:3]
        items = max(1, round(items * height * width / config.patch.size**2))
    if config.episode.ways:
        items = max(1, round(items / episode_steps(config)))
    if method.epoch == "rarest":
        counts = np.asarray(class_counts(train.image_labels, len(train.classes)))
        items = len(counts) * int(counts.min())
    return _countable(
        config.train.epochs * items / config.train.batch_size, "train.epochs", config.train.epochs
    )


def second_steps_of(config: Config, method: Method, train: Dataset) -> int:
    """How many steps the second stage of ``method`` takes; 0 where its head has a closed form.

    ``second_epochs`` epochs of the training split, however long the first stage is, and at least ``second_steps``.
    """
    if method.second_stage not in TRAINED:
        return 0
    return max(1, method.second_steps, second_steps_asked(config, method, train))


def second_steps_asked(config: Config, method: Method, train: Dataset) -> int:
    """``second_steps_of`` without the minimum."""
    steps = method.second_epochs * len(train) / config.train.batch_size
    _countable(steps, f"method {method.name}: second_epochs", method.second_epochs)
    return round(steps)


def _countable(steps: float, option: str, value: float) -> int:
    """At least one whole step; InputError for more than an int32 counts."""
    if steps >= MOST_STEPS:
        raise InputError(
            f"{option} is {value:g}, which is {steps:.3g} steps: give less, the most is {MOST_STEPS:,}"
        )
    return max(1, round(steps))


def second_stage_method(method: Method) -> Method:
    """What the head of ``method`` is trained with once the features are frozen: balanced batches."""
    return Method(
        name=method.name,
        summary=method.summary,
        composition="balanced",
        loss=method.second_loss,
        options=method.second_loss_options,
        # similarities are no cosine logits, which a scale would multiply
        head="linear" if method.second_stage in WITH_SUPPORT else method.head,
    )


def predicting_method(method: Method) -> Method:
    """The loss that the head of a finished run was trained with; it determines how logits become predictions."""
    return method if method.second_stage == "none" else second_stage_method(method)


def augmentation(config: Config, method: Method) -> Augment:
    """The augmentation at strength 1."""
    own = config.augment
    return REPEATED if method.perturb_repeats and own == NO_AUGMENTATION else own
