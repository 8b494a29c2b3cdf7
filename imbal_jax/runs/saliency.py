"""Which pixels move a decision most: SmoothGrad-Squared maps of the log-odds of a class.

A map says where a small change of the image would change the network's answer most. It does not say why, nor
whether the finding was seen, and it is no segmentation: on chest radiographs such maps place findings worse
than networks trained to do so (Arun et al., Radiology: Artificial Intelligence 2021). Maps that look
plausible prove little: some methods give nearly the same picture for a network of random weights (Adebayo et
al., NeurIPS 2018). The plain gradient passes the checks made there, so nothing but gradients is used here; the
product with the image, whose own edges dominate such pictures, is left out.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.engine.step import ApplyFn
from imbal_jax.tasks import ONE_LABEL, Task


def saliency_maps(
    apply_fn: ApplyFn,
    variables: Mapping[str, Any],
    inputs: ArrayLike,
    cls: int,
    *,
    task: Task = ONE_LABEL,
    samples: int = 32,
    noise: float = 0.1,
    seed: int = 0,
) -> np.ndarray:
    """sqrt(mean_k |grad_x m(x + e_k)|^2), the norm over the channels of each pixel; e_k normal, of sd s.

    The noise averages out the speckle of one gradient (Smilkov et al., SmoothGrad, 2017, who take s as 10 to
    20 % of an image's range); of the averages, that of the squares finds the pixels that matter best (Hooker et
    al., NeurIPS 2019). m is the log-odds of the class: z_c - log sum_{k != c} exp z_k for one label, z_c for
    many labels and where there is one logit.

    Args:
      apply_fn: ``(variables, inputs, *, train, rngs)`` -> logits [B, C] or a mapping that holds them under
        "logits", or (one of these, updated collections); compiled once for all images of one shape.
      variables: of the network, which is run in evaluation mode.
      inputs: [B, H, W, channels], as the network takes them: standardised, not pixels of 0 to 255.
      cls: c, 0 to C - 1.
      task: what the logits are of; it says what the log-odds of a class are.
      samples: noisy copies of each image; they are one batch.
      noise: s as a share of the range (largest less smallest value) of the image.
      seed: of the noise, which is the same for every image: equal images have equal maps.

    Returns:
      float32 [B, H, W], zero or above, not scaled: compare within an image.

    Raises:
      ValueError: inputs that are not [B, H, W, channels]; no such class; fewer than one sample; a negative noise.
    """
    inputs = np.asarray(inputs, np.float32)
    if inputs.ndim != 4:
        raise ValueError(f"inputs have shape {list(inputs.shape)}, expected [B, H, W, channels]")
    if samples < 1 or not 0 <= noise < np.inf:
        raise ValueError(f"samples={samples} must be 1 or more, and noise={noise:g} zero or above")
    count, height, width, _ = inputs.shape
    if count == 0:
        return np.zeros((0, height, width), np.float32)
    example = jax.eval_shape(lambda v: _logits(apply_fn, v, jnp.asarray(inputs[:1])), variables)
    if not 0 <= cls < example.shape[-1]:
        raise ValueError(f"class {cls} is out of range: the network has {example.shape[-1]} logits")
    asked = jnp.int32(cls), jnp.float32(noise)
    key = jax.random.key(seed)
    maps = [_map(apply_fn, task, samples, variables, image, asked, key) for image in inputs]
    return np.stack([np.asarray(one) for one in maps])


@partial(jax.jit, static_argnums=(0, 1, 2))
def _map(
    apply_fn: ApplyFn,
    task: Task,
    samples: int,
    variables: Mapping[str, Any],
    image: jax.Array,
    asked: tuple[jax.Array, jax.Array],
    key: jax.Array,
) -> jax.Array:
    """[H, W] of one image [H, W, channels]. asked: the class, and the noise as a share of the image's range."""
    cls, noise = asked
    scale = noise * (image.max() - image.min())
    noisy = image + scale * jax.random.normal(key, (samples, *image.shape))

    def total_log_odds(inputs: jax.Array) -> jax.Array:  # summed over images that do not influence each other
        logits = _logits(apply_fn, variables, inputs).astype(jnp.float32)
        return task.log_odds(logits, cls).sum()

    gradients = jax.grad(total_log_odds)(noisy)
    return jnp.sqrt((gradients**2).mean(axis=0).sum(axis=-1))


def _logits(apply_fn: ApplyFn, variables: Mapping[str, Any], inputs: jax.Array) -> jax.Array:
    outputs = apply_fn(variables, inputs, train=False, rngs={})
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    return outputs["logits"] if isinstance(outputs, Mapping) else outputs
