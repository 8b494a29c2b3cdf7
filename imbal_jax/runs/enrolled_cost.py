"""What further classes cost the classes that a run had, on its own test split, and how well they are found."""

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from imbal_jax import metrics
from imbal_jax.console import say
from imbal_jax.data.load import Splits
from imbal_jax.metrics.resampling import bootstrap
from imbal_jax.runs.outputs import RunOutputs


def print_cost(
    before: RunOutputs, after: RunOutputs, splits: Splits, method: str, out: Path, console: Console
) -> None:
    """The sensitivities of the old classes by the most probable class, before and after, their mean with an interval.

    before, after: of the run and of the one that was enrolled; the test images of the first come first in the second.
    """
    known, count = len(before.classes), len(before.labels)
    table = Table(
        title=f"{method}: {count:,} test images of the run before and after, most probable class",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for heading in ("class", "images", "sensitivity before", "after", "now called a new class"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    was, now = before.scores.argmax(axis=1), after.scores[:count].argmax(axis=1)
    for c, name in enumerate(before.classes):
        own = before.labels == c
        if own.any():
            shares = ((was == c)[own].mean(), (now == c)[own].mean(), (now >= known)[own].mean())
            table.add_row(name, f"{own.sum():,}", *(f"{share:.3f}" for share in shares))
    console.print(table)
    say(console, _change(before.labels, was, now, before.groups, known))
    for c in range(known, len(after.classes)):
        say(console, _found(after, count, c))
    say(console, f"{out}: a run of {', '.join(after.classes)}, for evaluate, predict and export")


def _change(labels: np.ndarray, was: np.ndarray, now: np.ndarray, groups: np.ndarray, known: int) -> str:
    """The balanced accuracy of the old classes before and after, and the interval of the difference by patient."""

    def balanced(truth: np.ndarray, called: np.ndarray) -> float:
        return float(np.mean([(called == c)[truth == c].mean() for c in range(known) if (truth == c).any()]))

    def change(truth: np.ndarray, called: np.ndarray) -> float:
        return balanced(truth, called[:, 1]) - balanced(truth, called[:, 0])

    called = np.stack([was, now], axis=1).astype(np.float64)
    low, high = bootstrap(change, labels, called, groups=groups)
    values = balanced(labels, was), balanced(labels, now)
    return (
        f"balanced accuracy of the {known} classes before {values[0]:.3f}, after {values[1]:.3f}: "
        f"{values[1] - values[0]:+.3f}, 95 % interval by patient {low:+.3f} to {high:+.3f}"
    )


def _found(after: RunOutputs, count: int, cls: int) -> str:
    """How a new class does among the held-out images of its own and the test images of the run."""
    name, own = after.classes[cls], after.labels == cls
    if not own.any():
        return (
            f"{name}: no image was held out (a column split, or folders train and test), so how well it is found is "
            "not known"
        )
    scores, called = after.scores[:, cls], after.scores.argmax(axis=1)
    truth = own.astype(np.int64)
    area = metrics.auroc(truth, scores)
    low, high = bootstrap(metrics.auroc, truth, scores, groups=after.groups)
    false = (called[:count] == cls).mean()
    return (
        f"{name}: {own.sum():,} images held out, sensitivity {(called == cls)[own].mean():.3f}; AUROC against the "
        f"test images of the run {area:.3f} ({low:.3f} to {high:.3f}); {false:.3f} of those are called {name}"
    )
