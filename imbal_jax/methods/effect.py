"""Which parts of a method change nothing on the data at hand, and why: a run of it would be plain cross-entropy's."""

from collections.abc import Mapping

import numpy as np

from imbal_jax.methods.method import Method


def without_effect(method: Method, arrays: Mapping[str, np.ndarray]) -> list[str]:
    """One line a part of ``method`` that does nothing, ``[]`` where each does something.

    arrays: the method's class arrays (``tasks.class_arrays``): ``class_weights``, ``counts`` [C] of the training
    split, and, of one label an image, ``priors`` [C] of the batches as they are drawn.
    """
    counts = np.asarray(arrays["counts"], np.float64)
    one_label = "priors" in arrays
    even = one_label and np.allclose(counts, counts[0])
    options, lines = method.loss_options, []

    def says(part: str, why: str) -> None:
        lines.append(f"{method.name}: {part} changes nothing here: {why}")

    if method.weights != "none" and np.allclose(arrays["class_weights"], arrays["class_weights"][0]):
        says(f"weights={method.weights}", "all classes get the same weight")
    if even and method.composition in ("balanced", "sqrt", "reversed", "progressive"):
        says(f"composition={method.composition}", "all classes have as many images")
    if even and method.resample != "none":
        says(f"resample={method.resample}", "all classes have as many images")
    if one_label:
        uniform = np.allclose(arrays["priors"], 1 / len(counts))
        least = counts.min() / counts.sum()
        if method.loss == "equalization":
            threshold = options["relative_threshold"] / len(counts)
            if least >= threshold or options["gamma"] == 0:
                says("loss=equalization", f"no class has less than {threshold:.3g} of the images")
        if method.loss in ("logit_adjusted", "balanced_softmax") and uniform:
            says(f"loss={method.loss}", "the batches hold as many images of each class")
        if method.loss == "vector_scaling" and uniform:
            says("loss=vector_scaling", "the batches hold as many images of each class")
        if method.loss == "class_dependent_temperature" and even:
            says("loss=class_dependent_temperature", "all classes have as many images")
        if method.correction == "logit_adjusted" and even:
            says("correction=logit_adjusted", "all classes have as many images")
    if method.loss == "focal" and options["gamma"] == 0:
        says("loss=focal", "gamma is 0")
    if method.loss == "poly1" and options["epsilon"] == 0:
        says("loss=poly1", "epsilon is 0")
    return lines
