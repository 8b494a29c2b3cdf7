"""U-Nets: PyTorch with the same weights, hand-counted parameters, any size, devices, memory."""

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from imbal_jax.config import Config, Model
from imbal_jax.data.dataset import Dataset
from imbal_jax.errors import InputError
from imbal_jax.methods import Method
from imbal_jax.models import make_model
from imbal_jax.models.unet import max_pool, upsampled
from imbal_jax.training.build import build_network

TINY = {"depth": 1, "width": 4}


def initial(model: nn.Module, images: Any) -> Any:
    """Random variables of the right shapes: no scale is 0, as that of a residual block is at the start."""
    random = np.random.default_rng(0)
    tree = jax.eval_shape(lambda key: model.init(key, images), jax.random.key(0))

    def draw(path: Any, leaf: Any) -> jax.Array:
        positive = path[-1].key in ("scale", "var")
        spread = np.sqrt(2.0 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.1
        return jnp.asarray(positive + spread * random.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, tree)


def pixels(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).standard_normal(shape, dtype=np.float32))


def apply(model: nn.Module, variables: Any, images: Any, **options: Any) -> Any:
    return jax.jit(model.apply, static_argnames=("train", "outputs"))(variables, images, **options)


def shapes(model: nn.Module, images: Any, **options: Any) -> Any:
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    return jax.eval_shape(lambda v, x: model.apply(v, x, **options), variables, images)


def num_parameters(model: nn.Module, images: Any) -> int:
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def energy(outputs: Any) -> jax.Array:
    """A scalar with a different gradient at every logit, of the auxiliary ones too."""
    deep = outputs.get("deep", ()) if isinstance(outputs, Mapping) else ()
    logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs
    return sum((jnp.sum(jnp.sin(3 * z)) for z in deep), jnp.sum(jnp.sin(logits)))


# --- PyTorch with the same weights ---


