"""Image and label mixing (mixup, CutMix and variants), inside the jitted step.

Every image has a partner, the image in the same place of a second batch, whose composition ``PARTNER`` names.
With x, y the image and its label, x', y' those of the partner, and B a Beta distribution:

    mixup           lam x + (1 - lam) x',  lam ~ B(a, a)            Zhang et al., ICLR 2018
    cutmix          x with a box of x' of area 1 - lam              Yun et al., ICCV 2019
    remix           mixup; the label may go to the rarer class      Chou et al., ECCV workshops 2020, eq. 10
    balanced_mixup  (1 - b) x + b x',  b ~ B(a, 1),  x' balanced    Galdran et al., MICCAI 2021
    cmo             cutmix of x natural and x' balanced             Park et al., CVPR 2022

``mix`` returns the mixed image and the share of y in its label. The loss is

    share L(z, y) + (1 - share) L(z, y'),

which for losses linear in the target, cross-entropy first, is L(z, ``losses.mixed_targets.mixed_targets``).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy import special

from imbal_jax.errors import InputError

PARTNER: Mapping[str, str] = MappingProxyType(
    {
        "mixup": "same",
        "cutmix": "same",
        "remix": "same",
        "balanced_mixup": "balanced",
        "cmo": "balanced",
    }
)
"""The composition (``sampling.make_plan``) of the partners' batch; "same" is that of the images, another draw.

