"""A suite's file for tests: phantoms at two ratios, which no test trains."""

from pathlib import Path

HEAD = """
from imbal_jax.config import Config, Data
from imbal_jax.suite import Cell, Setting, Stage, Suite

def cell(ratio):
    data = Data(phantom_images=400, phantom_imbalance=float(ratio), image_size=32)
    return Cell(name=f"phantom-{ratio}", set="phantoms", data=data, ratio=ratio, positives=None)

CELLS = (cell(10), cell(100))
"""

BODY = """
def get_suite():
    stage = Stage(name="screen", cells=CELLS, methods={methods!r}, draws={draws!r}, seeds={draws!r}{more})
    return Suite(name="small", title="Two ratios of phantoms", base=Config(name="small"), stages=(stage,))
"""


def write_suite(
    folder: Path,
    *,
    methods: tuple[str, ...] = ("ce", "focal"),
    draws: tuple[int, ...] = (0, 1),
    more: str = "",
    body: str = BODY,
) -> Path:
    """The file of a suite of 2 cells x ``methods`` x ``draws``. more: further fields of its stage."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.py"
    path.write_text(HEAD + body.format(methods=methods, draws=draws, more=more and f", {more}"))
    return path
