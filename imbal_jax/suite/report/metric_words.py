"""Plain names of the numbers of a ledger line, and what each means."""

NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "sensitivity_at_90": "sensitivity at 90 % specificity",
    "average_precision": "average precision",
    "auroc": "AUROC",
    "calibration_error": "calibration error",
    "brier": "Brier score",
    "worst_class": "worst class",
}
MEANINGS = {
    "balanced_accuracy": "the mean over the classes of the share of their test images that are called right, at the "
    "decision threshold that was chosen on validation images; guessing gives 1 / number of classes",
    "sensitivity": "the share of images with the finding that are called",
    "specificity": "the share of images without it that are not called",
    "sensitivity_at_90": "the share of images with the finding that are called where 90 % of those without it "
    "are not",
    "average_precision": "the mean precision over all thresholds, weighted by the gain in sensitivity: it falls with "
    "the prevalence, so it compares methods within a condition only",
    "auroc": "the chance that an image with the finding scores higher than one without it (area under the ROC curve)",
    "calibration_error": "the mean gap between a predicted probability and the observed share, at the true "
    "prevalence of the test images; 0 is perfect",
    "brier": "the mean squared error of the probabilities; 0 is perfect",
    "worst_class": "the share called right of the class with the lowest share",
}
LOWER_IS_BETTER = ("calibration_error", "brier")


def named(metric: str) -> str:
    return NAMES.get(metric, metric.replace("_", " "))


def meaning(metric: str) -> str:
    """``balanced accuracy: the mean …``; the name alone of a metric that is not ours."""
    return f"{named(metric)}: {MEANINGS[metric]}" if metric in MEANINGS else named(metric)


def sentence(text: str) -> str:
    """The text with a capital first letter, the others as they are."""
    return text[:1].upper() + text[1:]
