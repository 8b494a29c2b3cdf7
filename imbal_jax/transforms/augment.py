"""Random augmentation of images, on device, inside the jitted step."""

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from imbal_jax.errors import InputError
from imbal_jax.fields import check_fields
from imbal_jax.transforms.autoaugment import autoaugment

UNKNOWN = -1
"""Of a pixel of a mask: its class is not known, and it does not count."""


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Ranges of the random perturbations of an image; all are off by default. Static and hashable.

    flip: mirror left and right, with probability 1/2.
    flip_vertical: mirror top and bottom, with probability 1/2.
    quarter_turns: turn by 0, 90, 180 or 270 degrees, each with probability 1/4; for square images. With one of the
        flips these are the eight symmetries of the square, for pictures that have no upright position.
    shift: largest move along each axis, as a fraction of that axis.
    rotation: largest angle, in degrees.
    zoom: largest magnification less one; factors are drawn from 1 / (1 + zoom) to 1 + zoom, log-uniform.
    stretch: largest change of the aspect ratio, less one; height over width is multiplied by a factor drawn
        from 1 / (1 + stretch) to 1 + stretch, log-uniform, and the area stays.
    brightness: largest value added to every pixel.
    contrast: largest relative change of the deviation from the image's mean.
    saturation: largest relative change of the deviation of red, green and blue from their mean in each pixel.
    hue: largest angle, in degrees, by which colours turn about the axis of greys; the mean of red, green and blue
        stays. Saturation and hue are for three channels.
    noise: standard deviation of Gaussian noise, drawn for every pixel.
    erase: side of the square that is replaced by the image's mean, as a fraction of the image's sides;
        its centre is uniform over the image, so the border may cut it (Cutout: DeVries and Taylor 2017).
    policy: "autoaugment_cifar10" is that policy (``transforms.autoaugment``), after the geometry and before erase;
        any strength above 0 applies it whole.
    fill: what is seen beyond the border. "edge" repeats the nearest pixel: a radiograph is cut through
        tissue as often as through air, and black corners would print the angle into the image. "zero"
        is the padding of the published CIFAR protocols (``Augment(flip=True, shift=4 / 32, fill="zero")``).

    Pixels are in [0, 1], and so are brightness and noise. Raises InputError for a value out of its range.
    """

    flip: bool = False
    flip_vertical: bool = False
    quarter_turns: bool = False
    shift: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0
    stretch: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    noise: float = 0.0
    erase: float = 0.0
    policy: Literal["none", "autoaugment_cifar10"] = "none"
    fill: Literal["edge", "zero"] = "edge"

    def __post_init__(self) -> None:
        check_fields(self, "augment ")
        limits = {"rotation": 180.0, "hue": 180.0}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is float and not 0.0 <= value <= limits.get(field.name, 1.0):
                raise InputError(
                    f"augment {field.name} is {value}: give a value from 0 to {limits.get(field.name, 1.0):g}"
                )


def augment(
    keys: jax.Array, images: jax.Array, config: Augment, strength: jax.Array | float = 1.0
) -> jax.Array:
    """Perturb every image by its own random key.

    keys: PRNG keys [B], one an image, so that a result depends neither on the batch nor on its sharding.
    images: [B, H, W, C], uint8 or uint16 (see ``intensities``), or floating point in [0, 1].
    strength: [B] or one number, 0 or more; multiplies every range of ``config`` for that image. At 0 the
        image comes back exactly; the probability of a flip is 1/2 at any other strength.

    Colours change first. Vertical flips and quarter turns permute pixels. Flip, shift, rotation, zoom and stretch are
    one affine map, which is sampled once (bilinear). Flip and shift alone move whole pixels and interpolate nothing.
    Returns float32 [B, H, W, C] in [0, 1]. Raises InputError for wrong shapes, quarter turns of images that are not
    square, and saturation or hue of other than three channels.
    """
    if images.ndim != 4:
        raise InputError(f"images have shape {images.shape}, expected [batch, height, width, channels]")
    height, width, channels = images.shape[1:]
    if config.quarter_turns and height != width:
        raise InputError(f"augment quarter_turns: images are {height} x {width}, expected squares")
    if (config.saturation or config.hue) and channels != 3:
        raise InputError(f"augment saturation and hue: images have {channels} channels, expected 3")
    if len(keys) != len(images):
        raise InputError(f"{len(keys)} keys for {len(images)} images: give one key an image")
    if jnp.ndim(strength) > 1 or jnp.size(strength) not in (1, len(images)):
        raise InputError(f"strength has shape {jnp.shape(strength)}, expected one number or [{len(images)}]")
    strength = jnp.broadcast_to(jnp.asarray(strength, jnp.float32), len(images))
    return jax.vmap(lambda key, image, s: _augment_one(key, image, config, s))(keys, images, strength)


def augment_with_masks(
    keys: jax.Array, images: jax.Array, masks: jax.Array, config: Augment, strength: jax.Array | float = 1.0
) -> tuple[jax.Array, jax.Array]:
    """``augment`` of images, and their masks moved by the same geometry, by nearest neighbour.

    masks: int [B, H, W], the class of each pixel, or [B, H, W, L], overlapping labels. What comes from beyond the
    border is ``UNKNOWN`` in the mask, also where the image repeats its edge. Erased pixels keep their class. Other
    arguments and errors: ``augment``; InputError for a policy, which would move the images alone.
    """
    if masks.shape[:3] != images.shape[:3]:
        raise InputError(f"masks have shape {masks.shape}, images {images.shape}: they differ in size")
    if config.policy != "none":
        raise InputError(
            f"augment policy {config.policy} moves images without their masks: set policy none, and rotation, shift "
            "and stretch by themselves"
        )
    augmented = augment(keys, images, config, strength)
    planes = masks[..., None] if masks.ndim == 3 else masks
    strengths = jnp.broadcast_to(jnp.asarray(strength, jnp.float32), len(images))
    moved = jax.vmap(lambda key, mask, s: _mask_of_one(key, mask, config, s))(keys, planes, strengths)
    return augmented, moved.reshape(masks.shape)


def intensities(images: jax.Array) -> jax.Array:
    """float32 in [0, 1]: uint8 over 255, uint16 over 65535; floating point as it is."""
    values = images.astype(jnp.float32)
    return values / jnp.iinfo(images.dtype).max if jnp.issubdtype(images.dtype, jnp.integer) else values


class _Draws(NamedTuple):
    """Of one image, each uniform from -1 to 1."""

    flip: jax.Array
    down: jax.Array
    right: jax.Array
    angle: jax.Array
    zoom: jax.Array
    brightness: jax.Array
    contrast: jax.Array
    erase_down: jax.Array
    erase_right: jax.Array
    stretch: jax.Array


def _drawn(key: jax.Array) -> _Draws:
    return _Draws(*jax.random.uniform(key, (len(_Draws._fields),), minval=-1.0))


def _augment_one(key: jax.Array, image: jax.Array, config: Augment, strength: jax.Array) -> jax.Array:
    draws_key, noise_key = jax.random.split(key)
    draws = _drawn(draws_key)
    if config.saturation or config.hue:
        # First: after a warp XLA would compute the warp again for each of the channels that are mixed.
        image = _recolour(_further(key, "colours"), intensities(image), config, strength)
    if config.flip_vertical or config.quarter_turns:
        image = _turn(_further(key, "turns"), image, config, strength)
    # Mean of the original image: averaging the warped one makes XLA warp it twice.
    mean = intensities(image).mean()

    if config.rotation or config.zoom or config.stretch:
        from_y, from_x = _sources(draws, image.shape, config, strength)
        mode = "nearest" if config.fill == "edge" else "constant"
        # One vmap over channels: a Python loop over them costs five times as much at [16, 224, 224, 3].
        sample = jax.vmap(lambda plane: map_coordinates(plane, (from_y, from_x), order=1, mode=mode), 2, 2)
        # the four weights may sum to 1 + 1e-7
        image = jnp.clip(sample(intensities(image)), 0.0, 1.0)
    elif config.flip or config.shift:
        moved, inside = _move(draws, image, config, strength)
        image = intensities(moved if config.fill == "edge" else jnp.where(inside, moved, 0))
    else:
        image = intensities(image)

    if config.policy != "none":
        image = jnp.where(strength > 0, autoaugment(_further(key, "policy"), image), image)
    if config.erase:
        image = _erase(image, config.erase * strength, draws.erase_down, draws.erase_right, mean)
    if config.contrast or config.brightness:
        change = config.contrast * strength * draws.contrast
        image = image * (1.0 + change) + (config.brightness * strength * draws.brightness - change * mean)
    if config.noise:
        image = image + config.noise * strength * jax.random.normal(noise_key, image.shape)
    if config.contrast or config.brightness or config.noise:
        image = jnp.clip(image, 0.0, 1.0)
    return image


def _further(key: jax.Array, what: Literal["turns", "colours", "policy"]) -> jax.Array:
    """A key besides the two of ``jax.random.split(key)``: the other draws do not depend on these options."""
    return jax.random.fold_in(key, {"turns": 2, "colours": 3, "policy": 4}[what])


def _turn(key: jax.Array, image: jax.Array, config: Augment, strength: jax.Array) -> jax.Array:
    draw = jax.random.bits(key)  # bits 0 and 1: quarter turns; bit 2: flip
    draw = jnp.where(strength > 0, draw, 0)
    if config.flip_vertical:
        image = jnp.where(draw & 4, image[::-1], image)
    if config.quarter_turns:
        image = jnp.where(draw & 1, jnp.rot90(image), image)
        image = jnp.where(draw & 2, image[::-1, ::-1], image)
    return image


def _recolour(key: jax.Array, image: jax.Array, config: Augment, strength: jax.Array) -> jax.Array:
    saturation, hue = jax.random.uniform(key, (2,), minval=-1.0) * strength
    radians = jnp.deg2rad(config.hue) * hue
    # Rodrigues' rotation about (1, 1, 1) / sqrt(3), to which colours without their grey are perpendicular.
    colour = jnp.eye(3) - 1 / 3
    across = jnp.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / jnp.sqrt(3.0)
    factor = 1.0 + config.saturation * saturation
    change = (factor * jnp.cos(radians) - 1.0) * colour + factor * jnp.sin(radians) * across
    return jnp.clip(image + jnp.matmul(image, change.T, precision="highest"), 0.0, 1.0)


def _whole_pixels(draw: jax.Array, largest: jax.Array) -> jax.Array:
    """Uniform over the whole numbers -n..n, n = round(largest), from a draw uniform over [-1, 1)."""
    n = jnp.round(largest)
    return jnp.clip(jnp.floor(draw * (n + 0.5) + 0.5), -n, n).astype(jnp.int32)


def _mirrored(draws: _Draws, config: Augment, strength: jax.Array) -> jax.Array:
    return (draws.flip < 0) & (strength > 0) & config.flip


def _mask_of_one(key: jax.Array, mask: jax.Array, config: Augment, strength: jax.Array) -> jax.Array:
    """The mask [H, W, L] of the image that ``_augment_one`` makes with the same key."""
    draws = _drawn(jax.random.split(key)[0])
    if config.flip_vertical or config.quarter_turns:
        mask = _turn(_further(key, "turns"), mask, config, strength)
    if config.rotation or config.zoom or config.stretch:
        height, width = mask.shape[:2]
        y, x = (jnp.round(at).astype(jnp.int32) for at in _sources(draws, mask.shape, config, strength))
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        return jnp.where(inside[..., None], _gather(mask, y, x), UNKNOWN)
    if config.flip or config.shift:
        moved, inside = _move(draws, mask, config, strength)
        return jnp.where(inside, moved, UNKNOWN)
    return mask


def _move(
    draws: _Draws, image: jax.Array, config: Augment, strength: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The image mirrored and moved by whole pixels, its edge repeated; and which pixels are its own [H, W, 1]."""
    height, width = image.shape[:2]
    y = jnp.arange(height) - _whole_pixels(draws.down, config.shift * strength * height)
    x = jnp.arange(width) - _whole_pixels(draws.right, config.shift * strength * width)
    inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None, :]
    y = jnp.clip(y, 0, height - 1)
    x = jnp.clip(x, 0, width - 1)
    x = jnp.where(_mirrored(draws, config, strength), width - 1 - x, x)
    return _gather(image, y[:, None], x[None, :]), inside[..., None]


