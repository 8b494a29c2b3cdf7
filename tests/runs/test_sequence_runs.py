"""Whole runs of the command on sequences: last line, report, evaluation at other lengths, export, kill and resume."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from jax import export
from made_once import made_once
from own_process import command
from small_runs import written
from tiny_sequences import OPTIONS, tiny

from imbal_jax.cli import main
from imbal_jax.data.sources.sequences import read_sequences
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.runs.address import find_run
from imbal_jax.runs.restore import restore_deployed


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of the command in ``work`` and what it printed in ``said``."""

    def run(folder: Path) -> None:
        done = command(folder, "train", str(written(tiny(), folder / "tiny.py")), "--workdir", "work")
        assert done.returncode == 0, done.stderr
        (folder / "said").write_text(done.stdout)

    return made_once(tmp_path_factory, "sequences", run)


def test_the_last_line_is_the_bits_of_a_sequence_and_the_report_has_all_lengths(trained: Path) -> None:
    (run,) = json.loads((trained / "work" / "results.json").read_text())["runs"]
    assert list(run["rows"]) == ["3 vectors", "macro"]
    last = (trained / "said").read_text().rstrip().splitlines()[-1]
    assert re.fullmatch(r"bits per sequence: \d+\.\d{4}", last)
    assert float(last.split()[-1]) == pytest.approx(run["rows"]["macro"]["bits_per_sequence"], abs=6e-5)
    page = (trained / "work" / "report.html").read_text()
    assert "bits per sequence" in page
    assert "3 vectors" in page
    history = (trained / "work" / "ce" / "seed0" / "metrics.jsonl").read_text().splitlines()
    assert "bits_per_sequence" in json.loads(history[0])


def test_the_metrics_are_those_of_the_restored_network(trained: Path) -> None:
    test = read_sequences(OPTIONS)["test"]
    deployed = restore_deployed(find_run(trained / "work" / "ce"), make_mesh(1))
    logits = deployed.predict(make_mesh(1), 4)(test.images)
    labels = test.labels[:, :, 0]
    wrong = (((logits > 0) != (labels == 1)) & (labels >= 0)).sum(axis=(1, 2))
    (run,) = json.loads((trained / "work" / "results.json").read_text())["runs"]
    assert run["rows"]["macro"]["wrong_bits"] == pytest.approx(wrong[:4].mean())
    assert run["rows"]["3 vectors"]["wrong_bits"] == pytest.approx(wrong[4:].mean())


def test_another_process_evaluates_it_again_and_at_other_lengths(trained: Path, tmp_path: Path) -> None:
    before = (trained / "work" / "results.json").read_text()
    done = command(trained, "evaluate", "work")
    assert done.returncode == 0, done.stderr
    assert json.loads((trained / "work" / "results.json").read_text()) == json.loads(before)
    assert done.stdout.rstrip().splitlines()[-1] == (trained / "said").read_text().rstrip().splitlines()[-1]
    words = ("--data.sequence-tests", "5", "9", "--split", "test", "--out", str(tmp_path / "longer"))
    done = command(trained, "evaluate", "work", *words)
    assert done.returncode == 0, done.stderr
    (run,) = json.loads((tmp_path / "longer" / "results.json").read_text())["runs"]
    assert list(run["rows"]) == ["5 vectors", "9 vectors", "macro"]
    assert run["rows"]["9 vectors"]["asked_bits"] == 72


def test_the_exported_program_gives_its_logits(trained: Path, tmp_path: Path) -> None:
    done = command(trained, "export", "work/ce", "--out", str(tmp_path / "program"))
    assert done.returncode == 0, done.stderr
    program = export.deserialize(bytearray((tmp_path / "program" / "model.stablehlo").read_bytes()))
    images = read_sequences(OPTIONS)["test"].images[:5]
    deployed = restore_deployed(find_run(trained / "work" / "ce"), make_mesh(1))
    np.testing.assert_allclose(
        program.call(images)["predictions"], deployed.probabilities(images, make_mesh(1)), atol=1e-4
    )


def test_a_run_that_is_killed_goes_on_to_the_same_bits(trained: Path, tmp_path: Path) -> None:
    config = written(tiny(), tmp_path / "tiny.py")
    metrics = tmp_path / "work" / "ce" / "seed0" / "metrics.jsonl"
    words = [sys.executable, "-m", "imbal_jax", "train", str(config), "--workdir", "work"]
    path = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None:
        if metrics.is_file() and metrics.read_bytes().count(b"\n") >= 4:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
    done = command(tmp_path, "train", str(config), "--workdir", "work")
    assert done.returncode == 0, done.stderr
    one, other = (folder / "work" / "ce" / "seed0" for folder in (trained, tmp_path))
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    with np.load(one / "test_scores.npz") as first, np.load(other / "test_scores.npz") as second:
        np.testing.assert_array_equal(first["scores"], second["scores"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--data.sequence", "sort"), "sort"),
        (("--data.sequence-lengths", "3", "1"), "data.sequence-lengths is 3 1: give the fewest and the most"),
        (("--model.name", "cnn"), "model cnn takes images"),
        (("--model.options.size", "0"), "size 0 of model 'ntm': give a whole number from 1"),
        (("--methods", "focal"), "method focal: loss=focal is not for sequences of bits"),
        (("--task", "masks"), "masks"),
    ],
)
def test_a_wrong_option_is_said_in_one_line(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tiny(), tmp_path / "tiny.py")
    assert main(["train", str(config), "--workdir", str(tmp_path / "work"), *words]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1
