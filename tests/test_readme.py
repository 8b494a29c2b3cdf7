"""The README says what is so: its code runs, its table is the catalogue, its files exist."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from masked_pictures import write_masked
from own_process import command
from small_runs import write_pictures

from imbal_jax import cli
from imbal_jax.init import command as init_command
from imbal_jax.methods import METHODS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def methods_table() -> str:
    """The README's table of methods, from the catalogue."""
    rows = [f"| `{m.name}` | {m.summary} | {m.paper} |" for m in METHODS.values()]
    return "\n".join(["| name | when to use it | paper |", "|---|---|---|", *rows])


def test_the_table_of_methods_is_the_catalogue() -> None:
    assert methods_table() in (ROOT / "docs" / "METHODS.md").read_text()
    assert f"has all {len(METHODS)}, when to use each" in README


def shell_commands() -> list[list[str]]:
    """The words of the README's commands, in their order, those that are tested elsewhere left out."""
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("imbal-jax ")]
    return [words for words in commands if not {"my_parts.py", "configs/quickstart.py"} & {*words}]


def test_its_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, on small pictures; what is trained is trained briefly."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(init_command, "images_per_second", lambda config, splits: 100.0)
    flags = os.environ.get("XLA_FLAGS", "").split()
    monkeypatch.setenv(
        "XLA_FLAGS", " ".join(flag for flag in flags if "device_count" not in flag)
    )  # of workers
    write_pictures(tmp_path / "DIR")
    write_pictures(tmp_path / "OTHER_HOSPITAL", patients=20)
    write_masked(tmp_path / "MASKED", [(20, 24), (24, 18)] * 10)
    small = ["--model.name", "cnn", "--train.batch-size", "8", "--data.negative-class", "normal"]
    brief = ["--train.epochs", "1", "--train.evaluations", "1"]
    unet = [
        "--model.name",
        "unet",
        "--model.options.width",
        "4",
        "--model.options.depth",
        "1",
        "--train.batch-size",
        "8",
    ]
    done = []
    for words in shell_commands():
        more = {"init": small, "train": brief}.get(words[0], [])
        if {"MASKED", "my_masks.py"} & {*words}:
            more = {"init": unet, "train": brief}[words[0]]
        assert cli.main([*words, *more]) == 0, words
        done.append(words[0])
    assert done[:7] == ["init", "train", "evaluate", "evaluate", "compare", "predict", "export"]
    runs = json.loads((tmp_path / "runs" / "first" / "results.json").read_text())["runs"]
    assert [run["method"] for run in runs] == ["ce", "logit_adjusted"]
    lines = [json.loads(line) for line in (tmp_path / "runs/smoke/ledger.jsonl").read_text().splitlines()]
    assert [line["outcome"] for line in lines] == ["done"] * 16
    assert "Descriptive only" in (tmp_path / "runs/smoke/report.md").read_text()
    assert len(list((tmp_path / "areas_masks").glob("*.png"))) == 20
    for written in (
        "areas.csv",
        "runs/masks/report.html",
        "differences.csv",
        "predictions.csv",
        "model/model.stablehlo",
        "runs/more/report.html",
    ):
        assert (tmp_path / written).is_file(), written


@pytest.mark.parametrize("block", [b for b in BLOCKS if "fit(" not in b])
def test_its_code_runs(block: str) -> None:
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("block", [b for b in BLOCKS if "fit(" in b])
def test_its_training_code_runs(block: str, tmp_path: Path) -> None:
    assert "runs/python" in block
    code = block.replace("runs/python", str(tmp_path / "run"))
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert (tmp_path / "run" / "report.html").is_file()


def test_its_own_parts_are_trained_by_its_own_command(tmp_path: Path) -> None:
    """On fewer phantoms, where the file lies elsewhere."""
    section = README[README.index("## Your own parts") :]
    (tmp_path / "my_parts.py").write_text(re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)[0])
    words = re.findall(r"```sh\nimbal-jax (.*?)\n```", section, flags=re.DOTALL)[0].split()
    words[words.index("my_parts.py")] = str(tmp_path / "my_parts.py")
    words[words.index("runs/own")] = str(tmp_path / "run")
    few = ("--data.phantom-images", "300", "--data.phantom-imbalance", "10")
    brief = ("--train.epochs", "0.2", "--train.evaluations", "1")
    done = command(ROOT, *words, *few, *brief, path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "negative brier" in done.stdout
    runs = json.loads((tmp_path / "run" / "results.json").read_text())["runs"]
    assert [run["method"] for run in runs] == ["ce", "loss=my_parts:squared,composition=balanced"]


def test_its_commands_and_pictures_exist() -> None:
    kinds = r"(configs/\w+\.py|benchmarks/\w+\.py|docs/\w+\.md|\.github/\w+\.png|\.ci/\w+\.txt)"
    for name in re.findall(kinds, README):
        assert (ROOT / name).is_file(), name
    assert "pip install . && imbal-jax train configs/quickstart.py" in README
    assert "pip install '.[test]' && pytest" in README


def test_no_placeholder_is_left() -> None:
    assert "@@" not in README
