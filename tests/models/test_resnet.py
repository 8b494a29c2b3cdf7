"""Forms of the stem of a residual network: the same function of the same parameters."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax.errors import InputError
from imbal_jax.models.resnet import FoldedStem, ResNet, sliced_max_pool

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("shape", [(2, 16, 16, 3), (1, 10, 22, 1)])
def test_a_folded_stem_is_the_convolution_of_pytorch_in_value_and_gradient(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    stem = FoldedStem(5)
    variables = stem.init(jax.random.key(0), x)
    kernel = np.asarray(variables["params"]["kernel"])
    assert kernel.shape == (7, 7, shape[-1], 5)
    weight = torch.tensor(kernel.transpose(3, 2, 0, 1), requires_grad=True)
    image = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    expected = torch.nn.functional.conv2d(image, weight, stride=2, padding=3)
    found = stem.apply(variables, x)
    np.testing.assert_allclose(found, expected.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)
    pull = rng.normal(size=found.shape).astype(np.float32)
    expected.backward(torch.tensor(pull.transpose(0, 3, 1, 2)))
    _, backward = jax.vjp(lambda k, x: stem.apply({"params": {"kernel": k}}, x), kernel, x)
    of_kernel, of_image = backward(pull)
    np.testing.assert_allclose(of_kernel, weight.grad.numpy().transpose(2, 3, 1, 0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_image, image.grad.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sides", [(8, 8), (7, 9), (3, 12)])
def test_a_sliced_max_pool_is_that_of_pytorch_in_value_and_gradient(sides: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *sides, 3)).astype(np.float32)
    image = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    expected = torch.nn.functional.max_pool2d(image, 3, 2, 1)
    found, backward = jax.vjp(sliced_max_pool, x)
    np.testing.assert_array_equal(found, expected.detach().numpy().transpose(0, 2, 3, 1))
    pull = rng.normal(size=found.shape).astype(np.float32)
    expected.backward(torch.tensor(pull.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(
        backward(pull)[0], image.grad.numpy().transpose(0, 2, 3, 1), rtol=1e-6, atol=1e-6
    )


def test_pixels_that_share_the_maximum_share_its_gradient() -> None:
    (gradient,) = jax.vjp(sliced_max_pool, jnp.ones((1, 2, 2, 1)))[1](jnp.ones((1, 1, 1, 1)))
    assert float(gradient.sum()) == pytest.approx(1.0)


def test_a_network_has_the_same_parameters_and_outputs_in_either_form() -> None:
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    plain = ResNet(4, stage_sizes=(1, 1), width=8, stem="imagenet")
    other = plain.copy(folded_stem=True, sliced_pool=True)
    variables = plain.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, other.init(jax.random.key(0), x)) == jax.tree.map(jnp.shape, variables)
    np.testing.assert_allclose(other.apply(variables, x), plain.apply(variables, x), rtol=1e-4, atol=1e-5)
    half = other.copy(dtype=jnp.bfloat16).apply(variables, x)
    np.testing.assert_allclose(half, plain.apply(variables, x), atol=0.1)
    with pytest.raises(InputError, match="do not divide into patches of 2 pixels"):
        other.apply(variables, x[:, :31])


@pytest.mark.parametrize("bottleneck", [False, True])
def test_rematerialised_gradients_are_the_same_and_less_is_kept(bottleneck: bool) -> None:
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    model = ResNet(2, stage_sizes=(2, 1), width=8, norm="batch", bottleneck=bottleneck)
    variables = model.init(jax.random.key(0), x)
    other = model.copy(remat=True)
    assert jax.tree.map(jnp.shape, other.init(jax.random.key(0), x)) == jax.tree.map(jnp.shape, variables)

    def loss(net: ResNet, params: Any) -> Any:
        logits, updates = net.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        return jnp.square(logits - 1).sum(), updates

    found = [
        jax.jit(jax.grad(partial(loss, net), has_aux=True))(variables["params"]) for net in (model, other)
    ]
    for a, e in zip(jax.tree.leaves(found[1]), jax.tree.leaves(found[0]), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5 * max(1.0, float(jnp.abs(e).max())))

    def kept(net: ResNet) -> int:
        pullback = jax.eval_shape(lambda p: jax.vjp(lambda p: loss(net, p)[0], p)[1], variables["params"])
        return sum(leaf.size for leaf in jax.tree.leaves(pullback))

    assert kept(other) < 0.7 * kept(model)
