"""Few-shot episodes: pictures and labels one after the other, and at each step the label of the next picture."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from imbal_jax import losses
from imbal_jax.config import Config
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.pipeline import perturb_images
from imbal_jax.data.splits.class_split import STRING_BASE, STRING_DIGITS, episode_plan
from imbal_jax.data.splits.in_context import COMMON, bursty_plan
from imbal_jax.engine import keys as random_streams
from imbal_jax.engine.step import Batch, Objective
from imbal_jax.errors import InputError
from imbal_jax.methods import ClassArrays, Method
from imbal_jax.models.episode_inputs import digits_of
from imbal_jax.sampling.bursty import BurstyPlan
from imbal_jax.sampling.episodes import EpisodePlan, presentations
from imbal_jax.tasks.task import Table, Task, as_mapping
from imbal_jax.transforms.augment import Augment

LAST_SHOWN = 10
"""Presentations that have a row of their own, as in the table of Santoro et al. 2016."""

PLAIN = {"composition": "natural", "loss": "cross_entropy", "weights": "none", "head": "linear"}
"""What a method must have: classes are drawn anew in every episode, so none of them is rare."""


class Episodes(Task):
    """Labels int [E, T, 2]: of each picture the label that is shown after the prediction, and the one that is scored.

    Pictures [E, T H, W, C], one below the other (``data.splits.class_split.episode_set``); training draws episodes
    from pictures [N, H, W, C]. Networks take {"images": [B, T, H, W, C], "labels": [B, T]} and give logits
    [B, T, outputs]; they may not look ahead. Kept of each episode is [T, 2]: whether the label was right, and the
    surprisal of the true one in nats.
    """

    name: ClassVar[str] = "episodes"
    reads_labels: ClassVar[bool] = True
    counts_cases: ClassVar[bool] = False
    example: ClassVar[str] = "episode"
    network_takes: ClassVar[Literal["images", "sequences", "episodes"]] = "episodes"
    numbers_kept: ClassVar[int] = 2

    def check_data(self, data: Dataset) -> None:
        """InputError for labels that are neither of episodes nor the classes of the pictures they are drawn from."""
        if data.labels.ndim not in (1, 3) or (data.labels.ndim == 3 and data.labels.shape[2] != 2):
            raise InputError(
                f"labels are {list(data.labels.shape)}: episodes are drawn from pictures of one class each; set "
                "--episode.ways"
            )

    def check(self, method: Method) -> None:
        """InputError for a method that balances classes, of which episodes have none."""
        super().check(method)
        for part, plain in PLAIN.items():
            if getattr(method, part) != plain:
                raise InputError(
                    f"method {method.name}: {part}={getattr(method, part)} is not for {self.name}, whose classes "
                    "change from episode to episode: the method is ce"
                )

    # Training

    def drawn_labels(self, labels: np.ndarray, uncertain: str) -> np.ndarray:
        """Zeros [N]: batches are composed of episodes, not by class."""
        return np.zeros(len(labels), np.int32)

    def drawn_counts(self, data: Dataset, drawn: np.ndarray) -> np.ndarray:
        """[outputs], ones: labels have no frequencies."""
        return np.ones(len(data.classes), np.int64)

    def stream_counts(self, data: Dataset, quotas: np.ndarray, pools: Any) -> np.ndarray:
        """As ``drawn_counts``."""
        return np.ones(len(data.classes), np.int64)

    def class_arrays(
        self,
        method: Method,
        data: Dataset,
        drawn_counts: np.ndarray,
        stream_counts: np.ndarray,
        *,
        negative: int | None = None,
        uncertain: str = "ignore",
    ) -> ClassArrays:
        """Equal weights."""
        ones = np.ones(len(data.classes), np.float32)
        return ClassArrays(ones, ones)

    def episodes(self, config: Config, train: Dataset) -> EpisodePlan | BurstyPlan | None:
        """The episodes of training."""
        return episode_plan(train.labels, config, random_streams.episodes(config.seed))

    def transform(
        self, keys: jax.Array, images: jax.Array, labels: jax.Array, augmentation: Augment, strength: Any
    ) -> tuple[jax.Array, jax.Array]:
        """Every picture of an episode is perturbed on its own."""
        count, steps = labels.shape[:2]
        height = images.shape[1] // steps
        pictures = images.reshape(count * steps, height, *images.shape[2:])
        of_pictures = jax.vmap(lambda key: jax.random.split(key, steps))(keys).reshape(count * steps)
        perturbed, _ = perturb_images(of_pictures, pictures, labels, augmentation, strength)
        return perturbed.reshape(count, steps * height, *perturbed.shape[2:]), labels

    def inputs(self, images: jax.Array, labels: jax.Array | None) -> dict[str, jax.Array]:
        """What the network takes: pictures [B, T, H, W, C], and the labels [B, T] that it is shown after each."""
        if labels is None:
            raise InputError(
                "a network of episodes needs the labels of the pictures before: imbal-jax evaluate scores it"
            )
        count, steps = labels.shape[:2]
        pictures = images.reshape(count, steps, images.shape[1] // steps, *images.shape[2:])
        return {"images": pictures, "labels": labels[..., 0].astype(jnp.int32)}

    def objective(
        self, method: Method, *, label_smoothing: float = 0.0, uncertain: str = "ignore"
    ) -> Objective:
        """The mean surprisal of the labels that are scored."""
        self.check(method)
        if label_smoothing:
            raise InputError(f"optim.label-smoothing is {label_smoothing:g}: it is not for {self.name}")

        def objective(outputs: Any, batch: Batch, axis: str | None) -> tuple[jax.Array, dict[str, jax.Array]]:
            targets = batch["labels"][..., 1].astype(jnp.int32)
            known = targets >= 0
            values = self.surprisal(as_mapping(outputs)["logits"], jnp.where(known, targets, 0))
            return losses.weighted_mean(values, known.astype(jnp.float32), axis), {}

        return objective

    def surprisal(self, logits: jax.Array, targets: jax.Array) -> jax.Array:
        """float32 [B, T], -log of the probability of the targets int [B, T], nats."""
        return losses.cross_entropy(logits, targets)

    def called(self, logits: jax.Array) -> jax.Array:
        """int [B, T], the most probable label."""
        return logits.argmax(axis=-1)

    # Evaluation

    def predictor(self, method: Method) -> Callable[[Any], jax.Array]:
        """Log-probabilities [B, T, outputs]."""
        return lambda outputs: jax.nn.log_softmax(as_mapping(outputs)["logits"].astype(jnp.float32))

    def for_evaluation(self, predictions: jax.Array, labels: jax.Array) -> jax.Array:
        """float32 [B, T, 2]: whether the label is right, and its surprisal; 0 where nothing is scored."""
        targets = labels[..., 1].astype(jnp.int32)
        known = targets >= 0
        targets = jnp.where(known, targets, 0)
        right = self.called(predictions) == targets
        kept = jnp.stack([right.astype(jnp.float32), self.surprisal(predictions, targets)], axis=-1)
        return jnp.where(known[..., None], kept, 0.0)

    def table(
        self, labels: np.ndarray, kept: np.ndarray, classes: tuple[str, ...], negative_class: str | None
    ) -> Table:
        """A row for each presentation of a class, and ``macro``, of all pictures that are scored.

        accuracy; accuracy_margin, half of its 95 % interval by episode (1.96 standard errors); surprisal, nats.
        """
        known = labels[..., 1] >= 0
        which = presentations(labels[..., 0], labels[..., 1])
        numbers = [k for k in np.unique(which[known]).tolist() if k <= LAST_SHOWN]
        rows = {f"presentation {k}": _row(kept, which == k) for k in numbers}
        return {**rows, "macro": _row(kept, known)}

    def default_criterion(self, data: Dataset, negative_class: str | None) -> tuple[str, str]:
        """Accuracy over all presentations."""
        return "accuracy", "the default for episodes"

    def placeholder_outputs(self, data: Dataset) -> np.ndarray:
        """No label right."""
        return np.zeros((*data.labels.shape[:2], self.numbers_kept), np.float32)


class InContext(Episodes):
    """Sequences whose labels are always the same in training, and what is learned in context and in the weights.

    Chan et al. 2022 (``data.splits.in_context``). Networks have an output for each class of training. Kept of each
    sequence is [T, 3]: as of other episodes, and whether the true label is the most probable of those shown before.
    """

    name: ClassVar[str] = "in_context"
    numbers_kept: ClassVar[int] = 3

    def episodes(self, config: Config, train: Dataset) -> EpisodePlan | BurstyPlan | None:
        """The sequences of training."""
        return bursty_plan(train.labels, config, random_streams.episodes(config.seed))

    def for_evaluation(self, predictions: jax.Array, labels: jax.Array) -> jax.Array:
        """float32 [B, T, 3]: as of other episodes, and whether the label is right among those shown before."""
        kept = super().for_evaluation(predictions, labels)
        shown = jax.nn.one_hot(labels[..., 0], predictions.shape[-1], dtype=bool)  # of -1 none
        before = jnp.cumsum(shown, axis=1) - shown > 0
        named = jnp.where(before, predictions, -jnp.inf).argmax(axis=-1)
        right = (named == labels[..., 1]) & before.any(axis=-1)
        return jnp.concatenate([kept, right[..., None].astype(jnp.float32)], axis=-1)

    def table(
        self, labels: np.ndarray, kept: np.ndarray, classes: tuple[str, ...], negative_class: str | None
    ) -> Table:
        """Rows ``in context``, ``in weights, common`` and ``in weights, rare``; ``macro`` is of all sequences.

        A sequence asks in context where the true label of its last picture was shown before; there
        ``accuracy_among_shown`` is how often the true label is the likeliest of those shown, 1/ways by guessing. That
        of ``macro`` is the same one.
        """
        query = labels[:, -1, 1]
        in_context = (labels[:, :-1, 0] == query[:, None]).any(axis=1)
        parts = {
            "in context": in_context,
            "in weights, common": ~in_context & (query < COMMON),
            "in weights, rare": ~in_context & (query >= COMMON),
        }
        last = np.zeros(labels.shape[:2], bool)
        last[:, -1] = True
        rows = {name: _row(kept, last & of[:, None]) for name, of in parts.items() if of.any()}
        rows["macro"] = _row(kept, last)
        if in_context.any():
            among_shown = float(kept[in_context, -1, 2].mean(dtype=np.float64))
            for name in ("in context", "macro"):
                rows[name]["accuracy_among_shown"] = among_shown
        return rows


class StringEpisodes(Episodes):
    """Labels are five letters of five: 3,125 of them, one softmax a letter (Santoro et al. 2016, section 4.2)."""

    name: ClassVar[str] = "string_episodes"

    def surprisal(self, logits: jax.Array, targets: jax.Array) -> jax.Array:
        """The sum over the letters."""
        return losses.cross_entropy(_by_letter(logits), letters(targets)).sum(axis=-1)

    def called(self, logits: jax.Array) -> jax.Array:
        """The label of the most probable letters."""
        most = _by_letter(logits).argmax(axis=-1)
        return (most * STRING_BASE ** jnp.arange(STRING_DIGITS - 1, -1, -1)).sum(axis=-1)

    def predictor(self, method: Method) -> Callable[[Any], jax.Array]:
        """Log-probabilities [B, T, 25] of the letters."""

        def predict(outputs: Any) -> jax.Array:
            logits = as_mapping(outputs)["logits"].astype(jnp.float32)
            return jax.nn.log_softmax(_by_letter(logits)).reshape(logits.shape)

        return predict


def letters(labels: jax.Array) -> jax.Array:
    """int [..., 5], the letters of labels 0..3124, the most significant first."""
    return digits_of(labels, STRING_DIGITS, STRING_BASE)


def _by_letter(logits: jax.Array) -> jax.Array:
    return logits.reshape(*logits.shape[:-1], STRING_DIGITS, STRING_BASE)


def _row(kept: np.ndarray, of: np.ndarray) -> dict[str, float]:
    """Means over the steps ``of`` bool [E, T], and the margin by episode: a ratio of sums, linearised."""
    counts = of.sum(axis=1)
    total = counts.sum()
    if not total:
        return {"accuracy": float("nan"), "accuracy_margin": float("nan"), "surprisal": float("nan")}
    hits = np.where(of, kept[..., 0], 0).sum(axis=1, dtype=np.float64)
    accuracy = hits.sum() / total
    residuals = hits - accuracy * counts
    error = np.sqrt((residuals**2).sum() * len(of) / max(len(of) - 1, 1)) / total
    surprisal = np.where(of, kept[..., 1], 0).sum(dtype=np.float64) / total
    return {
        "accuracy": float(accuracy),
        "accuracy_margin": float(1.96 * error),
        "surprisal": float(surprisal),
    }
