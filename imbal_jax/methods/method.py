"""A balancing method: a frozen value that says how to sample, weigh, mix, train and correct."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NoReturn

from imbal_jax.errors import InputError
from imbal_jax.fields import check_fields
from imbal_jax.import_paths import as_import_path
from imbal_jax.methods.loss import Loss
from imbal_jax.methods.own_loss import find_loss
from imbal_jax.priors import SCHEMES
from imbal_jax.sampling import COMPOSITIONS
from imbal_jax.transforms.mixing import ALPHA, Mixing

Deferred = Literal["weights", "composition", "loss"]
SecondStage = Literal[
    "none", "retrain", "scale", "head_and_scale", "tau_norm", "nearest_mean", "smote", "smoothed_bootstrap",
    "prototype_head", "memory_head", "attention_head",
]  # fmt: skip
TRAINED = ("retrain", "scale", "head_and_scale", "smote", "smoothed_bootstrap", "attention_head")
"""The second stages that take steps; the others have a closed form."""

GROWING = ("prototype_head", "memory_head")
"""The second stages whose memory takes a further class without a gradient step."""

WITH_SUPPORT = (*GROWING, "attention_head")
"""The second stages that compare features with stored ones (``models.support``)."""

Correction = Literal["none", "logit_adjusted", "prior", "em", "threshold"]
Auxiliary = Literal["none", "sup_con", "balanced_contrastive"]

MEMORY = ("memory_size", "memory_distance", "memory_strength")
"""The fields of ``Method`` that only second stages with a support read."""

LARGEST_POWER = 4.0
"""Of a count in a weight: 1 makes classes equal, and with 4 a float32 holds those of a billion images."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One remedy for imbalance, or several combined; the trainer reads it and does not branch on its name.

    What a batch holds
      composition: natural, balanced, sqrt, reversed, progressive, repeat_factor, or a share for each class.
      resample: the items that batches are drawn from: all (none), a fixed random subset with as many items per
        class as the rarest has (under), or copies until every class has as many as the commonest (over).
      epoch: the number of images in an epoch: all of them (all), or as many per class as the rarest has (rarest).
        The latter with a balanced composition is undersampling with a fresh subset every epoch.
      perturb_repeats: an image that is drawn r times as often as one of the commonest class is perturbed
        1 - 1/r further than the configured augmentation (twice as far in the limit).
      mixing: how an image is mixed with a partner (transforms/mixing.py): none, mixup, cutmix, remix,
        balanced_mixup, cmo.
      mixing_alpha: parameter of the Beta distribution of the shares; None: the published value.
      mixing_probability: share of images that are mixed at all.
      mixing_span: share of the run at which mixing starts, and at which it ends.
      views: how often each image is in its batch, with a different augmentation each time: two for the contrastive
        losses of the papers.
      contrast_views: how many of these views only the contrastive loss sees; the others only the label loss sees.
        0: both see all views.

    What is minimised
      weights: scheme of ``priors.class_weights`` on the class counts of the training split; for many labels,
        the weight that this scheme gives the positives. beta, power: its parameters.
      normalize: divide the weighted sum of losses by the sum of the weights (as PyTorch does) or by the
        number of items (as Cui et al. do).
      loss: a key of ``LOSSES``, or one's own at package.module:name, in Python also the object: a ``Loss``, or a
        function of a ``Scene``. logit_adjusted, balanced_softmax and vector_scaling correct for the priors of
        the batches as they are drawn, not of the data: with a balanced composition nothing is left to correct.
      options: options of the loss, name and value; the others keep the defaults of ``LOSSES``.
      hard_negatives: how many negatives per other item count in the loss: those with the largest loss. 0: all.
      head: last layer of the network, linear or cosine (which ldam wants).
      auxiliary: a contrastive loss on a projection of the features, added with ``auxiliary_weight``; its
        temperature is ``auxiliary_temperature``.

    When
      deferred: parts that start late: the weights, the composition, the loss (plain cross-entropy until then).
      defer: the share of the run after which they start. ramp: the share of the run over which weights and loss
        then grow linearly; 0: at once.
      rate_after: factor on the learning rate once ``defer`` is over.

    Afterwards
      second_stage: with the features frozen, train a new head on balanced batches (retrain), in which synthetic
        features fill up the rarer classes (smote, smoothed_bootstrap); or train a factor for each class (scale), or
        that and the head itself (head_and_scale); or scale the head's columns to one length (tau_norm), or replace
        them by the class means (nearest_mean). Or keep features of the training split and compare with them: the
        class means (prototype_head), examples (memory_head), examples under trained attention (attention_head).
      memory_size: how many examples of a class memory_head and attention_head keep, drawn once; rarer classes keep
        all. memory_distance: cosine, or squared euclidean; of the first two heads. memory_strength: what the
        similarity is multiplied by before the softmax, 1 / temperature; 0: the value with the least leave-one-out
        loss on the training features, classes weighing alike.
      second_epochs: length in epochs of the training split, whatever the length of the first stage: as many
        images as the split holds, drawn balanced. second_steps: minimum number of steps, for a small data set.
      second_loss: loss of the trained kinds. second_loss_options: name and value; the others keep the defaults.
      correction: of the predicted probabilities: by the log priors (logit_adjusted, with correction_tau), from
        the training priors to the priors of the data (prior) or to priors estimated on the test images (em), or by
        factors that balance the accuracies on validation (threshold).
    """

    name: str
    summary: str = ""
    paper: str = ""
    composition: str | tuple[float, ...] = "natural"
    resample: Literal["none", "under", "over"] = "none"
    epoch: Literal["all", "rarest"] = "all"
    perturb_repeats: bool = False
    mixing: Literal["none", "mixup", "cutmix", "remix", "balanced_mixup", "cmo"] = "none"
    mixing_alpha: float | None = None
    mixing_probability: float = 1.0
    mixing_span: tuple[float, float] = (0.0, 1.0)
    views: int = 1
    contrast_views: int = 0
    weights: str = "none"
    beta: float = 0.9999
    power: float = 1.0
    normalize: Literal["weights", "count"] = "weights"
    loss: str = "cross_entropy"
    options: tuple[tuple[str, float], ...] = ()
    hard_negatives: float = 0.0
    head: Literal["linear", "cosine"] = "linear"
    auxiliary: Auxiliary = "none"
    auxiliary_weight: float = 1.0
    auxiliary_temperature: float = 0.1
    deferred: tuple[Deferred, ...] = ()
    defer: float = 0.0
    ramp: float = 0.0
    rate_after: float = 1.0
    second_stage: SecondStage = "none"
    second_epochs: float = 0.0
    second_steps: int = 0
    second_loss: str = "cross_entropy"
    second_loss_options: tuple[tuple[str, float], ...] = ()
    memory_size: int = 64
    memory_distance: Literal["cosine", "euclidean"] = "cosine"
    memory_strength: float = 0.0
    correction: Correction = "none"
    correction_tau: float = 1.0

    def __post_init__(self) -> None:
        for name in ("loss", "second_loss"):
            object.__setattr__(self, name, as_import_path(getattr(self, name), f"method {self.name}: {name}"))
        check_fields(self, f"method {self.name}: ", dashes=False)
        if self.name in (".", "..") or set(self.name) & set("/\\\0"):
            self._refuse("its name is that of a folder: give one without / and \\")
        allowed: dict[str, Any] = {"weights": SCHEMES}
        if isinstance(self.composition, str):
            allowed["composition"] = COMPOSITIONS
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                self._refuse(f"{name} is {getattr(self, name)!r}, allowed are {', '.join(values)}")
        for loss, options in ((self.loss, self.options), (self.second_loss, self.second_loss_options)):
            try:
                known = find_loss(loss).options
            except InputError as error:
                self._refuse(str(error))
            for name, _ in options:
                if name not in known:
                    having = ", ".join(known) or "none"
                    self._refuse(f"loss {loss} has no option {name!r}, allowed are {having}")
        for name in ("defer", "ramp"):
            if not 0 <= getattr(self, name) <= 1:
                self._refuse(f"{name} is {getattr(self, name)}, give a share of the run from 0 to 1")
        if not (len(self.mixing_span) == 2 and 0 <= self.mixing_span[0] < self.mixing_span[1] <= 1):
            self._refuse(f"mixing_span is {self.mixing_span}, give two rising shares of the run from 0 to 1")
        if self.views < 1:
            self._refuse(f"views is {self.views}, at least 1")
        if not 0 <= self.contrast_views < self.views:
            self._refuse(
                f"contrast_views is {self.contrast_views} of {self.views} views, leave one for the labels"
            )
        if self.contrast_views and self.auxiliary == "none":
            self._refuse("contrast_views needs auxiliary, the loss that contrasts them")
        for name in ("rate_after", "auxiliary_temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                self._refuse(f"{name} is {getattr(self, name)}, expected a finite number above zero")
        if self.rate_after != 1 and not self.deferred:
            self._refuse("rate_after without deferred: there is no switch")
        if bool(self.deferred) != bool(self.defer or self.ramp):
            self._refuse("deferred names the parts that start late, defer or ramp when: give both or neither")
        self._check_deferred()
        if self.resample != "none" and self.composition != "natural":
            self._refuse(f"resample={self.resample} already balances, composition must be natural")
        self._check_numbers()
        try:
            self.image_mixing  # noqa: B018
        except InputError as error:
            self._refuse(str(error))
        if self.perturb_repeats and self.resample != "over":
            self._refuse("perturb_repeats perturbs the copies that resample=over makes: give that, too")
        if self.second_stage in TRAINED and not self.second_epochs:
            self._refuse(f"second_stage={self.second_stage} is trained: give second_epochs")
        if self.memory_size < 1:
            self._refuse(f"memory_size is {self.memory_size}, at least 1 example a class")

    def _check_numbers(self) -> None:
        """Refuse what is no amount, and a power that no weight could hold."""
        for name in (
            "power", "hard_negatives", "auxiliary_weight", "second_epochs", "second_steps", "memory_strength",
            "correction_tau",
        ):  # fmt: skip
            if not 0 <= getattr(self, name) < float("inf"):
                self._refuse(f"{name} is {getattr(self, name)}, expected a finite number zero or above")
        if self.power > LARGEST_POWER:
            self._refuse(
                f"power is {self.power:g}, expected {LARGEST_POWER:g} or less: weights would overflow"
            )

    def _check_deferred(self) -> None:
        """Refuse a deferred part that is what it was before the switch, and a schedule that never comes to it."""
        start_as = {"weights": "none", "composition": "natural", "loss": "cross_entropy"}
        for part in self.deferred:
            if getattr(self, part) == start_as[part]:
                self._refuse(
                    f"deferred={part}, and {part}={start_as[part]} is what a run begins with: give the {part} that "
                    f"it changes to, or leave {part} out of deferred"
                )
        if len(set(self.deferred)) < len(self.deferred):
            self._refuse(f"deferred is {'+'.join(self.deferred)}, each part may be named once")
        if "composition" in self.deferred and self.composition == "progressive":
            self._refuse(
                "composition=progressive moves from natural to balanced over the whole run: leave composition out of "
                "deferred, or defer composition=balanced"
            )
        if self.ramp and self.deferred == ("composition",):
            self._refuse(
                "ramp blends weights and loss in, a composition changes at one step: give defer alone"
            )
        if self.deferred and self.defer == 1:
            self._refuse(
                "defer is 1, the end of the run: what is deferred would never start, give less than 1"
            )
        if self.defer + self.ramp > 1 + 1e-9:
            self._refuse(
                f"defer {self.defer:g} and ramp {self.ramp:g} are {self.defer + self.ramp:g} of the run together: "
                "it would end before the ramp does, give 1 or less"
            )

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(f"method {self.name}: {what}")

    @property
    def loss_row(self) -> Loss:
        """What ``loss`` names."""
        return find_loss(self.loss)

    @property
    def loss_options(self) -> dict[str, float]:
        """Every option of the loss with its value."""
        return {**self.loss_row.options, **dict(self.options)}

    @property
    def image_mixing(self) -> Mixing:
        """How images are mixed."""
        return Mixing(kind=self.mixing, alpha=self.mixing_alpha, probability=self.mixing_probability)

    @property
    def settings(self) -> dict[str, Any]:
        """What differs from plain cross-entropy: field -> value, with all options of the loss."""
        named = {"name", "summary", "paper"}
        changed = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in named and getattr(self, f.name) != f.default
        }
        changed.pop("options", None)
        return changed | (self.loss_options if self.loss != "cross_entropy" else {})


def definition(method: Method) -> dict[str, Any]:
    """The definition of ``method``: every field that affects training, defaults included, as JSON values.

    Two methods of one definition train alike, whatever version of the catalogue they come from.
    """
    words: tuple[str, ...] = ("name", "summary", "paper")
    if method.second_stage not in WITH_SUPPORT:  # and runs of before these fields keep their definition
        words += MEMORY
    kept = {f.name: getattr(method, f.name) for f in fields(method) if f.name not in words}
    kept["options"] = method.loss_options
    if method.mixing != "none":
        kept["mixing_alpha"] = ALPHA[method.mixing] if method.mixing_alpha is None else method.mixing_alpha
    second = find_loss(method.second_loss).options if method.second_stage in TRAINED else {}
    kept["second_loss_options"] = {**second, **dict(method.second_loss_options)}
    return json.loads(json.dumps(kept))


def first_stage(method: Method, catalogue: Mapping[str, Method]) -> Method:
    """The method that trains the first stage of ``method``; named as in ``catalogue`` where that has it.

    Methods with the same first stage thus share it: it is trained once in a workdir.
    """
    left_out = (
        "second_stage",
        "second_epochs",
        "second_steps",
        "second_loss",
        "second_loss_options",
        *MEMORY,
        "correction",
        "correction_tau",
    )
    defaults: dict[str, Any] = {f.name: f.default for f in fields(method) if f.name in left_out}
    bare = replace(method, **defaults)
    for known in catalogue.values():
        if replace(known, name="", summary="", paper="") == replace(bare, name="", summary="", paper=""):
            return known
    return replace(
        bare, name=f"{method.name}_first_stage", summary=f"First stage of {method.name}.", paper=""
    )


def static_part(method: Method) -> Method:
    """``method`` without what only changes arrays or plans: methods of one static part share a compilation.

    Class weights, composition, resampling, the schedule's steps, second stages and corrections of probabilities are
    not compiled in.
    """
    runtime = (
        "name", "summary", "paper", "composition", "resample", "epoch", "perturb_repeats", "mixing_span", "weights",
        "power", "defer", "ramp", "rate_after", "second_stage", "second_epochs", "second_steps", "second_loss",
        "second_loss_options", *MEMORY, "correction", "correction_tau",
    )  # fmt: skip
    beta = method.beta if "beta" in method.loss_row.reads else Method.beta
    bare: dict[str, Any] = {f.name: f.default for f in fields(method) if f.name in runtime}
    deferred = tuple(part for part in method.deferred if part != "composition")  # that only changes the plans
    bare |= {"name": "static", "beta": beta, "deferred": deferred, "defer": 0.5 if deferred else 0.0}
    if "weights" in deferred:
        bare["weights"] = "inverse"  # any that differs from those of the start
    return replace(method, **bare)
