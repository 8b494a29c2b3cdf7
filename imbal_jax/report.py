"""report.html: what a run found and missed, for a clinician and for an engineer, in one file.

The file loads nothing from anywhere: styles, plots (SVG) and thumbnails are inside it. It names no
patient, file or folder.
"""

import base64
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from pathlib import Path, PurePath
from zlib import crc32

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from imbal_jax.errors import InputError
from imbal_jax.selection import parse_criterion
from imbal_jax.tracking import UNDEFINED, best_methods, duration, number, percent

NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "f_score": "F\N{NON-BREAKING HYPHEN}score",
    "geometric_mean": "geometric mean",
    "mcc": "MCC",
    "auroc": "AUROC",
    "average_precision": "average precision",
}
FEW = 50  # below so many positives one image moves the sensitivity by more than two points
CURVE_CLASSES = 12  # ROC and precision-recall plots; the tables hold every class
MATRIX_CLASSES = 20  # beyond, a list of the most frequent confusions reads better than a matrix
POINTS = 150  # per drawn curve
THUMBNAIL = 160  # pixels
THUMBNAILS = 6  # per class and kind
PICTURE_BYTES = 1_600_000  # of thumbnails in one report
THRESHOLD = 0.5  # many labels: the decision of metrics.classification_summary


@dataclass(frozen=True)
class RunResult:
    """One method trained and tested.

    Attributes:
      method: its name; names of the runs of one report differ.
      summary: what it does, one sentence.
      history: records of metrics.jsonl, as ``tracking.read_history`` gives them.
      criterion: the validation metric that chose the checkpoint.
      best_step: the step of that checkpoint.
      table: class (and "macro") -> metrics on the test set, from ``metrics.classification_summary``.
      labels: int [M], or [M, L] with 1, 0 and -1 (unknown).
      scores: probabilities [M, C].
      seconds: training time.
      skipped_steps: steps left out because a gradient was not finite.
    """

    method: str
    summary: str
    history: list[dict]
    criterion: str
    best_step: int
    table: dict[str, dict[str, float]]
    labels: np.ndarray
    scores: np.ndarray
    seconds: float
    skipped_steps: int = 0


def write_report(
    path: Path,
    *,
    title: str,
    runs: Sequence[RunResult],
    classes: tuple[str, ...],
    negative_class: str | None,
    images: np.ndarray,
    split_table: Sequence[Mapping[str, object]],
    config: Mapping[str, object],
    environment: Mapping[str, str],
) -> Path:
    """Writes one self-contained HTML file, below 3 MB whatever the size of the test set.

    Args:
      path: the file to write.
      runs: one per method, all on the same test images; the first is the reference of comparisons.
      classes: names of the C classes or labels.
      negative_class: the class that means "nothing found"; left out of curves and pictures.
      images: uint8 [M, H, W, channels], the test images; only the thumbnails shown are stored.
      split_table: one row per split: split, images, patients, counts and prevalence, flat or nested by class.
      config: shown with every path left out.
      environment: versions and devices, likewise.

    Returns:
      path.

    Raises:
      ValueError: no run, two runs of one name, or arrays that do not fit each other.
      InputError: the file cannot be written.
    """
    _check(runs, classes, images)
    decided = [_Decisions.of(run, classes, negative_class) for run in runs]
    winner, _ = _winner(runs)
    sections = [
        ("summary", "Summary", _summary(runs, decided, len(images))),
        ("data", "Data and split", _data(split_table)),
        ("methods", "Methods compared", _comparison(runs)),
        ("classes", "Class by class", _per_class(runs, decided)),
        ("curves", "Learning curves", _learning_curves(runs)),
        ("roc", "ROC and precision-recall", _score_curves(runs, decided)),
        ("confusion", "What was taken for what", _confusions(runs, decided)),
        ("pictures", "Pictures", _pictures(runs, decided, images, winner)),
        ("setup", "Configuration and environment", _setup(config, environment)),
    ]
    contents = " ".join(f'<a href="#{key}">{heading}</a>' for key, heading, _ in sections)
    body = "".join(
        f'<section id="{key}"><h2>{heading}</h2>{html}</section>' for key, heading, html in sections
    )
    methods = "1 method" if len(runs) == 1 else f"{len(runs)} methods"
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<header><p class="kicker">imbal_jax report</p><h1>{escape(title)}</h1>'
        f"<p class=muted>{methods} on {len(images):,} test images, at the true prevalence of the test set</p>"
        f"<nav>{contents}</nav></header>{body}"
        "<footer class=muted>Research software: not a medical device.</footer></main></body></html>\n"
    )
    page = page.replace(" %", "\N{NO-BREAK SPACE}%")
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; free space or name another folder"
        ) from error
    return path


def _check(runs: Sequence[RunResult], classes: tuple[str, ...], images: np.ndarray) -> None:
    names = [run.method for run in runs]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a report needs one run or more, of different names; got {names}")
    for run in runs:
        labels, scores = np.shape(run.labels), np.shape(run.scores)
        if scores != (len(images), len(classes)) or labels not in ((scores[0],), scores):
            raise ValueError(
                f"{run.method}: labels {labels} and scores {scores} do not fit {len(images)} images "
                f"and {len(classes)} classes"
            )


