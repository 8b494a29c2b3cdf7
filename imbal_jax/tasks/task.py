"""The task: everything that differs between kinds of labels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.config import Config, Data, Patch
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.pipeline import perturb_images
from imbal_jax.data.feeding.pixel_statistics import pixel_statistics
from imbal_jax.data.feeding.places import Pools
from imbal_jax.decisions.calibration import LogitScaling
from imbal_jax.decisions.criterion import Criterion
from imbal_jax.engine.step import Objective
from imbal_jax.errors import InputError
from imbal_jax.methods import Method
from imbal_jax.priors import class_counts
from imbal_jax.sampling.bursty import BurstyPlan
from imbal_jax.sampling.episodes import EpisodePlan
from imbal_jax.tasks.mask_table import MaskScores
from imbal_jax.transforms.augment import Augment

Table = dict[str, dict[str, float]]
"""Class, and "macro" -> metric -> value."""

PARTS = ("mixing", "auxiliary", "second_stage", "correction", "hard_negatives", "resample", "perturb_repeats")
"""Fields of a ``Method`` that apply to some kinds of labels only."""


REQUIRED = ("drawn_labels", "class_arrays", "objective", "predictor", "table", "placeholder_outputs")
"""What every task has to define; the rest has defaults."""

REQUIRED_TO_DECIDE = (
    "log_outputs",
    "from_log_outputs",
    "scaled",
    "prior_shift",
    "without_extremes",
    "fit_scaling",
    "log_odds",
)
"""What a task that ``decides`` has to define besides."""


class Section(NamedTuple):
    """A section of the report. key: its anchor in the page, of letters. html: its content, escaped."""

    key: str
    heading: str
    html: str


class Task:
    """One kind of labels. The labels of a data set choose between the built-in ones; ``Config.task`` names others.

    A task has no state: what differs from run to run comes as an argument, so that runs share compilations.

    name: what the labels are, for messages. decides: whether predictions are probabilities [N, C] that thresholds
    and calibration turn into decisions; without them a run has metrics and no operating points.
    allowed: which of ``PARTS`` a method may use. reads_labels: whether ``for_evaluation`` needs the labels.
    network_takes: which of the built-in models fit (``models.inputs_of``). counts_cases: whether few images of a
    class in validation are said; episodes draw their classes anew. example: what is scored, in reports.
    label_kind: how a table with a column for each label is read ("one" or "many": ``Data.label_kind``).
    any_logits: whether the logits may have any axes between the first, of the batch, and the last; else there is one
    an image, or a pixel of a mask, for each output. any_length: whether pictures of other heights than those of
    training may be evaluated: they are sequences, and height counts their steps.
    """

    name: ClassVar[str] = ""
    decides: ClassVar[bool] = False
    allowed: ClassVar[tuple[str, ...]] = ()
    reads_labels: ClassVar[bool] = False
    counts_cases: ClassVar[bool] = True
    example: ClassVar[str] = "image"
    network_takes: ClassVar[Literal["images", "sequences", "episodes"]] = "images"
    label_kind: ClassVar[Literal["one", "many"]] = "one"
    any_logits: ClassVar[bool] = False
    any_length: ClassVar[bool] = False

    def with_metrics(self, paths: tuple[str, ...]) -> "Task":
        """The same task with the user's own metrics (``Config.metrics``), where it takes such."""
        if paths:
            raise InputError(f"metrics are for classification; the task of {self.name} has its own")
        return self

    def for_options(self, options: Data) -> "Task":
        """The same task for the data of a config, where it makes its own of the options."""
        return self

    def num_outputs(self, data: Dataset) -> int:
        """How many logits the network has: one a class."""
        return len(data.classes)

    def check_data(self, data: Dataset) -> None:
        """Raise InputError for labels that are not of this kind."""

    # Training

    def check(self, method: Method) -> None:
        """Raise InputError for a method that does not suit these labels."""
        for part in PARTS:
            if getattr(method, part) not in ("none", 0, False) and part not in self.allowed:
                raise InputError(f"method {method.name}: {part} is not for {self.name}")

    def drawn_labels(self, labels: np.ndarray, uncertain: str) -> np.ndarray:
        """The labels by which batches are composed: int [N], or multi-hot [N, L]."""
        raise NotImplementedError

    def class_arrays(
        self,
        method: Method,
        data: Dataset,
        drawn_counts: np.ndarray,
        stream_counts: np.ndarray,
        *,
        negative: int | None = None,
        uncertain: str = "ignore",
    ) -> Any:
        """The runtime arrays of a method, a pytree: a sweep over ratios changes their values and recompiles nothing.

        data: the training split. drawn_counts: [C], images of each class among the items that batches are drawn
        from; stream_counts: [C], how often each class is drawn. negative: index of the class that is no finding.
        uncertain: policy for labels of -1.
        """
        raise NotImplementedError

    def drawn_counts(self, data: Dataset, drawn: np.ndarray) -> np.ndarray:
        """[C]: how often each class is there where items are drawn as they are. drawn: labels of what batches are
        drawn from, as ``drawn_labels`` gives them."""
        return np.asarray(class_counts(drawn, len(data.classes)))

    def stream_counts(self, data: Dataset, quotas: np.ndarray, pools: Pools | None) -> np.ndarray:
        """[C]: how often each class is there in a batch that holds ``quotas`` of each pool. pools: of patches."""
        return quotas[: len(data.classes)]

    def patch_pools(self, data: Dataset, patch: Patch, *, seed: int, by_image: bool) -> Pools | None:
        """Where patches are cut, for labels that are masks; None: batches hold whole images."""
        if patch.size:
            raise InputError(f"patch.size is {patch.size}: patches are for masks, not for {self.name}")
        return None

    def episodes(self, config: Config, train: Dataset) -> EpisodePlan | BurstyPlan | None:
        """Which episodes batches hold; None: they hold images or patches."""
        if config.episode.ways:
            raise InputError(f"episode.ways is {config.episode.ways}: episodes are not for {self.name}")
        return None

    def input_statistics(self, data: Dataset) -> dict[str, Any]:
        """``mean`` and ``deviation``, scalars or one a channel, by which the network's inputs, in [0, 1], are
        standardised: those of the pixels. data: the training split."""
        return dict(pixel_statistics(data.images))

    def transform(
        self, keys: jax.Array, images: jax.Array, labels: jax.Array, augmentation: Augment, strength: Any
    ) -> tuple[jax.Array, jax.Array]:
        """Images and labels perturbed together, on the device: here only the images are."""
        return perturb_images(keys, images, labels, augmentation, strength)

    def inputs(self, images: jax.Array, labels: jax.Array | None) -> Any:
        """What the network takes, made of standardised images [B, H, W, C]: here the images themselves.

        labels: [B, ...], for a network that is shown some; None where nobody knows them.
        """
        return images

    def objective(
        self, method: Method, *, label_smoothing: float = 0.0, uncertain: str = "ignore"
    ) -> Objective:
        """The loss of ``method``, as ``engine.make_train_step`` takes it."""
        raise NotImplementedError

    # Prediction and evaluation

    def predictor(self, method: Method) -> Callable[[Any], jax.Array]:
        """Outputs of the network -> predictions [B, ...], for a network trained with ``method``."""
        raise NotImplementedError

    def unmirrored(self, predictions: jax.Array) -> jax.Array:
        """Predictions for mirror images, as predictions for the images: those of whole images are the same."""
        return predictions

    def for_evaluation(self, predictions: jax.Array, labels: jax.Array) -> jax.Array:
        """What evaluation keeps of each example [B, ...]: on the device, batch by batch."""
        return predictions

    def table(
        self, labels: np.ndarray, kept: np.ndarray, classes: tuple[str, ...], negative_class: str | None
    ) -> Table:
        """Rows of metrics, one a class and ``macro``. kept: [N, ...], what ``for_evaluation`` gave."""
        raise NotImplementedError

    def table_of(self, data: Dataset, kept: np.ndarray, negative_class: str | None) -> Table:
        """``table`` of a data set, for tasks whose rows depend on more than its labels."""
        return self.table(data.labels, kept, data.classes, negative_class)

    def measure(self, data: Dataset, kept: np.ndarray, negative_class: str | None) -> dict[str, float]:
        """Every metric that a criterion may name: ``macro`` ones by name, those of a class as ``metric/class``."""
        return self.flat(self.table_of(data, kept, negative_class))

    def flat(self, table: Table) -> dict[str, float]:
        """The macro row of a table under plain names, and each class's as ``metric/class``."""
        classes = {name: row for name, row in table.items() if name != "macro"}
        of_classes = {f"{key}/{name}": value for name, row in classes.items() for key, value in row.items()}
        return {**table.get("macro", {}), **of_classes}

    def uncertainty(
        self, criterion: Criterion, data: Dataset, kept: np.ndarray, negative_class: str | None
    ) -> dict[str, float]:
        """Bounds and standard errors, where ``criterion`` reads them."""
        return {}

    def default_criterion(self, data: Dataset, negative_class: str | None) -> tuple[str, str]:
        """What chooses the checkpoint where ``Config.select`` is auto, and why in half a line. data: validation."""
        return "step", f"the last checkpoint: {self.name} has no default, --select names a metric"

    def placeholder_outputs(self, data: Dataset) -> np.ndarray:
        """Placeholder output of ``for_evaluation``, used to check a criterion before training."""
        raise NotImplementedError

    # Where the model is used

    def use_priors(
        self, given: tuple[float, ...] | None, labels: np.ndarray, classes: tuple[str, ...]
    ) -> np.ndarray | None:
        """Class priors [C] at deployment: ``given`` (checked), those of ``labels``, or None."""
        return None

    def training_priors(self, method: Method, arrays: Any) -> np.ndarray:
        """The priors [C] that the network's probabilities assume; NaN where there is no such thing."""
        return np.full(1, np.nan)

    def aligned(self, data: Dataset, classes: tuple[str, ...]) -> Dataset:
        """``data`` of another site, with its labels mapped to ``classes`` of the run; else InputError."""
        self.check_data(data)
        if data.classes != classes:
            raise InputError(
                f"the data set has the classes {', '.join(data.classes)}, the network knows {', '.join(classes)}: "
                "give it the same ones, in that order"
            )
        return data

    # Masks

    def choose(self, data: Dataset, kept: np.ndarray) -> dict[str, float]:
        """The threshold of each class of interest that ``data``, validation, prefers: of a task that cuts
        probabilities without further decisions; else none."""
        return {}

    def deciding_at(self, thresholds: Mapping[str, float]) -> "Task":
        """The same task whose tables are of what is called at these thresholds, which ``choose`` gave."""
        return self

    def mask_scores(self, data: Dataset, kept: np.ndarray) -> MaskScores | None:
        """What is called at the thresholds beside the true masks, for the report; None: the labels are no masks."""
        return None

    def lost(self, history: Sequence[Mapping[str, Any]], classes: tuple[str, ...]) -> Sequence[str]:
        """Lines on classes that the last evaluation of ``history`` has lost, though an earlier one had them."""
        return ()

    def sections(self, data: Dataset, kept: Mapping[str, np.ndarray]) -> Sequence[Section]:
        """Sections that the report gets besides its own.

        data: the test set. kept: of each run, what ``for_evaluation`` gave of it.
        """
        return ()

    def closing(self, tables: Sequence[Table]) -> Sequence[str]:
        """Lines that training and evaluation print last. tables: of each run on the test set."""
        return ()

    # From outputs to decisions, of a task that ``decides``. Outputs are probabilities [N, C]

    def log_outputs(self, outputs: ArrayLike) -> np.ndarray:
        """float64 [N, C]: on the scale on which a calibration is linear."""
        raise NotImplementedError

    def from_log_outputs(self, logs: np.ndarray) -> np.ndarray:
        """Probabilities of what ``log_outputs`` gave: its inverse."""
        raise NotImplementedError

    def scaled(self, outputs: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        """``from_log_outputs(scale * log_outputs(outputs) + bias)`` in float32: pure and jittable."""
        raise NotImplementedError

    def prior_shift(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """[C], what is added to ``log_outputs`` when the priors change from ``source`` to ``target``."""
        raise NotImplementedError

    def without_extremes(self, priors: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        """``priors`` [C] with values of 0 or 1 replaced by those of ``otherwise``: a shift is undefined for them."""
        raise NotImplementedError

    def fit_scaling(
        self, kind: str, logs: np.ndarray, labels: np.ndarray, source: np.ndarray, seen: np.ndarray
    ) -> tuple[LogitScaling, str]:
        """The calibration of a kind (``config.Deploy.calibration``) fitted on validation, and how it was found.

        logs: [V, C], of ``log_outputs``. source: [C], the priors of training; seen: [C], those of validation.
        """
        raise NotImplementedError

    def log_odds(self, logits: jax.Array, cls: Any) -> jax.Array:
        """[B], of one class, from logits [B, C]: what saliency maps take the gradient of."""
        raise NotImplementedError


def as_mapping(outputs: Any) -> Mapping[str, Any]:
    """Outputs of a network that gives logits alone, or a mapping with ``logits``."""
    return outputs if isinstance(outputs, Mapping) else {"logits": outputs}
