"""What the pages in docs/ name exists, and the examples in them run."""

import re
from pathlib import Path

import pytest

from imbal_jax.methods.loss import Loss
from imbal_jax.tasks import Task

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
ROOMS = "|".join(sorted(path.name for path in (ROOT / "imbal_jax").iterdir() if path.is_dir()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(rf"`((?:{ROOMS})/[\w/]*\w+(?:\.py|/))`", text):
        assert (ROOT / "imbal_jax" / name).exists(), name
    for name in re.findall(r"`((?:tests|benchmarks|\.ci)/[\w/.]*\w)[ `]", text):
        assert (ROOT / name).exists() or name == ".ci/slow.log", name
    for name in re.findall(r"\]\(([A-Z]+\.md)\)", text):
        assert (page.parent / name).is_file(), name


def test_the_row_of_a_loss_and_the_methods_of_a_task_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "EXTENDING.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    row = eval(f"({block.strip()})", {"Loss": Loss, "losses": None})
    assert row.power_removed({"tau": 0.5}) == 0.5
    for name in re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE):
        assert callable(getattr(Task, name)), name
