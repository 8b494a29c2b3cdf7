"""CNN and ResNet: published sizes, dtypes, normalisation, and PyTorch's ResNet-18 with the same weights."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from imbal_jax.errors import InputError
from imbal_jax.models import COUNTS, EPISODE_MODELS, MODELS, SEQUENCE_MODELS, make_model
from imbal_jax.models.normalization import BatchNorm, GroupNorm, num_groups
from imbal_jax.models.resnet import space_to_depth

IMAGE_MODELS = sorted(MODELS.keys() - EPISODE_MODELS.keys() - SEQUENCE_MODELS.keys())
TINY_RESNET = {"width": 8, "stage_sizes": (1, 1)}


def initial(model: nn.Module, images: Any) -> Any:
    """Random variables of the right shapes: cheaper than compiling an initialisation."""
    random = np.random.default_rng(0)
    tree = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))

    def draw(path: Any, leaf: Any) -> jax.Array:
        positive = path[-1].key in ("scale", "var")
        spread = np.sqrt(2.0 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.1
        return jnp.asarray(positive + spread * random.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, tree)


def apply(model: nn.Module, variables: Any, images: Any, **options: Any) -> jax.Array:
    return jax.jit(model.apply, static_argnames=("train", "outputs"))(variables, images, **options)


def shapes(model: nn.Module, image: tuple[int, int, int]) -> Any:
    return jax.eval_shape(lambda key: model.init(key, jnp.zeros((2, *image)), train=True), jax.random.key(0))


@pytest.mark.parametrize(
    ("name", "classes", "size", "expected"),
    [
        ("resnet18", 1000, 64, 11_689_512),  # torchvision's documentation
        ("resnet50", 1000, 64, 25_557_032),
        ("resnet32", 10, 32, 464_154),  # He et al. 2016, table 6: 0.46 M
    ],
)
def test_number_of_parameters_is_the_published_one(name: str, classes: int, size: int, expected: int) -> None:
    model = make_model(name, num_outputs=classes, norm="batch")
    params = shapes(model, (size, size, 3))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


@pytest.mark.parametrize("name", IMAGE_MODELS)
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_every_model_maps_images_to_float32_logits_with_float32_parameters(name: str, norm: str) -> None:
    model = make_model(name, num_outputs=3, norm=norm, dtype=jnp.bfloat16)
    variables = shapes(model, (32, 32, 1))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    logits = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, jnp.zeros((2, 32, 32, 1)))
    features = jax.eval_shape(
        lambda v, x: model.apply(v, x, train=False, outputs="features"), variables, jnp.zeros((2, 32, 32, 1))
    )
    places = (32, 32) if name in ("unet", "wnet") else ()
    assert (logits.shape, logits.dtype) == ((2, *places, 3), jnp.float32)
    assert (features.shape, features.dtype) == (
        (2, *places, variables["params"]["head"]["kernel"].shape[0]),
        jnp.float32,
    )


@pytest.mark.parametrize("name", sorted(EPISODE_MODELS))
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_every_model_over_episodes_maps_them_to_float32_logits_of_each_picture(name: str, norm: str) -> None:
    model = make_model(name, num_outputs=3, encoder="conv", norm=norm, dtype=jnp.bfloat16, dropout=0.1)
    inputs = {"images": jnp.zeros((2, 5, 16, 16, 1)), "labels": jnp.zeros((2, 5), jnp.int32)}
    variables = jax.eval_shape(lambda key: model.init(key, inputs, train=False), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert ("batch_stats" in variables) == (norm == "batch")
    both = jax.eval_shape(lambda v: model.apply(v, inputs, train=False, outputs="both"), variables)
    assert (both["logits"].shape, both["logits"].dtype) == ((2, 5, 3), jnp.float32)
    assert (both["features"].shape[:2], both["features"].dtype) == ((2, 5), jnp.float32)
    if "head" in variables["params"]:
        assert both["features"].shape[2] == variables["params"]["head"]["kernel"].shape[0]


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_bfloat16_logits_are_finite_and_near_those_of_float32(norm: str) -> None:
    images = jax.random.normal(jax.random.key(1), (4, 16, 16, 1))
    model = make_model("resnet_small", num_outputs=2, norm=norm, **TINY_RESNET)
    variables = initial(model, images)
    logits = [apply(model.clone(dtype=dtype), variables, images) for dtype in (jnp.float32, "bfloat16")]
    assert np.isfinite(logits[1]).all()
    np.testing.assert_allclose(logits[1], logits[0], atol=0.05)
    assert not np.array_equal(logits[1], logits[0])


def test_features_are_the_input_of_the_dense_layer() -> None:
    images = jax.random.normal(jax.random.key(1), (3, 16, 16, 1))
    for name, options in (("cnn", {"stages": 2}), ("resnet_small", TINY_RESNET)):
        model = make_model(name, num_outputs=2, **options)
        variables = initial(model, images)
        features = apply(model, variables, images, outputs="features")
        head = variables["params"]["head"]
        np.testing.assert_allclose(
            features @ head["kernel"] + head["bias"], apply(model, variables, images), rtol=1e-5, atol=1e-6
        )


def test_dropout_acts_in_training_only() -> None:
    images = jnp.ones((2, 8, 8, 1))
    model = make_model("cnn", num_outputs=2, stages=1, width=32, dropout=0.5)
    variables = initial(model, images)
    evaluated = [apply(model, variables, images) for _ in range(2)]
    trained = [
        apply(model, variables, images, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (1, 2)
    ]
    np.testing.assert_array_equal(*evaluated)
    assert not np.allclose(*trained)


def test_a_block_starts_as_its_shortcut() -> None:
    model = make_model("resnet32", num_outputs=2, norm="batch", **TINY_RESNET)
    scales = {
        path[:-1]: leaf
        for path, leaf in flatten_dict(
            jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 8, 8, 3)))["params"]
        ).items()
        if path[-1] == "scale"
    }
    assert scales[("stage0_block0", "norm1")].max() == 0.0
    assert scales[("stage0_block0", "norm0")].min() == 1.0


# --- normalisation ---


def test_group_norm_is_flax_group_norm() -> None:
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (3, 5, 4, 24))
    scale, bias = jnp.linspace(0.5, 2.0, 24), jnp.linspace(-1.0, 1.0, 24)
    variables = {"params": {"scale": scale, "bias": bias}}
    expected = nn.GroupNorm(num_groups=3, epsilon=1e-5).apply(variables, x)
    np.testing.assert_allclose(GroupNorm().apply(variables, x), expected, rtol=1e-4, atol=1e-5)
    gradients = [
        jax.jit(jax.grad(lambda x, module=module: jnp.sum(jnp.sin(module.apply(variables, x)))))(x)
        for module in (GroupNorm(), nn.GroupNorm(num_groups=3, epsilon=1e-5))
    ]
    np.testing.assert_allclose(*gradients, rtol=1e-3, atol=1e-5)


def test_group_norm_of_an_image_does_not_depend_on_the_rest_of_the_batch() -> None:
    model = make_model("resnet_small", num_outputs=2, **TINY_RESNET)
    images = jax.random.normal(jax.random.key(1), (6, 16, 16, 1))
    variables = initial(model, images)
    together = apply(model, variables, images, train=True)
    alone = apply(model, variables, images[2:3], train=True)
    np.testing.assert_allclose(together[2:3], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (4, 1), (16, 2), (24, 3), (36, 4), (64, 8), (256, 32), (2048, 32)]
)
def test_groups_hold_at_least_eight_channels_and_number_at_most_32(channels: int, groups: int) -> None:
    assert num_groups(channels) == groups


def test_batch_norm_is_flax_batch_norm_in_training_and_evaluation() -> None:
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (6, 5, 4, 3))
    ours, flax = BatchNorm(), nn.BatchNorm(momentum=0.9, epsilon=1e-5)
    variables = ours.init(jax.random.key(0), x)
    actual, actual_state = ours.apply(variables, x, train=True, mutable=["batch_stats"])
    expected, expected_state = flax.apply(variables, x, use_running_average=False, mutable=["batch_stats"])
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    for name in ("mean", "var"):
        a, e = actual_state["batch_stats"][name], expected_state["batch_stats"][name]
        np.testing.assert_allclose(a, e, rtol=1e-4)
    trained = {**variables, **expected_state}
    np.testing.assert_allclose(
        ours.apply(trained, x), flax.apply(trained, x, use_running_average=True), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("backend", ["shard_map", "pmap"])
def test_batch_norm_on_four_devices_is_that_on_one(backend: str) -> None:
    # One device holds much brighter images: unsynchronised statistics would differ at once.
    images = jax.random.normal(jax.random.key(1), (8, 8, 8, 3)).at[:2].add(5.0)
    one = make_model("resnet32", num_outputs=2, norm="batch", **TINY_RESNET)
    four = one.clone(axis_name="data")
    variables = initial(four, images)
    params, statistics = variables["params"], variables["batch_stats"]

    def loss(model: nn.Module, params: Any, images: jax.Array) -> tuple[jax.Array, Any]:
        logits, updates = model.apply(
            {"params": params, "batch_stats": statistics}, images, train=True, mutable=["batch_stats"]
        )
        return jnp.sum(jnp.sin(logits)), updates["batch_stats"]

    def step(params: Any, images: jax.Array) -> Any:
        (value, state), gradient = jax.value_and_grad(lambda p: loss(four, p, images), has_aux=True)(params)
        return lax.psum((value, gradient), "data"), state

    (value, state), gradient = jax.jit(jax.value_and_grad(lambda p: loss(one, p, images), has_aux=True))(
        params
    )
    if backend == "shard_map":
        mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
        sharded = jax.shard_map(
            step, mesh=mesh, in_specs=(P(), P("data")), out_specs=(P(), P()), check_vma=False
        )
        actual = jax.block_until_ready(jax.jit(sharded)(params, images))
    else:
        mapped = jax.pmap(step, axis_name="data", in_axes=(None, 0), devices=jax.devices()[:4])
        actual = jax.block_until_ready(mapped(params, images.reshape(4, 2, 8, 8, 3)))
        actual = jax.tree.map(lambda leaf: leaf[0], actual)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(((value, gradient), state)), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-3, atol=1e-3 * (1e-1 + float(jnp.abs(e).max())))


# --- ResNet against PyTorch ---


def torch_resnet18(params: Any, statistics: Any, images: np.ndarray) -> np.ndarray:
    """The forward pass of torchvision's ResNet-18 in evaluation, on our weights, in torch functions."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional

    def tensor(array: Any) -> Any:
        return torch.from_numpy(np.array(array))

    def conv(x: Any, scope: Any, stride: int = 1) -> Any:
        kernel = tensor(scope["kernel"]).permute(3, 2, 0, 1)
        return functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    def norm(x: Any, scope: Any, running: Any) -> Any:
        mean, var = tensor(running["mean"]), tensor(running["var"])
        return functional.batch_norm(x, mean, var, tensor(scope["scale"]), tensor(scope["bias"]))

    x = tensor(images).permute(0, 3, 1, 2)
    x = torch.relu(norm(conv(x, params["stem"], 2), params["stem_norm"], statistics["stem_norm"]))
    x = functional.max_pool2d(x, 3, 2, 1)
    for stage in range(4):
        for index in range(2):
            name, stride = f"stage{stage}_block{index}", 2 if stage > 0 and index == 0 else 1
            p, s = params[name], statistics[name]
            y = torch.relu(norm(conv(x, p["conv0"], stride), p["norm0"], s["norm0"]))
            y = norm(conv(y, p["conv1"]), p["norm1"], s["norm1"])
            if "skip" in p:
                x = norm(conv(x, p["skip"]["conv"], stride), p["skip"]["norm"], s["skip"]["norm"])
            x = torch.relu(x + y)
    return functional.linear(
        x.mean((2, 3)), tensor(params["head"]["kernel"]).T, tensor(params["head"]["bias"])
    ).numpy()


