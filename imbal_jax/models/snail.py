"""SNAIL: temporal convolutions, which collect what an episode has shown, and attention, which picks from it."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.models.class_support import earlier
from imbal_jax.models.dropout import Dropout
from imbal_jax.models.episode_encoder import Encoder, PictureEncoder
from imbal_jax.models.episode_inputs import Episodes, encoded_labels, pictures_and_labels
from imbal_jax.models.head import LinearHead, Outputs, outputs_of
from imbal_jax.models.normalization import Norm


class SNAIL(nn.Module):
    """Attention, convolutions, attention, convolutions, attention, linear layer (Mishra et al., ICLR 2018).

    In the paper an episode is pictures with their labels and at its end one without, whose class is asked. Here every
    picture is asked: the network computes two streams, one of pictures with their labels and one without, and logits
    of picture t are those of an episode of the pictures before t with labels and t without. Both streams share all
    weights; the one without labels looks back at the one with.

    Attributes:
      num_outputs: logits per picture.
      filters: channels that a dense block adds (128 in the paper for Omniglot).
      keys: widths of the keys of the three attention blocks; their values have half as many (64, 256, 512: 32, 128,
        256 in the paper).
      encoder: "conv", "resnet" or "pixels" (``episode_encoder``); a linear layer of 64 follows.
      encoder_width: its channels.
      label_digits: 0 shows a label as one-hot; else as this many one-hots (``episode_inputs.encoded_labels``).
      digit_base: width of each of them.
      norm: of the encoder, "group" or "batch".
      axis_name: mesh axis over which BatchNorm averages in training; GroupNorm needs none.
      dropout: rate on the features before the head; by place in the batch (``models.dropout``).
      dtype: computation dtype of the encoder; the rest is float32, as are the parameters (``param_dtype``).
    """

    num_outputs: int
    filters: int = 128
    keys: tuple[int, ...] = (64, 256, 512)
    encoder: Encoder = "conv"
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
        """Episodes of T pictures -> float32 logits [B, T, num_outputs]; features are the input of the last layer.

        The convolutions see 2^n steps for the least n that covers T: a network is for episodes of the length it was
        made for.
        """
        images, labels = pictures_and_labels(inputs)
        encoded = PictureEncoder.of(self, name="encoder")(images, train)
        encoded = nn.Dense(64, param_dtype=self.param_dtype, name="embedding")(encoded)
        shown = encoded_labels(labels, self.num_outputs, self.label_digits, self.digit_base)
        both = jnp.stack([shown, jnp.zeros_like(shown)])
        x = jnp.concatenate([jnp.broadcast_to(encoded, (2, *encoded.shape)), both], axis=-1)
        for index, width in enumerate(self.keys):
            x = AttentionBlock(width, width // 2, self.param_dtype, name=f"attention{index}")(x)
            if index < len(self.keys) - 1:
                x = TemporalConvolutions(self.filters, self.param_dtype, name=f"convolutions{index}")(x)
        features = x[1]
        head = LinearHead(self.num_outputs, param_dtype=self.param_dtype, name="head")
        return outputs_of(head, features, outputs, Dropout(self.dropout, self.axis_name), train)


class TemporalConvolutions(nn.Module):
    """Dense blocks with dilations 1, 2, 4, ... below T, so that the last one sees all steps before its own."""

    filters: int
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[2, B, T, D] -> [2, B, T, D + n filters]."""
        for index in range(max(1, (x.shape[2] - 1).bit_length())):
            x = DenseBlock(self.filters, 2**index, self.param_dtype, name=f"block{index}")(x)
        return x


class DenseBlock(nn.Module):
    """Causal convolution over two steps ``dilation`` apart, tanh(f) * sigmoid(g), beside its input."""

    filters: int
    dilation: int
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[2, B, T, D] -> [2, B, T, D + filters]; the step in the past is that of stream 0, with labels."""
        steps = x.shape[2]
        past = jnp.pad(x[0], ((0, 0), (self.dilation, 0), (0, 0)))[:, :steps]
        both = nn.Dense(2 * self.filters, param_dtype=self.param_dtype, name="present")(x)
        both += nn.Dense(2 * self.filters, use_bias=False, param_dtype=self.param_dtype, name="past")(past)
        values, gates = jnp.split(both, 2, axis=-1)
        return jnp.concatenate([x, jnp.tanh(values) * jax.nn.sigmoid(gates)], axis=-1)


class AttentionBlock(nn.Module):
    """softmax(q_t . k_s / sqrt(keys)) over s <= t times values, beside its input."""

    keys: int
    values: int
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[2, B, T, D] -> [2, B, T, D + values]; steps in the past are those of stream 0, with labels."""
        query, key, value = (
            nn.Dense(width, param_dtype=self.param_dtype, name=name)(x)
            for name, width in (("query", self.keys), ("key", self.keys), ("value", self.values))
        )
        of_past = jnp.einsum("zbtk,bsk->zbts", query, key[0])
        of_past = jnp.where(earlier(x.shape[2]), of_past, -jnp.inf)
        own = jnp.einsum("zbtk,zbtk->zbt", query, key)[..., None]
        weights = jax.nn.softmax(jnp.concatenate([of_past, own], axis=-1) / self.keys**0.5, axis=-1)
        read = jnp.einsum("zbts,bsv->zbtv", weights[..., :-1], value[0]) + weights[..., -1:] * value
        return jnp.concatenate([x, read], axis=-1)
