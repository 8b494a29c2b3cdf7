"""Mixing: the law of the shares, boxes, Remix's rule, labels; the same in any batch, on any devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from scipy import stats

from imbal_jax.errors import InputError
from imbal_jax.sampling import COMPOSITIONS
from imbal_jax.transforms import mixing
from imbal_jax.transforms.mixing import ALPHA, PARTNER, Mixing, mix

COUNTS = np.array([900, 300, 299, 10])


CONFIGS = [Mixing(kind) for kind in PARTNER] + [Mixing("cutmix", 0.5, 0.5), Mixing("mixup", 0.4, 0.5)]


every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kind}-{c.alpha}-{c.probability}")


jitted = jax.jit(mix, static_argnames="config")


def keys(size: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), size)


def batch(size: int = 16, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Images, labels, partner images, partner labels."""
    random = np.random.default_rng(seed)
    images = random.uniform(size=(2, size, 6, 5, 3)).astype(np.float32)
    labels = random.integers(0, 4, (2, size)).astype(np.int32)
    return images[0], labels[0], images[1], labels[1]


def masks(size: int, config: Mixing, labels=(0, 0), shape=(1, 1), seed: int = 0):
    """How much of each own pixel is left [size, H, W], and the share of the label [size]."""
    own, partner = (jnp.full(size, label, jnp.int32) for label in labels)
    white, black = jnp.ones((size, *shape, 1)), jnp.zeros((size, *shape, 1))
    images, share = jitted(keys(size, seed), white, own, black, partner, COUNTS, config=config)
    return np.asarray(images)[..., 0], np.asarray(share)


# The law of the shares


def distance_of_law(share: np.ndarray, law) -> float:
    """Kolmogorov's statistic times sqrt(n), away from the ends, where float32 rounds shares to 0 and 1."""
    at = np.linspace(0.001, 0.999, 999)
    found = np.searchsorted(np.sort(share), at, side="right") / len(share)
    return np.sqrt(len(share)) * np.abs(found - law.cdf(at)).max()


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.4, 1.0, 1.5, 4.0, 8.0, 100.0])
def test_quantiles_are_those_of_scipy(alpha):
    random = np.random.default_rng(0)
    q = np.concatenate([random.uniform(size=50000), 10 ** random.uniform(-7, 0, 5000), [0, 0.5, 1]])
    q = (np.round(q * 2**23) / 2**23).astype(np.float32)  # what jax.random.uniform can draw
    found = mixing._beta_quantile(jnp.asarray(q), alpha)
    np.testing.assert_allclose(found, stats.beta.ppf(q.astype(np.float64), alpha, alpha), atol=1e-5)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 3.0])
def test_mixup_share_has_the_law_beta_alpha_alpha(alpha):
    pixels, share = masks(4000, Mixing("mixup", alpha))
    np.testing.assert_allclose(pixels[:, 0, 0], share, atol=1e-7)
    assert distance_of_law(share, stats.beta(alpha, alpha)) < 1.63  # passed by 99 % of true samples


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 3.0])
def test_balanced_mixup_gives_the_balanced_partner_a_share_of_law_beta_alpha_1(alpha):
    pixels, share = masks(4000, Mixing("balanced_mixup", alpha))
    np.testing.assert_allclose(pixels[:, 0, 0], share, atol=1e-7)
    assert distance_of_law(1 - share, stats.beta(alpha, 1)) < 1.63


def test_alpha_none_is_the_published_value():
    for kind in ("mixup", "cutmix"):
        default, given = masks(50, Mixing(kind)), masks(50, Mixing(kind, ALPHA[kind]))
        np.testing.assert_array_equal(default[1], given[1])


@pytest.mark.parametrize("kind", PARTNER)
def test_probability_is_the_part_of_the_images_that_is_mixed(kind):
    _, share = masks(4000, Mixing(kind, 0.7, 0.3), shape=(32, 32))
    np.testing.assert_allclose(np.mean(share < 1), 0.3, atol=0.03)


# Pixels


@pytest.mark.parametrize("kind", ["mixup", "remix", "balanced_mixup"])
def test_mixed_image_lies_between_the_two(kind):
    images, labels, partner_images, partner_labels = batch()
    equal = np.ones(4)
    mixed, share = jitted(
        keys(16), images, labels, partner_images, partner_labels, equal, config=Mixing(kind, 0.8)
    )
    weight = np.asarray(share, np.float64)[:, None, None, None]
    np.testing.assert_allclose(mixed, weight * images + (1 - weight) * partner_images, atol=1e-6)