# What was decided ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Decisions:
    """Truth and decision per image and class [M, C]; ``known`` is False where the label is -1."""

    positive: np.ndarray
    decided: np.ndarray
    known: np.ndarray
    scores: np.ndarray
    many_labels: bool
    classes: tuple[str, ...]
    shown: list[int] = field(default_factory=list)  # classes but the negative one, rarest first

    @classmethod
    def of(cls, run: RunResult, classes: tuple[str, ...], negative_class: str | None) -> "_Decisions":
        labels = np.asarray(run.labels)
        scores = np.nan_to_num(np.asarray(run.scores, np.float64), nan=0.0)
        if labels.ndim == 1:
            every = np.arange(len(classes))
            positive, decided = labels[:, None] == every, scores.argmax(axis=1)[:, None] == every
            known = np.broadcast_to(labels[:, None] >= 0, positive.shape)
        else:
            positive, decided, known = labels == 1, scores >= THRESHOLD, labels >= 0
        counts = (positive & known).sum(axis=0)
        shown = [int(k) for k in np.argsort(counts, kind="stable") if classes[k] != negative_class]
        return cls(positive, decided & known, known, scores, labels.ndim == 2, classes, shown)

    def counts(self, k: int) -> dict[str, int]:
        truth, decision, known = self.positive[:, k], self.decided[:, k], self.known[:, k]
        return {
            "positives": int((truth & known).sum()),
            "found": int((truth & decision).sum()),
            "missed": int((truth & ~decision & known).sum()),
            "false_alarms": int((~truth & decision).sum()),
            "negatives": int((~truth & known).sum()),
        }


# Sections --------------------------------------------------------------------------------------------


def _winner(runs: Sequence[RunResult]) -> tuple[int, str]:
    """The run of the highest macro value on the test set, and of which metric.

    The metric is the criterion where that names one metric, else the next one that is defined.
    """
    terms = parse_criterion(runs[0].criterion).terms
    chosen = terms[0].name if len(terms) == 1 and terms[0].coefficient > 0 else ""
    for key in (chosen, "balanced_accuracy", "average_precision", "auroc", "specificity"):
        values = [_value(run, "macro", key) for run in runs]
        if key in NAMES and any(map(math.isfinite, values)):
            return int(np.nanargmax(values)), key
    return 0, "balanced_accuracy"


def _value(run: RunResult, row: str, key: str) -> float:
    value = run.table.get(row, {}).get(key)
    return math.nan if value is None else float(value)


def _summary(runs: Sequence[RunResult], decided: Sequence[_Decisions], total: int) -> str:
    first = decided[0]
    counted = [(k, first.counts(k)) for k in first.shown]
    present = [(k, counts) for k, counts in counted if counts["positives"]]
    if not present:
        return (
            f"<p class=lead>The {total:,} test images hold no positive example: what share of the positives "
            "a method finds is undefined. Only the specificity can be read from this report.</p>"
        )
    parts = [
        f"{escape(first.classes[k])} {percent(counts['positives'] / (counts['positives'] + counts['negatives']))}"
        for k, counts in present[:3]
    ]
    if len(present) > 3:
        parts.append(f"{len(present) - 3} more")
    prevalence = ", ".join(parts)
    winner, key = _winner(runs)
    best = runs[winner]
    value = _value(best, "macro", key)
    rarest = present[0][0]
    now = decided[winner].counts(rarest)
    name, of = escape(first.classes[rarest]), f"{now['positives']:,}"
    if len(runs) == 1:
        text = (
            f"On {total:,} test images <b>{escape(best.method)}</b> reached a macro {NAMES[key]} of "
            f"<b>{number(value)}</b> at the true prevalence ({prevalence}). Of {of} {name} "
            f"{_images(now['positives'])} it found <b>{now['found']:,}</b>, "
            f"with {_alarms(now['false_alarms'])} in {now['negatives']:,} others."
        )
    else:
        others = [i for i in range(len(runs)) if i != winner]
        other = (
            0 if winner else max(others, key=lambda i: np.nan_to_num(_value(runs[i], "macro", key), nan=-1))
        )
        before = decided[other].counts(rarest)
        against = escape(runs[other].method)
        tied = sum(_value(run, "macro", key) == value for run in runs) > 1
        text = (
            f"On {total:,} test images <b>{escape(best.method)}</b> reached the highest macro {NAMES[key]}"
            f"{' (shared)' if tied else ''}, <b>{number(value)}</b> against "
            f"{number(_value(runs[other], 'macro', key))} with {against}, at the true prevalence "
            f"({prevalence}). Against {against} its macro sensitivity is "
            f"<b>{_change(best, runs[other], 'sensitivity')}</b> and its macro specificity "
            f"<b>{_change(best, runs[other], 'specificity')}</b>: of {of} {name} {_images(now['positives'])} it "
            f"found <b>{now['found']:,}</b> instead of {before['found']:,}, with "
            f"{_alarms(now['false_alarms'])} instead of {before['false_alarms']:,}."
        )
    return f"<p class=lead>{text}</p>{_found(runs, decided, present)}{_cautions(runs, first, present)}"


