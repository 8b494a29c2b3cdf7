"""A causal transformer over the pictures and labels of an episode, token by token."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from imbal_jax.errors import InputError
from imbal_jax.models.dropout import Dropout
from imbal_jax.models.episode_encoder import Encoder, PictureEncoder
from imbal_jax.models.episode_inputs import Episodes, encoded_labels, pictures_and_labels
from imbal_jax.models.head import LinearHead, Outputs, outputs_of
from imbal_jax.models.normalization import Norm

Positions = Literal["sinusoidal", "learned"]


class EpisodeTransformer(nn.Module):
    """Tokens x_1, y_1, x_2, y_2, ..., x_T through causal blocks; the logits of picture t are read at its token.

    Chan et al., NeurIPS 2022 (there 12 layers). Blocks normalise before attention and before the two-layer network of
    four times the width, as GPT-2 does; a normalisation follows the last.

    Attributes:
      num_outputs: logits per picture.
      layers: blocks.
      heads: of attention; they divide ``width``.
      width: of the tokens.
      positions: "sinusoidal" (Vaswani et al. 2017), or "learned", for episodes of the length it was made for.
      encoder: "resnet" as there, "conv" or "pixels" (``episode_encoder``); a linear layer of ``width`` follows.
      encoder_width: its channels.
      label_digits: 0 shows a label as one-hot; else as this many one-hots (``episode_inputs.encoded_labels``).
      digit_base: width of each of them.
      norm: of the encoder, "group" or "batch".
      axis_name: mesh axis over which BatchNorm averages in training; GroupNorm needs none.
      dropout: rate on what each block adds and on the features; by place in the batch (``models.dropout``).
      dtype: computation dtype of encoder and blocks, float32 or bfloat16; parameters are ``param_dtype``, logits
        float32.
    """

    num_outputs: int
    layers: int = 4
    heads: int = 8
    width: int = 64
    positions: Positions = "sinusoidal"
    encoder: Encoder = "resnet"
    encoder_width: int = 16
    label_digits: int = 0
    digit_base: int = 5
    norm: Norm = "group"
    axis_name: str | None = None
    dropout: float = 0.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Episodes, train: bool = False, *, outputs: Outputs = "logits") -> Any:
        """Episodes of T pictures -> float32 logits [B, T, num_outputs]; features are the tokens of pictures."""
        if self.width % self.heads:
            raise InputError(
                f"{self.heads} heads of a transformer of width {self.width}: give a number of heads that divides it"
            )
        x = self._tokens(inputs, train)
        x = x + self._positions(x.shape[1]).astype(self.dtype)
        for layer in range(self.layers):
            block = TransformerBlock(
                self.heads, self.dropout, self.axis_name, self.dtype, self.param_dtype, name=f"block{layer}"
            )
            x = block(x, train)
        of_pictures = nn.LayerNorm(dtype=self.dtype, param_dtype=self.param_dtype, name="last_norm")(
            x[:, ::2]
        )
        features = of_pictures.astype(jnp.float32)
        head = LinearHead(self.num_outputs, param_dtype=self.param_dtype, name="head")
        return outputs_of(head, features, outputs, Dropout(self.dropout, self.axis_name), train)

    def _tokens(self, inputs: Episodes, train: bool) -> Array:
        """[B, 2 T - 1, width]: pictures and labels in turn; the last label is for nobody."""
        images, labels = pictures_and_labels(inputs)
        encoded = PictureEncoder.of(self, name="encoder")(images, train)
        shown = encoded_labels(labels, self.num_outputs, self.label_digits, self.digit_base)
        pictures, names = (
            nn.Dense(self.width, dtype=self.dtype, param_dtype=self.param_dtype, name=name)(values)
            for name, values in (("picture_token", encoded), ("label_token", shown))
        )
        in_turn = jnp.stack([pictures, names], axis=2)
        return in_turn.reshape(len(labels), 2 * labels.shape[1], self.width)[:, :-1]

    def _positions(self, length: int) -> Array:
        """[length, width]."""
        if self.positions == "learned":
            init = nn.initializers.normal(0.02)
            return self.param("positions", init, (length, self.width), self.param_dtype)
        return jnp.asarray(sinusoids(length, self.width))


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + network(norm(x)); a token attends to itself and those before it."""

    heads: int
    dropout: float
    axis_name: str | None
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        batch, length, width = x.shape
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        drop = Dropout(self.dropout, self.axis_name)
        mixed = nn.Dense(3 * width, name="query_key_value", **dtypes)(nn.LayerNorm(name="norm0", **dtypes)(x))
        query, key, value = jnp.split(mixed.reshape(batch, length, self.heads, -1), 3, axis=-1)
        scores = jnp.einsum("bthd,bshd->bhts", query, key).astype(jnp.float32) / query.shape[-1] ** 0.5
        scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
        weights = jax.nn.softmax(scores, axis=-1).astype(self.dtype)
        read = jnp.einsum("bhts,bshd->bthd", weights, value).reshape(batch, length, width)
        x = x + drop(nn.Dense(width, name="read", **dtypes)(read), train)
        inner = nn.Dense(4 * width, name="inner", **dtypes)(nn.LayerNorm(name="norm1", **dtypes)(x))
        return x + drop(nn.Dense(width, name="outer", **dtypes)(nn.gelu(inner)), train)


def sinusoids(length: int, width: int) -> np.ndarray:
    """float32 [length, width]: sin(t / 10000^(2 i / width)) and cos of it, in turn (Vaswani et al., 2017, 3.5)."""
    angles = np.arange(length)[:, None] / 10_000.0 ** (2 * (np.arange(width) // 2) / width)
    return np.where(np.arange(width) % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)
