"""docs/COMING_FROM.md is true: code under the number of each statement shows it, and the code runs."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "COMING_FROM.md").read_text()
INTRODUCTION, *SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
PACKAGES = {section.split("\n", 1)[0]: section for section in SECTIONS}
NEEDED = {
    "scikit-learn": ["sklearn"],
    "imbalanced-learn": ["imblearn"],
    "PyTorch": ["torch"],
    "MONAI": ["torch", "monai"],
    "optax": [],
    "torchmetrics": ["torch", "torchmetrics"],
    "timm": [],
}


def code_of(section: str) -> str:
    """Its one block, on the lines that it has in the page."""
    (block,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    return "\n" * PAGE[: PAGE.index(block)].count("\n") + block


def by_number(code: str) -> dict[int, str]:
    """The lines under each numbered comment."""
    parts = re.split(r"^# (\d+)\b.*$", code, flags=re.MULTILINE)
    return dict(zip(map(int, parts[1::2]), parts[2::2], strict=True))


def checks(code: str) -> int:
    """The assertions and the comparisons in the code."""
    nodes = list(ast.walk(ast.parse(code)))
    calls = [node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return calls.count("same") + sum(isinstance(node, ast.Assert) for node in nodes)


def test_the_page_has_a_section_for_each_package() -> None:
    assert list(PACKAGES) == list(NEEDED)


@pytest.mark.parametrize("package", NEEDED)
def test_each_statement_is_checked_by_code_under_its_number(package: str) -> None:
    stated = [int(number) for number in re.findall(r"^(\d+)\. ", PACKAGES[package], flags=re.MULTILINE)]
    assert stated == list(range(1, len(stated) + 1))
    shown = by_number(code_of(PACKAGES[package]))
    assert list(shown) == stated
    for number, code in shown.items():
        assert checks(code), f"{package} {number} is not checked"


@pytest.mark.filterwarnings("ignore")  # theirs, of classes that are absent
@pytest.mark.parametrize("package", NEEDED)
def test_its_code_runs(package: str) -> None:
    for name in NEEDED[package]:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    names: dict[str, object] = {}
    for section in (INTRODUCTION, PACKAGES[package]):
        exec(compile(code_of(section), "COMING_FROM.md", "exec"), names)
