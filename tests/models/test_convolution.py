"""The fast convolution is the plain one: values, gradients, transformations, sharding."""

import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from imbal_jax.models import convolution
from imbal_jax.models.convolution import conv_general_dilated

NHWC = ("NHWC", "HWIO", "NHWC")

SHAPES = {  # batch, height, width, in, out, kernel (h, w), stride, padding
    "3x3": (5, 9, 7, 3, 4, (3, 3), 1, [(1, 1), (1, 1)]),
    "3x3 by 2": (4, 8, 8, 5, 6, (3, 3), 2, [(1, 1), (1, 1)]),
    "3x3 by 2, odd image": (3, 9, 7, 2, 3, (3, 3), 2, [(1, 1), (1, 1)]),
    "7x7 by 2": (3, 11, 12, 2, 3, (7, 7), 2, [(3, 3), (3, 3)]),
    "1x1": (6, 7, 5, 4, 3, (1, 1), 1, [(0, 0), (0, 0)]),
    "1x1 by 2": (6, 8, 7, 4, 3, (1, 1), 2, [(0, 0), (0, 0)]),
    "SAME": (2, 6, 5, 3, 2, (3, 3), 2, "SAME"),
    "VALID, 2x3": (2, 6, 5, 3, 2, (2, 3), 1, "VALID"),
    "uneven padding": (2, 6, 5, 3, 2, (3, 3), 1, [(0, 2), (2, 1)]),
    "batch not a multiple of the slice": (70, 10, 10, 2, 3, (3, 3), 1, [(1, 1), (1, 1)]),
    "one pixel": (3, 1, 1, 2, 2, (3, 3), 1, [(1, 1), (1, 1)]),
}


def operands(shape: tuple[Any, ...]) -> tuple[jax.Array, jax.Array]:
    batch, height, width, inputs, outputs, kernel, _, _ = shape
    random = np.random.default_rng(0)
    x = random.standard_normal((batch, height, width, inputs), dtype=np.float32)
    w = random.standard_normal((*kernel, inputs, outputs), dtype=np.float32)
    return jnp.asarray(x), jnp.asarray(w)


def plain_and_fast(shape: tuple[Any, ...]) -> tuple[Any, Any]:
    stride, padding = shape[-2:]
    options = {"window_strides": (stride, stride), "padding": padding, "dimension_numbers": NHWC}
    return partial(lax.conv_general_dilated, **options), partial(conv_general_dilated, **options)


def energy(conv: Any) -> Any:
    """A scalar whose gradient is different at every output."""
    return lambda x, w: jnp.sum(jnp.sin(conv(x, w)))


def assert_close(actual: Any, expected: Any) -> None:
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.shape == e.shape
        assert a.dtype == e.dtype
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4 * (1 + float(jnp.abs(e).max())))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_values_and_gradients_are_those_of_lax(shape: tuple[Any, ...]) -> None:
    plain, fast = plain_and_fast(shape)
    x, w = operands(shape)
    assert_close(fast(x, w), plain(x, w))
    expected = jax.jit(jax.grad(energy(plain), (0, 1)))(x, w)
    assert_close(jax.jit(jax.grad(energy(fast), (0, 1)))(x, w), expected)
    assert_close(jax.grad(energy(fast), 1)(x, w), expected[1])


@pytest.mark.parametrize("name", ["3x3", "3x3 by 2", "batch not a multiple of the slice"])
def test_forward_mode_is_that_of_lax(name: str) -> None:
    plain, fast = plain_and_fast(SHAPES[name])
    x, w = operands(SHAPES[name])
    tangents = (jnp.cos(x), jnp.cos(w))
    assert_close(jax.jvp(fast, (x, w), tangents), jax.jvp(plain, (x, w), tangents))
    only_kernel = [jax.jvp(lambda w, conv=conv: conv(x, w), (w,), (w,)) for conv in (fast, plain)]
    assert_close(*only_kernel)