def _found(
    runs: Sequence[RunResult], decided: Sequence[_Decisions], present: Sequence[tuple[int, dict[str, int]]]
) -> str:
    cards = []
    for k, counts in present[:6]:
        bars = ""
        for i in range(len(runs)):
            here = decided[i].counts(k)
            share = here["found"] / here["positives"]
            bars += (
                f"<li>{_method(runs, i)}<span class=bar><span style='width:{100 * share:.1f}%;"
                f"background:{_colour(runs, i)}'></span></span><span class=count><b>{here['found']:,}</b> of "
                f"{here['positives']:,} found, {_alarms(here['false_alarms'])}</span></li>"
            )
        everyone = counts["positives"] + counts["negatives"]
        cards.append(
            f"<div class=card><h3>{escape(decided[0].classes[k])} <small>{counts['positives']:,} of {everyone:,}"
            f" images ({percent(counts['positives'] / everyone)})</small></h3><ul class=bars>{bars}</ul></div>"
        )
    rest = len(present) - len(cards)
    more = f"<p class=muted>The {rest} more frequent classes follow in the tables.</p>" if rest else ""
    return f'<div class="grid cards">{"".join(cards)}</div>{more}'


def _cautions(
    runs: Sequence[RunResult], first: _Decisions, present: Sequence[tuple[int, dict[str, int]]]
) -> str:
    cautions = ["All numbers are point estimates without a confidence interval."]
    few = [(first.classes[k], counts["positives"]) for k, counts in present if counts["positives"] < FEW]
    if few:
        named = ", ".join(f"{escape(name)} {positives}" for name, positives in few[:6])
        named += f" and {len(few) - 6} more" if len(few) > 6 else ""
        name, positives = few[0]
        cautions.append(
            f"Few positives ({named}): one {escape(name)} image more or less found moves its sensitivity by "
            f"{100 / positives:.0f} percentage points."
        )
    if len(runs) > 1:
        cautions.append(
            "The best method was named on these same test images: expect somewhat less on new ones."
        )
    skipped = [f"{escape(run.method)} {run.skipped_steps:,}" for run in runs if run.skipped_steps]
    if skipped:
        cautions.append(f"Training steps left out because a gradient was not finite: {', '.join(skipped)}.")
    items = "".join(f"<li>{caution}</li>" for caution in cautions)
    return f"<aside><b>Read with care</b><ul>{items}</ul></aside>"


def _data(split_table: Sequence[Mapping[str, object]]) -> str:
    rows = [dict(_flat(row)) for row in split_table]
    if not rows:
        return "<p>No split table was recorded.</p>"
    headings = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[row.get(key, UNDEFINED) for key in headings] for row in rows]
    return (
        "<p>Patients, where they are known, belong to one split only. Prevalence is the share of images.</p>"
        + _table([heading.replace("_", " ") for heading in headings], cells)
    )


