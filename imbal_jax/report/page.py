"""The page: all sections in order, in one file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from imbal_jax.data.dataset import Images
from imbal_jax.files import write_text
from imbal_jax.report.benefit import in_use
from imbal_jax.report.comparison import comparison
from imbal_jax.report.confusions import confusions
from imbal_jax.report.data import data
from imbal_jax.report.html import counted
from imbal_jax.report.learning import learning_curves
from imbal_jax.report.masks import masks_by_case, masks_pictures, masks_summary
from imbal_jax.report.metrics_only import metrics_by_class, metrics_summary, named_places, users_metrics
from imbal_jax.report.operating_points import operating_points
from imbal_jax.report.pictures import pictures
from imbal_jax.report.ranking import score_curves
from imbal_jax.report.reliability import calibration
from imbal_jax.report.result import RunResult, check_results
from imbal_jax.report.seeds import first_seeds, over_seeds, seed_places
from imbal_jax.report.setup import setup
from imbal_jax.report.study import Study, study_of
from imbal_jax.report.style import STYLE
from imbal_jax.report.summary import summary
from imbal_jax.tasks import Section

Part = tuple[str, str, str]
"""Anchor, heading and content of a section; one without content is left out."""


def write_report(
    path: Path,
    *,
    title: str,
    runs: Sequence[RunResult],
    classes: tuple[str, ...],
    negative_class: str | None,
    images: Images,
    split_table: Sequence[Mapping[str, object]],
    config: Mapping[str, object],
    environment: Mapping[str, str],
    averages: Sequence[RunResult] = (),
    sections: Sequence[Section] = (),
    grouped_by: str = "patient",
    example: str = "image",
) -> Path:
    """Writes one self-contained HTML file, below 3 MB whatever the size of the test set.

    Args:
      path: the file to write.
      runs: one per method and seed, all on the same test images; the first method is the reference of comparisons.
      classes: names of the C classes or labels.
      negative_class: the class that means "nothing found"; left out of curves and pictures.
      images: uint8 [M, H, W, channels], the test images; only the thumbnails shown are stored.
      split_table: one row per split: split, images, patients, counts and prevalence, flat or nested by class.
      averages: of methods with several seeds, the result of their averaged probabilities.
      config: shown with every path left out.
      environment: versions and devices, likewise.
      sections: those that the task adds (``Task.sections``), before the configuration.
      grouped_by: what the images are grouped by, ``Dataset.grouped_by``.
      example: what is scored, ``Task.example``.

    Returns:
      path.

    Raises:
      ValueError: no run, two runs of one name, or arrays that do not fit each other.
      InputError: the file cannot be written.
    """
    check_results(runs, classes, images)

    def of(runs: Sequence[RunResult]) -> Study:
        return study_of(runs, classes, negative_class, images, grouped_by)

    parts = (
        _of_decisions(of(runs), of(averages) if averages else None, split_table)
        if runs[0].decides
        else _of_metrics(runs, images, classes, split_table, grouped_by=grouped_by, example=example)
    )
    last = ("setup", "Configuration and environment", setup(config, environment))
    path = Path(path)
    tested = counted(len(images), f"test {example}")
    tested += ", at the prevalence of the test set" if example == "image" else ""
    write_text(path, _page(title, runs, tested, [*parts, *sections, last]))
    return path


def _of_decisions(
    whole: Study, averages: Study | None, split_table: Sequence[Mapping[str, object]]
) -> list[Part]:
    """The sections for a task with decisions."""
    runs, classes = whole.runs, whole.classes
    study, means = first_seeds(whole), over_seeds(whole)
    study = replace(study, winner=means.winner)
    return [
        ("summary", "Which method, and at what cost", summary(study, means)),
        (
            "methods",
            "Methods compared" if len(means.runs) > 1 else "Method",
            comparison(study, means, averages),
        ),
        ("points", "Operating points", operating_points(study)),
        ("roc", "ROC and precision-recall", score_curves(study)),
        ("use", "Predictive values and net benefit", in_use(study)),
        ("calibration", "Calibration", calibration(study)),
        ("confusion", "What was taken for what", confusions(study)),
        ("own", "The user's own metrics", users_metrics(runs)),
        ("pictures", "Pictures", pictures(study)),
        (
            "data",
            "Data and split",
            data(
                split_table,
                classes,
                unknown=bool((study.decided[0].truth < 0).any()),
                grouped_by=study.grouped_by,
            ),
        ),
        ("curves", "Learning curves", learning_curves(study.runs)),
    ]


def _of_metrics(
    runs: Sequence[RunResult],
    images: Images,
    classes: tuple[str, ...],
    split_table: Sequence[Mapping[str, object]],
    *,
    grouped_by: str,
    example: str,
) -> list[Part]:
    """The sections for a task without decisions."""
    firsts = [replace(runs[places[0]], method=name) for name, places in named_places(runs)]
    if firsts[0].masks is not None:
        return [
            ("summary", "Which method, and what it finds", masks_summary(runs, grouped_by)),
            ("cases", f"{grouped_by.capitalize()} by {grouped_by}", masks_by_case(firsts, grouped_by)),
            ("pictures", "Pictures", masks_pictures(firsts, images)),
            ("classes", "All metrics", metrics_by_class(runs)),
            ("data", "Data and split", data(split_table, classes, unknown=False, grouped_by=grouped_by)),
            ("curves", "Learning curves", learning_curves(firsts)),
        ]
    return [
        ("summary", "Summary", metrics_summary(runs, counted(len(images), example))),
        ("classes", "Class by class" if example == "image" else "Row by row", metrics_by_class(runs)),
        ("data", "Data and split", data(split_table, classes, unknown=False, grouped_by=grouped_by)),
        ("curves", "Learning curves", learning_curves(firsts)),
    ]


def _page(title: str, runs: Sequence[RunResult], tested: str, parts: Sequence[Part]) -> str:
    sections = [part for part in parts if part[2]]
    links = "".join(f'<li><a href="#{key}">{heading}</a></li>' for key, heading, _ in sections)
    contents = f"<ol>{links}</ol>"
    body = "".join(
        f'<section id="{key}"><h2>{heading}</h2>{html}</section>' for key, heading, html in sections
    )
    count = len(seed_places(runs))
    methods = "1 method" if count == 1 else f"{count} methods"
    if count < len(runs):
        methods += f" trained {len(runs)} times"
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f'<nav class="beside" aria-label="Sections">{contents}</nav>'
        f'<nav class="above" aria-label="Sections"><details><summary>Contents</summary>{contents}</details></nav>'
        f'<main><header><p class="kicker">imbal_jax report</p><h1>{escape(title)}</h1>'
        f"<p class=muted>{methods} on {escape(tested)}</p></header>{body}"
        "<footer class=muted>Research software: not a medical device.</footer></main></body></html>\n"
    )
    return page.replace(" %", "\N{NO-BREAK SPACE}%")
