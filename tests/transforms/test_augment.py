from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from scipy import ndimage
from scipy.spatial.transform import Rotation

from imbal_jax.errors import InputError
from imbal_jax.transforms.augment import Augment, augment, augment_with_masks

EVERYTHING = Augment(
    flip=True,
    shift=0.1,
    rotation=15,
    zoom=0.2,
    stretch=0.1,
    brightness=0.2,
    contrast=0.3,
    noise=0.1,
    erase=0.4,
)
CONFIGS = [
    Augment(),
    Augment(flip=True, shift=0.2, fill="zero"),
    Augment(flip=True, flip_vertical=True, shift=0.1),
    EVERYTHING,
]
jitted = jax.jit(augment, static_argnums=2)


def pictures(batch=6, height=13, width=10, channels=2):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.integers(0, 256, (batch, height, width, channels)).astype(np.uint8))


def keys(batch=6, seed=0):
    return jax.random.split(jax.random.key(seed), batch)


@pytest.mark.parametrize("config", CONFIGS)
def test_strength_zero_gives_exactly_the_image(config):
    images = pictures()
    out = jitted(keys(), images, config, 0.0)
    assert out.dtype == jnp.float32
    np.testing.assert_array_equal(out, images.astype(jnp.float32) / 255)


def test_strength_is_per_image():
    images, strength = pictures(), jnp.array([0.0, 1.0, 0.0, 1.0, 0.5, 0.0])
    out = np.asarray(jitted(keys(), images, EVERYTHING, strength))
    changed = (out != np.asarray(images.astype(jnp.float32) / 255)).any((1, 2, 3))
    assert changed.tolist() == [False, True, False, True, True, False]


@pytest.mark.parametrize("config", CONFIGS)
def test_result_depends_on_the_key_and_not_on_the_place_in_the_batch(config):
    images, order = pictures(), jnp.array([3, 0, 5, 1, 4, 2])
    whole = jitted(keys(), images, config)
    np.testing.assert_array_equal(jitted(keys()[order], images[order], config), whole[order])


@pytest.mark.parametrize("config", CONFIGS)
def test_result_is_the_same_on_one_and_four_devices(config):
    images, key = pictures(8), keys(8)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    spread = jitted(
        jax.device_put(key, sharding), jax.device_put(images, sharding), config
    ).block_until_ready()
    # Fusion may differ between the two programs in the last bit.
    np.testing.assert_allclose(spread, jitted(key, images, config), atol=1e-6)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("strength", [0.3, 1.0, 2.0])
def test_pixels_stay_between_zero_and_one(config, strength):
    out = jitted(keys(), pictures(), config, strength)
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1


def test_float_images_are_taken_as_they_are():
    images = pictures().astype(jnp.float32) / 255
    np.testing.assert_allclose(
        jitted(keys(), images, EVERYTHING), jitted(keys(), pictures(), EVERYTHING), atol=1e-6
    )


def test_half_of_the_images_are_mirrored_and_nothing_else_changes():
    images = jnp.broadcast_to(pictures(1), (2000, 13, 10, 2))
    out = np.asarray(jitted(keys(2000), images, Augment(flip=True)))
    image = np.asarray(images[0], np.float32) / 255
    same = (np.abs(out - image) < 1e-6).all((1, 2, 3))
    mirrored = (np.abs(out - image[:, ::-1]) < 1e-6).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert abs(mirrored.mean() - 0.5) < 0.05  # 4.5 standard deviations


TURNS = Augment(flip_vertical=True, quarter_turns=True)
COLOURS = Augment(saturation=0.3, hue=25)


def test_turns_and_vertical_flips_are_the_eight_symmetries_of_the_square_equally_often():
    count = 4000
    image = np.random.default_rng(2).integers(0, 256, (7, 7, 3)).astype(np.uint8)
    out = np.asarray(jitted(keys(count), jnp.broadcast_to(image, (count, *image.shape)), TURNS))
    turned = [np.rot90(flipped, k) for flipped in (image, image[::-1]) for k in range(4)]
    seen = [(np.abs(out - form / np.float32(255)) < 1e-6).all((1, 2, 3)).sum() for form in turned]
    assert sum(seen) == count
    assert ((np.array(seen) - count / 8) ** 2 / (count / 8)).sum() < 24.3  # chi-square, 7 degrees, p = 0.001


