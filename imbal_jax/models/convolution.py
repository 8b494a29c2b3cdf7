"""Convolution that also trains fast on a CPU; a drop-in for ``jax.lax.conv_general_dilated``.

XLA's CPU backend is near the peak of the machine in the forward convolution and in the gradient of
the input, and slow in the gradient of the kernel: it transposes both operands to use a convolution
whose window is the whole image, and fuses the element-wise part of the backward pass into those
transposes, so that it is repeated for every layer. Here the gradient of the kernel is a few matrix products
per slice of the batch, small enough to stay in cache. On GPU and TPU nothing changes.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

NHWC = ("NHWC", "HWIO", "NHWC")
NHWC_HWOI = ("NHWC", "HWOI", "NHWC")
SLICE_PIXELS = 4096  # output pixels per matrix product: 64 channels of them are 1 MB, half of an L2 cache

Pair = tuple[int, int]


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Any,
    padding: Any,
    lhs_dilation: Any = None,
    rhs_dilation: Any = None,
    dimension_numbers: Any = None,
    **options: Any,
) -> Array:
    """The same arguments and result as ``jax.lax.conv_general_dilated``; all transformations work.

    The fast path is taken where the backend is a CPU, for float32 images [B, H, W, channels] and
    kernels [h, w, in, out] of at most 7x7 without dilation or groups; else this is the plain operation.
    """
    if (
        jax.default_backend() == "cpu"
        and lhs.ndim == 4
        and lhs.dtype == rhs.dtype == jnp.float32
        and dimension_numbers is not None
        and lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
        == lax.conv_dimension_numbers(lhs.shape, rhs.shape, NHWC)
        and max(rhs.shape[:2]) <= 7
        and all(d == 1 for d in (*(lhs_dilation or ()), *(rhs_dilation or ())))
        and all(value is None or value == 1 for value in options.values())
    ):
        strides = tuple(window_strides)
        pads = padding
        if isinstance(pads, str):
            pads = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], strides, pads)
        return _conv(lhs, rhs, strides, tuple(tuple(pair) for pair in pads))
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        dimension_numbers,
        **options,
    )


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _conv(x: Array, kernel: Array, strides: Pair, pads: tuple[Pair, Pair]) -> Array:
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=NHWC)


def _conv_jvp(strides: Pair, pads: tuple[Pair, Pair], primals: Any, tangents: Any) -> tuple[Array, Any]:
    """Both tangents are written so that their transposes are fast."""
    x, kernel = primals
    x_dot, kernel_dot = tangents
    y = _conv(x, kernel, strides, pads)
    zero = jax.custom_derivatives.SymbolicZero
    parts = []
    if not isinstance(x_dot, zero):
        # The transpose of this is a convolution in the layout HWIO. Written plainly it would be HWOI, which
        # XLA's CPU backend brings into its fast form outside of loops only: inside one it is ten times slower.
        swapped = jnp.swapaxes(kernel, 2, 3)
        parts.append(lax.conv_general_dilated(x_dot, swapped, strides, pads, dimension_numbers=NHWC_HWOI))
    if not isinstance(kernel_dot, zero):
        parts.append(_conv_by_slices(x, kernel_dot, strides, pads))
    return y, sum(parts[1:], parts[0]) if parts else jnp.zeros_like(y)


_conv.defjvp(_conv_jvp, symbolic_zeros=True)


def _conv_by_slices(x: Array, kernel: Array, strides: Pair, pads: tuple[Pair, Pair]) -> Array:
    """The convolution as matrix products over slices of the batch.

    Meant to be transposed in ``kernel``: that is, per slice and kernel row, one product
    [out, pixels] x [pixels, kernel columns * in], the accumulators carried by the scan.
    """
    batch, height, width, channels = x.shape
    rows, columns, _, out = kernel.shape
    out_height = (height + sum(pads[0]) - rows) // strides[0] + 1
    out_width = (width + sum(pads[1]) - columns) // strides[1] + 1
    # [rows, out, columns * in]: the order in which XLA calls its fast matrix product in the backward pass.
    row_kernels = jnp.swapaxes(kernel.reshape(rows, columns * channels, out), 1, 2)

    # Only x is saved: its shifted copies are recomputed, slice by slice, in the backward pass.
    @partial(jax.checkpoint, prevent_cse=False)
    def one_slice(x: Array) -> Array:
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
        last = (out_width - 1) * strides[1] + 1
        x = jnp.concatenate([x[:, :, j : j + last : strides[1]] for j in range(columns)], axis=-1)
        last = (out_height - 1) * strides[0] + 1
        y = sum(
            lax.dot_general(row_kernels[i], x[:, i : i + last : strides[0]], (((1,), (3,)), ((), ())))
            for i in range(rows)
        )
        return jnp.moveaxis(y, 0, -1)

    size = min(batch, max(1, SLICE_PIXELS // (out_height * out_width)))
    whole = batch // size * size
    slices = x[:whole].reshape(-1, size, height, width, channels)
    y = lax.map(one_slice, slices).reshape(whole, out_height, out_width, out)
    return y if whole == batch else jnp.concatenate([y, one_slice(x[whole:])])