def torch_unet(params: Any, images: np.ndarray, upsampling: str) -> list[np.ndarray]:
    """Logits and those of the coarser levels of a plain U-Net with GroupNorm, in torch functions; sizes fit."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    n = images.ndim - 2
    conv, pool, transposed = (
        getattr(functional, f"{name}{n}d") for name in ("conv", "max_pool", "conv_transpose")
    )

    def tensor(array: Any) -> Any:
        return torch.from_numpy(np.array(array))

    def convolved(x: Any, scope: Any) -> Any:
        kernel = tensor(scope["kernel"]).permute(n + 1, n, *range(n))
        return conv(x, kernel, padding=kernel.shape[-1] // 2)

    def norm(x: Any, scope: Any) -> Any:
        return functional.group_norm(x, 2, tensor(scope["scale"]), tensor(scope["bias"]))

    def block(x: Any, scope: Any) -> Any:
        x = torch.relu(norm(convolved(x, scope["conv0"]), scope["norm0"]))
        return torch.relu(norm(convolved(x, scope["conv1"]), scope["norm1"]))

    def head(x: Any, scope: Any) -> np.ndarray:
        return (x.movedim(1, -1) @ tensor(scope["kernel"]) + tensor(scope["bias"])).numpy()

    net = params["net0"]
    depth = sum(name.startswith("up") for name in net)
    x = tensor(images).movedim(-1, 1)
    encoded = []
    for level in range(depth + 1):
        x = block(pool(x, 2) if level else x, net[f"down{level}"]["block"])
        encoded.append(x)
    found = []
    for level in reversed(range(depth)):
        scope = net[f"up{level}"]
        if upsampling == "transposed":
            x = transposed(x, tensor(scope["upsampling"]["kernel"]).movedim(-1, 1), stride=2)
        else:
            mode = {2: "bilinear", 3: "trilinear"}[n]
            x = functional.interpolate(x, scale_factor=2, mode=mode, align_corners=False)
            x = convolved(x, scope["upsampling"]["conv"])
        x = block(torch.cat([encoded[level], x], dim=1), scope["block"])
        name = f"deep{level}" if level else "head"
        found += [head(x, params[name])] if name in params else []
    return found[::-1]


@pytest.mark.parametrize(
    ("upsampling", "space"), [("transposed", (24, 16)), ("transposed", (8, 16, 12)), ("linear", (24, 16))]
)
def test_a_plain_net_is_that_of_pytorch_with_the_same_weights(
    upsampling: str, space: tuple[int, ...]
) -> None:
    model = make_model(
        "unet", num_outputs=3, upsampling=upsampling, groups=2, width=4, depth=2, deep_supervision=1
    )
    images = np.asarray(pixels(2, *space, 3))
    variables = initial(model, images)
    expected = torch_unet(variables["params"], images, upsampling)
    actual = apply(model, variables, images, outputs="both")
    for a, e in zip((actual["logits"], *actual["deep"]), expected, strict=True):
        assert np.abs(e).max() > 0.5
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * max(1, np.abs(e).max()))


def test_pooling_is_that_of_flax_in_two_and_three_dimensions() -> None:
    for space in ((4, 6), (2, 4, 6)):
        x = pixels(2, *space, 3)
        window = (2,) * len(space)
        np.testing.assert_array_equal(max_pool(x), nn.max_pool(x, window, window))


def test_linear_upsampling_is_that_of_jax_image() -> None:
    for space in ((1, 5), (3, 1, 4)):
        x = pixels(2, *space, 3)
        expected = jax.image.resize(x, (2, *(2 * size for size in space), 3), "linear")
        np.testing.assert_allclose(upsampled(x), expected, atol=1e-6)


# --- parameters ---


def counted(
    inputs: int, widths: list[int], outputs: int, *, n: int = 2, residual: bool = False, bridge: bool = False
) -> int:
    """Parameters of one net with its last layer, by hand; ``n`` spatial dimensions."""

    def conv(size: int, a: int, b: int) -> int:
        return size**n * a * b + 2 * b  # with the norm's scale and bias

    def block(a: int, b: int) -> int:
        return conv(3, a, b) + conv(3, b, b) + (conv(1, a, b) if residual and a != b else 0)

    total = sum(block(a, b) for a, b in zip([inputs, *widths], widths, strict=False))
    for fine, coarse in pairwise(widths):
        total += 2**n * coarse * fine + block(2 * fine, fine) + (conv(3, fine, fine) if bridge else 0)
    return total + (widths[0] + 1) * outputs


def test_numbers_of_parameters_are_those_counted_by_hand() -> None:
    image, volume = jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 16, 16, 16, 1))
    widths = [16, 32, 64, 128, 256]
    plain = partial(make_model, "unet", num_outputs=2)
    assert num_parameters(plain(), image) == counted(3, widths, 2) == 1_942_354
    residual = counted(3, widths, 2, residual=True, bridge=True)
    assert num_parameters(plain(block="residual", bridge=True), image) == residual
    assert num_parameters(plain(), volume) == counted(1, widths, 2, n=3)
    capped = counted(3, [16, 32, 40, 40, 40], 2)
    assert num_parameters(plain(max_width=40), image) == capped
    deep = counted(3, widths, 2) + (32 + 1) * 2 + (64 + 1) * 2
    assert num_parameters(plain(deep_supervision=2), image) == deep


def test_the_small_w_net_has_68_thousand_parameters_as_that_of_galdran_et_al() -> None:
    # theirs has 68,482 with one output: biases before its norms and a 1x1 in every shortcut
    image = jnp.zeros((1, 32, 32, 3))
    part = partial(counted, widths=[8, 16, 32], residual=True, bridge=True)
    for outputs, expected in ((1, 68_066), (2, 68_164)):
        model = make_model("wnet", num_outputs=outputs)
        by_hand = part(3, outputs=outputs) + part(3 + outputs, outputs=outputs)
        assert num_parameters(model, image) == by_hand == expected


# --- shapes ---


@pytest.mark.parametrize(
    ("name", "space"), [("unet", (1, 1)), ("unet", (16, 16)), ("wnet", (13, 22)), ("unet", (5, 6, 7))]
)
def test_any_size_gives_logits_of_every_pixel(name: str, space: tuple[int, ...]) -> None:
    model = make_model(name, num_outputs=3, depth=3, width=4, deep_supervision=2, dtype="bfloat16")
    images = jnp.zeros((2, *space, 2))
    outputs = shapes(model, images, outputs="both")
    assert {leaf.dtype for leaf in jax.tree.leaves(outputs)} == {jnp.dtype("float32")}
    assert outputs["logits"].shape == (2, *space, 3)
    assert outputs["features"].shape == (2, *space, 4)
    steps = [1, 2, 4] if name == "wnet" else [2, 4]
    labels = np.zeros((2, *space, 3))
    expected = [labels[(slice(None), *(slice(None, None, k) for _ in space))].shape for k in steps]
    assert [z.shape for z in outputs["deep"]] == expected


def test_auxiliary_logits_are_given_in_training_and_where_both_are_asked() -> None:
    images = jnp.zeros((1, 8, 8, 1))
    for name, options in (("unet", {"depth": 2, "deep_supervision": 1}), ("wnet", {})):
        model = make_model(name, num_outputs=2, **(TINY | options))
        assert isinstance(shapes(model, images), jax.ShapeDtypeStruct)
        assert set(shapes(model, images, train=True)) == {"logits", "deep"}
        assert set(shapes(model, images, outputs="both")) == {"logits", "features", "deep"}
    assert set(shapes(make_model("unet", num_outputs=2, **TINY), images, outputs="both")) == {
        "logits",
        "features",
    }


def test_padding_repeats_the_edge_and_is_cropped() -> None:
    model = make_model("unet", num_outputs=2, **TINY)
    images = pixels(2, 5, 7, 1)
    padded = np.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    variables = initial(model, images)
    np.testing.assert_allclose(
        apply(model, variables, images), apply(model, variables, padded)[:, :5, :7], rtol=1e-5, atol=1e-5
    )


def test_logits_are_the_last_layer_of_the_features() -> None:
    images = pixels(2, 8, 8, 1)
    model = make_model("unet", num_outputs=2, **TINY)
    variables = initial(model, images)
    both, head = apply(model, variables, images, outputs="both"), variables["params"]["head"]
    expected = both["features"] @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(both["logits"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(apply(model, variables, images), expected, rtol=1e-4, atol=1e-5)
    features = apply(model, variables, images, outputs="features")
    np.testing.assert_allclose(features, both["features"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("upsampling", ["transposed", "linear"])
def test_an_image_moved_by_the_coarsest_pixel_moves_the_logits(upsampling: str) -> None:
    # batch normalisation in evaluation: the statistics are fixed
    model = make_model("unet", num_outputs=2, norm="batch", depth=2, width=4, upsampling=upsampling)
    images = pixels(1, 96, 96, 1)
    variables = initial(model, images)
    logits = jax.jit(model.apply)
    before, after = logits(variables, images), logits(variables, jnp.roll(images, (4, 8), axis=(1, 2)))
    inside = (slice(None), slice(44, 52), slice(44, 52))  # 36 pixels and more from what is rolled around
    np.testing.assert_allclose(
        after[inside], jnp.roll(before, (4, 8), axis=(1, 2))[inside], rtol=1e-4, atol=1e-5
    )
    by_one = logits(variables, jnp.roll(images, 1, axis=1))
    assert not np.allclose(by_one[inside], jnp.roll(before, 1, axis=1)[inside], atol=1e-2)


# --- training ---


@pytest.mark.parametrize(
    ("norm", "options"),
    [
        ("group", {"depth": 2, "deep_supervision": 1}),
        ("batch", {"block": "residual", "bridge": True, "nets": 2, "upsampling": "linear"}),
    ],
)
def test_every_parameter_gets_a_gradient(norm: str, options: Any) -> None:
    model = make_model("unet", num_outputs=2, norm=norm, **(TINY | options))
    images = pixels(2, 8, 12, 2)
    variables = initial(model, images)
    rest = {name: leaf for name, leaf in variables.items() if name != "params"}

    def loss(params: Any) -> Any:
        outputs, updates = model.apply({**rest, "params": params}, images, train=True, mutable=list(rest))
        return energy(outputs), updates

    gradients, updates = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 1e-6, path
    assert (norm == "batch") == bool(updates)
    for before, after in zip(jax.tree.leaves(rest), jax.tree.leaves(updates), strict=True):
        assert not np.array_equal(before, after)


def test_a_net_for_volumes_learns_a_ball() -> None:
    grid = np.mgrid[:9, :12, :10]
    truth = jnp.asarray(sum((axis - centre) ** 2 for axis, centre in zip(grid, (4, 6, 5), strict=True)) <= 9)
    volume = (truth + 0.3 * pixels(9, 12, 10))[None, ..., None]
    model = make_model("unet", num_outputs=1, **TINY)
    params = jax.jit(model.init)(jax.random.key(0), volume)

    @jax.jit
    def step(params: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            logits = model.apply(params, volume, train=True)[0, ..., 0]
            return jnp.mean(jnp.logaddexp(0.0, jnp.where(truth, -logits, logits)))

        value, gradients = jax.value_and_grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.3 * g, params, gradients), value

    values = []
    for _ in range(30):
        params, value = step(params)
        values.append(float(value))
    assert values[-1] < 0.3 * values[0]


def test_dropout_acts_in_training_only_and_on_the_coarsest_maps() -> None:
    model = make_model("unet", num_outputs=2, dropout=0.5, **TINY)
    images = pixels(2, 8, 8, 1)
    variables = initial(model, images)
    evaluated = [apply(model, variables, images), apply(model.clone(dropout=0.0), variables, images)]
    np.testing.assert_array_equal(*evaluated)
    trained = [
        apply(model, variables, images, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (1, 2)
    ]
    assert not np.allclose(*trained)
    below = variables["params"]["net0"]["up0"]["upsampling"]
    below["kernel"] = jnp.zeros_like(below["kernel"])  # nothing of the coarsest maps arrives
    trained = [
        apply(model, variables, images, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (1, 2)
    ]
    np.testing.assert_array_equal(*trained)


def test_rematerialised_gradients_are_the_same_and_less_is_kept() -> None:
    images = pixels(2, 32, 32, 2)
    model = make_model("unet", num_outputs=2, norm="batch", **TINY)
    variables = initial(model, images)

    def loss(model: nn.Module, params: Any) -> Any:
        outputs, updates = model.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        return energy(outputs), updates

    models = (model, model.clone(remat=True))
    assert jax.tree.structure(initial(models[1], images)) == jax.tree.structure(variables)
    found = [jax.jit(jax.grad(partial(loss, m), has_aux=True))(variables["params"]) for m in models]
    for a, e in zip(jax.tree.leaves(found[1]), jax.tree.leaves(found[0]), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-6, atol=1e-6 * max(1.0, float(jnp.abs(e).max())))

    def kept(model: nn.Module) -> int:
        pullback = jax.eval_shape(lambda p: jax.vjp(lambda p: loss(model, p)[0], p)[1], variables["params"])
        return sum(leaf.size for leaf in jax.tree.leaves(pullback))

    assert kept(models[1]) < 0.5 * kept(model)


def test_batch_norm_on_two_devices_is_that_on_one() -> None:
    # One device holds much brighter images: statistics that are not shared would differ at once.
    images = pixels(4, 8, 8, 1).at[:2].add(5.0)
    one = make_model("unet", num_outputs=2, norm="batch", **TINY)
    two = one.clone(axis_name="data")
    variables = initial(one, images)
    rest = {name: leaf for name, leaf in variables.items() if name != "params"}

    def gradients(model: nn.Module, params: Any, images: jax.Array) -> Any:
        def loss(params: Any) -> Any:
            outputs, updates = model.apply({**rest, "params": params}, images, train=True, mutable=list(rest))
            return energy(outputs), updates

        return jax.value_and_grad(loss, has_aux=True)(params)

    def step(params: Any, images: jax.Array) -> Any:
        (value, state), gradient = gradients(two, params, images)
        return (lax.psum(value, "data"), state), lax.psum(gradient, "data")

    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    sharded = jax.shard_map(step, mesh=mesh, in_specs=(P(), P("data")), out_specs=(P(), P()), check_vma=False)
    actual = jax.block_until_ready(jax.jit(sharded)(variables["params"], images))
    expected = jax.jit(partial(gradients, one))(variables["params"], images)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-3, atol=1e-3 * (1e-1 + float(jnp.abs(e).max())))


def test_bfloat16_logits_are_near_those_of_float32() -> None:
    images = pixels(2, 16, 16, 1)
    model = make_model("wnet", num_outputs=2, **TINY)
    variables = initial(model, images)
    logits = [apply(model.clone(dtype=dtype), variables, images) for dtype in (jnp.float32, "bfloat16")]
    np.testing.assert_allclose(logits[1], logits[0], atol=0.1)
    assert not np.array_equal(logits[1], logits[0])


def test_the_second_net_sees_the_image_and_the_logits_of_the_first() -> None:
    model = make_model("wnet", num_outputs=2, **TINY)
    images = pixels(1, 8, 8, 3)
    variables = initial(model, images)
    outputs = apply(model, variables, images, outputs="both")
    second = make_model("unet", num_outputs=2, block="residual", bridge=True, **TINY)
    params = variables["params"]
    given = jnp.concatenate([images, outputs["deep"][0]], axis=-1)
    expected = apply(second, {"params": {"net0": params["net1"], "head": params["head"]}}, given)
    np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-4, atol=1e-5)
    first = {"params": {"net0": params["net0"], "head": params["previous0"]}}
    np.testing.assert_allclose(outputs["deep"][0], apply(second, first, images), rtol=1e-4, atol=1e-5)


# --- in the package ---


def test_a_loss_sets_the_bias_at_which_a_net_starts() -> None:
    masks = np.arange(64).reshape(1, 8, 8).repeat(4, 0) % 3
    data = Dataset.from_arrays(np.zeros((4, 8, 8, 1), np.uint8), masks, np.arange(4), ("a", "b", "c"))
    method = Method(name="cb_focal", loss="class_balanced_focal")
    model = Model(name="unet", norm="batch", dropout=0.1, options=TINY)
    _, variables = build_network(Config(name="masks", methods=(method,), model=model), method, data)
    # each of three sigmoids starts at 1/3 (Cui et al., CVPR 2019): log(1/3 / (2/3))
    np.testing.assert_allclose(variables["params"]["head"]["bias"], -np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": "dense"}, "block 'dense' of model 'unet': choose from 'plain', 'residual'"),
        ({"upsampling": "nearest"}, "upsampling 'nearest' .* 'transposed', 'linear'"),
        ({"depth": 0}, "depth 0 .* whole number from 1 to 10"),
        ({"depth": 11}, "depth 11 .* whole number from 1 to 10"),
        ({"deep_supervision": -1}, "deep_supervision -1 .* whole number from 0 to 9"),
        ({"deep_supervision": True}, "deep_supervision True .* whole number from 0 to 9"),
        ({"remat": 1.5}, "remat 1.5 .* False, True"),
        ({"bridge": "no"}, "bridge 'no' .* False, True"),
    ],
)
def test_wrong_options_name_the_allowed_ones(options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_model("unet", num_outputs=2, **options)


def test_levels_that_the_decoder_lacks_and_signals_of_one_dimension_are_refused() -> None:
    with pytest.raises(InputError, match="deep_supervision 2 of a U-Net: must be less than its depth 2"):
        shapes(make_model("unet", num_outputs=2, depth=2, deep_supervision=2), jnp.zeros((1, 8, 8, 1)))
    with pytest.raises(InputError, match=r"shape \[1, 8, 1\] of a U-Net: expected \[B, H, W, channels\] or"):
        shapes(make_model("unet", num_outputs=2), jnp.zeros((1, 8, 1)))
