"""Section: errors beside those that others report for the same method and data."""

import numpy as np

from imbal_jax.suite.conclusions.runs import number
from imbal_jax.suite.definition import Published
from imbal_jax.suite.report.blocks import Block, Text, one_table
from imbal_jax.suite.report.evidence import Evidence


def beside_published(evidence: Evidence) -> tuple[Block, ...]:
    """Empty where the suite names no published error."""
    if not evidence.published:
        return ()
    rows = [
        (each.method, *_ours(evidence, each), f"{each.error:.2f}", each.source) for each in evidence.published
    ]
    return (
        Text(
            "Error: the share of test images, in per cent, that are called another class than their own, the class "
            "of the highest probability called. Ours is the mean over the seeds, with their standard deviation."
        ),
        one_table(("method", "error here", "seeds", "published", "source"), rows, prose=True),
    )


def _ours(evidence: Evidence, each: Published) -> tuple[str, str]:
    """Error and number of seeds; of all stages and settings called default."""
    accuracies = np.array(
        [
            number(line, "accuracy", "raw")
            for line in evidence.lines
            if (line["method"], line["cell"], line["setting"]) == (each.method, each.cell, "default")
            and line["outcome"] == "done"
        ]
    )
    errors = 100 * (1 - accuracies[np.isfinite(accuracies)])
    if not errors.size:
        return "not run", "0"
    spread = f" ± {errors.std(ddof=1):.2f}" if errors.size > 1 else ""
    return f"{errors.mean():.2f}{spread}", str(errors.size)
