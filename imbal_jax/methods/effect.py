"""Parts of a method that have no effect on the given data, and why."""

import numpy as np

from imbal_jax.methods.loss import ClassArrays
from imbal_jax.methods.method import Method


def without_effect(method: Method, arrays: ClassArrays) -> list[str]:
    """One line a part of ``method`` that does nothing, ``[]`` where each does something.

    arrays: those of the method on the training split (``Task.class_arrays``).
    """
    counts = np.asarray(arrays.counts, np.float64)
    one_label = arrays.priors is not None
    even = one_label and np.allclose(counts, counts[0])
    lines: list[str] = []

    def says(part: str, why: str) -> None:
        lines.append(f"{method.name}: {part} changes nothing here: {why}")

    if method.weights != "none" and np.allclose(arrays.class_weights, arrays.class_weights[0]):
        says(f"weights={method.weights}", "all classes get the same weight")
    if even and method.composition in ("balanced", "sqrt", "reversed", "progressive"):
        says(f"composition={method.composition}", "all classes have as many images")
    if even and method.resample != "none":
        says(f"resample={method.resample}", "all classes have as many images")
    if one_label and method.correction == "logit_adjusted" and even:
        says("correction=logit_adjusted", "all classes have as many images")
    if method.loss_row.idle and (why := method.loss_row.idle(method.loss_options, arrays)):
        says(f"loss={method.loss}", why)
    return lines
