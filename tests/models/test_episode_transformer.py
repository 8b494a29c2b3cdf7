"""The transformer over episodes against PyTorch's encoder layers with the same weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_episodes import assert_causal, episodes, gradients_are_finite, num_parameters, random_variables

from imbal_jax.errors import InputError
from imbal_jax.models import make_model
from imbal_jax.models.episode_transformer import sinusoids

TINY = {"encoder": "pixels", "layers": 2, "heads": 2, "width": 8}


def in_torch(params: Any, inputs: Any, ways: int, options: Any) -> np.ndarray:
    torch = pytest.importorskip("torch")

    def tensor(array: Any) -> Any:
        return torch.from_numpy(np.array(array))

    def dense(x: Any, scope: Any) -> Any:
        return x @ tensor(scope["kernel"]) + tensor(scope["bias"])

    width = options["width"]
    labels = np.asarray(inputs["labels"])
    batch, steps = labels.shape
    shown = (labels[..., None] == np.arange(ways)).astype(np.float32)
    x = torch.zeros(batch, 2 * steps, width)
    x[:, ::2] = dense(tensor(inputs["images"]).reshape(batch, steps, -1), params["picture_token"])
    x[:, 1::2] = dense(tensor(shown), params["label_token"])
    x = x[:, :-1]
    positions = params["positions"] if "positions" in params else sinusoids(2 * steps - 1, width)
    x = x + tensor(positions)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(2 * steps - 1)
    for index in range(options["layers"]):
        scope = params[f"block{index}"]
        layer = torch.nn.TransformerEncoderLayer(
            width,
            options["heads"],
            4 * width,
            0.0,
            lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
            layer_norm_eps=1e-6,
            batch_first=True,
            norm_first=True,
        )
        # ours splits heads first, then query, key and value; PyTorch's holds all queries, then keys, then values
        order = np.arange(3 * width).reshape(options["heads"], 3, -1).swapaxes(0, 1).reshape(-1)
        given = {
            "self_attn.in_proj_weight": scope["query_key_value"]["kernel"].T[order],
            "self_attn.in_proj_bias": scope["query_key_value"]["bias"][order],
            "self_attn.out_proj.weight": scope["read"]["kernel"].T,
            "self_attn.out_proj.bias": scope["read"]["bias"],
            "linear1.weight": scope["inner"]["kernel"].T,
            "linear1.bias": scope["inner"]["bias"],
            "linear2.weight": scope["outer"]["kernel"].T,
            "linear2.bias": scope["outer"]["bias"],
            **{f"norm{n + 1}.weight": scope[f"norm{n}"]["scale"] for n in (0, 1)},
            **{f"norm{n + 1}.bias": scope[f"norm{n}"]["bias"] for n in (0, 1)},
        }
        layer.load_state_dict({name: tensor(value) for name, value in given.items()})
        x = layer(x, src_mask=mask)
    last = params["last_norm"]
    x = torch.nn.functional.layer_norm(x, (width,), tensor(last["scale"]), tensor(last["bias"]), 1e-6)
    return dense(x[:, ::2], params["head"]).detach().numpy()


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_logits_are_those_of_pytorch(positions: str) -> None:
    inputs = episodes()
    model = make_model("episode_transformer", num_outputs=3, positions=positions, **TINY)
    variables = random_variables(model, inputs)
    found = jax.jit(model.apply)(variables, inputs)
    assert (found.shape, found.dtype) == ((2, 6, 3), jnp.float32)
    np.testing.assert_allclose(found, in_torch(variables["params"], inputs, 3, TINY), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.apply(variables, inputs), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_network_is_causal(seed: int) -> None:
    inputs = episodes(seed=seed)
    model = make_model("episode_transformer", num_outputs=3, **TINY)
    assert_causal(model, random_variables(model, inputs, seed), inputs)


def test_gradients_are_finite_and_bfloat16_is_near_float32() -> None:
    inputs = episodes()
    model = make_model("episode_transformer", num_outputs=3, **TINY)
    variables = jax.jit(model.init)(jax.random.key(0), inputs)
    assert gradients_are_finite(model, variables, inputs)
    half = jax.jit(model.clone(dtype=jnp.bfloat16).apply)(variables, inputs)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, jax.jit(model.apply)(variables, inputs), atol=0.1)


def test_sinusoids_are_those_of_the_formula() -> None:
    found = sinusoids(4, 6)
    assert found[3, 2] == pytest.approx(np.sin(3 / 10_000 ** (2 / 6)))
    assert found[3, 3] == pytest.approx(np.cos(3 / 10_000 ** (2 / 6)))


def test_size_of_four_layers_of_width_64() -> None:
    inputs = episodes(size=28, ways=5)
    block = 2 * 2 * 64 + 65 * 192 + 65 * 64 + 65 * 256 + 257 * 64
    found = num_parameters(make_model("episode_transformer", num_outputs=5, encoder="pixels"), inputs)
    assert found == 785 * 64 + 6 * 64 + 4 * block + 2 * 64 + 65 * 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "rotary"}, "positions 'rotary' .* 'sinusoidal', 'learned'"),
        ({"layers": 0}, "layers 0 .* whole number from 1"),
        (
            {"heads": 3, "width": 64},
            "3 heads of a transformer of width 64: give a number of heads that divides",
        ),
    ],
)
def test_wrong_options_say_what_fits(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_model("episode_transformer", num_outputs=3, encoder="pixels", **options).init(
            jax.random.key(0), episodes()
        )
