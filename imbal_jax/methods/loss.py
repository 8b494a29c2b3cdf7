"""A loss as a value: its function for each kind of label, its options, and what it needs from the trainer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import optax


class ClassArrays(NamedTuple):
    """Numbers of each class that a method uses; a field is None where the kind of labels or the method has none.

    class_weights: [C], weight of each class; with many labels, of its positives.
    counts: [C], images of each class in the training split.
    priors: [C], shares of the classes in the batches as they are drawn; one label only.
    known: [C], images whose label is 0 or 1; many labels only.
    negative: index of the class that is no finding; one label only.
    priors_before: [C], as ``priors``, of the batches before a deferred composition comes in; one label only.
    strength: [C], how far an image of each class is perturbed, in units of the augmentation.
    """

    class_weights: Any
    counts: Any
    priors: Any = None
    known: Any = None
    negative: Any = None
    priors_before: Any = None
    strength: Any = None


@dataclass(frozen=True)
class Scene:
    """What a loss may look at: one batch, as one device sees it.

    outputs: network outputs: ``logits`` [B, C], and those that ``Loss.reads`` and ``Loss.variables`` ask for.
    targets: int [B] or soft [B, C]. mask: bool, shaped like the targets, or None.
    options: all options of the loss. beta: ``Method.beta``, for the effective number of images.
    key: PRNG key of this step and device, or None. axis_name: mesh axis of the devices, or None.
    """

    outputs: Mapping[str, Any]
    targets: jax.Array
    mask: jax.Array | None
    arrays: ClassArrays
    options: Mapping[str, Any]
    beta: float
    key: Any
    axis_name: str | None

    @property
    def logits(self) -> jax.Array:
        return self.outputs["logits"]


LossFunction = Callable[[Scene], jax.Array]
"""Values of one batch: [B] for one label an image, [B, C] for many; a ranking loss gives one number instead."""


OverlapFunction = Callable[..., jax.Array]
"""``(probabilities, targets, *, mask, **options)`` -> values [B, C], or [B] of all classes together, of masks."""


class OptimizerFactory(Protocol):
    """Makes the optimiser that a loss needs in place of the configured one."""

    def __call__(
        self,
        learning_rate: optax.ScalarOrSchedule,
        *,
        total_steps: int,
        weight_decay: float,
        direction: optax.GradientTransformation,
    ) -> optax.GradientTransformation: ...


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One loss: a row of ``LOSSES``. The trainer reads its fields and does not branch on its name.

    one_label, many_labels: the function for each kind of label; None where the loss is not for that kind. Of a mask
      they give a value a pixel.
    overlap: the function for masks whose values belong to a whole image: probabilities and one-hot targets
      [B, H, W, C], mask [B, H, W], and the options. terms: factors and losses that are added up, for masks
      (``dice+cross_entropy``); the functions above are then None.
    options: name -> default value.
    reads: what the functions use besides logits, targets, mask and options: fields of ``ClassArrays``,
      ``features`` of the network, ``key``, ``beta``.
    ranks: the function gives one number for the global batch, which compares images with one another.
    priors_removed: the power of the batch priors that the loss takes out of the logits: 0 leaves the posterior of the
      batches, 1 gives that of equal priors. Text names the option that holds the power.
    cosine_scale: the option by which the loss itself multiplies the logits of a cosine head; None: the trainer
      multiplies them by ``COSINE_SCALE``.
    initial_bias: number of classes -> initial bias of the head; None: 0.
    variables: number of classes -> initial values of variables that are trained beside the network. They are
      parameters and outputs under the name of the loss.
    optimizer: makes the optimiser that the loss needs; None: the configured one.
    idle: (options, class arrays) -> why the loss is plain cross-entropy on these data, or None where it is not.
    """

    name: str
    one_label: LossFunction | None = None
    many_labels: LossFunction | None = None
    overlap: OverlapFunction | None = None
    terms: tuple[tuple[float, "Loss"], ...] = ()
    options: Mapping[str, float] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    ranks: bool = False
    priors_removed: float | str = 0.0
    cosine_scale: str | None = None
    initial_bias: Callable[[int], Any] | None = None
    variables: Callable[[int], dict[str, jax.Array]] | None = None
    optimizer: OptimizerFactory | None = None
    idle: Callable[[Mapping[str, float], ClassArrays], str | None] | None = None

    def power_removed(self, options: Mapping[str, float]) -> float:
        """``priors_removed`` as a number, given all options of the loss."""
        return options[self.priors_removed] if isinstance(self.priors_removed, str) else self.priors_removed

    def options_of(self, term: "Loss", given: Mapping[str, float]) -> dict[str, float]:
        """The options of one of ``terms``, from all options of the sum."""
        return {name: given[_option_of_sum(self.terms, term, name)] for name in term.options}


def sum_of(terms: tuple[tuple[float, Loss], ...], name: str) -> Loss:
    """The sum of losses, each with its factor, as a loss for masks. An option that two of them have is called
    LOSS.OPTION."""
    options = {
        _option_of_sum(terms, term, option): value
        for _, term in terms
        for option, value in term.options.items()
    }
    reads = tuple(dict.fromkeys(read for _, term in terms for read in term.reads))
    return Loss(name=name, terms=terms, options=options, reads=reads)


def _option_of_sum(terms: tuple[tuple[float, Loss], ...], term: Loss, option: str) -> str:
    shared = sum(option in other.options for _, other in terms) > 1
    return f"{term.name}.{option}" if shared else option