CMO: as in the authors' code, which gives each *item* the weight 1 / n_c and so draws all classes alike; the paper's
text gives each *class* that share, which would be ``reversed``.
"""

ALPHA: Mapping[str, float] = MappingProxyType(
    {"none": 1.0, "mixup": 0.2, "cutmix": 1.0, "remix": 1.0, "balanced_mixup": 0.2, "cmo": 1.0}
)
"""The value of ``alpha=None``: mixup as on ImageNet (1 on CIFAR), the others as published."""

_NODES = 4097  # size of the quantile table: draws are accurate to 1e-5 for alpha from 0.05 to 100


@dataclass(frozen=True)
class Mixing:
    """How images are mixed. Static and hashable.

    kind: none, mixup, cutmix, remix, balanced_mixup, cmo.
    alpha: parameter of the Beta distribution, above 0; near 0, images are hardly mixed. None for ``ALPHA[kind]``.
    probability: how many of the images are mixed at all (CutMix on CIFAR and CMO: 0.5).
    kappa: for remix, how many times commoner than the other one class must be, 1 or more, for the rarer one to
        take the whole label.
    tau: for remix, the share of the commoner class's image, in [0, 1], below which that happens.

    Raises InputError for an unknown kind or a value out of its range.
    """

    kind: Literal["none", "mixup", "cutmix", "remix", "balanced_mixup", "cmo"] = "none"
    alpha: float | None = None
    probability: float = 1.0
    kappa: float = 3.0
    tau: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in ALPHA:
            raise InputError(f"mixing kind is {self.kind!r}, allowed are {', '.join(ALPHA)}")
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise InputError(f"mixing alpha is {self.alpha}: give a number above 0")
        for name in ("probability", "tau"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"mixing {name} is {getattr(self, name)}: give a value from 0 to 1")
        if not 1 <= self.kappa < math.inf:
            raise InputError(f"mixing kappa is {self.kappa}: give a number of 1 or more")


def mix(
    keys: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    partner_images: jax.Array | None,
    partner_labels: jax.Array | None,
    counts: ArrayLike | None,
    config: Mixing,
) -> tuple[jax.Array, jax.Array]:
    """Mix every image with its partner as its own key says.

    For remix, with i the image's class, j the partner's, and lam the image's share, that of its label is

        0    if n_i >= kappa n_j and lam < tau
        1    if n_j >= kappa n_i and 1 - lam < tau
        lam  otherwise

    Args:
      keys: PRNG keys [B], one an image, so that a result depends neither on the batch nor on its sharding;
        others than those of ``augment``.
      images: [B, H, W, C], floating point: in [0, 1] or standardised, mixing commutes with both.
      labels: int [B], or multi-hot [B, L].
      partner_images, partner_labels: arrays of the same shapes. None for kind none.
      counts: [C], n, of the training split; may be traced. Only remix reads them, else None will do.
      config: static.

    Returns:
      Mixed images, of the dtype given (computed in float32 or wider), and the share of their own label,
      float32 [B] in [0, 1]; the rest is the partner's. The share is exactly 1 where an image was left alone,
      and the area outside the box for cutmix and cmo.

    Raises:
      InputError: shapes that do not fit; images of integers; remix without counts or with many labels.
    """
    if images.ndim != 4:
        raise InputError(f"images have shape {images.shape}, expected [batch, height, width, channels]")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(f"images are {images.dtype}, expected floating point: mix after augment")
    if len(keys) != len(images):
        raise InputError(f"{len(keys)} keys for {len(images)} images: give one key an image")
    if len(labels) != len(images):
        raise InputError(f"{len(labels)} labels for {len(images)} images: give one label an image")
    if config.kind == "none":
        return images, jnp.ones(len(images), jnp.float32)
    partner_images = _partner("images", images, partner_images, config)
    partner_labels = _partner("labels", labels, partner_labels, config)

    share_draw, gate, cy, cx = jax.vmap(lambda key: jax.random.uniform(key, (4,), jnp.float32), out_axes=1)(
        keys
    )
    alpha = ALPHA[config.kind] if config.alpha is None else config.alpha
    share = (
        1 - share_draw ** (1 / alpha)  # less the quantile of B(a, 1)
        if config.kind == "balanced_mixup"
        else _beta_quantile(share_draw, alpha)
    )
    if config.probability < 1:
        share = jnp.where(gate < config.probability, share, 1)

    if config.kind in ("cutmix", "cmo"):
        height, width = images.shape[1:3]
        rows, columns = _box(share, cy, height), _box(share, cx, width)
        inside = (rows[:, :, None] & columns[:, None, :])[..., None]
        area = jnp.sum(rows, axis=1) * jnp.sum(columns, axis=1)
        share = 1 - area.astype(jnp.float32) / (height * width)
        return jnp.where(inside, partner_images.astype(images.dtype), images), share
    dtype = jnp.promote_types(images.dtype, jnp.float32)
    weight = share.astype(dtype)[:, None, None, None]
    mixed = weight * images.astype(dtype) + (1 - weight) * partner_images.astype(dtype)
    if config.kind == "remix":
        share = _remix_share(share, labels, partner_labels, counts, config)
    return mixed.astype(images.dtype), share


def _partner(name: str, own: jax.Array, partner: jax.Array | None, config: Mixing) -> jax.Array:
    if partner is None:
        raise InputError(f"{config.kind} needs partner {name}: draw a second batch as PARTNER says")
    if partner.shape != own.shape:
        raise InputError(f"partner {name} have shape {partner.shape}, expected {own.shape}")
    return partner


def _beta_quantile(q: jax.Array, alpha: float) -> jax.Array:
    """The quantiles of B(alpha, alpha) at ``q`` in [0, 1].

    One draw and a table; ``jax.random.beta`` draws until it accepts, in a loop as long as the worst item's.
    """
    if alpha == 1:
        return q
    table = jnp.asarray(_quantile_table(alpha))
    place = jnp.cbrt(2 * jnp.minimum(q, 1 - q)) * (_NODES - 1)
    cell = jnp.minimum(place.astype(jnp.int32), _NODES - 2)
    low, high = table[cell], table[cell + 1]
    lower = (low + (place - cell) * (high - low)) ** (1 / _exponent(alpha))
    return jnp.where(q < 0.5, lower, 1 - lower)


@cache
def _quantile_table(alpha: float) -> np.ndarray:
    """lam^e, lam being the q-quantile of B(alpha, alpha), for q from 0 to 1/2, dense near 0: float32."""
    # There lam rises as q^(1/alpha), too steep for straight lines; lam^alpha rises as q.
    quantiles = special.betaincinv(alpha, alpha, np.linspace(0, 1, _NODES) ** 3 / 2)
    return (quantiles ** _exponent(alpha)).astype(np.float32)


def _exponent(alpha: float) -> float:
    return min(alpha, 8.0)  # a larger power of the smallest quantiles would underflow in float32


def _box(share: jax.Array, centre: jax.Array, size: int) -> jax.Array:
    """Which rows (or columns, ``size`` of them) each image's box covers, bool [B, size].

    A box has sqrt(1 - share) of the image's sides, in whole pixels, and its centre is a pixel drawn
    uniformly; the border cuts it. centre: uniform in [0, 1).
    """
    side = (size * jnp.sqrt(1 - share)).astype(jnp.int32)
    start = (size * centre).astype(jnp.int32) - side // 2
    pixels = jnp.arange(size)
    return (pixels >= start[:, None]) & (pixels < (start + side)[:, None])


def _remix_share(
    share: jax.Array, labels: jax.Array, partner_labels: jax.Array, counts: ArrayLike | None, config: Mixing
) -> jax.Array:
    if labels.shape != share.shape or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise InputError(
            f"remix compares class counts: labels are {labels.dtype} {labels.shape}, not int [B]"
        )
    if counts is None or np.ndim(counts) != 1:
        given = "none" if counts is None else f"shape {np.shape(counts)}"
        raise InputError(f"remix needs counts [C], one a class, and got {given}")
    counts = jnp.asarray(counts, jnp.float32)
    own, partner = counts[labels], counts[partner_labels]
    to_partner = (own >= config.kappa * partner) & (share < config.tau)
    to_own = (partner >= config.kappa * own) & (1 - share < config.tau)
    return jnp.where(to_partner, 0, jnp.where(to_own, 1, share))
