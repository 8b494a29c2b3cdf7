"""Sequences of bits: a network reads some steps and is asked for bits at others, as of copying or sorting."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from imbal_jax import losses
from imbal_jax.config import Data
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.labels import occurrence
from imbal_jax.data.sources.sequence_kinds import KINDS, Range, draw_sequences
from imbal_jax.data.sources.sequences import MACRO, SOURCE, row_of, training_range
from imbal_jax.engine.step import Batch, Objective
from imbal_jax.errors import InputError
from imbal_jax.methods import ClassArrays, Method
from imbal_jax.tasks.sequence_table import KEPT, last_lines, optimal_bits, summary
from imbal_jax.tasks.task import Table, Task, as_mapping
from imbal_jax.transforms.augment import Augment, intensities

BIT = float(np.log(2))
"""Nats in a bit."""


@dataclass(frozen=True)
class Sequences(Task):
    """Logits [B, T, O] for sequences [B, T, 1, F]; labels int8 [N, T, 1, O], -1 where nothing is asked for.

    kind, drawn: which sequences training draws afresh for every batch (``data.sources.sequence_kinds``), on the
    device, by the keys of the images whose places they take; "" where it takes those of the training split, as of a
    source of the user's own.
    """

    name: ClassVar[str] = "sequences of bits"
    any_logits: ClassVar[bool] = True
    network_takes: ClassVar[Literal["images", "sequences", "episodes"]] = "sequences"
    example: ClassVar[str] = "sequence"
    any_length: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = True
    label_kind: ClassVar[Any] = "many"
    kind: str = ""
    drawn: Range | None = None

    def for_options(self, options: Data) -> Task:
        """The task that draws what ``options`` ask for."""
        if options.source != SOURCE:
            return self
        return replace(self, kind=options.sequence, drawn=training_range(options))

    def check_data(self, data: Dataset) -> None:
        """InputError where the labels are no bits of each step."""
        if (
            data.labels.ndim != 4
            or data.images.shape[2] != 1
            or data.labels.shape[1:3] != data.images.shape[1:3]
        ):
            raise InputError(
                f"labels are {list(data.labels.shape)} for images {list(data.images.shape)}, and the task of "
                f"{self.name} reads images [N, steps, 1, inputs] and labels [N, steps, 1, outputs]"
            )

    # Training

    def check(self, method: Method) -> None:
        """Raise InputError for a method that changes more than nothing: sequences have no rare class."""
        super().check(method)
        for part in ("loss", "composition", "weights", "head", "deferred", "epoch", "views"):
            if (value := getattr(method, part)) != (plain := getattr(PLAIN, part)):
                raise InputError(
                    f"method {method.name}: {part}={value} is not for {self.name}, which take "
                    f"{part}={plain or 'none'}"
                )

    def drawn_labels(self, labels: np.ndarray, uncertain: str) -> np.ndarray:
        """int8 [N, O]: which output is ever 1."""
        return occurrence(labels, labels.shape[-1]).astype(np.int8)

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
        """Weights of 1: the loss reads none."""
        ones = np.ones(len(data.classes), np.float32)
        return ClassArrays(class_weights=ones, counts=np.maximum(drawn_counts, 1).astype(np.float32))

    def input_statistics(self, data: Dataset) -> dict[str, np.ndarray]:
        """Those of the kind of sequences, [F] each; of the user's own inputs as they are."""
        kind = KINDS.get(self.kind)
        mean, deviation = (0.0, 1.0) if kind is None else (kind.mean, kind.deviation)
        return {"mean": np.asarray(mean, np.float32), "deviation": np.asarray(deviation, np.float32)}

    def transform(
        self, keys: jax.Array, images: jax.Array, labels: jax.Array, augmentation: Augment, strength: Any
    ) -> tuple[jax.Array, jax.Array]:
        """New sequences, one a key, whatever the images are; or these, where none are drawn."""
        if self.drawn is None:
            return intensities(images), labels
        inputs, targets = draw_sequences(self.kind, keys, self.drawn, images.shape[1])
        return inputs[:, :, None], targets[:, :, None]

    def objective(
        self, method: Method, *, label_smoothing: float = 0.0, uncertain: str = "ignore"
    ) -> Objective:
        """Binary cross-entropy in nats, summed over the bits that a sequence asks for; the mean over the batch.

        The sum, not the mean over the bits: with gradients of a mean the constant in the root of RMSProp would be the
        larger part, and the loss would stop falling.
        """
        self.check(method)
        if label_smoothing:
            raise InputError(f"optim.label-smoothing is {label_smoothing:g}: it is not for {self.name}")

        def objective(outputs: Any, batch: Batch, axis: str | None) -> tuple[jax.Array, dict[str, jax.Array]]:
            values = cross_entropy(as_mapping(outputs)["logits"], batch["labels"])
            loss = losses.weighted_mean(values, jnp.ones_like(values), axis)
            return loss, {"bits_per_sequence": loss / BIT}

        return objective

    # Prediction and evaluation

    def predictor(self, method: Method) -> Callable[[Any], jax.Array]:
        """Outputs of the network -> logits [B, T, O]: a chance that rounds to 1 has no cross-entropy."""
        return lambda outputs: as_mapping(outputs)["logits"].astype(jnp.float32)

    def for_evaluation(self, predictions: jax.Array, labels: jax.Array) -> jax.Array:
        """float32 [B, 3], as ``sequence_table.KEPT``."""
        targets = labels.reshape(predictions.shape)
        asked = targets >= 0
        wrong = ((predictions > 0) != (targets == 1)) & asked
        bits = cross_entropy(predictions, targets) / BIT
        return jnp.stack([bits, wrong.sum(axis=(1, 2)), asked.sum(axis=(1, 2))], axis=1).astype(jnp.float32)

    def table(
        self, labels: np.ndarray, kept: np.ndarray, classes: tuple[str, ...], negative_class: str | None
    ) -> Table:
        """One row, ``macro``, over all sequences."""
        return {MACRO: summary(kept)}

    def table_of(self, data: Dataset, kept: np.ndarray, negative_class: str | None) -> Table:
        """A row for each length that is tested, and ``macro`` for the lengths of training.

        Of n-grams ``optimal_bits`` too, of the best estimator.
        """
        rows = row_of(data.groups)
        if MACRO not in rows:  # of another place
            rows = np.full(len(rows), MACRO)
        best = None
        if self.kind == "ngrams":
            bits = np.asarray(data.images[:, :, 0, 0] > 0, np.int64)
            best = optimal_bits(bits, np.asarray(data.labels[:, :, 0, 0], np.int64))
        table = {}
        for row in dict.fromkeys([*rows[rows != MACRO].tolist(), MACRO]):
            of = rows == row
            table[row] = summary(kept[of])
            if best is not None:
                table[row]["optimal_bits"] = float(best[of].mean())
        return table

    def default_criterion(self, data: Dataset, negative_class: str | None) -> tuple[str, str]:
        """The fewest bits a sequence."""
        return "-bits_per_sequence", "the cross-entropy of a sequence, as small as can be"

    def placeholder_outputs(self, data: Dataset) -> np.ndarray:
        """One bit each."""
        return np.ones((len(data), len(KEPT)), np.float32)

    def closing(self, tables: Sequence[Table]) -> Sequence[str]:
        """The bits a sequence of the training lengths."""
        return last_lines([table[MACRO]["bits_per_sequence"] for table in tables])


PLAIN = Method(name="plain")


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """float32 [B], nats: of sequences of logits [B, T, O], summed over the bits that are asked for.

    labels: int8 [B, T, O] or [B, T, 1, O], 0, 1, or -1 where nothing is asked for.
    """
    targets = labels.reshape(logits.shape)
    asked = targets >= 0
    values = losses.binary_cross_entropy(logits, jnp.maximum(targets, 0).astype(jnp.float32), mask=asked)
    return values.sum(axis=(1, 2))