def _flat(row: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The columns of a row: what is nested by class becomes one column a class, "count (prevalence)"."""
    shares = row.get("prevalence")
    shares = dict(shares) if isinstance(shares, Mapping) else {}
    for key, value in row.items():
        if key == "prevalence" and isinstance(value, Mapping):
            continue
        for name, cell in value.items() if isinstance(value, Mapping) else ((key, value),):
            text = _cell(str(name), cell)
            yield str(name), f"{text} ({percent(shares.pop(name))})" if name in shares else text
    for name, share in shares.items():
        yield f"{name} prevalence", percent(share)


def _cell(key: str, value: object) -> str:
    if value is None:
        return UNDEFINED
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        return percent(float(value)) if "prevalence" in key.lower() else f"{value:,.4g}"
    return str(value)


def _comparison(runs: Sequence[RunResult]) -> str:
    tables = {run.method: run.table for run in runs}
    rows = []
    for i, run in enumerate(runs):
        cells = [_method(runs, i)]
        for key in NAMES:
            text = number(_value(run, "macro", key))
            cells.append(_Html(f"<b>{text}</b>") if run.method in best_methods(tables, key) else text)
        rows.append([*cells, f"{run.best_step:,}", duration(run.seconds)])
    summaries = "".join(f"<li>{_method(runs, i)} {escape(run.summary)}</li>" for i, run in enumerate(runs))
    bold = " The highest of each column is bold." if len(runs) > 1 else ""
    return (
        f"<p>Macro averages over the classes on the test set, each class counting the same however rare.{bold}</p>"
        + _table(["method", *NAMES.values(), "chosen step", "time"], rows)
        + _undefined_note(runs)
        + f'<ul class="plain">{summaries}</ul>'
    )


def _per_class(runs: Sequence[RunResult], decided: Sequence[_Decisions]) -> str:
    keys = ("sensitivity", "specificity", "precision", "f_score", "auroc", "average_precision")
    headings = [
        "class",
        "positives",
        "found",
        "false\N{NO-BREAK SPACE}alarms per\N{NO-BREAK SPACE}1,000",
        *(NAMES[key] for key in keys),
    ]
    parts = []
    for i, run in enumerate(runs):
        rows = []
        for k, name in enumerate(decided[i].classes):
            counts = decided[i].counts(k)
            everyone = counts["positives"] + counts["negatives"]
            share = counts["positives"] / everyone if everyone else math.nan
            alarms = 1000 * counts["false_alarms"] / everyone if everyone else math.nan
            rows.append(
                [
                    name,
                    f"{counts['positives']:,} ({percent(share)})",
                    f"{counts['found']:,} of {counts['positives']:,}" if counts["positives"] else UNDEFINED,
                    number(alarms, 1),
                    *(number(_value(run, name, key)) for key in keys),
                ]
            )
        macro = ["macro", "", "", "", *(number(_value(run, "macro", key)) for key in keys)]
        rows.append([_Html(f"<b>{escape(cell)}</b>") for cell in macro])
        parts.append(f"<h3>{_method(runs, i)}</h3>{_table(headings, rows)}")
    rule = (
        f"a probability of {THRESHOLD} or more"
        if decided[0].many_labels
        else "the class of the highest probability"
    )
    return (
        f"<p>An image is called by {rule}. False alarms are counted per 1,000 images of the test set, at its true "
        f"prevalence.</p>{''.join(parts)}{_undefined_note(runs)}"
    )


def _undefined_note(runs: Sequence[RunResult]) -> str:
    rows = [metrics for run in runs for metrics in run.table.values()]
    if all(math.isfinite(metrics.get(key, math.nan)) for metrics in rows for key in NAMES):
        return ""
    return (
        f"<p class=muted>{UNDEFINED} undefined: no positive example (sensitivity, F-score, AUROC, average "
        "precision), no negative one (specificity, AUROC), or no image called (precision).</p>"
    )


def _learning_curves(runs: Sequence[RunResult]) -> str:
    losses, scores = [], []
    for run in runs:
        losses.append(_series(run.history, "train", lambda record: record["loss"]))
        terms = parse_criterion(run.criterion).terms  # without its constraints, which would tear the scale
        scores.append(
            _series(
                run.history,
                "validation",
                lambda record, terms=terms: sum(term.coefficient * record[term.name] for term in terms),
            )
        )
    figures = []
    if any(len(steps) for steps, _ in losses):
        figure, axes = _figure("step", "training loss")
        for i, (steps, values) in enumerate(losses):
            axes.plot(*_thinned(steps, values, mean=True), **_line(runs, i))
        positive = [values for _, values in losses if len(values) and values.min() > 0]
        if positive and max(v.max() for v in positive) > 30 * min(v.min() for v in positive):
            axes.set_yscale("log")
        note = " Losses of different methods have different scales: compare shapes, not heights."
        figures.append(_svg(figure, f"Training loss.{note if len(runs) > 1 else ''}"))
    if any(len(steps) for steps, _ in scores):
        names = [NAMES.get(term.name, term.name) for term in parse_criterion(runs[0].criterion).terms]
        figure, axes = _figure("step", f"validation {' + '.join(names)}"[:60])
        for i, (steps, values) in enumerate(scores):
            axes.plot(*_thinned(steps, values), **_line(runs, i))
            chosen = steps == runs[i].best_step
            axes.plot(steps[chosen], values[chosen], **_dot(runs, i))
        figures.append(_svg(figure, "Validation. The dot marks the checkpoint that was kept and tested."))
    if not figures:
        return "<p>No history was recorded: there is no curve to draw.</p>"
    lacking = "" if len(figures) == 2 else "<p class=muted>Only one of the two curves was recorded.</p>"
    return (
        f"<p>Checkpoints were chosen by the validation criterion <code>{escape(runs[0].criterion)}</code>.</p>"
        f'{_legend(runs)}<div class="grid">{"".join(figures)}</div>{lacking}'
    )


def _series(
    history: Sequence[Mapping], kind: str, value: Callable[[Mapping], float]
) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the records of a kind in which the value is defined."""
    points = []
    for record in history:
        if record.get("kind") == kind:
            with suppress(KeyError, TypeError):  # absent, or null because it was not finite
                points.append((record["step"], float(value(record))))
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.array(steps), np.array(values)


def _score_curves(runs: Sequence[RunResult], decided: Sequence[_Decisions]) -> str:
    first = decided[0]
    parts, undefined = [], []
    for k in first.shown:
        counts = first.counts(k)
        name = escape(first.classes[k])
        if not counts["positives"] or not counts["negatives"]:
            undefined.append(name)
            continue
        if len(parts) == CURVE_CLASSES:
            continue
        prevalence = counts["positives"] / (counts["positives"] + counts["negatives"])
        roc, roc_axes = _figure("false positive rate", "sensitivity", square=True)
        recall, recall_axes = _figure("sensitivity (recall)", "precision", square=True)
        roc_axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
        recall_axes.axhline(prevalence, color=MUTED, linewidth=0.8, linestyle=":")
        for i in range(len(runs)):
            known = decided[i].known[:, k]
            hits, alarms = _cumulative(decided[i].positive[known, k], decided[i].scores[known, k])
            corners = _corners(hits, alarms)
            sensitivity, rate = hits[corners] / counts["positives"], alarms[corners] / counts["negatives"]
            roc_axes.plot(*_thinned(rate, sensitivity), **_line(runs, i))
            # the staircase whose area is the average precision: a step where a positive is gained
            gained = 1 + np.flatnonzero(np.diff(hits))
            found, precision = hits[gained] / counts["positives"], hits[gained] / (hits + alarms)[gained]
            recall_axes.plot(
                *_thinned(np.append(0, found), np.append(precision[0], precision)),
                **_line(runs, i),
                drawstyle="steps-pre",
            )
            here = decided[i].counts(k)
            called = here["found"] + here["false_alarms"]
            share = here["found"] / counts["positives"]
            roc_axes.plot(here["false_alarms"] / counts["negatives"], share, **_dot(runs, i))
            if called:
                recall_axes.plot(share, here["found"] / called, **_dot(runs, i))
        parts.append(
            f"<h3>{name} <small>{counts['positives']:,} positives ({percent(prevalence)})</small></h3>"
            f'<div class="grid">{_svg(roc, "ROC")}'
            f"{_svg(recall, f'Precision-recall; dotted: guessing ({percent(prevalence)})')}</div>"
        )
    text = ""
    if parts:
        rule = f"threshold {THRESHOLD}" if first.many_labels else "highest probability"
        aside = "" if first.many_labels or len(first.classes) < 3 else ", which need not lie on the curve"
        text = (
            f"<p>Each class against all others. The dot is the decision ({rule}{aside}).</p>"
            f"{_legend(runs)}{''.join(parts)}"
        )
    drawn = len(parts) + len(undefined)
    if drawn < len(first.shown):
        text += (
            f"<p class=muted>The {len(parts)} rarest classes are drawn; the tables hold the other "
            f"{len(first.shown) - drawn}.</p>"
        )
    if undefined:
        text += f"<p class=muted>Undefined, with no positive or no negative test image: {', '.join(undefined)}.</p>"
    return text


def _cumulative(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives at each distinct threshold, from none called to all."""
    order = np.argsort(-score, kind="stable")
    positive, score = positive[order], score[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    hits = np.concatenate([[0], np.cumsum(positive)[last]])
    return hits, np.concatenate([[0], last + 1]) - hits


def _corners(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """The points at which the ROC curve turns, and both ends: between them it is straight."""
    across, up = np.diff(alarms), np.diff(hits)
    turns = across[1:] * up[:-1] != across[:-1] * up[1:]
    return np.concatenate([[0], 1 + np.flatnonzero(turns), [len(hits) - 1]])


def _confusions(runs: Sequence[RunResult], decided: Sequence[_Decisions]) -> str:
    first = decided[0]
    parts = []
    for i, here in enumerate(decided):
        if first.many_labels:
            table = _label_counts(here)
        elif len(first.classes) > MATRIX_CLASSES:
            table = _frequent_confusions(_matrix(here), first.classes)
        else:
            table = _shaded_matrix(_matrix(here), first.classes)
        parts.append(f"<div><h3>{_method(runs, i)}</h3>{table}</div>")
    if first.many_labels:
        text = f"Per label, called at a probability of {THRESHOLD} or more; images of unknown label are left out."
    elif len(first.classes) > MATRIX_CLASSES:
        text = f"The {MATRIX_CLASSES} most frequent confusions."
    else:
        text = "Rows: the true class. Columns: what it was called. Images, and their share of the row."
    return f'<p>{text}</p><div class="stack">{"".join(parts)}</div>'


def _matrix(here: _Decisions) -> np.ndarray:
    known = here.known[:, 0]
    truth, decision = here.positive[known].argmax(axis=1), here.decided[known].argmax(axis=1)
    matrix = np.zeros((len(here.classes),) * 2, np.int64)
    np.add.at(matrix, (truth, decision), 1)
    return matrix


def _shaded_matrix(matrix: np.ndarray, classes: Sequence[str]) -> str:
    rows = []
    for k, name in enumerate(classes):
        total = matrix[k].sum()
        cells = [_Html(f"<b>{escape(name)}</b>")]
        for j, count in enumerate(matrix[k]):
            share = count / total if total else 0.0
            text = percent(share) if total else UNDEFINED
            kind = "right" if j == k else "wrong"
            cells.append(
                _Html(
                    f'<span class="cell {kind}" style="--share:{share:.2f}">{count:,}<small>{text}</small></span>'
                )
            )
        rows.append(cells)
    return _table(["true class", *(f"called {name}" for name in classes)], rows, kind="matrix")


def _frequent_confusions(matrix: np.ndarray, classes: Sequence[str]) -> str:
    wrong = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MATRIX_CLASSES]
    pairs = [np.unravel_index(place, wrong.shape) for place in order if wrong.flat[place]]
    if not pairs:
        return "<p>No image was taken for another class.</p>"
    rows = [
        [classes[k], classes[j], f"{wrong[k, j]:,}", percent(wrong[k, j] / matrix[k].sum())] for k, j in pairs
    ]
    return _table(["true class", "called", "images", "share of the true class"], rows)


def _label_counts(here: _Decisions) -> str:
    rows = []
    for k, name in enumerate(here.classes):
        counts = here.counts(k)
        quiet = counts["negatives"] - counts["false_alarms"]
        unknown = len(here.known) - counts["positives"] - counts["negatives"]
        cells = [(counts[key], counts["positives"]) for key in ("found", "missed")]
        cells += [(counts["false_alarms"], counts["negatives"]), (quiet, counts["negatives"])]
        shares = [f"{count:,} ({percent(count / of)})" if of else UNDEFINED for count, of in cells]
        rows.append([name, *shares, f"{unknown:,}"])
    return _table(["label", "found", "missed", "false alarms", "rightly not called", "unknown"], rows)


def _pictures(
    runs: Sequence[RunResult], decided: Sequence[_Decisions], images: np.ndarray, winner: int
) -> str:
    order = [winner, *(i for i in range(len(runs)) if i != winner)]
    thumbnails = _Thumbnails(images)
    parts = []
    for i in order:
        blocks = "".join(_class_pictures(decided[i], k, thumbnails) for k in decided[i].shown)
        if blocks:
            is_open = " open" if i == winner else ""
            parts.append(f"<details{is_open}><summary>{_method(runs, i)}</summary>{blocks}</details>")
    if not parts:
        return "<p>There is no positive and no false alarm to show.</p>"
    full = "<p class=muted>More pictures would make this file too large.</p>" if thumbnails.full else ""
    return (
        "<p>Found with the highest probability, missed with the lowest, false alarms with the highest. "
        "These are pixels of test images: look for burned-in names before passing this file on.</p>"
        + "".join(parts)
        + full
    )


def _class_pictures(here: _Decisions, k: int, thumbnails: "_Thumbnails") -> str:
    truth, decision, known = here.positive[:, k], here.decided[:, k], here.known[:, k]
    score, name = here.scores[:, k], here.classes[k]
    if not truth.any() and not decision.any():
        return ""
    kinds = (
        ("Found", truth & decision, -score, f"No {name} image was found."),
        ("Missed", truth & ~decision & known, score, f"No {name} image was missed."),
        ("False alarms", ~truth & decision, -score, f"No other image was called {name}."),
    )
    html = f"<h3>{escape(name)}</h3>"
    for heading, chosen, key, nothing in kinds:
        if heading != "False alarms" and not truth.any():
            continue
        places = np.flatnonzero(chosen)
        places = places[np.argsort(key[places], kind="stable")]
        figures = ""
        for place in places[:THUMBNAILS]:
            figures += thumbnails.figure(int(place), _caption(here, int(place), k))
        shown = f" <small>{len(places):,}</small>" if len(places) else ""
        html += f"<h4>{heading}{shown}</h4>"
        if figures:
            html += f'<div class="pictures">{figures}</div>'
        elif not len(places):
            html += f"<p class=muted>{escape(nothing)}</p>"
    return html


def _caption(here: _Decisions, place: int, k: int) -> str:
    probability = f"{escape(here.classes[k])} {here.scores[place, k]:.2f}"
    true = [name for name, positive in zip(here.classes, here.positive[place], strict=True) if positive]
    truth = f"<b>{escape(', '.join(true)) or 'none'}</b>"
    called = int(here.scores[place].argmax())
    if not here.many_labels and called != k:
        probability += f"<br>{escape(here.classes[called])} {here.scores[place, called]:.2f}"
    return f"true: {truth}<br>{probability}"


class _Thumbnails:
    """Embeds images until the budget of the file is spent."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = images
        self._left = PICTURE_BYTES
        self.full = False

    def figure(self, place: int, caption: str) -> str:
        if self.full:
            return ""
        image = np.asarray(self._images[place])
        picture = Image.fromarray(image if image.shape[-1] == 3 else image[..., 0])
        small = max(picture.size) <= 64
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        stored = io.BytesIO()
        picture.save(stored, "PNG") if small else picture.save(stored, "JPEG", quality=82)
        data = base64.b64encode(stored.getvalue()).decode()
        self._left -= len(data)
        self.full = self._left < 0
        if self.full:
            return ""
        kind, style = ("png", ' class="pixels"') if small else ("jpeg", "")
        text = escape(re.sub(r"<[^>]*>", " ", caption), quote=True).replace("&amp;", "&")
        return (
            f'<figure><img{style} alt="{text}" src="data:image/{kind};base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )


def _setup(config: Mapping[str, object], environment: Mapping[str, str]) -> str:
    shown = json.dumps(_without_paths(config), indent=2, default=str, ensure_ascii=False)
    rows = [[key, str(value)] for key, value in _without_paths(environment).items()]
    return (
        f"<details><summary>Configuration</summary><pre>{escape(shown)}</pre></details>"
        f"<details><summary>Environment</summary>{_table(['', 'version'], rows)}</details>"
    )


_PATH_KEY = re.compile(r"(^|_)(path|paths|dir|directory|folder|file|filename|files|workdir|root)$")
_PATH = re.compile(
    r"(?<![\w.])(~|\.{0,2}[/\\]|[A-Za-z]:[/\\]|[A-Za-z][\w+.-]*://|\\\\)\S.*?(?=\s--?\w|$)", re.DOTALL
)


def _without_paths(value: object, key: str = "") -> object:
    """The same with every path and address replaced: they can hold names of people."""
    if isinstance(value, Mapping):
        return {str(inner): _without_paths(deep, str(inner)) for inner, deep in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(deep, key) for deep in value]
    if isinstance(value, PurePath) or (isinstance(value, str) and value and _PATH_KEY.search(key)):
        return "(path)"
    return _PATH.sub("(path)", value) if isinstance(value, str) else value


# Plots -----------------------------------------------------------------------------------------------

# Colours that stand for the page's own, so that plots follow the light and the dark theme.
INK, MUTED, GRID, PAGE = "#010101", "#020202", "#030303", "#040404"
METHOD_COLOURS = 8
DASHES = ("-", "--", "-.", ":")


def _colour(runs: Sequence[RunResult], i: int) -> str:
    """Grey for the reference, the strong colours for what is compared with it."""
    return f"var(--m{(i if len(runs) > 1 else 1) % METHOD_COLOURS})"


def _line(runs: Sequence[RunResult], i: int) -> dict[str, object]:
    place = i if len(runs) > 1 else 1
    style = DASHES[place // METHOD_COLOURS % len(DASHES)]
    return {"color": f"#0a00{place % METHOD_COLOURS:02x}", "linewidth": 1.6, "linestyle": style}


def _dot(runs: Sequence[RunResult], i: int) -> dict[str, object]:
    colour = _line(runs, i)["color"]
    return {
        "marker": "o",
        "markersize": 7,
        "color": colour,
        "markeredgecolor": PAGE,
        "linestyle": "",
        "zorder": 5,
        "clip_on": False,
    }


def _figure(horizontal: str, vertical: str, *, square: bool = False) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(horizontal, color=INK)
    axes.set_ylabel(vertical, color=INK)
    axes.tick_params(colors=INK, length=0)
    axes.grid(color=GRID, linewidth=0.6)
    axes.spines[:].set_visible(False)
    axes.set_axisbelow(True)
    if square:
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure, axes


def _thinned(steps: np.ndarray, values: np.ndarray, *, mean: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """At most POINTS points: means of neighbours, or points evenly spread with both ends."""
    if len(steps) <= POINTS:
        return steps, values
    if mean:
        parts = np.array_split(np.arange(len(steps)), POINTS)
        return np.array([steps[part].mean() for part in parts]), np.array(
            [values[part].mean() for part in parts]
        )
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*(_unit_steps(x) for x in (steps, values))))])
    chosen = np.unique(np.searchsorted(length, np.linspace(0, length[-1], POINTS)).clip(0, len(steps) - 1))
    return steps[chosen], values[chosen]


def _unit_steps(values: np.ndarray) -> np.ndarray:
    return np.diff(values) / max(np.ptp(values), 1e-12)


def _svg(figure: Figure, caption: str) -> str:
    """The figure as inline SVG in the page's font and colours."""
    stored = io.StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": caption, "font.size": 9.5, "path.simplify": True}
    with matplotlib.rc_context(settings):
        nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
        figure.savefig(stored, format="svg", transparent=True, metadata=nothing)
    svg = stored.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = (
        re.sub(r'\s(xmlns(:\w+)?|width|height|version)="[^"]*"', "", svg[: svg.index(">")])
        + svg[svg.index(">") :]
    )
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'\sid="(figure|axes|patch|line2d|text|matplotlib\.axis|xtick|ytick|legend)_\d+"', "", svg)
    svg = re.sub(r"font:\s*([\d.]+)px[^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d+\.\d)\d+", r"\1", tag[0]), svg)
    for colour, name in ((INK, "ink"), (MUTED, "muted"), (GRID, "line"), (PAGE, "page")):
        svg = svg.replace(colour, f"var(--{name})")
    svg = re.sub(r"#0a000(\d)", r"var(--m\1)", svg)
    svg = re.sub(r">\s+<", "><", svg).strip()
    # names are unique in a figure only, and a page holds many
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>f{crc32(svg.encode()):08x}", svg)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(caption, quote=True)}"', 1)
    return f'<figure class="plot">{svg}<figcaption>{escape(caption)}</figcaption></figure>'


