"""Uncertain and missing labels: the target of each, and the mask."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import host_values, known_values

UNCERTAIN = -1
MISSING = -2
POLICIES = ("ignore", "zeros", "ones", "soft")


def targets_and_mask(
    labels: ArrayLike,
    policy: str | Sequence[str] = "ignore",
    *,
    missing: Literal["ignore", "zeros"] = "ignore",
    soft: ArrayLike | tuple[ArrayLike, ArrayLike] = (0.55, 0.85),
    key: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Targets and mask, for the losses of many labels, of labels that may be uncertain or missing.

    An uncertain label (-1) becomes, by ``policy``:

        ignore   left out: mask False                        (U-Ignore)
        zeros    a negative                                  (U-Zeros)
        ones     a positive                                  (U-Ones)
        soft     a target within ``soft``                    (U-Ones with label smoothing, LSR)

    The first three are those of CheXpert (Irvin et al., AAAI 2019), who find that the best differs by label:
    give one a label. The last is by Pham et al., Neurocomputing 2021, who draw from [0.55, 0.85]; their
    U-Zeros with label smoothing is ``soft=(0, 0.3)``. A missing label (-2, or NaN) is one that the report
    does not mention: left out, or a negative with ``missing="zeros"``.

    Jittable in labels, soft and key; policy and missing are static.

    Args:
      labels: [..., C], each 1 (positive), 0 (negative), -1 (uncertain), -2 or NaN (missing).
      policy: one name, or C names, one a label.
      missing: what missing labels become.
      soft: (low, high), each a number or an array [C] of one a label, in [0, 1]; or one such, for fixed
        targets. Other policies do not use it.
      key: PRNG key of a uniform draw from the range, a new one each step; None takes its midpoint, as training
        does (``data.uncertain="soft"``): 0.7. Where a loss is linear in its targets, as binary cross-entropy is, both
        have the same expected gradient, and the midpoint depends on no device count.

    Returns:
      targets: float32 [..., C] in [0, 1], 0 where left out. Another label than the above gives NaN with mask
        True, so that a mistake shows in the loss; in a numpy array it raises.
      mask: bool [..., C], True where the target counts.

    Raises:
      ValueError: an unknown policy, or not C of them; a label other than 1, 0, -1, -2, NaN in a numpy array;
        a range outside [0, 1], or upside down, or neither numbers nor [C].
    """
    shape = np.shape(labels)
    if not shape:
        raise ValueError("labels are a scalar, expected [..., C]")
    policies = _policy_of_each(policy, shape[-1])
    if missing not in ("ignore", "zeros"):
        raise ValueError(f"missing is {missing!r}, allowed are 'ignore' and 'zeros'")
    low, high = _soft_range(soft, shape[-1])
    _check_labels(labels)

    labels = jnp.asarray(labels, jnp.float32)

    def of_labels(values: np.ndarray | jax.Array) -> jax.Array:
        return jnp.broadcast_to(values, shape)

    uncertain = labels == UNCERTAIN
    absent = (labels == MISSING) | jnp.isnan(labels)
    if key is None or not (policies == "soft").any():
        smooth = of_labels((low + high) / 2)
    else:
        smooth = jax.random.uniform(key, shape, jnp.float32, low, high)
    meant = jnp.where(
        of_labels(policies == "soft"), smooth, of_labels((policies == "ones").astype(np.float32))
    )
    mask = ~(uncertain & of_labels(policies == "ignore"))
    if missing == "ignore":
        mask &= ~absent
    targets = jnp.where(mask, jnp.where(uncertain, meant, jnp.where(absent, 0, labels)), 0)
    allowed = uncertain | absent | (labels == 0) | (labels == 1)
    return jnp.where(allowed, targets, jnp.nan), mask


def _policy_of_each(policy: str | Sequence[str], num_labels: int) -> np.ndarray:
    names = [policy] * num_labels if isinstance(policy, str) else list(policy)
    for name in [policy] if isinstance(policy, str) else names:
        if name not in POLICIES:
            raise ValueError(f"unknown policy {name!r}, allowed are {', '.join(POLICIES)}")
    if len(names) != num_labels:
        raise ValueError(f"{len(names)} policies for {num_labels} labels: expected one name, or one a label")
    return np.array(names)


def _soft_range(
    soft: ArrayLike | tuple[ArrayLike, ArrayLike], num_labels: int
) -> tuple[jax.Array, jax.Array]:
    bounds = soft if isinstance(soft, tuple | list) else (soft, soft)
    if len(bounds) != 2:
        raise ValueError(f"soft is {soft}, expected (low, high), or a number, or an array")
    for bound in bounds:
        if np.shape(bound) not in ((), (num_labels,)):
            raise ValueError(
                f"a bound of soft has shape {np.shape(bound)}, expected a number or ({num_labels},)"
            )
    known = [known_values(bound) for bound in bounds]
    for values in known:
        if values is not None and not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"soft holds {values}, expected 0 to 1")
    low, high = known
    if low is not None and high is not None and (low > high).any():
        raise ValueError(f"soft goes from {low} to {high}: the lower bound comes first")
    return jnp.asarray(bounds[0], jnp.float32), jnp.asarray(bounds[1], jnp.float32)


def _check_labels(labels: ArrayLike) -> None:
    known = host_values(labels)
    if known is None:
        return
    wrong = ~(np.isin(known, (1, 0, UNCERTAIN, MISSING)) | (known != known))  # NaN is unlike itself
    if wrong.any():
        place = np.unravel_index(np.argmax(wrong), wrong.shape)
        index = ", ".join(str(i) for i in place)
        raise ValueError(
            f"labels[{index}] is {known[place]:g}, allowed are 1 (positive), 0 (negative), -1 (uncertain), "
            "-2 or NaN (missing)"
        )
