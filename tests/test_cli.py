"""The command line as a user meets it: exit statuses, one line for a mistake, never a traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import imbal_jax
from imbal_jax import cli
from imbal_jax.arguments import out_of_memory
from imbal_jax.methods import METHODS
from imbal_jax.runs.claim import read_claim
from imbal_jax.runs.deployment import Deployment

ROOT = Path(__file__).parents[1]
CONFIG = """
from pathlib import Path
from imbal_jax.config import Config, Data, Model, Train
def get_config():
    return Config(
        name="tiny",
        data=Data(source="folder", dir=Path({folder!r}), image_size=16, negative_class="normal"),
        model=Model(name="cnn", options={{"width": 4, "stages": 2}}),
        train=Train(epochs=1, batch_size=8, evaluations=1),
    )
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from small_runs import write_pictures

    folder = tmp_path_factory.mktemp("cli")
    write_pictures(folder / "pictures")
    path = folder / "tiny.py"
    path.write_text(CONFIG.format(folder=str(folder / "pictures")))
    return path


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "imbal_jax.cli", *words],
        capture_output=True,
        text=True,
        cwd=cwd or ROOT,
        check=False,
    )


def write_one_class(folder: Path) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(random.integers(0, 256, (16, 16), np.uint8)).save(folder / f"{number}.png")
    rows = "".join(f"{number}.png,normal,{number}\n" for number in range(6))
    (folder / "labels.csv").write_text("file,label,patient\n" + rows)


