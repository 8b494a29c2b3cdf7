"""The controller of MANN, and the networks it is alone: an LSTM or one layer over the pictures of an episode."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.models.dropout import Dropout
from imbal_jax.models.episode_encoder import Encoder, PictureEncoder
from imbal_jax.models.episode_inputs import (
    Episodes,
    encoded_labels,
    one_step_late,
    pictures_and_labels,
)
from imbal_jax.models.head import LinearHead, Outputs, outputs_of
from imbal_jax.models.lstm import lstm_cell
from imbal_jax.models.normalization import Norm
from imbal_jax.models.recurrence import recurrence

Controller = Literal["lstm", "feed_forward"]
GATES = {"lstm": 4, "feed_forward": 1}
REMEMBER = 1.0
"""Added to what the forget gate of an LSTM controller is given (``lstm.lstm_step``)."""
REMEMBERING = partial(lstm_cell, remember=REMEMBER)


class EpisodeController(nn.Module):
    """An LSTM, or one tanh layer without a state, on (x_t, y_{t-1}): what MANN is without its memory.

    Attributes:
      num_outputs: logits per picture.
      controller: "lstm" or "feed_forward".
      hidden: its units.
      encoder: "pixels", "conv" or "resnet" (``episode_encoder``).
      encoder_width: channels of the encoder.
      label_digits: 0 shows a label as one-hot; else as this many one-hots (``episode_inputs.encoded_labels``).
      digit_base: width of each of them.
      norm: of the encoder, "group" or "batch"; pixels have none.
      axis_name: mesh axis over which BatchNorm averages in training; GroupNorm needs none.
      dropout: rate on the features before the head; by place in the batch (``models.dropout``).
      dtype: computation dtype of the encoder; the rest is float32, as are the parameters (``param_dtype``).
    """

    num_outputs: int
    controller: Controller = "lstm"
    hidden: int = 200
    encoder: Encoder = "pixels"
    encoder_width: int = 64
    label_digits: int = 0
    digit_base: int = 5
    norm: Norm = "group"
    axis_name: str | None = None
    dropout: float = 0.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Episodes, train: bool = False, *, outputs: Outputs = "logits") -> Any:
        """Episodes of T pictures -> float32 logits [B, T, num_outputs]; features are the hidden units."""
        x = EpisodeSteps.of(self)(inputs, train)
        units = GATES[self.controller] * self.hidden
        offsets = ControllerInput(units, self.hidden, self.param_dtype, name="controller_input")(x)
        if self.controller == "feed_forward":
            hidden = jnp.tanh(offsets)
        else:
            kernel = self.param(
                "controller_kernel", per_gate_glorot(self.hidden), (self.hidden, units), self.param_dtype
            )
            zeros = placed_as(jnp.zeros((x.shape[1], self.hidden)), offsets)
            _, hidden = recurrence(
                REMEMBERING, {"controller": kernel}, {"controller": offsets}, (zeros, zeros)
            )
        features = jnp.swapaxes(hidden, 0, 1)
        head = LinearHead(self.num_outputs, param_dtype=self.param_dtype, name="head")
        return outputs_of(head, features, outputs, Dropout(self.dropout, self.axis_name), train)


class EpisodeSteps(nn.Module):
    """What a controller is given in each step: the encoded picture and the label of the picture before."""

    encoder: PictureEncoder
    num_outputs: int
    label_digits: int
    digit_base: int

    @classmethod
    def of(cls, model: Any) -> "EpisodeSteps":
        """For a model with the fields of ``EpisodeController``."""
        encoder = PictureEncoder.of(model, parent=None)
        return cls(encoder, model.num_outputs, model.label_digits, model.digit_base, name="steps")

    @nn.compact
    def __call__(self, inputs: Episodes, train: bool) -> Array:
        """float32 [T, B, D], steps first as a scan needs them."""
        images, labels = pictures_and_labels(inputs)
        shown = encoded_labels(labels, self.num_outputs, self.label_digits, self.digit_base)
        steps = jnp.concatenate([self.encoder(images, train), one_step_late(shown)], axis=-1)
        return jnp.swapaxes(steps, 0, 1)


class ControllerInput(nn.Module):
    """The controller's projection of its inputs, [T, B, D] -> [T, B, units], all steps in one product."""

    units: int
    hidden: int
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param(
            "kernel", per_gate_glorot(self.hidden), (x.shape[-1], self.units), self.param_dtype
        )
        bias = self.param("bias", nn.initializers.zeros, (self.units,), self.param_dtype)
        return (x.reshape(-1, x.shape[-1]) @ kernel + bias).reshape(*x.shape[:-1], self.units)


def per_gate_glorot(hidden: int) -> nn.initializers.Initializer:
    """Glorot-uniform of a kernel [in, gates * hidden] as if each gate had a matrix of its own."""

    def draw(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        limit = (6.0 / (shape[0] + hidden)) ** 0.5
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return draw


def placed_as(value: Array, reference: Array) -> Array:
    """``value`` [B, ...], placed over devices as ``reference`` [T, B, D] is: a scan's carry may not change that."""
    zeros = 0.0 * reference[0, :, 0]
    return value + zeros.reshape(-1, *(1 for _ in value.shape[1:]))


episode_lstm = partial(EpisodeController, controller="lstm")
"""The LSTM beside MANN in Santoro et al., ICML 2016."""

episode_mlp = partial(EpisodeController, controller="feed_forward")
"""The feed-forward network there: it sees the label of the picture before and keeps nothing."""
