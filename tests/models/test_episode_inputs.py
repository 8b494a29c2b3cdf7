"""Labels as a network over episodes is shown them, and its pictures as vectors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_episodes import episodes, num_parameters, random_variables

from imbal_jax.errors import InputError
from imbal_jax.models import make_model
from imbal_jax.models.episode_encoder import PictureEncoder
from imbal_jax.models.episode_inputs import encoded_labels, one_step_late, pictures_and_labels


def test_string_labels_are_the_digits_of_their_number() -> None:
    """2301 = 3 * 625 + 3 * 125 + 2 * 25 + 0 * 5 + 1: d d c a b."""
    found = np.asarray(encoded_labels(jnp.asarray([2301, 0, -1]), 25, digits=5)).reshape(3, 5, 5)
    np.testing.assert_array_equal(found[0].argmax(-1), [3, 3, 2, 0, 1])
    np.testing.assert_array_equal(found[1].argmax(-1), 0)
    np.testing.assert_array_equal(found.sum(-1), [[1] * 5, [1] * 5, [0] * 5])


def test_every_string_label_is_another_one() -> None:
    found = np.asarray(encoded_labels(jnp.arange(27), 9, digits=3, base=3))
    assert len(np.unique(found, axis=0)) == 27


def test_one_hot_labels_and_none_for_a_query() -> None:
    found = encoded_labels(jnp.asarray([[1, -1]]), 3)
    np.testing.assert_array_equal(found, [[[0, 1, 0], [0, 0, 0]]])


def test_a_value_comes_one_step_late() -> None:
    np.testing.assert_array_equal(one_step_late(jnp.arange(6.0).reshape(1, 3, 2)), [[[0, 0], [0, 1], [2, 3]]])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (jnp.zeros((2, 4, 4, 1)), r"was given an array \[2, 4, 4, 1\]: it needs a mapping"),
        ({"images": jnp.zeros((2, 3, 4, 4, 1))}, r"was given \['images'\]"),
        (
            {"images": jnp.zeros((2, 4, 4, 1)), "labels": jnp.zeros((2,))},
            r"images \[2, 4, 4, 1\] and labels \[2\]",
        ),
        ({"images": jnp.zeros((2, 3, 4, 4, 1)), "labels": jnp.zeros((2, 4))}, r"labels \[2, 4\]: expected"),
    ],
)
def test_other_inputs_are_refused(inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pictures_and_labels(inputs)


def test_pixels_are_the_flattened_picture() -> None:
    images = episodes()["images"]
    found = PictureEncoder("pixels").apply({}, images, False)
    np.testing.assert_array_equal(found, np.asarray(images).reshape(2, 6, 16))


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_four_blocks_are_those_of_pytorch(norm: str) -> None:
    torch = pytest.importorskip("torch")
    images = episodes(batch=1, steps=3, size=21)["images"]
    encoder = PictureEncoder("conv", width=16, norm=norm)
    tree = jax.eval_shape(lambda key: encoder.init(key, images, False), jax.random.key(0))
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: jnp.asarray(0.1 + random.random(leaf.shape), jnp.float32), tree)
    found = jax.jit(encoder.apply, static_argnums=2)(variables, images, False)

    def tensor(array: Any) -> Any:
        return torch.from_numpy(np.array(array))

    x = tensor(images[0]).permute(0, 3, 1, 2)
    for block in range(4):
        p = variables["params"]
        scale, bias = (tensor(p[f"norm{block}"][name]) for name in ("scale", "bias"))
        x = torch.nn.functional.conv2d(x, tensor(p[f"conv{block}"]["kernel"]).permute(3, 2, 0, 1), padding=1)
        if norm == "group":
            x = torch.nn.functional.group_norm(x, 2, scale, bias)
        else:
            running = variables["batch_stats"][f"norm{block}"]
            x = torch.nn.functional.batch_norm(
                x, tensor(running["mean"]), tensor(running["var"]), scale, bias
            )
        x = torch.nn.functional.max_pool2d(torch.relu(x), 2)
    expected = x.permute(0, 2, 3, 1).reshape(3, -1).numpy()
    assert found.shape == (1, 3, 16)
    np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_a_picture_is_encoded_apart_from_the_others() -> None:
    images = episodes(size=16)["images"]
    for kind, width in (("conv", 64), ("resnet", 4 * 64)):
        encoder = PictureEncoder(kind)
        variables = jax.jit(encoder.init, static_argnums=2)(jax.random.key(0), images, False)
        apply = jax.jit(encoder.apply, static_argnums=2)
        found = apply(variables, images, False)
        assert found.shape == (2, 6, width)
        np.testing.assert_allclose(found[1, 4:], apply(variables, images[1:, 4:], False)[0], atol=1e-4)


def test_pictures_too_small_for_four_blocks_are_refused() -> None:
    with pytest.raises(InputError, match=r"images of 15 x 15 are too small .* 16 pixels or more"):
        make_model("matching", num_outputs=2).init(jax.random.key(0), episodes(size=15))


def test_the_published_encoder_has_64_features_of_28_pixels() -> None:
    inputs = episodes(size=28)
    expected = 9 * 64 + 3 * 9 * 64 * 64 + 4 * 2 * 64
    for name in ("prototypical", "matching"):
        model = make_model(name, num_outputs=5)
        assert num_parameters(model, inputs) == expected
        variables = jax.eval_shape(model.init, jax.random.key(0), inputs)
        features = jax.eval_shape(lambda v, x, m=model: m.apply(v, x, outputs="features"), variables, inputs)
        assert features.shape == (2, 6, 64)


def test_an_encoder_takes_the_place_of_pixels() -> None:
    inputs = episodes(size=16)
    model = make_model("episode_lstm", num_outputs=3, hidden=5, encoder="conv", encoder_width=8)
    variables = random_variables(model, inputs)
    assert variables["params"]["controller_input"]["kernel"].shape == (8 + 3, 20)
    assert np.isfinite(jax.jit(model.apply)(variables, inputs)).all()