def test_train_then_evaluate_print_a_table_and_name_the_report(config: Path, tmp_path: Path) -> None:
    trained = run("train", str(config), "--workdir", str(tmp_path / "w"), "--methods", "ce", "stratified")
    assert trained.returncode == 0, trained.stderr
    assert "Results on the test set, at its own prevalence" in trained.stdout
    assert "images/s" in trained.stdout
    assert (tmp_path / "w" / "report.html").is_file()
    assert "\x1b" not in trained.stdout, "control codes in a log file"
    scored = run("evaluate", str(tmp_path / "w"))
    assert scored.returncode == 0, scored.stderr
    assert "stratified" in scored.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["trian"],
            "unknown command 'trian': did you mean train? one of init, train, evaluate, predict, export, compare, "
            "enroll, ingest, prepare, benchmark, methods, launch",
        ),
        (["train"], "train needs a config file"),
        (["train", "configs/nothing.py"], "no config file configs/nothing.py"),
        (["train", "CONFIG", "--optim.learning-rat", "1"], "did you mean --optim.learning-rate"),
        (["train", "CONFIG", "--workdir"], "--workdir needs a value"),
        (["train", "CONFIG", "--workdir", ""], "--workdir is followed by nothing: give a value"),
        (["train", "CONFIG", "--model.options.width", "0", "--workdir", "W"], "a whole number from 1"),
        (["train", "CONFIG", "--model.options.width", "x"], "--model.options.width is 'x', expected a whole"),
        (["train", "CONFIG", "--workdir="], "--workdir is followed by nothing: give a value"),
        (["predict", "RUNS", "RUNS", "--out", ""], "--out is followed by nothing: give a value"),
        (["evaluate", ""], "evaluate is followed by nothing: give a value"),
        (
            [
                "train",
                "CONFIG",
                "--workdir",
                "W",
                "--model.name",
                "resnet_small",
                "--model.options.stage-sizes",
                "1",
                "0",
            ],
            "stage_sizes (1, 0) of model 'resnet_small'",
        ),
        (["train", "CONFIG", "--data.image-size", "100000"], "data.image-size is 100000: 8 to 4096 pixels"),
        (["train", "CONFIG", "--train.epochs", "inf"], "train.epochs is inf, expected a finite number"),
        (["train", "CONFIG", "--data.dir", "ONE", "--workdir", "W"], "all 6 images are of one class, normal"),
        (["init", "ONE", "--out", "W.py"], "all 6 images are of one class, normal"),
        (
            ["ingest", "ONE", "--labels", "labels.csv", "--out", "W", "--seed", "-1"],
            "--seed is -1: 0 or more",
        ),
        (
            ["ingest", "ONE", "--labels", "labels.csv", "--out", "W"],
            "all rows are of one class, and a classifier",
        ),
        (["train", "CONFIG", "--data.dir", "/nowhere", "--workdir", "W"], "/nowhere"),
        (
            ["train", "CONFIG", "--data.source", "mimic", "--workdir", "W"],
            "data.source is 'mimic', allowed are phantom",
        ),
        (
            ["train", "CONFIG", "--data.negative-class", "healthy", "--workdir", "W"],
            "the classes are normal, bright",
        ),
        (["train", "CONFIG", "--model.name", "resnet19", "--workdir", "W"], "resnet19"),
        (["train", "CONFIG", "--select", "sensitivity +", "--workdir", "W"], "sensitivity +"),
        (["train", "CONFIG", "--select", "sensitivty", "--workdir", "W"], "unknown metric 'sensitivty'"),
        (
            ["train", "CONFIG", "--train.batch-size", "1", "--workdir", "W", "--methods", "stratified"],
            "batch",
        ),
        (
            ["train", "CONFIG", "--train.devices", "64", "--train.batch-size", "64", "--workdir", "W"],
            "64 devices",
        ),
        (
            ["train", "CONFIG", "--deploy.points", "sensitivty >= 0.9"],
            "rule 'sensitivty >= 0.9' is malformed",
        ),
        (
            ["train", "CONFIG", "--deploy.points", "mass: youden", "--workdir", "W"],
            "there is no class 'mass'",
        ),
        (["evaluate"], "evaluate needs WORKDIR"),
        (["evaluate", "RUNS", "--optim.learning-rate", "1"], "evaluate does not know --optim.learning-rate"),
        (["evaluate", "RUNS", "--method", "focal"], "--method focal is not finished in"),
        (["evaluate", "RUNS", "--out", "W"], "--out is for another data set or checkpoint"),
        (
            ["evaluate", "RUNS", "--split", "half"],
            "invalid choice 'half' for argument '--split'",
        ),
        (["evaluate", "RUNS", "--step", "last"], "--step is 'last', expected INT"),
        (["evaluate", "RUNS", "--data.dir", "/nowhere"], "no folder /nowhere"),
        (["predict", "RUNS"], "Missing from imbal-jax predict: PATH"),
        (["predict", "RUNS", "/nowhere"], "there is no file or folder at the PATH"),
        (["predict", "RUNS", "RUNS", "--threshold", "1"], "predict does not know --threshold"),
        (["predict", "RUNS", "RUNS"], "holds several runs"),
        (["export", "RUNS"], "holds several runs"),
        (["export"], "export needs RUN"),
        (["compare", "RUNS", "--csv", "/nowhere/c.csv"], "cannot write /nowhere/c.csv: there is no folder"),
        (["evaluate", "/nowhere"], "no run in /nowhere"),
        (["methods", "x"], "unknown method 'x'"),
        (["methods", "ce", "--all"], "methods does not know --all"),
        (["compare"], "compare needs RUN"),
        (["compare", "RUNS", "--csv", "a", "--csv", "b"], "compare takes --csv once"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_status_2(
    words: list[str],
    said: str,
    config: Path,
    finished_runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "ONE" in words:
        write_one_class(tmp_path / "one")
    places = {"CONFIG": str(config), "W": str(tmp_path / "w"), "RUNS": str(finished_runs)}
    places |= {"ONE": str(tmp_path / "one"), "W.py": str(tmp_path / "w.py")}
    filled = [places.get(word, word) for word in words]
    assert cli.main(filled) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1, error
    assert error.startswith("imbal-jax: ")


def test_evaluate_changes_the_operating_points_of_a_workdir_and_scores_other_images(
    finished_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "copy"
    shutil.copytree(finished_runs, workdir)
    assert cli.main(["evaluate", str(workdir), "--deploy.points", "bright: max f2", "youden"]) == 0
    assert "max f2" in capsys.readouterr().out
    for method in ("ce", "crt"):
        assert Deployment.read(workdir / method / "seed0").points[1].rule == "max f2"
    assert cli.main(["evaluate", str(workdir), "--data.deployment-priors", "0.99", "0.01"]) == 0
    assert Deployment.read(workdir / "ce" / "seed0").prevalence == (0.99, 0.01)
    capsys.readouterr()
    assert (
        cli.main(["evaluate", str(workdir / "ce"), "--split", "train", "--out", str(tmp_path / "out")]) == 0
    )
    assert (tmp_path / "out" / "report.html").is_file()
    shown = capsys.readouterr().out
    assert "max f2" in shown, "what was chosen last is stored"
    assert "crt" not in shown


def test_the_images_of_the_training_are_not_scored_as_another_places(
    finished_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir, moved = tmp_path / "copy", tmp_path / "moved"
    shutil.copytree(finished_runs, workdir)
    was = read_claim(workdir).data.dir
    assert was is not None
    shutil.copytree(was, moved)
    ce = str(workdir / "ce")
    with np.load(workdir / "ce" / "seed0" / "test_scores.npz") as stored:
        labels, groups = stored["labels"], stored["groups"]
    for number, words in enumerate(
        (
            ["--data.workers", "1"],
            ["--data.dir", str(was)],
            ["--data.dir", str(moved), "--split", "test"],
        )
    ):
        out = tmp_path / f"out{number}"
        assert cli.main(["evaluate", ce, *words, "--out", str(out)]) == 0
        with np.load(out / "ce.npz") as scored:
            np.testing.assert_array_equal(scored["labels"], labels)
            np.testing.assert_array_equal(scored["groups"], groups)
    capsys.readouterr()
    for words in (
        ["--data.dir", str(moved)],
        ["--data.split-seed", "3"],
        ["--data.negative-class", "bright"],
    ):
        assert cli.main(["evaluate", ce, *words]) == 2
        error = capsys.readouterr().err
        assert (
            "holds the images that the runs were trained, chosen and tested on: --split test scores its"
            in error
        )
        assert error.count("\n") == 1
    everything = ["--data.dir", str(moved), "--split", "all", "--out", str(tmp_path / "all")]
    assert cli.main(["evaluate", ce, *everything]) == 0
    assert "the images that the runs were trained on are among these" in capsys.readouterr().out
    with np.load(tmp_path / "all" / "ce.npz") as scored:
        assert len(scored["labels"]) == 120


def test_a_first_stage_that_is_asked_for_is_scored_again(
    finished_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "copy"
    shutil.copytree(finished_runs, workdir)
    claim = json.loads((workdir / "config.json").read_text())
    claim["methods"] = [method for method in claim["methods"] if "crt" in str(method)]
    (workdir / "config.json").write_text(json.dumps(claim))
    scores = workdir / "ce" / "seed0" / "test_scores.npz"
    written = scores.stat().st_mtime_ns
    assert cli.main(["evaluate", str(workdir / "ce")]) == 0
    assert "│ ce " in capsys.readouterr().out
    assert scores.stat().st_mtime_ns > written


def test_predict_export_and_compare_leave_their_files(
    finished_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ce, pictures = str(finished_runs / "ce"), str(finished_runs / "pictures")
    assert cli.main(["predict", ce, pictures, "--out", str(tmp_path / "p.csv")]) == 0
    assert "120 images, called bright" in capsys.readouterr().out
    assert (tmp_path / "p.csv").read_text().count("\n") == 121
    assert cli.main(["export", ce, "--out", str(tmp_path / "x")]) == 0
    assert {p.name for p in (tmp_path / "x").iterdir()} == {"model.stablehlo", "model.json"}
    assert cli.main(["compare", str(finished_runs), "--csv", str(tmp_path / "c.csv")]) == 0
    assert "Differences from ce" in capsys.readouterr().out
    assert (tmp_path / "c.csv").is_file()


def test_a_run_that_cannot_go_on_ends_with_status_1(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--optim.optimizer sgd --optim.learning-rate 1e30 --optim.warmup 0 --train.epochs 40 --optim.clip-norm 0"
    assert cli.main(["train", str(config), *words.split(), "--workdir", str(tmp_path)]) == 1
    assert "updates in a row had no finite loss or gradient" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("JAX_PLATFORMS=cuda", "JAX_PLATFORMS is 'cuda', and JAX finds no such device here: unset it"),
        ("JAX_PLATFORMS=cpuu", "JAX_PLATFORMS is 'cpuu', and JAX finds no such device here: unset it"),
        ("MPLBACKEND=nonsense", "no folder /nowhere"),  # figures go to files: it is not read
    ],
)
def test_a_wrong_environment_is_one_line(variable: str, said: str, config: Path, tmp_path: Path) -> None:
    name, _, value = variable.partition("=")
    words = ["train", str(config), "--data.dir", "/nowhere", "--workdir", str(tmp_path / "w")]
    ended = subprocess.run(
        [sys.executable, "-m", "imbal_jax", *words],
        capture_output=True,
        text=True,
        env={**os.environ, name: value},
        check=False,
    )
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_exhausted_memory_is_one_line_and_other_errors_are_left_alone() -> None:
    jax_says = RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 309237645312 bytes.")
    assert "309237645312 bytes more were asked for" in out_of_memory(jax_says)
    assert "lower --train.batch-size" in out_of_memory(MemoryError())
    assert out_of_memory(RuntimeError("something else")) == ""


@pytest.mark.parametrize(
    "command", ["evaluate", "predict", "export", "compare", "ingest", "prepare", "methods"]
)
def test_every_command_has_help_with_a_line_for_each_option(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main([command, "--help"])
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: imbal-jax {command}" in shown
    options = [line for line in shown.splitlines() if " --" in line]
    assert options or command == "methods", shown


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"imbal-jax {imbal_jax.__version__}\n"


def test_the_package_is_a_command_and_output_is_spelled_where_it_cannot_be_encoded() -> None:
    for encoding in ("latin-1", "cp437", "ascii"):
        done = subprocess.run(
            [sys.executable, "-m", "imbal_jax", "methods", "ldam"],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(b"ldam")


def test_a_reader_that_leaves_ends_the_command_quietly(config: Path) -> None:
    line = f"{sys.executable} -m imbal_jax train {config} --help | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("usage")
    assert done.stderr == ""


def test_methods_are_listed_whole_at_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["methods"]) == 0
    words = capsys.readouterr().out.split()
    assert set(METHODS) <= set(words)


def test_methods_lists_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methods"]) == 0
    shown = capsys.readouterr().out
    assert "stratified" in shown
    assert "perturbed" in shown


def test_help_shows_every_option_with_its_value(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert "imbal-jax train" in capsys.readouterr().out
    with pytest.raises(SystemExit) as leaving:
        cli.main(["train", str(config), "--help"])
    assert leaving.value.code == 0
    assert "--optim.learning-rate" in capsys.readouterr().out


def test_all_cores_are_used_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1")
    cli.use_all_cores(64, None)
    assert cli.os.environ["XLA_FLAGS"] == "--xla_a=1 --xla_force_host_platform_device_count=4"
    cli.use_all_cores(64, 2)
    assert cli.os.environ["XLA_FLAGS"].endswith("=4"), "a number that is already there stays"
    monkeypatch.setenv("XLA_FLAGS", "")
    cli.use_all_cores(64, 2)
    assert cli.os.environ["XLA_FLAGS"] == "--xla_force_host_platform_device_count=2"
