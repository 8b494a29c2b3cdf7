"""The page: all sections in order, in one file."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from imbal_jax.data.dataset import Images
from imbal_jax.files import write_text
from imbal_jax.report.benefit import in_use
from imbal_jax.report.comparison import comparison
from imbal_jax.report.confusions import confusions
from imbal_jax.report.data import data
from imbal_jax.report.learning import learning_curves
from imbal_jax.report.operating_points import operating_points
from imbal_jax.report.per_class import per_class
from imbal_jax.report.pictures import pictures
from imbal_jax.report.ranking import score_curves
from imbal_jax.report.reliability import calibration
from imbal_jax.report.result import RunResult, check_results
from imbal_jax.report.seeds import first_seeds, over_seeds, seed_places
from imbal_jax.report.setup import setup
from imbal_jax.report.study import Study, study_of
from imbal_jax.report.style import STYLE
from imbal_jax.report.summary import summary


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
) -> Path:
    """Writes one self-contained HTML file, below 3 MB whatever the size of the test set.

    Args:
      path: the file to write.
      runs: one per method and seed, all on the same test images; the first method is the reference of comparisons.
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
    check_results(runs, classes, images)
    whole = study_of(runs, classes, negative_class, images)
    study, means = first_seeds(whole), over_seeds(whole)
    sections = [
        ("summary", "Summary", summary(study, means)),
        (
            "data",
            "Data and split",
            data(split_table, classes, unknown=bool((study.decided[0].truth < 0).any())),
        ),
        ("methods", "Methods compared" if len(runs) > 1 else "Method", comparison(means)),
        ("curves", "Learning curves", learning_curves(study)),
        ("roc", "ROC and precision-recall", score_curves(study)),
        ("points", "Operating points", operating_points(study)),
        ("calibration", "Calibration", calibration(study)),
        ("confusion", "What was taken for what", confusions(study)),
        ("classes", "Class by class", per_class(study)),
        ("use", "Predictive values and net benefit", in_use(study)),
        ("pictures", "Pictures", pictures(study)),
        ("setup", "Configuration and environment", setup(config, environment)),
    ]
    page = _page(title, whole, [section for section in sections if section[2]])
    path = Path(path)
    write_text(path, page)
    return path


def _page(title: str, study: Study, sections: Sequence[tuple[str, str, str]]) -> str:
    contents = " ".join(f'<a href="#{key}">{heading}</a>' for key, heading, _ in sections)
    body = "".join(
        f'<section id="{key}"><h2>{heading}</h2>{html}</section>' for key, heading, html in sections
    )
    count = len(seed_places(study.runs))
    methods = "1 method" if count == 1 else f"{count} methods"
    if count < len(study.runs):
        methods += f" trained {len(study.runs)} times"
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<header><p class="kicker">imbal_jax report</p><h1>{escape(title)}</h1>'
        f"<p class=muted>{methods} on {len(study.images):,} test images, at the prevalence of the test set</p>"
        f'<nav aria-label="Sections">{contents}</nav></header>{body}'
        "<footer class=muted>Research software: not a medical device.</footer></main></body></html>\n"
    )
    return page.replace(" %", "\N{NO-BREAK SPACE}%")
