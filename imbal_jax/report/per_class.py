"""Table of metrics per class and method, with intervals."""

import math
from html import escape

from imbal_jax.console import UNDEFINED, percent
from imbal_jax.metrics import Interval
from imbal_jax.report.comparison import undefined_note
from imbal_jax.report.html import bracket, by_method, figures, table
from imbal_jax.report.resampling import percentile_interval, rate_interval
from imbal_jax.report.study import NAMES, Study

KEYS = ("sensitivity", "specificity", "precision", "f_score", "auroc", "average_precision")


def per_class(study: Study) -> str:
    headings = ["class", "found", *(NAMES[key] for key in KEYS), "false alarms per\N{NO-BREAK SPACE}1,000"]
    parts = []
    for i in range(len(study.runs)):
        parts.append(by_method(study.runs, i) + table(headings, [_row(study, i, k) for k in _order(study)]))
    return (
        f"<p>Each class against all others, rarest first. An image is called by {study.rule}. False alarms "
        f"are counted per 1,000 images of the test set, and precision is that of its prevalence"
        f"{_elsewhere(study)}.</p>"
        f"{''.join(parts)}{undefined_note(study)}{METHOD}"
    )


def _elsewhere(study: Study) -> str:
    """Which findings are used at another prevalence, where the precision is another."""
    names = [escape(study.classes[k]) for k in study.shown if not study.use(k).own]
    return f" (of {', '.join(names)} see the PPV at the prevalence of use, below)" if names else ""


METHOD = (
    "<p class=muted>Intervals are two-sided 95&nbsp;% ones, by patient: of sensitivity, specificity and precision "
    "Wilson's, with the images of a patient counted as fewer by the design effect (Rao and Scott, Biometrics 1992); "
    "of AUROC DeLong's (Obuchowski, Biometrics 1997); of F-score and average precision the percentiles of a "
    "bootstrap. They hold for one class at a time.</p>"
)


def _order(study: Study) -> list[int]:
    return [*study.shown, *(k for k in range(len(study.classes)) if k not in study.shown)]


def rates(study: Study, i: int, k: int, confidence: float = 0.95) -> dict[str, tuple[float, Interval]]:
    """Sensitivity, specificity and precision of a class as called, with their intervals."""
    cohort, called = study.cohort, study.decided[i].called[study.cohort.kept, k]
    truth = cohort.truth[:, k]
    cases = {
        "sensitivity": (truth == 1, called),
        "specificity": (truth == 0, ~called),
        "precision": ((truth >= 0) & called, truth == 1),
    }
    return {
        name: (
            float(right[among].mean()) if among.any() else math.nan,
            rate_interval(right[among], cohort.patients[among], confidence),
        )
        for name, (among, right) in cases.items()
    }


def _row(study: Study, i: int, k: int) -> list[str]:
    counts = study.decided[i].counts(k)
    values = rates(study, i, k)
    values["auroc"] = study.aurocs[i][k]
    for key in ("f_score", "average_precision"):
        interval = percentile_interval(study.replicates[i][key][:, k])
        values[key] = study.value(i, key, study.classes[k]), interval
    alarms = 1000 * counts.false_alarms / counts.known if counts.known else math.nan
    name = f"{study.classes[k]} ({percent(counts.prevalence)})"
    found = f"{counts.found:,} of {counts.positives:,}" if counts.positives else UNDEFINED
    return [name, found, *(bracket(*values[key]) for key in KEYS), figures(alarms)]