@pytest.mark.parametrize("kind", ["cutmix", "cmo"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (12, 20)])
def test_box_is_a_rectangle_of_the_partner_and_the_share_is_the_area_outside(kind, shape):
    pixels, share = masks(300, Mixing(kind), shape=shape)
    assert np.isin(pixels, (0, 1)).all()
    inside = pixels == 0
    rectangle = inside.any(axis=2)[:, :, None] & inside.any(axis=1)[:, None, :]
    np.testing.assert_array_equal(inside, rectangle)
    for sides in (inside.any(axis=1), inside.any(axis=2)):  # in one piece
        assert (np.abs(np.diff(np.pad(sides, ((0, 0), (1, 1))).astype(int), axis=1)).sum(axis=1) <= 2).all()
    np.testing.assert_allclose(share, pixels.mean(axis=(1, 2)), atol=1e-6)


def test_boxes_have_the_law_that_numpy_draws_from():
    height, width, size = 24, 16, 4000
    random = np.random.default_rng(0)
    lam, cut = random.beta(0.6, 0.6, size), np.zeros((size, 2, 2), int)
    for axis, length in enumerate((height, width)):
        side = np.floor(length * np.sqrt(1 - lam)).astype(int)
        start = random.integers(0, length, size) - side // 2
        cut[:, axis] = np.clip(np.stack([start, start + side], axis=1), 0, length)
    expected = 1 - np.prod(cut[:, :, 1] - cut[:, :, 0], axis=1) / (height * width)

    pixels, share = masks(size, Mixing("cutmix", 0.6), shape=(height, width))
    assert stats.ks_2samp(share, expected).pvalue > 0.01
    outside = np.zeros((height, width))
    for (top, bottom), (left, right) in cut:
        outside[top:bottom, left:right] += 1 / size
    np.testing.assert_allclose(1 - pixels.mean(axis=0), outside, atol=0.04)


def test_kind_none_and_an_image_that_is_not_chosen_come_back_exactly():
    images, labels, partner_images, partner_labels = batch()
    mixed, share = mix(keys(16), images, labels, None, None, None, Mixing())
    assert mixed is images
    np.testing.assert_array_equal(share, 1)
    for kind in PARTNER:
        config = Mixing(kind, probability=0.0)
        mixed, share = jitted(keys(16), images, labels, partner_images, partner_labels, COUNTS, config=config)
        np.testing.assert_array_equal(mixed, images)
        np.testing.assert_array_equal(share, 1)


@every_config
def test_mixing_commutes_with_standardising(config):
    images, labels, partner_images, partner_labels = batch()
    standard, partner_standard = (images - 0.4) / 0.2, (partner_images - 0.4) / 0.2
    first, share = jitted(keys(16), standard, labels, partner_standard, partner_labels, COUNTS, config=config)
    last, same_share = jitted(keys(16), images, labels, partner_images, partner_labels, COUNTS, config=config)
    np.testing.assert_allclose(first, (last - 0.4) / 0.2, atol=1e-5)
    np.testing.assert_array_equal(share, same_share)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("config", [Mixing("remix"), Mixing("cmo")], ids=lambda c: c.kind)
def test_images_keep_their_dtype_and_shares_are_float32(dtype, config):
    images, labels, partner_images, partner_labels = batch()
    half, partner_half = images.astype(dtype), partner_images.astype(dtype)
    mixed, share = jitted(keys(16), half, labels, partner_half, partner_labels, COUNTS, config=config)
    assert mixed.dtype == dtype
    assert share.dtype == jnp.float32
    full, _ = jitted(keys(16), images, labels, partner_images, partner_labels, COUNTS, config=config)
    np.testing.assert_allclose(mixed.astype(np.float32), full, atol=2 * float(jnp.finfo(dtype).eps))


def test_images_of_float64_are_mixed_in_float64():
    with jax.enable_x64(True):
        images, labels, partner_images, partner_labels = batch()
        images, partner_images = images.astype(np.float64), partner_images.astype(np.float64)
        mixed, share = mix(
            keys(16), images, labels, partner_images, partner_labels, None, Mixing("mixup", 0.8)
        )
        assert (mixed.dtype, share.dtype) == (jnp.float64, jnp.float32)
        weight = np.asarray(share, np.float64)[:, None, None, None]
        np.testing.assert_allclose(mixed, weight * images + (1 - weight) * partner_images, rtol=1e-14)


# Remix


@pytest.mark.parametrize("labels", [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (3, 0), (0, 3), (2, 2)])
@pytest.mark.parametrize(("kappa", "tau"), [(3.0, 0.5), (3.0, 0.9), (1.0, 0.2), (4.0, 0.5), (3.0, 0.0)])
def test_remix_gives_the_label_to_the_rarer_class_as_equation_10_says(labels, kappa, tau):
    pixels, share = masks(400, Mixing("remix", 1.0, kappa=kappa, tau=tau), labels)
    lam = pixels[:, 0, 0]
    ratio = COUNTS[labels[0]] / COUNTS[labels[1]]
    expected = lam.copy()
    for i, value in enumerate(lam):
        if ratio >= kappa and value < tau:
            expected[i] = 0
        elif ratio <= 1 / kappa and 1 - value < tau:
            expected[i] = 1
    np.testing.assert_allclose(share, expected, atol=1e-7)


