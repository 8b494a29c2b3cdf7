"""Writes the pages and the figures of a suite's report."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from imbal_jax.errors import InputError, did_you_mean
from imbal_jax.files import write_text
from imbal_jax.report.html import counted
from imbal_jax.suite.definition import Line, Suite
from imbal_jax.suite.report.blocks import Block, Fold
from imbal_jax.suite.report.drawing import Drawing, file_of
from imbal_jax.suite.report.evidence import Evidence, evidence_of
from imbal_jax.suite.report.markdown import file_name, markdown
from imbal_jax.suite.report.page import page
from imbal_jax.suite.report.sections import FIGURES, sections_of

FOLDER = "figures"


def figure_names() -> tuple[str, ...]:
    """What ``write_figure`` and ``--figure`` take."""
    return tuple(FIGURES)


def write(
    suite_or_title: Suite | str, lines: Sequence[Line], out: Path | str, *, command: str = ""
) -> tuple[Path, Path]:
    """Writes OUT/report.html, OUT/report.md and OUT/figures/NAME.svg.

    Args:
      suite_or_title: a suite, whose grid says what is missing, or a title for lines without their suite.
      lines: of the ledger; of several lines of a run one counts.
      out: the folder; made if it is not there.
      command: what makes the report, without --report, for the pages; ``imbal-jax benchmark NAME`` if empty.

    Returns:
      The paths of the HTML page and of the Markdown page.

    Raises:
      InputError: no line to report on, or a file that cannot be written.
    """
    out = Path(out)
    evidence = evidence_of(suite_or_title, lines, command)
    sections = sections_of(evidence)
    for drawing in _drawings(block for section in sections for block in section.blocks):
        _write_svg(out / FOLDER / file_name(drawing), drawing)
    html, text = out / "report.html", out / "report.md"
    write_text(html, page(evidence.title, _kicker(evidence), sections))
    write_text(text, markdown(evidence.title, sections, FOLDER))
    return html, text


def write_figure(
    suite_or_title: Suite | str, lines: Sequence[Line], out: Path | str, name: str, *, command: str = ""
) -> Path:
    """Writes one figure, OUT/figures/NAME.svg, and gives its path.

    Raises InputError for a name that is none of ``figure_names``, or where the runs have nothing to draw.
    """
    if name not in FIGURES:
        hint = did_you_mean(name, FIGURES)
        raise InputError(f"unknown figure {name!r}: {hint}the figures are {', '.join(FIGURES)}")
    drawing = FIGURES[name](evidence_of(suite_or_title, lines, command))
    if drawing is None:
        raise InputError(f"figure {name!r}: the runs of this ledger have nothing to draw in it")
    path = Path(out) / FOLDER / file_name(drawing)
    _write_svg(path, drawing)
    return path


def _drawings(blocks: Iterable[Block]) -> Iterator[Drawing]:
    """Those of the blocks, and of the blocks that are folded."""
    for block in blocks:
        if isinstance(block, Drawing):
            yield block
        elif isinstance(block, Fold):
            yield from _drawings(block.blocks)


def _write_svg(path: Path, drawing: Drawing) -> None:
    write_text(path, file_of(drawing, f"{drawing.heading} ({counted(drawing.runs, 'run')})"))


def _kicker(evidence: Evidence) -> str:
    view = evidence.main
    return (
        f"{counted(len(evidence.lines), 'run')}; the conclusions are of {view.name}: "
        f"{counted(len(view.trained), 'method')}, {counted(len(view.places), 'data condition')}, "
        f"{counted(len(view.units), 'seed')}"
    )