def test_options_that_are_off_leave_the_other_draws_as_they_are():
    images = pictures(height=13, width=13, channels=3)
    plain = np.asarray(jitted(keys(), images, EVERYTHING))
    with_turns = np.asarray(
        jitted(keys(), images, replace(EVERYTHING, flip=False, noise=0.0, flip_vertical=True))
    )
    without = np.asarray(jitted(keys(), images, replace(EVERYTHING, flip=False, noise=0.0)))
    upright = np.isclose(with_turns, without, atol=1e-6).all((1, 2, 3))
    assert 0 < upright.sum() < len(upright)  # some are flipped; those that are not differ in nothing
    # and the draws themselves are those of a split in two, as before there were turns and colours
    noise = jax.vmap(lambda key: jax.random.normal(jax.random.split(key)[1], (13, 13, 3)))(keys())
    noisy = np.asarray(jitted(keys(), jnp.full((6, 13, 13, 3), 0.5), Augment(noise=0.01)))
    np.testing.assert_allclose(noisy, 0.5 + 0.01 * np.asarray(noise), atol=1e-6)
    assert plain.shape == images.shape


def test_hue_is_a_rotation_about_the_grey_axis_and_saturation_scales_the_distance_from_it():
    images = (96 + pictures(channels=3) // 4).astype(jnp.uint8)  # far from 0 and 1: nothing is clipped
    before = np.asarray(images, np.float64) / 255
    out = np.asarray(jitted(keys(), images, COLOURS))
    angles = []
    for a, b in zip(before.reshape(6, -1, 3), out.reshape(6, -1, 3), strict=True):
        grey = a.mean(-1, keepdims=True)
        np.testing.assert_allclose(b.mean(-1, keepdims=True), grey, atol=1e-5)
        scale = np.linalg.norm(b - grey) / np.linalg.norm(a - grey)
        assert 0.7 <= scale <= 1.3
        turn, _ = Rotation.align_vectors((b - grey) / scale, a - grey)
        vector = turn.as_rotvec(degrees=True)
        np.testing.assert_allclose(vector - vector.mean(), 0, atol=0.05)  # about (1, 1, 1)
        angles.append(vector.mean() * np.sqrt(3))
        np.testing.assert_allclose(turn.apply(a - grey) * scale + grey, b, atol=1e-4)
    assert max(map(abs, angles)) <= 25
    assert len({round(angle, 3) for angle in angles}) == 6


@pytest.mark.parametrize("config", [TURNS, COLOURS])
def test_turns_and_colours_have_the_laws_of_the_others(config):
    images, order = pictures(height=9, width=9, channels=3), jnp.array([3, 0, 5, 1, 4, 2])
    whole = np.asarray(jitted(keys(), images, config))
    np.testing.assert_array_equal(jitted(keys()[order], images[order], config), whole[np.asarray(order)])
    np.testing.assert_array_equal(jitted(keys(), images, config, 0.0), images.astype(jnp.float32) / 255)
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_turns_need_squares_and_colours_three_channels():
    with pytest.raises(InputError, match="quarter_turns: images are 13 x 10, expected squares"):
        augment(keys(), pictures(), TURNS)
    with pytest.raises(InputError, match="saturation and hue: images have 2 channels, expected 3"):
        augment(keys(), pictures(), COLOURS)
    with pytest.raises(InputError, match="augment hue is 200"):
        Augment(hue=200)


@pytest.mark.parametrize("fill", ["edge", "zero"])
def test_shifts_are_whole_pixels_uniform_over_the_range(fill):
    size, reach, count = 20, 2, 3000
    image = np.random.default_rng(1).integers(1, 256, (size, size, 1)).astype(np.uint8)
    config = Augment(shift=reach / size, fill=fill)
    out = np.asarray(jitted(keys(count), jnp.broadcast_to(image, (count, *image.shape)), config))
    mode = "edge" if fill == "edge" else "constant"
    padded = np.pad(image[..., 0], reach, mode=mode) / np.float32(255)
    seen = np.zeros((2 * reach + 1, 2 * reach + 1), int)
    for y in range(2 * reach + 1):
        for x in range(2 * reach + 1):
            moved = padded[y : y + size, x : x + size]
            seen[y, x] = (np.abs(out[..., 0] - moved) < 1e-6).all((1, 2)).sum()
    assert seen.sum() == count  # every result is one of the 25 whole-pixel moves
    expected = count / seen.size
    assert ((seen - expected) ** 2 / expected).sum() < 52  # chi-square, 24 degrees of freedom, p = 0.001


@pytest.mark.parametrize("stretch", [0.0, 0.4])
@pytest.mark.parametrize("fill", ["edge", "zero"])
def test_affine_warp_is_scipys_affine_transform(fill, stretch):
    config = Augment(flip=True, shift=0.2, rotation=25, zoom=0.3, stretch=stretch, fill=fill)
    images, batch = pictures(), 6
    out = np.asarray(jitted(keys(), images, config))
    for i in range(batch):
        # The draws, in the documented order; everything after them is computed in numpy.
        draws = np.asarray(jax.random.uniform(jax.random.split(keys()[i])[0], 10, minval=-1.0), np.float64)
        flip, dy, dx, angle, zoom = draws[:5]
        aspect = (1 + stretch) ** (draws[9] / 2)  # the height grows as the width shrinks, the area stays
        radians, scale = np.deg2rad(25) * angle, 1.3**-zoom
        turn = scale * np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
        turn = np.diag([aspect, 1 / aspect]) @ turn
        if flip < 0:
            turn = np.diag([1, -1]) @ turn
        middle = np.array([(13 - 1) / 2, (10 - 1) / 2])
        offset = middle - turn @ (middle + np.array([0.2 * dy * 13, 0.2 * dx * 10]))
        for channel in range(2):
            expected = ndimage.affine_transform(
                np.asarray(images[i, ..., channel], np.float64) / 255,
                turn,
                offset,
                order=1,
                mode="nearest" if fill == "edge" else "grid-constant",
            )
            np.testing.assert_allclose(out[i, ..., channel], expected, atol=2e-5)


def test_brightness_and_contrast_are_one_affine_map_of_the_pixels_within_their_ranges():
    images = (96 + pictures() // 4).astype(jnp.uint8)  # far from 0 and 1: nothing is clipped
    out = np.asarray(jitted(keys(), images, Augment(brightness=0.1, contrast=0.2)))
    for before, after in zip(np.asarray(images, np.float64) / 255, out, strict=True):
        gain, offset = np.polyfit(before.ravel(), after.ravel(), 1)
        np.testing.assert_allclose(after, gain * before + offset, atol=1e-5)
        assert 0.8 <= gain <= 1.2
        assert abs(after.mean() - before.mean()) <= 0.1  # contrast leaves the mean, brightness moves it


def test_noise_has_the_asked_deviation():
    images = jnp.full((4, 64, 64, 1), 0.5)
    out = np.asarray(jitted(keys(4), images, Augment(noise=0.05), jnp.array([0.0, 0.5, 1.0, 1.0])))
    np.testing.assert_allclose(out.std((1, 2, 3)), [0, 0.025, 0.05, 0.05], rtol=0.05)
    assert (out[2] != out[3]).any()


def test_erase_replaces_one_square_by_the_mean():
    images = pictures(32, 20, 20, 1)
    out = np.asarray(jitted(keys(32), images, Augment(erase=0.5)))
    before = np.asarray(images, np.float32) / 255
    areas = []
    for a, b in zip(before, out, strict=True):
        ys, xs = np.nonzero((np.abs(a - b) > 1e-6)[..., 0])
        box = (slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1))
        np.testing.assert_allclose(b[box], a.mean(), atol=1e-6)
        assert max(np.ptp(ys), np.ptp(xs)) < 10  # half of 20
        areas.append(b[box].size)
    assert max(areas) == 100  # whole, where the border does not cut it


def test_another_strength_compiles_nothing():
    traced = []

    @jax.jit
    def run(strength):
        traced.append(1)
        return augment(keys(), pictures(), EVERYTHING, strength)

    for strength in (0.0, 0.5, 1.0):
        run(jnp.full(6, strength)).block_until_ready()
    assert len(traced) == 1


def test_vmap_over_strengths_is_a_loop_over_strengths():
    strengths = jnp.array([0.0, 0.5, 1.0])
    many = jax.jit(jax.vmap(lambda s: augment(keys(), pictures(), EVERYTHING, s)))(strengths)
    for s, out in zip(strengths, many, strict=True):
        np.testing.assert_allclose(out, jitted(keys(), pictures(), EVERYTHING, s), atol=1e-5)


def test_config_is_hashable_and_refuses_what_is_out_of_range():
    assert len({Augment(), Augment(flip=True), Augment()}) == 2
    with pytest.raises(InputError, match=r"augment shift is 1.5: give a value from 0 to 1"):
        Augment(shift=1.5)
    with pytest.raises(InputError, match="rotation is -3"):
        Augment(rotation=-3)
    with pytest.raises(InputError, match="fill is 'mirror'"):
        Augment(fill="mirror")


def test_wrong_shapes_are_named():
    with pytest.raises(InputError, match="5 keys for 6 images"):
        augment(keys(5), pictures(), Augment())
    with pytest.raises(InputError, match="expected \\[batch, height, width, channels\\]"):
        augment(keys(), pictures()[..., 0], Augment())
    with pytest.raises(InputError, match="strength has shape \\(4,\\)"):
        augment(keys(), pictures(), Augment(), jnp.ones(4))


# Masks

GEOMETRIES = {
    "flip": Augment(flip=True),
    "flip_vertical": Augment(flip_vertical=True),
    "quarter_turns": Augment(quarter_turns=True),
    "shift": Augment(shift=0.3),
    "rotation": Augment(rotation=90),
    "zoom": Augment(zoom=0.6),
    "stretch": Augment(stretch=0.5),
    "all": Augment(
        flip=True, flip_vertical=True, quarter_turns=True, shift=0.2, rotation=40, zoom=0.3, stretch=0.2
    ),
}
with_masks = jax.jit(augment_with_masks, static_argnums=3)


def discs(batch=8, size=31):
    """uint8 [B, H, W, 1], 0 and 255, and the same as masks [B, H, W] of 0 and 1; a disc in each, off the centre."""
    y, x = np.mgrid[:size, :size]
    places = np.random.default_rng(0).uniform(9, size - 9, (batch, 2, 1, 1))
    masks = ((y - places[:, 0]) ** 2 + (x - places[:, 1]) ** 2 <= 36).astype(np.int8)
    return jnp.asarray(np.uint8(255) * masks[..., None].astype(np.uint8)), jnp.asarray(masks)


@pytest.mark.parametrize("fill", ["edge", "zero"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_mask_is_moved_as_its_image(name, fill):
    """Where interpolation leaves no doubt, beyond 1/4 and 3/4: the nearest of four pixels weighs 1/4 or more."""
    config = replace(GEOMETRIES[name], fill=fill)
    images, masks = discs()
    moved, found = (np.asarray(a) for a in with_masks(keys(8), images, masks, config))
    moved, inside = moved[..., 0], found >= 0
    assert found.dtype == np.int8
    assert sum((a != b).any() for a, b in zip(found, masks, strict=True)) >= 3
    assert (found[inside & (moved > 0.75)] == 1).all()
    assert (found[inside & (moved < 0.25)] == 0).all()
    differing = inside & ((moved > 0.5) != (found == 1))
    assert differing.sum() <= 0.1 * (found == 1).sum()


@pytest.mark.parametrize("fill", ["edge", "zero"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_what_comes_from_beyond_the_border_is_unknown_with_either_fill(name, fill):
    """A white image on black shows it; a disc that fills the image does not tell, where the edge is repeated."""
    config = replace(GEOMETRIES[name], fill=fill)
    white, full = jnp.full((8, 31, 31, 1), 255, jnp.uint8), jnp.ones((8, 31, 31), jnp.int8)
    own = np.asarray(jitted(keys(8), white, replace(config, fill="zero")))[..., 0]
    found = np.asarray(with_masks(keys(8), white, full, config)[1])
    assert set(np.unique(found)) <= {-1, 1}
    assert (found[own > 0.75] == 1).all()
    assert (found[own < 0.25] == -1).all()
    permuting = name in ("flip", "flip_vertical", "quarter_turns")
    assert (found == -1).any() == (not permuting)


def test_masks_of_overlapping_labels_are_moved_label_by_label():
    images, masks = discs()
    other = jnp.roll(masks, 3, axis=1)
    _, both = with_masks(keys(8), images, jnp.stack([masks, other], axis=-1), GEOMETRIES["all"])
    for place, one in enumerate((masks, other)):
        np.testing.assert_array_equal(
            both[..., place], with_masks(keys(8), images, one, GEOMETRIES["all"])[1]
        )


def test_an_image_with_its_mask_is_augmented_as_without():
    images, masks = discs()
    config = replace(EVERYTHING, quarter_turns=True)
    np.testing.assert_allclose(
        with_masks(keys(8), images, masks, config)[0], jitted(keys(8), images, config), atol=1e-6
    )


@pytest.mark.parametrize("name", GEOMETRIES)
def test_strength_zero_leaves_masks_as_they_are(name):
    images, masks = discs()
    out, found = with_masks(keys(8), images, masks, GEOMETRIES[name], 0.0)
    np.testing.assert_array_equal(found, masks)
    np.testing.assert_array_equal(out, images.astype(jnp.float32) / 255)


def test_what_would_part_a_mask_from_its_image_is_refused():
    images, masks = discs()
    with pytest.raises(InputError, match="policy autoaugment_cifar10 moves images without their masks"):
        augment_with_masks(keys(8), jnp.repeat(images, 3, -1), masks, Augment(policy="autoaugment_cifar10"))
    with pytest.raises(InputError, match=r"masks have shape \(8, 30, 31\), images \(8, 31, 31, 1\)"):
        augment_with_masks(keys(8), images, masks[:, 1:], Augment())
    with pytest.raises(InputError, match="strength has shape"):
        augment_with_masks(keys(8), images, masks, Augment(), jnp.ones(3))