def _gather(image: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
    """The pixels at (y, x), clipped to the image [H, W, C]."""
    height, width, channels = image.shape
    y, x = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
    return image.reshape(height * width, channels).at[y * width + x].get(mode="promise_in_bounds")


def _sources(
    draws: _Draws, shape: tuple[int, ...], config: Augment, strength: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Where each output pixel comes from, y and x [H, W]: undo the shift, then rotate, scale and mirror about the
    centre."""
    height, width = shape[:2]
    radians = jnp.deg2rad(config.rotation) * strength * draws.angle
    scale = jnp.exp(-jnp.log1p(config.zoom) * strength * draws.zoom)
    shift = config.shift * strength * jnp.stack([draws.down, draws.right])
    wider = jnp.exp(jnp.log1p(config.stretch) * strength * draws.stretch / 2)
    scales = scale * jnp.stack([wider, 1 / wider])  # output pixels to input pixels along y and x of the input
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    y = (jnp.arange(height) - middle_y - shift[0] * height)[:, None]
    x = (jnp.arange(width) - middle_x - shift[1] * width)[None, :]
    cos, sin = jnp.cos(radians), jnp.sin(radians)
    from_y = scales[0] * (cos * y - sin * x) + middle_y
    mirror = jnp.where(_mirrored(draws, config, strength), -1.0, 1.0)
    from_x = mirror * scales[1] * (sin * y + cos * x) + middle_x
    return from_y, from_x


def _erase(image: jax.Array, side: jax.Array, cy: jax.Array, cx: jax.Array, mean: jax.Array) -> jax.Array:
    height, width = image.shape[:2]
    y = jnp.abs((2 * jnp.arange(height) + 1) / height - 1 - cy) < side  # coordinates in [-1, 1]
    x = jnp.abs((2 * jnp.arange(width) + 1) / width - 1 - cx) < side
    return jnp.where((y[:, None] & x[None, :])[..., None], mean, image)
