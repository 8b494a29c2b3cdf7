"""Section that compares the methods by every metric, on the mean over the classes and class by class."""

import math
from html import escape

from imbal_jax.console import UNDEFINED, duration, percent
from imbal_jax.metrics import Interval
from imbal_jax.report.html import Group, Html, bracket, figures, fold, grouped, method, table
from imbal_jax.report.rates import rates
from imbal_jax.report.resampling import percentile_interval
from imbal_jax.report.results_table import best_methods
from imbal_jax.report.study import NAMES, Study
from imbal_jax.report.verdict import macro_interval

RAW = {"auroc": "raw AUROC", "average_precision": "raw average precision"}
"""Names of the metrics that calibration changes, before it."""


def comparison(study: Study, means: Study, averages: Study | None = None) -> str:
    """The section.

    study: a run of each method. means: the same with the means over seeds, for the macro values. averages: of methods
    with several seeds, the means of their probabilities.
    """
    runs = means.runs
    items = "".join(
        f"<li>{method(runs, i)} {escape(run.summary)} <small>{_training(means, i)}</small></li>"
        for i, run in enumerate(runs)
    )
    bold = " The highest is bold." if len(runs) > 1 else ""
    ranks = f"{'calibrated ' if _calibrated(means) else ''}probabilities"
    text = (
        f"<p>Every metric of the same calls (by {means.rule}), with AUROC and average precision of the {ranks}. The "
        f"mean over the classes counts each class the same, however rare.{bold}</p>"
    )
    headings = ["method", *NAMES.values()]
    differences = _of_differences(study.grouped_by) if len(runs) > 1 else ""
    classes = [_of_class(study, k) for k in (*study.shown, *_others(study))]
    seeds = _over_seeds(means) if any(len(means.seeds(i)) > 1 for i in range(len(runs))) else ""
    intervals = _of_intervals(study.grouped_by)
    by_class = f"<p class=muted>{_of_precision(study)}</p>{grouped(headings, classes, 'wide')}{intervals}"
    return (
        f'<ul class="plain">{items}</ul>{text}{grouped(headings, [_of_mean(means)], "wide")}{differences}{seeds}'
        f"{_averaged(averages) if averages else ''}"
        f"{fold('Every metric, class by class', by_class)}{_raw_calls(means)}{undefined_note(study)}"
    )


def _of_differences(grouped_by: str) -> str:
    return (
        f"<p class=muted>Differences are of the same resampled {grouped_by}s: an interval that leaves out 0 is a "
        f"difference that the sampling of {grouped_by}s does not explain; among many metrics and methods some such "
        "intervals are chance.</p>"
    )


def _of_intervals(grouped_by: str) -> str:
    return (
        f"<p class=muted>Intervals are two-sided 95&nbsp;% ones, by {grouped_by}: of sensitivity, specificity and "
        f"precision Wilson's, with the images of a {grouped_by} counted as fewer by the design effect (Rao and "
        "Scott, Biometrics 1992); of AUROC DeLong's (Obuchowski, Biometrics 1997); of the others, and of the means "
        "over the classes, the percentiles of a bootstrap. They hold for one class at a time.</p>"
    )


def _others(study: Study) -> list[int]:
    return [k for k in range(len(study.classes)) if k not in study.shown]


def _training(study: Study, i: int) -> str:
    seeds = study.seeds(i)
    steps = ", ".join(f"{run.best_step:,}" for run in seeds)
    seconds = duration(sum(run.seconds for run in seeds))
    if len(seeds) == 1:
        return f"Checkpoint of step {steps}, trained in {seconds}."
    named = ", ".join(str(run.seed) for run in seeds)
    return f"Seeds {named}: checkpoints of steps {steps}, trained in {seconds} together."


def _over_seeds(study: Study) -> str:
    """An explanation of the means over seeds, and the numbers of each run."""
    headings = ["run", "step", *NAMES.values()]
    rows = []
    for i in range(len(study.runs)):
        runs = study.seeds(i)
        tables = study.tables_of(i)
        for run, values in zip(runs, tables, strict=True):
            cells = [figures(values.get("macro", {}).get(key, math.nan)) for key in NAMES]
            rows.append([f"{run.method}, seed {run.seed}", f"{run.best_step:,}", *cells])
    return (
        "<p>A method that was trained with several seeds is shown by their mean; ± is the standard deviation over "
        "the seeds (n − 1), which the chance in training causes, and the interval that of the mean over resampled "
        f"{study.grouped_by}s. Counts of single classes, and the sections below, are those of the first seed of each "
        "method.</p>"
        f"{fold('Each run', table(headings, rows))}"
    )


