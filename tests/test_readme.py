"""The README says what is so: its code runs, its table is the catalogue, its files exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from imbal_jax.methods import METHODS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def methods_table() -> str:
    """The README's table of methods, from the catalogue."""
    rows = [f"| `{m.name}` | {m.summary} | {m.paper} |" for m in METHODS.values()]
    return "\n".join(["| name | when to use it | paper |", "|---|---|---|", *rows])


def test_the_table_of_methods_is_the_catalogue() -> None:
    assert methods_table() in README


@pytest.mark.parametrize("block", [b for b in BLOCKS if "fit(" not in b])
def test_its_code_runs(block: str) -> None:
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("block", [b for b in BLOCKS if "fit(" in b])
def test_its_training_code_runs(block: str, tmp_path: Path) -> None:
    assert "runs/python" in block
    code = block.replace("runs/python", str(tmp_path / "run"))
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert (tmp_path / "run" / "report.html").is_file()


def test_its_commands_and_pictures_exist() -> None:
    for name in re.findall(r"(configs/\w+\.py|benchmarks/\w+\.py|\.github/\w+\.png|\.ci/\w+\.txt)", README):
        assert (ROOT / name).is_file(), name
    assert "pip install . && imbal-jax train configs/quickstart.py" in README
    assert "pip install '.[test]' && pytest" in README


def test_no_placeholder_is_left() -> None:
    assert "@@" not in README