def test_resnet18_is_that_of_pytorch_with_the_same_weights() -> None:
    height, width = 37, 32  # odd: where "SAME" and PyTorch's padding part
    model = make_model("resnet18", num_outputs=5, norm="batch", width=8)
    images = np.random.default_rng(0).standard_normal((2, height, width, 3), dtype=np.float32)
    variables = initial(model, images)
    expected = torch_resnet18(variables["params"], variables["batch_stats"], images)
    assert np.isfinite(expected).all()
    actual = jax.jit(model.apply)(variables, images)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_identity_shortcut_skips_pixels_and_pads_channels_on_both_sides() -> None:
    model = make_model("resnet32", num_outputs=2, norm="batch", width=2, stage_sizes=(1, 1))
    images = jax.random.normal(jax.random.key(1), (1, 4, 4, 3))
    variables = initial(model, images)
    seen = model.apply(variables, images, capture_intermediates=True, mutable=["intermediates"])[1]
    before = seen["intermediates"]["stage0_block0"]["__call__"][0]
    skip = seen["intermediates"]["stage1_block0"]["skip"]["__call__"][0]
    np.testing.assert_array_equal(skip[..., 1:3], before[:, ::2, ::2])
    np.testing.assert_array_equal(skip[..., [0, 3]], 0.0)