def _averaged(averages: Study) -> str:
    """What the seeds of a method reach together, as they are used."""
    rows = [_macro_values(averages, i) for i in range(len(averages.runs))]
    return (
        "<p><b>As predict uses them</b>: a method's probabilities averaged over its seeds, and thresholds chosen on "
        f"that mean.</p>{grouped(['method', *NAMES.values()], [('', rows)], 'wide')}"
    )


# The mean over the classes


def _of_mean(study: Study) -> Group:
    runs = range(len(study.runs))
    heading = "Mean over the classes" if len(study.shown) > 1 else ""
    differences = [_differences(study, i) for i in runs[1:]]
    return heading, [*(_macro_values(study, i) for i in runs), *differences]


def _macro_values(study: Study, i: int) -> list[Html]:
    tables = {run.method: table for run, table in zip(study.runs, study.tables, strict=True)}
    cells = [method(study.runs, i)]
    for key in NAMES:
        text = bracket(study.value(i, key), macro_interval(study, i, key))
        if len(study.seeds(i)) > 1:
            text = Html(f"{text} ± {figures(study.spread(i, key))}")
        best = study.runs[i].method in best_methods(tables, key)
        cells.append(Html(f"<b>{text}</b>") if best else text)
    return cells


def _differences(study: Study, i: int) -> list[Html]:
    """Differences between a run and the first run."""
    cells = [Html(f"{method(study.runs, i)} − {escape(study.runs[0].method)}")]
    for key in NAMES:
        change = study.value(i, key) - study.value(0, key)
        cells.append(bracket(change, macro_interval(study, i, key, less=0), plus=True))
    return cells


# One class


def _of_class(study: Study, k: int) -> Group:
    prevalence = study.decided[0].counts(k).prevalence
    heading = Html(f"{escape(study.classes[k])} <small>{percent(prevalence)}</small>")
    return heading, [_class_values(study, i, k) for i in range(len(study.runs))]


def _class_values(study: Study, i: int, k: int) -> list[Html]:
    values: dict[str, tuple[float, Interval]] = {**rates(study, i, k), "auroc": study.aurocs[i][k]}
    for key in NAMES:
        if key not in values:
            interval = percentile_interval(study.replicates[i][key][:, k])
            values[key] = study.value(i, key, study.classes[k]), interval
    return [method(study.runs, i), *(bracket(*values[key]) for key in NAMES)]


def _of_precision(study: Study) -> str:
    """At which prevalence precision holds."""
    text = "Each class against all others, rarest first. Precision is that of the test set's prevalence"
    names = [escape(study.classes[k]) for k in study.shown if not study.use(k).own]
    return text + (f" (of {', '.join(names)} see the PPV at the prevalence of use, below)." if names else ".")


# Raw calls


def _calibrated(study: Study) -> bool:
    return any(run.raw_scores is not None for run in study.runs)


def _raw_calls(study: Study) -> str:
    """The metrics of the network's own calls, where the report's are those at the operating points."""
    if not all(decided.at_points for decided in study.decided):
        return ""
    names = {key: RAW.get(key, name) for key, name in NAMES.items()}
    rows = [
        [f"{run.method}, seed {run.seed}" if len(study.seeds(i)) > 1 else run.method]
        + [figures(run.table.get("macro", {}).get(key, math.nan)) for key in names]
        for i in range(len(study.runs))
        for run in study.seeds(i)
    ]
    how = (
        "its most probable class"
        if study.decided[0].exclusive
        else "every label whose probability is 0.5 or more"
    )
    text = (
        f"<p>Raw calls: each image is called {how}, before calibration and without thresholds. They are not what is "
        "deployed, and where a class is rare they find next to nothing. <code>results.json</code> has them by class, "
        "as <code>rows</code>.</p>"
    )
    return fold(
        "Raw calls, before calibration and thresholds", text + table(["method", *names.values()], rows)
    )


def undefined_note(study: Study) -> str:
    rows = [metrics for table in study.tables for metrics in table.values()]
    if all(math.isfinite(metrics.get(key, math.nan)) for metrics in rows for key in NAMES):
        return ""
    return (
        f"<p class=muted>{UNDEFINED} undefined: no positive example (sensitivity, F-score, AUROC, average "
        "precision), no negative one (specificity, AUROC), or no image called (precision).</p>"
    )
