"""The results of ``fit``, with a notebook representation."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from imbal_jax.console import number
from imbal_jax.report import RunResult
from imbal_jax.report.results_table import columns_of


class FitResults(list[RunResult]):
    """One result a run: method by method, of each the seeds in their order.

    workdir: holds the runs, ``report.html`` and ``results.json``.
    """

    def __init__(self, results: Sequence[RunResult], workdir: Path) -> None:
        super().__init__(results)
        self.workdir = workdir

    def __repr__(self) -> str:
        return f"FitResults({self.workdir}: {list(self)})"

    def _repr_html_(self) -> str:
        """The macro metrics on the test set, as the report has them, a line a run; and where the report is."""
        columns = columns_of({str(place): result.shown for place, result in enumerate(self)})
        heading = "".join(f"<th>{name}</th>" for name in ("method", "seed", *columns.values()))
        lines = []
        for result in self:
            macro = result.shown.get("macro", {})
            cells = [escape(result.method), str(result.seed)]
            cells += [number(macro.get(name, float("nan"))) for name in columns]
            lines.append("".join(f"<td>{cell}</td>" for cell in cells))
        rows = "".join(f"<tr>{line}</tr>" for line in lines)
        path = self.workdir / "report.html"
        report = f"; report: {escape(str(path))}" if path.is_file() else ""
        how = ", called at the operating points" if self and all(result.points for result in self) else ""
        return f"<table><tr>{heading}</tr>{rows}</table><p>macro, on the test set{how}{report}</p>"