def test_gradient_of_one_image_by_vmap_is_that_of_lax() -> None:
    plain, fast = plain_and_fast(SHAPES["3x3"])
    x, w = operands(SHAPES["3x3"])
    per_image = [
        jax.vmap(jax.grad(lambda w, x, conv=conv: energy(conv)(x[None], w)), (None, 0))(w, x)
        for conv in (fast, plain)
    ]
    assert per_image[0].shape == (5, 3, 3, 3, 4)
    assert_close(*per_image)


def test_second_derivative_is_that_of_lax() -> None:
    plain, fast = plain_and_fast(SHAPES["3x3"])
    x, w = operands(SHAPES["3x3"])
    products = [
        jax.grad(lambda w, conv=conv: jnp.sum(jax.grad(energy(conv), 1)(x, w) ** 2))(w)
        for conv in (fast, plain)
    ]
    assert_close(*products)


@pytest.mark.parametrize("check_vma", [True, False])
def test_gradient_on_four_devices_sums_to_that_on_one(check_vma: bool) -> None:
    shape = (8, *SHAPES["3x3"][1:])
    plain, fast = plain_and_fast(shape)
    x, w = operands(shape)
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))

    def gradients(x: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
        x_bar, w_bar = jax.grad(energy(fast), (0, 1))(x, w)
        return x_bar, w_bar if check_vma else lax.psum(w_bar, "data")

    sharded = jax.shard_map(
        gradients, mesh=mesh, in_specs=(P("data"), P()), out_specs=(P("data"), P()), check_vma=check_vma
    )
    assert_close(jax.block_until_ready(jax.jit(sharded)(x, w)), jax.grad(energy(plain), (0, 1))(x, w))


def test_kernel_gradient_saves_no_shifted_copies_of_the_images() -> None:
    _, fast = plain_and_fast(SHAPES["batch not a multiple of the slice"])
    x, w = operands(SHAPES["batch not a multiple of the slice"])
    _, pullback = jax.vjp(lambda w: fast(x, w), w)
    saved = sum(leaf.size for leaf in jax.tree.leaves(pullback) if hasattr(leaf, "size"))
    assert saved <= 2 * x.size


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (jnp.bfloat16, {}),
        (jnp.float32, {"feature_group_count": 2}),
        (jnp.float32, {"rhs_dilation": (2, 2)}),
        (jnp.float32, {"lhs_dilation": (2, 2)}),
        (jnp.float32, {"preferred_element_type": jnp.float32}),
    ],
)
def test_what_the_fast_path_does_not_know_is_left_to_lax(
    dtype: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "_conv", None)  # calling it would fail
    x = jnp.ones((2, 6, 6, 4), dtype)
    w = jnp.ones((3, 3, 4 // options.get("feature_group_count", 1), 4), dtype)
    arguments = ((1, 1), [(1, 1), (1, 1)])
    actual = conv_general_dilated(x, w, *arguments, dimension_numbers=NHWC, **options)
    expected = lax.conv_general_dilated(x, w, *arguments, dimension_numbers=NHWC, **options)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


def test_other_layouts_are_left_to_lax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "_conv", None)
    x, w = jnp.ones((2, 4, 6, 6)), jnp.ones((4, 4, 3, 3))
    actual = conv_general_dilated(x, w, (1, 1), "SAME")
    np.testing.assert_array_equal(actual, lax.conv_general_dilated(x, w, (1, 1), "SAME"))


def test_other_backends_are_left_to_lax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "_conv", None)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    x, w = operands(SHAPES["3x3"])
    plain, fast = plain_and_fast(SHAPES["3x3"])
    np.testing.assert_array_equal(fast(x, w), plain(x, w))


def test_every_convolution_of_the_backward_pass_has_the_layout_that_is_fast_inside_loops() -> None:
    """XLA's CPU backend brings other layouts into this one outside of loops only; inside they cost ten times."""
    x, w = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4, 6))

    def energy(x: jax.Array, w: jax.Array) -> jax.Array:
        return conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=NHWC).sum()

    text = jax.jit(jax.grad(energy, (0, 1))).lower(x, w).as_text()
    layouts = re.findall(r"dim_numbers = (\[.*?\]x\[.*?\]->\[.*?\])", text)
    assert layouts
    assert set(layouts) == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
