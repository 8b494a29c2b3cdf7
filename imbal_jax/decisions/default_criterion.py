"""Which criterion chooses the checkpoint where the user names none (``Config.select`` is "auto")."""

from collections.abc import Sequence

from numpy.typing import ArrayLike

from imbal_jax.metrics.labels import images_by_patient

AUTO = "auto"
# With the finding. With fewer, even a threshold that finds all of them is not shown, with 95 % confidence, to find
# three in four new ones: 0.05 ** (1 / 10) = 0.74.
FEW_PATIENTS = 10
AT_THRESHOLDS = "sensitivity + f_score at operating points then average_precision"
RANKING = "average_precision"


def default_criterion(
    labels: ArrayLike, groups: ArrayLike | None, classes: Sequence[str], negative_class: str | None
) -> tuple[str, str]:
    """The criterion, and why in half a line, by the labels of validation.

    labels: [N] or [N, C]. groups: [N], the patient of each image; None: each is its own.

    Sensitivity and F-score at the thresholds that validation would choose, the article's rule: what the use demands,
    measured where the network will be used. Those of the class called are 0 at every evaluation of a network that
    calls nobody, which is why thresholds come first. Below ``FEW_PATIENTS`` patients with a finding a threshold
    that fits them fits chance: then average precision alone, which needs no threshold.
    """
    held = zip(classes, images_by_patient(labels, groups, len(classes)), strict=True)
    few = {
        name: len(images) for name, images in held if name != negative_class and len(images) < FEW_PATIENTS
    }
    if not few:
        return AT_THRESHOLDS, "the default"
    least = min(few, key=few.__getitem__)
    reason = f"the default where validation has fewer than {FEW_PATIENTS} patients of a class"
    return RANKING, f"{reason}: {least} has {few[least]}"