def test_pooled_shortcut_averages_two_by_two_pixels_before_its_convolution() -> None:
    model = make_model("resnet_small", num_outputs=2, shortcut="pooled", stem="conv", **TINY_RESNET)
    images = jax.random.normal(jax.random.key(1), (1, 4, 4, 1))
    variables = initial(model, images)
    seen = model.apply(variables, images, capture_intermediates=True, mutable=["intermediates"])[1]
    before = np.asarray(seen["intermediates"]["stage0_block0"]["__call__"][0])
    pooled = before.reshape(1, 2, 2, 2, 2, -1).mean(axis=(2, 4))
    kernel = variables["params"]["stage1_block0"]["skip"]["conv"]["kernel"]
    np.testing.assert_allclose(
        seen["intermediates"]["stage1_block0"]["skip"]["conv"]["__call__"][0],
        pooled @ kernel[0, 0],
        atol=1e-5,
    )


def test_groups_of_a_resnet_are_those_of_flax_group_norm() -> None:
    model = make_model("resnet_small", num_outputs=2, groups=2, stem="conv", **TINY_RESNET)
    images = jax.random.normal(jax.random.key(1), (2, 4, 4, 1))
    variables = initial(model, images)
    seen = model.apply(variables, images, capture_intermediates=True, mutable=["intermediates"])[1]
    norm = {"params": variables["params"]["stem_norm"]}
    np.testing.assert_allclose(
        seen["intermediates"]["stem_norm"]["__call__"][0],
        nn.GroupNorm(num_groups=2, epsilon=1e-5).apply(norm, seen["intermediates"]["stem"]["__call__"][0]),
        atol=1e-5,
    )