def test_remix_of_equal_classes_is_mixup():
    for labels in ((0, 0), (1, 2)):
        for remix, mixup in zip(
            masks(50, Mixing("remix", 0.7), labels), masks(50, Mixing("mixup", 0.7)), strict=True
        ):
            np.testing.assert_array_equal(remix, mixup)


def test_counts_and_labels_are_traced_so_that_a_sweep_compiles_once():
    images, labels, partner_images, partner_labels = batch()
    traces = []

    @jax.jit
    def run(counts, labels):
        traces.append(1)
        return mix(keys(16), images, labels, partner_images, partner_labels, counts, Mixing("remix"))[1]

    rare, common = run(COUNTS, labels), run(np.ones(4, int), labels)
    assert len(traces) == 1
    assert not np.array_equal(rare, common)


# Batches and devices


@every_config
def test_result_depends_on_the_key_and_not_on_the_place_in_the_batch(config):
    whole = jitted(keys(16), *batch(), COUNTS, config=config)
    order = np.random.default_rng(1).permutation(16)[:7]
    part = jitted(keys(16)[order], *(x[order] for x in batch()), COUNTS, config=config)
    for some, all_ in zip(part, whole, strict=True):
        np.testing.assert_allclose(some, all_[order], atol=1e-6)


@every_config
def test_result_is_the_same_on_one_and_four_devices_under_jit_and_shard_map(config):
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    arguments = (keys(16), *batch())
    one = jitted(*arguments, COUNTS, config=config)
    spread = [jax.device_put(x, NamedSharding(mesh, P("data"))) for x in arguments]
    partitioned = jax.block_until_ready(jitted(*spread, COUNTS, config=config))
    mapped = jax.shard_map(
        lambda *x: mix(*x, COUNTS, config), mesh=mesh, in_specs=(P("data"),) * 5, out_specs=P("data")
    )
    by_shard = jax.block_until_ready(jax.jit(mapped)(*arguments))
    for other in (partitioned, by_shard):
        for found, expected in zip(other, one, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)


# Labels


@pytest.mark.parametrize("config", [c for c in CONFIGS if c.kind != "remix"], ids=lambda c: c.kind)
def test_many_labels_are_mixed_by_the_same_shares(config):
    images, labels, partner_images, partner_labels = batch()
    one = jitted(keys(16), images, labels, partner_images, partner_labels, None, config=config)
    eye = np.eye(4, dtype=np.int8)
    many = jitted(keys(16), images, eye[labels], partner_images, eye[partner_labels], None, config=config)
    for found, expected in zip(many, one, strict=True):
        np.testing.assert_array_equal(found, expected)


# Input


def test_partner_compositions_are_compositions_of_the_sampler():
    assert set(PARTNER.values()) <= {"same", *COMPOSITIONS}
    assert set(ALPHA) == {"none", *PARTNER}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "mix"}, "mixing kind is 'mix', allowed are none, mixup, cutmix, remix"),
        ({"kind": "mixup", "alpha": 0.0}, "mixing alpha is 0.0: give a number above 0"),
        ({"kind": "mixup", "alpha": float("nan")}, "mixing alpha is nan"),
        ({"probability": 1.5}, "mixing probability is 1.5: give a value from 0 to 1"),
        ({"tau": -0.1}, "mixing tau is -0.1"),
        ({"kappa": 0.5}, "mixing kappa is 0.5: give a number of 1 or more"),
    ],
)
def test_bad_config_raises_naming_the_value(arguments, message):
    with pytest.raises(InputError, match=message):
        Mixing(**arguments)


def test_bad_batches_raise_naming_the_value():
    images, labels, partner_images, partner_labels = batch()
    good = dict(zip(("images", "labels", "partner_images", "partner_labels"), batch(), strict=True))
    good |= {"keys": keys(16), "counts": COUNTS, "config": Mixing("remix")}
    many = np.eye(4, dtype=np.int32)[labels]
    for change, message in (
        ({"images": images[0]}, r"images have shape \(6, 5, 3\)"),
        ({"images": (images * 255).astype(np.uint8)}, "images are uint8, expected floating point"),
        ({"keys": keys(3)}, "3 keys for 16 images"),
        ({"labels": labels[:3]}, "3 labels for 16 images"),
        ({"partner_images": partner_images[:8]}, r"partner images have shape \(8, 6, 5, 3\)"),
        ({"partner_images": None}, "remix needs partner images"),
        ({"partner_labels": partner_labels[:8]}, r"partner labels have shape \(8,\), expected \(16,\)"),
        (
            {"labels": many, "partner_labels": many},
            r"remix compares class counts: labels are int32 \(16, 4\)",
        ),
        ({"counts": None}, "remix needs counts .* got none"),
        ({"counts": np.ones((4, 4))}, r"remix needs counts .* shape \(4, 4\)"),
    ):
        with pytest.raises(InputError, match=message):
            mix(**{**good, **change})
