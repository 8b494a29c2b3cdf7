"""Sections for masks: what the pixels called are worth, case by case, and pictures with the worst first."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation

from imbal_jax import metrics
from imbal_jax.console import duration, percent
from imbal_jax.data.dataset import Images
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.metrics import Interval
from imbal_jax.metrics.clusters import patient_numbers
from imbal_jax.metrics.codes import BINS
from imbal_jax.metrics.mask_counts import MASK_METRICS
from imbal_jax.report.html import (
    Html,
    before_anything,
    bracket,
    by_method,
    counted,
    figures,
    legend,
    method,
    share,
    table,
)
from imbal_jax.report.learning import series, sum_of_terms
from imbal_jax.report.metrics_only import named_places
from imbal_jax.report.pictures import embedded, picture_of
from imbal_jax.report.plots import draw, line, svg
from imbal_jax.report.result import RunResult
from imbal_jax.report.use import said_first
from imbal_jax.tasks.mask_table import MaskScores, intervals

FOUND, MISSED, FALSE = (46, 160, 67), (227, 78, 38), (47, 111, 237)
"""Colours of true positive, false negative and false positive pixels."""

SIDE = 320  # pixels of a shown picture
EXACT = 96  # pixels; pictures up to this side are stored exactly
SHOWN = 6  # pictures a finding
BYTES = 1_200_000  # of all pictures together
OPAQUE = 0.55
EXAMINED = 500  # images whose connected parts are counted
COUNTABLE = 20  # parts an image that holds the finding, on average: vessels have no number
HIT_AT = ("hit at 1/8 false an image", "hit at 1", "hit at 4")
LEVELS = 1 / (1 + np.exp(-np.linspace(-6, 4, 21)))  # thresholds at which parts are counted


def masks_summary(runs: Sequence[RunResult], grouped_by: str) -> str:
    """Which method validation prefers, and what it finds; a table of all methods, finding by finding."""
    best, of_cases = preferred(runs), [_masks(run).of_cases(_cases(run)) for run in runs]
    within = [intervals(cases) for cases in of_cases]
    parts = [before_anything(said_first(runs))]
    for place in _findings(runs):
        lead = _lead(runs[best], of_cases[best], within[best][place], place, grouped_by)
        parts.append(f"<p class=lead>{lead}</p>")
    for place in _findings(runs):
        rows = [_row(runs, i, of_cases[i], within[i][place], place) for i in range(len(runs))]
        parts.append(
            table(
                ["method", "Dice", "IoU", "of its pixels found", "of the pixels called right", "threshold"],
                rows,
                caption=_masks(runs[0]).findings[place] if len(_findings(runs)) > 1 else "",
            )
        )
    training = "; ".join(
        f"{escape(name)} {duration(sum(runs[i].seconds for i in places))}"
        for name, places in named_places(runs)
    )
    parts.append(
        f"<p class=muted>Of the pixels of all test images together; intervals (95 %) by {escape(grouped_by)}. A "
        "pixel is called where its probability reaches the threshold, which was chosen for the highest Dice on other "
        f"images than these. Unknown pixels do not count. {_left_open(runs)}Checkpoints by "
        f"<code>{escape(runs[0].criterion)}</code> on validation. Training: {training}.</p>"
    )
    return "".join(parts)


def _left_open(runs: Sequence[RunResult]) -> str:
    """By how much the bins of the pixels leave AUROC and average precision open."""
    gaps = [of.high - of.low for run in runs for of in _masks(run).ranks]
    gap = max((float(values[np.isfinite(values)].max(initial=0)) for values in gaps), default=0.0)
    return f"AUROC and average precision come from {BINS:,} bins, whose order leaves them open by {gap:.1g} at most. "


def preferred(runs: Sequence[RunResult]) -> int:
    """The run whose checkpoint has the highest criterion on validation; test has no say."""

    def value(run: RunResult) -> float:
        criterion = parse_criterion(run.criterion)
        steps, values = series(run.history, "validation", partial(sum_of_terms, criterion))
        chosen = values[steps == run.best_step]
        return float(chosen[-1]) if chosen.size else -math.inf

    return int(np.argmax([value(run) for run in runs]))


def masks_by_case(runs: Sequence[RunResult], grouped_by: str) -> str:
    """The Dice of each case that holds the finding, in order, method by method."""
    parts = [legend(runs)]
    for place in _findings(runs):
        figure, axes = draw(f"{grouped_by}s with it, worst first", "Dice", size=(6.0, 2.9))
        axes.set_ylim(-0.02, 1.02)
        rows = []
        for i, run in enumerate(runs):
            dice = np.sort(case_dice(run, place))
            if not dice.size:
                continue
            at = np.linspace(0, 1, len(dice)) if len(dice) > 1 else np.array([0.5])
            few: dict[str, Any] = {"marker": ".", "markersize": 5} if len(dice) <= 40 else {}
            axes.plot(100 * at, dice, **line(runs, i), **few)
            quantiles = np.quantile(dice, [0.1, 0.25, 0.5, 0.75, 0.9])
            missed = int((dice == 0).sum())
            rows.append([method(runs, i), *map(figures, quantiles), f"{missed:,} of {len(dice):,}"])
        axes.xaxis.set_major_formatter("{x:g} %")
        name = _masks(runs[0]).findings[place]
        parts.append(f"<h3>{escape(name)}</h3>")
        parts.append(svg(figure, f"Dice of each {grouped_by} that holds it, in order.", about=name))
        headings = [
            "method",
            "a tenth is below",
            "a quarter",
            "median",
            "three quarters",
            "nine tenths",
            "not found at all",
        ]
        parts.append(table(headings, rows, caption=f"Dice by {grouped_by}"))
    return "".join([*parts, _lesions(runs), _empty(runs, grouped_by)])


def case_dice(run: RunResult, place: int) -> np.ndarray:
    """[G'], the Dice of the cases that hold the finding."""
    tables = _masks(run).of_cases(_cases(run))[:, place]
    return MASK_METRICS["dice"](tables[_holding(tables)], True)


def _lesions(runs: Sequence[RunResult]) -> str:
    """Connected parts: how many are hit, and how many are called where there is none; where they can be counted."""
    parts = []
    for place in _findings(runs):
        rows = []
        for i, run in enumerate(runs):
            scores = _masks(run)
            images = range(min(len(scores.labels), EXAMINED))
            levels = np.unique([*LEVELS, scores.thresholds[place]])
            curve = metrics.froc(
                ((scores.truth(image, place), scores.kept[image][..., place]) for image in images), levels
            )
            held = max(int((curve.lesions > 0).sum()), 1)
            if not 0 < curve.lesions.sum() <= COUNTABLE * held:
                continue
            at = int(np.searchsorted(levels, scores.thresholds[place]))
            few = metrics.lesion_sensitivity(curve)
            found, alarms = curve.hits[:, at].sum(), curve.false_positives_per_image[at]
            rows.append(
                [
                    method(runs, i),
                    f"{found:,} of {curve.lesions.sum():,}",
                    f"{alarms:.2f}",
                    *(percent(float(value)) for value in few[[0, 3, 5]]),
                ]
            )
        if rows:
            headings = ["method", "hit", "false ones an image", *HIT_AT]
            parts.append(table(headings, rows, caption=_masks(runs[0]).findings[place]))
    if not parts:
        return ""
    return (
        "<h3>Part by part</h3><p class=muted>Connected parts: one is hit where any of its pixels is called, and "
        "false where a called one touches none. The first two numbers are at the threshold, the others at the best "
        f"threshold with so few false ones, on the first {EXAMINED} images where there are more.</p>{''.join(parts)}"
    )


def masks_pictures(runs: Sequence[RunResult], images: Images) -> str:
    """Pictures of the method that validation prefers: the worst first, then one from the middle and the best."""
    best, left = preferred(runs), BYTES
    run, parts = runs[best], []
    for place in _findings(runs):
        scores = _masks(run)
        tables = scores.tables[:, place]
        held = np.flatnonzero(_holding(tables))
        false = tables[:, 0, 1]
        alarms = np.flatnonzero(~_holding(tables) & (false > 0))
        dice = MASK_METRICS["dice"](tables, True)
        order = held[np.argsort(dice[held], kind="stable")]
        worst, rest = list(order[: SHOWN - 2]), list(order[SHOWN - 2 :])
        middle = len(order) // 2
        apart = SHOWN - 2 <= middle < len(order) - 1
        others = [order[middle], order[-1]] if apart else rest[-2:]
        of_nothing = list(alarms[np.argsort(-false[alarms], kind="stable")][:3])
        blocks: list[tuple[str, Sequence[int]]] = [
            ("Worst", worst),
            ("Median and best" if apart else "Best", others),
            ("Called where there is none", of_nothing),
        ]
        parts.append(f"<h3>{escape(scores.findings[place])}</h3>")
        for heading, chosen in blocks:
            shown = []
            for image in chosen:
                figure = _figure(np.asarray(images[int(image)]), scores, int(image), place)
                left -= len(figure)
                if left > 0:
                    shown.append(figure)
            if shown:
                parts.append(f'<h4>{heading}</h4><div class="pictures pairs">{"".join(shown)}</div>')
    colours = "".join(
        f'<span><i class="key" style="background:rgb{colour}"></i>{text}</span>'
        for colour, text in ((FOUND, "found"), (MISSED, "missed"), (FALSE, "called and not so"))
    )
    return (
        f"{by_method(runs, best)}<p>Left the picture, right the same with its pixels marked. These are pixels of "
        "test images: look for burned-in names before passing this file on.</p>"
        f'<p class="legend">{colours}</p>{"".join(parts)}'
    )


def marked(image: np.ndarray, truth: np.ndarray, called: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: the picture in grey, its found, missed and false pixels in colour; unknown ones darkened.

    image: uint8 or uint16 [H, W, C]. truth: int8 [H, W], below 0 where it is not known. called: bool [H, W].
    """
    shown = np.atleast_3d(np.asarray(picture_of(image)))
    out = shown.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    for colour, of in (
        (FOUND, (truth == 1) & called),
        (MISSED, (truth == 1) & ~called),
        (FALSE, (truth == 0) & called),
    ):
        out[of] = (1 - OPAQUE) * out[of] + OPAQUE * np.array(colour)
    out[truth < 0] *= 0.5
    return np.rint(out).astype(np.uint8)


def _figure(image: np.ndarray, scores: MaskScores, number: int, place: int) -> str:
    truth, called = scores.truth(number, place), scores.called(number, place)
    image, truth, called = _closer(image, truth, called)
    (_, alarms), (misses, hits) = scores.tables[number, place].tolist()
    counts = f"found {hits:,}, missed {misses:,}, false {alarms:,} pixels"
    caption, text = f"false {alarms:,} pixels", f"nothing to find, false {alarms:,} pixels"
    if hits + misses:
        dice = figures(2 * hits / (2 * hits + misses + alarms))
        caption, text = f"Dice <b>{dice}</b><br>{counts}", f"Dice {dice}, {counts}"
    shown, coloured = picture_of(image), Image.fromarray(marked(image, truth, called))
    pair = f"{_embedded(shown, text)}{_embedded(coloured, f'marked; {text}')}"
    return f'<figure><div class="pair">{pair}</div><figcaption>{caption}</figcaption></figure>'


def _closer(
    image: np.ndarray, truth: np.ndarray, called: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part around what is there or called, where that is small beside a large picture."""
    at = np.argwhere(binary_dilation((truth == 1) | called, iterations=2))
    height, width = truth.shape
    if max(height, width) <= SIDE or not len(at):
        return image, truth, called
    side = max(SIDE // 2, int(1.5 * (at.max(axis=0) - at.min(axis=0)).max()))
    if side >= min(height, width):
        return image, truth, called
    top, left = np.clip((at.max(axis=0) + at.min(axis=0) - side) // 2, 0, (height - side, width - side))
    part = slice(top, top + side), slice(left, left + side)
    return image[part], truth[part], called[part]


def _embedded(picture: Image.Image, text: str) -> str:
    return embedded(picture, escape(text, quote=True), side=SIDE, small=EXACT, quality=85)


def _masks(run: RunResult) -> MaskScores:
    assert run.masks is not None  # the page asks for these sections where there are masks
    return run.masks


def _cases(run: RunResult) -> np.ndarray:
    count = len(_masks(run).labels)
    groups = np.arange(count) if run.groups is None else run.groups
    return patient_numbers(groups, np.ones(count, bool), missing="own")


def _holding(tables: np.ndarray) -> np.ndarray:
    """bool [N]: which images or cases hold the finding. tables: [N, 2, 2]."""
    return tables[:, 1].sum(axis=-1) > 0


def _rates(cases: np.ndarray, place: int) -> dict[str, float]:
    """``MASK_METRICS`` of all pixels together. cases: [G, findings, 2, 2]."""
    total = cases[:, place].sum(axis=0)
    return {name: float(formula(total, True)) for name, formula in MASK_METRICS.items()}


def _findings(runs: Sequence[RunResult]) -> range:
    return range(len(_masks(runs[0]).findings))


def _lead(
    run: RunResult, cases: np.ndarray, within: Mapping[str, Interval], place: int, grouped_by: str
) -> str:
    scores, values = _masks(run), _rates(cases, place)
    there = cases[:, place, 1].sum() / max(cases[:, place].sum(), 1)
    holding = int(_holding(cases[:, place]).sum())
    finds, right = (share(values[name], within[name]) for name in ("sensitivity", "precision"))
    return (
        f"<b>{escape(run.method)}</b> finds {finds} of the pixels of <b>{escape(scores.findings[place])}</b>, which "
        f"is {percent(there)} of all, and of the pixels that it calls {right} are right: Dice "
        f"{bracket(values['dice'], within['dice'])}, on {counted(holding, grouped_by)} with it of {len(cases):,}."
    )


def _row(
    runs: Sequence[RunResult], i: int, cases: np.ndarray, within: Mapping[str, Interval], place: int
) -> list[str]:
    scores, values = _masks(runs[i]), _rates(cases, place)
    name = method(runs, i)
    if sum(run.method == runs[i].method for run in runs) > 1:
        name = Html(f"{name} <small>seed {runs[i].seed}</small>")
    return [
        name,
        bracket(values["dice"], within["dice"]),
        bracket(values["iou"], within["iou"]),
        share(values["sensitivity"], within["sensitivity"]),
        share(values["precision"], within["precision"]),
        figures(scores.thresholds[place]),
    ]


def _empty(runs: Sequence[RunResult], grouped_by: str) -> str:
    """What is called where there is nothing."""
    rows = []
    for i, run in enumerate(runs):
        cases = _masks(run).of_cases(_cases(run))
        for place in _findings(runs):
            without = cases[:, place][~_holding(cases[:, place])][:, 0, 1]
            if len(without):
                alarmed = int((without > 0).sum())
                name = _masks(run).findings[place]
                rows.append(
                    [
                        method(runs, i),
                        name,
                        f"{alarmed:,} of {len(without):,}",
                        f"{without.mean():,.1f}",
                    ]
                )
    if not rows:
        return ""
    headings = [
        "method",
        "finding",
        f"{grouped_by}s with a false pixel",
        f"false pixels a {grouped_by}, mean",
    ]
    return f"<h3>Without the finding</h3>{table(headings, rows)}"