# HTML ------------------------------------------------------------------------------------------------


class _Html(str):
    """Text that is markup already; everything else that enters a table is escaped."""


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = ""
    for row in rows:
        cells = [cell if isinstance(cell, _Html) else escape(cell) for cell in row]
        body += "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    opening = f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
    return f"{opening}<tbody>{body}</tbody></table></div>"


def _method(runs: Sequence[RunResult], i: int) -> _Html:
    return _Html(
        f'<span class="method"><i style="background:{_colour(runs, i)}"></i>{escape(runs[i].method)}</span>'
    )


def _legend(runs: Sequence[RunResult]) -> str:
    return f'<p class="legend">{" ".join(_method(runs, i) for i in range(len(runs)))}</p>'


def _images(count: int) -> str:
    return "image" if count == 1 else "images"


def _alarms(count: int) -> str:
    return f"{count:,} false alarm{'' if count == 1 else 's'}"


def _change(after: RunResult, before: RunResult, key: str) -> str:
    change = _value(after, "macro", key) - _value(before, "macro", key)
    return f"{change:+.3f}".replace("-", "−") if math.isfinite(change) else "undefined"


STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1b2430;--muted:#5d6b7c;--line:#dfe4ea;--soft:#f5f7f9;
--accent:#0b63ce;--wrong:#c2410c;--m0:#7b8794;--m1:#0b63ce;--m2:#c2410c;--m3:#0f8a5f;--m4:#8a4fd0;--m5:#b7791f;
--m6:#00838f;--m7:#c2428b}
@media (prefers-color-scheme:dark){:root{--page:#12161c;--ink:#e4e9ef;--muted:#9aa7b6;--line:#2b3440;--soft:#1a2028;
--accent:#6ea8fe;--wrong:#fb923c;--m0:#9aa7b6;--m1:#6ea8fe;--m2:#fb923c;--m3:#4ccf9b;--m4:#bd93f9;--m5:#eac54f;
--m6:#4dd0e1;--m7:#f48fb1}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
main{max-width:66rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:.1rem 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:0 0 .6rem}
h3{font-size:1rem;margin:1.4rem 0 .5rem;overflow-wrap:anywhere}
h4{font-size:.85rem;margin:.9rem 0 .4rem;color:var(--muted);font-weight:600}
p{margin:.4rem 0 .8rem}
small{font-weight:400;color:var(--muted);font-size:.85em}
.kicker{margin:0;color:var(--accent);font-size:.8rem;font-weight:600;letter-spacing:.04em}
.muted,figcaption{color:var(--muted);font-size:.875rem}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.875rem;border-block:1px solid var(--line);padding:.6rem 0}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
section{margin-top:2.6rem;scroll-margin-top:1rem}
.lead{font-size:1.15rem;line-height:1.5;max-width:52rem;overflow-wrap:anywhere}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(22rem,100%),1fr));gap:1rem;align-items:start}
.cards{grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr))}
.card{border:1px solid var(--line);border-radius:.6rem;padding:.2rem 1rem .8rem}
.cards{align-items:stretch}.card h3{margin:.7rem 0 .5rem}.card h3 small{display:block}
.bars .method{flex:0 0 100%}
ul.bars,ul.plain{list-style:none;margin:0;padding:0}ul.plain li{margin:.3rem 0;font-size:.925rem}
.bars li{display:flex;flex-wrap:wrap;justify-content:space-between;column-gap:.8rem;margin:.5rem 0;font-size:.875rem}
.bar{order:3;flex:0 0 100%;height:.5rem;border-radius:.25rem;background:var(--line);overflow:hidden}
.bar span{display:block;height:100%}
.count{color:var(--muted);text-align:right}.count b{color:var(--ink)}
.method{font-weight:600;overflow-wrap:anywhere}
.method i{display:inline-block;width:.65rem;height:.65rem;border-radius:50%;margin-right:.4rem}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.9rem}
aside{background:var(--soft);border-left:3px solid var(--wrong);border-radius:.3rem;padding:.7rem 1rem;
margin:1.2rem 0;font-size:.9rem}
aside ul{margin:.3rem 0 0;padding-left:1.1rem}
.scroll{overflow-x:auto;margin:.4rem 0 .8rem}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums;min-width:100%}
th,td{padding:.45rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{white-space:normal;font-weight:600;color:var(--muted);vertical-align:bottom;font-size:.8rem}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--page);padding-left:0}
.matrix td{padding:.15rem;border:0}.matrix td:first-child{padding-right:.7rem}
.cell{display:block;padding:.35rem .7rem;border-radius:.3rem}
.cell small{display:block;font-size:.75rem}
.right{background:color-mix(in srgb,var(--accent) calc(var(--share)*38%),var(--soft))}
.wrong{background:color-mix(in srgb,var(--wrong) calc(var(--share)*38%),var(--soft))}
.right small,.wrong small{color:inherit}
figure{margin:0}.plot svg{width:100%;height:auto;display:block;fill:var(--ink);font-family:inherit}
.pictures{display:grid;grid-template-columns:repeat(6,1fr);gap:.8rem}
.pictures img{width:100%;aspect-ratio:1;object-fit:contain;background:#000;border-radius:.3rem;display:block}
.pictures figcaption{font-size:.75rem;line-height:1.35;margin-top:.25rem;overflow-wrap:anywhere}
.pictures figcaption b{color:var(--ink)}.pixels{image-rendering:pixelated}
details{border-top:1px solid var(--line);padding:.6rem 0}summary{cursor:pointer}
pre{overflow-x:auto;background:var(--soft);padding:1rem;border-radius:.4rem;font-size:.8rem;line-height:1.45}
footer{margin-top:3rem}
@media (max-width:40rem){main{padding:1.2rem 1rem 3rem}h1{font-size:1.5rem}.lead{font-size:1.05rem}
th,td{padding:.4rem .5rem}.pictures{grid-template-columns:repeat(3,1fr);gap:.5rem}}
@media print{:root{color-scheme:light;--page:#fff;--ink:#000;--muted:#444;--line:#ccc;--soft:#f4f4f4;--accent:#0b63ce;
--wrong:#c2410c;--m0:#7b8794;--m1:#0b63ce;--m2:#c2410c;--m3:#0f8a5f;--m4:#8a4fd0;--m5:#b7791f;--m6:#00838f;
--m7:#c2428b}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}nav{display:none}body{font-size:10.5pt}
main{max-width:none;padding:0}section{margin-top:1.6rem}h2,h3,h4{break-after:avoid}
figure,tr,.card,aside{break-inside:avoid}.scroll{overflow:visible}
table{font-size:8pt}th{font-size:7.5pt}th,td{white-space:normal;padding:.2rem .25rem}
td:first-child{white-space:nowrap}
details::details-content{content-visibility:visible;height:auto}}
"""