def test_space_to_depth_moves_two_by_two_pixels_into_channels() -> None:
    x = jnp.arange(16).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(space_to_depth(x)[0, 0, 1], [2, 3, 6, 7])


# --- wrong input ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "resnet33", "num_outputs": 2},
            "'resnet33' is unknown: did you mean resnet32. choose from cnn, ",
        ),
        ({"name": "cnn", "num_outputs": 0}, "num_outputs 0 .* at least 1"),
        ({"name": "cnn", "num_outputs": 2, "depth": 3}, "option 'depth' .* choose from .*stages, .*width"),
        ({"name": "cnn", "num_outputs": 2, "norm": "layer"}, "norm 'layer' .* 'group', 'batch'"),
        ({"name": "resnet_small", "num_outputs": 2, "stem": "7x7"}, "stem '7x7' .* 'space_to_depth'"),
        ({"name": "resnet_small", "num_outputs": 2, "shortcut": "A"}, "shortcut 'A' .* 'projection'"),
        ({"name": "resnet_smal", "num_outputs": 2}, "did you mean resnet_small"),
        ({"name": "resnet18", "num_outputs": 2, "stage_sizes": ()}, "stage_sizes .* blocks of each stage"),
        (
            {"name": "resnet18", "num_outputs": 2, "stage_sizes": (2, 0)},
            "stage_sizes .* whole numbers from 1",
        ),
        ({"name": "resnet18", "num_outputs": 2, "stage_sizes": 2}, "stage_sizes 2 .* blocks of each stage"),
        ({"name": "resnet18", "num_outputs": 2, "bottleneck": 3}, "bottleneck 3 .* False, True"),
        ({"name": "cnn", "num_outputs": 2, "dropout": 1.0}, "dropout 1.0 .* from 0 to below 1"),
        ({"name": "cnn", "num_outputs": 2, "dtype": "float31"}, "dtype 'float31' .* float32 or bfloat16"),
    ],
)
def test_wrong_options_name_the_allowed_ones(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_model(**arguments)


@pytest.mark.parametrize("value", [0, -4, 2.5, "8", True, 10**9])
@pytest.mark.parametrize("name", MODELS)
def test_counts_of_every_model_are_whole_numbers_of_one_or_more(name: str, value: Any) -> None:
    known = set(inspect.signature(MODELS[name]).parameters)
    counts = set(COUNTS) & known
    assert len(counts) >= (1 if name in EPISODE_MODELS else 2)
    for option in counts:
        with pytest.raises(InputError, match=f"{option} .* of model '{name}': give a whole number from 1"):
            make_model(name, num_outputs=2, **{option: value})
    assert make_model(name, num_outputs=2, **dict.fromkeys(counts, 1))


def test_an_odd_image_before_space_to_depth_names_its_size() -> None:
    with pytest.raises(InputError, match="7 x 8"):
        shapes(make_model("resnet_small", num_outputs=2, **TINY_RESNET), (7, 8, 1))
