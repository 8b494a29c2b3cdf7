"""SNAIL against the paper's network on each prefix of an episode, in PyTorch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_episodes import assert_causal, episodes, gradients_are_finite, num_parameters, random_variables

from imbal_jax.errors import InputError
from imbal_jax.models import make_model

TINY = {"encoder": "pixels", "filters": 4, "keys": (4, 6, 8)}


def in_torch(params: Any, pictures: np.ndarray, labels: np.ndarray, ways: int, filters: int) -> np.ndarray:
    """Logits of the last picture of one episode, whose label is not shown: a single stream, as in the paper."""
    torch = pytest.importorskip("torch")

    def tensor(array: Any) -> Any:
        return torch.from_numpy(np.array(array))

    def dense(x: Any, scope: Any) -> Any:
        return x @ tensor(scope["kernel"]) + (tensor(scope["bias"]) if "bias" in scope else 0.0)

    steps = len(labels)
    shown = np.zeros((steps, ways), np.float32)
    for t, label in enumerate(labels[:-1]):
        if label >= 0:
            shown[t, label] = 1
    x = torch.cat([dense(tensor(pictures.reshape(steps, -1)), params["embedding"]), tensor(shown)], 1)
    for index in range(3):
        scope = params[f"attention{index}"]
        query, key, value = (dense(x, scope[name]) for name in ("query", "key", "value"))
        later = torch.ones(steps, steps).triu(1).bool()
        scores = (query @ key.T / key.shape[1] ** 0.5).masked_fill(later, -torch.inf)
        x = torch.cat([x, scores.softmax(1) @ value], 1)
        for block, scope in sorted(params.get(f"convolutions{index}", {}).items()):
            dilation = 2 ** int(block.removeprefix("block"))
            kernel = torch.stack([tensor(scope["past"]["kernel"]).T, tensor(scope["present"]["kernel"]).T], 2)
            padded = torch.nn.functional.pad(x.T[None], (dilation, 0))
            bias = tensor(scope["present"]["bias"])
            both = torch.nn.functional.conv1d(padded, kernel, bias, dilation=dilation)[0].T
            x = torch.cat([x, both[:, :filters].tanh() * both[:, filters:].sigmoid()], 1)
    return dense(x[-1], params["head"]).numpy()


def test_logits_of_each_picture_are_those_of_the_paper_for_the_episode_that_ends_with_it() -> None:
    inputs = episodes(batch=2, steps=7)
    model = make_model("snail", num_outputs=3, **TINY)
    variables = random_variables(model, inputs)
    found = jax.jit(model.apply)(variables, inputs)
    assert (found.shape, found.dtype) == ((2, 7, 3), jnp.float32)
    images, labels = np.asarray(inputs["images"]), np.asarray(inputs["labels"])
    for b, t in np.ndindex(2, 7):
        expected = in_torch(variables["params"], images[b, : t + 1], labels[b, : t + 1], 3, TINY["filters"])
        np.testing.assert_allclose(found[b, t], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.apply(variables, inputs), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_network_is_causal(seed: int) -> None:
    inputs = episodes(seed=seed)
    model = make_model("snail", num_outputs=3, **TINY)
    assert_causal(model, random_variables(model, inputs, seed), inputs)


def test_gradients_are_finite() -> None:
    inputs = episodes()
    model = make_model("snail", num_outputs=3, **TINY)
    assert gradients_are_finite(model, jax.jit(model.init)(jax.random.key(0), inputs), inputs)


def test_size_for_five_ways_and_one_shot() -> None:
    """Six steps: three dense blocks of 128 in each of two groups; attention of 64, 256, 512."""
    inputs = episodes(size=28, steps=6, ways=5)
    encoder = 9 * 64 + 3 * 9 * 64 * 64 + 4 * 2 * 64 + 65 * 64
    width, expected = 69, encoder
    for keys, blocks in ((64, 3), (256, 3), (512, 0)):
        expected += (width + 1) * (2 * keys + keys // 2)
        width += keys // 2
        for _ in range(blocks):
            expected += (2 * width + 1) * 256
            width += 128
    assert num_parameters(make_model("snail", num_outputs=5), inputs) == expected + (width + 1) * 5


@pytest.mark.parametrize("keys", [(), (64, 0), 64, (64, 1)])
def test_widths_of_keys_are_checked(keys: Any) -> None:
    with pytest.raises(InputError, match=r"keys .* of model 'snail': give the widths of the keys"):
        make_model("snail", num_outputs=3, keys=keys)
