"""The table that ends a run in the terminal."""

import io
import math
import re

from rich.console import Console

from imbal_jax.report.results_table import COLUMNS, best_methods, results_table


def test_results_table_marks_the_best_and_explains_dashes() -> None:
    row = dict.fromkeys(COLUMNS, 0.5) | {"positives": 12, "prevalence": 0.006}
    absent = dict.fromkeys(COLUMNS, math.nan) | {"positives": 0, "prevalence": 0.0}
    tables = {
        "cross_entropy": {"nodule [b]": row, "hernia": absent, "macro": row},
        "ldam_drw": {"nodule [b]": row, "hernia": absent, "macro": row | {"auroc": 0.875}},
    }
    console = Console(file=io.StringIO(), width=140, force_terminal=True, _environ={})
    console.print(results_table(tables))
    text = console.file.getvalue()
    bold = re.findall(r"\x1b\[1m *(0\.\d+)", text)
    assert bold == ["0.500"] * 4 + ["0.500", "0.500", "0.500", "0.875", "0.500"]
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "on the test set, at its own prevalence" in plain
    assert "nodule [b]" in plain
    assert "12 (0.6 %)" in plain
    assert "– undefined: no positive example" in plain
    assert all("0.6 %" not in line for line in plain.splitlines() if "macro" in line)
    assert "macro: the mean over the classes, but the negative one" in plain


def test_results_table_of_one_method_has_nothing_to_mark() -> None:
    row = dict.fromkeys(COLUMNS, 0.5) | {"positives": 12, "prevalence": 0.006}
    assert best_methods({"ldam_drw": {"nodule": row, "macro": row}}, "auroc") == set()
