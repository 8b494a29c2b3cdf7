"""Who may see what, through whole commands: names planted in files, tables and classes stay where they were."""

import csv
import io
import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from picture_folders import table
from PIL import Image
from rich.console import Console
from small_runs import QUIET, small

from imbal_jax import cli
from imbal_jax.data.folders import label_source
from imbal_jax.data.folders.labelled_folder import read_folder
from imbal_jax.data.folders.listing import Listing
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.errors import InputError
from imbal_jax.runs.address import find_run
from imbal_jax.runs.claim import read_claim
from imbal_jax.runs.clock import Clock
from imbal_jax.runs.data_claim import claim_splits
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.export import export_run
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.runs.predict import predict
from imbal_jax.runs.restore import restore_deployed
from imbal_jax.training.tracking import read_history

MARKER = "ZZMARKERZZ"
CLASSES = ("[/y]", "<b>:cat:$x$", "=a")


def pictures(folder: Path, names: list[str], seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        pixels = np.random.default_rng(seed + i).integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


# Tables


@pytest.mark.parametrize(
    "text",
    [
        f"{MARKER}.png,{MARKER},ill\n{MARKER}2.png,{MARKER},well\n",  # no heading
        f"{MARKER},{MARKER},ill\n",  # no heading, a cell twice
        f"file,label\n0.png,{MARKER}\n",  # a label that is none of the classes
        f"file,label\n0.png,ill\n0.png,{MARKER}\n",
        f"file,{MARKER},ill\n0.png,{MARKER},1\n",
        f"file,label\n{MARKER}.png,ill\n",
        f'file,label\n0.png,"{MARKER}\n',
    ],
)
def test_no_message_on_a_table_quotes_a_cell(tmp_path: Path, text: str) -> None:
    pictures(tmp_path, ["0.png", "1.png"])
    table(tmp_path, text)
    with pytest.raises(InputError) as raised:
        read_folder(tmp_path, size=16, classes=("well", "ill"))
    assert "\n" not in str(raised.value)
    words = str(raised.value)
    heading = text.split("\n")[0] if text.startswith("file,") else ""
    assert MARKER not in words or MARKER in heading


def test_a_column_of_names_is_not_taken_for_classes(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(12)]
    pictures(tmp_path, names)
    table(tmp_path, "file,label\n" + "".join(f"{name},{MARKER} {name}\n" for name in names))
    with pytest.raises(InputError, match="is it an identifier") as raised:
        read_folder(tmp_path, size=16)
    assert MARKER not in str(raised.value)


# Files


def test_a_file_that_vanishes_or_may_not_be_read_is_counted_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{i}.png" for i in range(4)]
    pictures(tmp_path / "in", names)
    lost = [f"{MARKER}.png", f"{MARKER}.dcm"]
    table(
        tmp_path / "in",
        "file,label\n" + "".join(f"{n},{'ill' if n < '2' else 'well'}\n" for n in names + lost),
    )
    monkeypatch.setattr(label_source, "list_files", lambda *_, **__: Listing(sorted([*names, *lost])))
    data, summary = read_folder(
        tmp_path / "in", size=16, cache=tmp_path / "cache", left_out=tmp_path / "left_out.csv"
    )
    assert len(data) == 4
    assert summary.refused == {"missing": 2}
    text = (tmp_path / "left_out.csv").read_text()
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [(line["row"], line["reason"]) for line in lines] == [("6", "missing"), ("7", "missing")]
    assert MARKER not in text + str(summary) + repr(data.notes)


def test_errors_of_the_system_name_no_file_that_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(path: Path) -> Callable[[list[str]], int]:
        def command(_: list[str]) -> int:
            raise PermissionError(13, "Permission denied", str(path))

        return command

    for path, named in ((tmp_path / "in" / f"{MARKER}.dcm", False), (tmp_path / "run" / "x.json", True)):
        monkeypatch.setitem(cli.COMMANDS, "train", fails(path))
        assert cli.main(["train", "c.py", "--workdir", str(tmp_path / "run")]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "Permission denied" in said
        assert (str(path) in said) == named


# Predictions


def test_ids_and_paths_are_their_owners_alone_and_no_cell_is_a_formula(
    finished_runs: Path, tmp_path: Path
) -> None:
    names = ["=1+1.png", "+1.png", "-1.png", "@a.png", "\t1.png", "\r1.png", "plain.png"]
    pictures(tmp_path / "in", names)
    (tmp_path / "n.csv").write_text("readable by all")
    predict(
        finished_runs / "ce", tmp_path / "in", tmp_path / "o.csv", names=tmp_path / "n.csv", console=QUIET
    )
    assert stat.S_IMODE((tmp_path / "n.csv").stat().st_mode) == 0o600
    with (tmp_path / "n.csv").open(newline="") as stream:
        paths = [row["path"] for row in csv.DictReader(stream)]
    assert sorted(paths) == sorted(name if name == "plain.png" else f"'{name}" for name in names)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "n.csv", "o.csv", "o.key"]


def test_what_is_passed_over_is_listed_by_id(finished_runs: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", ["0.png"])
    (folder / f".{MARKER}.dcm").write_bytes(b"x")
    (folder / "circle").symlink_to(folder / "circle")
    said = Console(record=True, file=io.StringIO(), width=300)
    found = predict(finished_runs / "ce", folder, tmp_path / "o.csv", console=said)
    assert found.scored == 1
    text = (tmp_path / "o.unreadable.csv").read_text()
    assert sorted(row["reason"] for row in csv.DictReader(io.StringIO(text))) == ["broken-link", "hidden"]
    assert "passed over 1: hidden" in said.export_text(clear=False)
    assert MARKER not in text + said.export_text()


def test_no_two_files_that_predict_writes_are_one(finished_runs: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", ["0.png"])
    out = tmp_path / "o.csv"
    (tmp_path / "link.csv").symlink_to(out)
    (tmp_path / "sub").mkdir()
    cases: list[tuple[Path, dict[str, Path]]] = [
        (tmp_path / "x.key", {}),
        (out, {"names": out}),
        (out, {"names": tmp_path / "sub" / ".." / "o.csv"}),
        (out, {"names": tmp_path / "link.csv"}),
        (out, {"names": tmp_path / "o.unreadable.csv"}),
        (out, {"names": tmp_path / "o.csv.partial"}),
        (out, {"names": tmp_path / "k", "key_file": tmp_path / "k"}),
        (out, {"key_file": out}),
    ]
    for place, options in cases:
        with pytest.raises(InputError, match="are one file"):
            predict(finished_runs / "ce", folder, place, console=QUIET, **options)
    image = (folder / "0.png").read_bytes()
    with pytest.raises(InputError, match="is the image to score"):
        predict(finished_runs / "ce", folder / "0.png", folder / "0.png", console=QUIET)
    assert (folder / "0.png").read_bytes() == image
    os.link(finished_runs / "pictures" / "labels.csv", tmp_path / "hard.csv")
    os.link(tmp_path / "hard.csv", tmp_path / "hard2.csv")
    with pytest.raises(InputError, match="are one file"):
        predict(
            finished_runs / "ce", folder, tmp_path / "hard.csv", names=tmp_path / "hard2.csv", console=QUIET
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hard.csv", "hard2.csv", "in", "link.csv", "sub"]


def test_a_picture_that_is_not_there_is_not_named(finished_runs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        predict(finished_runs / "ce", tmp_path / f"{MARKER}.dcm", tmp_path / "o.csv", console=QUIET)
    assert MARKER not in str(raised.value)
    (tmp_path / f"{MARKER}.dcm").write_bytes(b"x")
    with pytest.raises(InputError, match="none of the 1 files") as raised:
        predict(finished_runs / "ce", tmp_path / f"{MARKER}.dcm", tmp_path / "o.csv", console=QUIET)
    assert MARKER not in str(raised.value)


# What is handed on


def test_an_exported_model_holds_no_path_of_this_machine(finished_runs: Path, tmp_path: Path) -> None:
    export_run(restore_deployed(find_run(finished_runs / "ce"), make_mesh(1)), tmp_path)
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        for text in (str(finished_runs), str(Path(cli.__file__).parent), str(Path.home())):
            assert text.encode() not in content, (path.name, text)
        # three bytes alone may be a weight's
        assert not re.search(rb"[\w/]{4}\.py\b", content), path.name


def test_a_checkpoint_holds_no_path_of_the_workdir(finished_runs: Path) -> None:
    for path in (finished_runs / "ce" / "seed0" / "checkpoints").rglob("*"):
        if path.is_file():
            assert str(finished_runs).encode() not in path.read_bytes(), path


def test_the_names_of_classes_are_no_markup_anywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{i}.png" for i in range(60)]
    folder = pictures(tmp_path / "in", names)
    rows = [f'{name},p{i},"{CLASSES[i % 3]}"' for i, name in enumerate(names)]
    table(folder, "\n".join(["file,patient,label", *rows]) + "\n")
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "c.py"
    config.write_text(
        "from pathlib import Path\nfrom imbal_jax.config import *\n"
        "def get_config():\n    return Config(name='tiny', data=Data(source='folder', dir=Path('in'), image_size=16),"
        " model=Model(name='cnn', options={'width': 4, 'stages': 1}),"
        " train=Train(epochs=1, batch_size=6, evaluations=1, devices=1))\n"
    )
    commands = [
        ["ingest", "in", "--labels", "labels.csv", "--out", "set", "--size", "16", "--workers", "1"],
        ["train", "c.py", "--workdir", "run", "--methods", "ce", "stratified"],
        ["evaluate", "run"],
        ["compare", "run/ce", "run/stratified", "--csv", "c.csv"],
        ["predict", "run/ce", "in", "--out", "o.csv"],
    ]
    for words in commands:
        assert cli.main(words) == 0, capsys.readouterr().err
        said = "".join(capsys.readouterr().out.split())
        for name in CLASSES:
            assert name in said, (words[0], name)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "&lt;b&gt;:cat:$x$" in page
    assert "<b>:cat:" not in page
    heading = next(csv.reader(io.StringIO((tmp_path / "o.csv").read_text())))
    assert {f"called/{name}" for name in CLASSES} < set(heading)
    for row in csv.reader(io.StringIO((tmp_path / "c.csv").read_text())):
        assert not any(cell.startswith(("=", "@")) for cell in row)


# Files of a run


def read_clock(run: Path) -> object:
    return Clock(run / "ce" / "seed0", fresh=False)


READERS: dict[str, Callable[[Path], object]] = {
    "ce/seed0/test_scores.npz": lambda run: RunOutputs.read(run / "ce" / "seed0"),
    "ce/seed0/result.json": lambda run: RunOutputs.read(run / "ce" / "seed0"),
    "ce/seed0/deployment.json": lambda run: Deployment.read(run / "ce" / "seed0"),
    "ce/seed0/metrics.jsonl": lambda run: read_history(run / "ce" / "seed0"),
    "ce/seed0/clock.json": read_clock,
    "config.json": read_claim,
    "splits.json": lambda run: claim_splits(run, {"test": (np.zeros(2, int), np.arange(2))}),
}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda whole: whole[: len(whole) // 2],
    "empty": lambda _: b"",
    "another object": lambda _: b'{"step": "x", "kind": 3}\n' * 2,
    "another kind": lambda _: b"[1]",
    "not a number": lambda _: b'{"best_step": "3", "seconds": NaN, "classes": 1}',
    "nonsense": lambda _: b"\xff\xfe[",
    "deep": lambda _: b"[" * 100_000,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_a_run_is_one_line_with_the_remedy(
    finished_runs: Path, tmp_path: Path, name: str, damage: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(
        finished_runs, run, ignore=shutil.ignore_patterns("pictures", "crt", "checkpoints", "tensorboard")
    )
    (run / name).write_bytes(DAMAGES[damage]((run / name).read_bytes()))
    if name == "ce/seed0/metrics.jsonl" and damage != "another object":
        assert isinstance(READERS[name](run), list)  # its last line is torn, as a kill leaves it
        return
    with pytest.raises(InputError) as raised:
        READERS[name](run)
    words = str(raised.value)
    assert "\n" not in words
    assert Path(name).name in words or "--workdir" in words
    assert any(remedy in words for remedy in ("delete", "run again", "evaluate", "--workdir", "copy"))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("outputs", lambda a: a * np.nan),
        ("labels", lambda a: a + 7),
        ("labels", lambda a: a[:, None, None]),
        ("validation_labels", lambda a: a[:2]),
        ("training_priors", lambda a: np.zeros(9)),
        ("image_bits", lambda a: np.array("x")),
        ("classes", lambda a: np.arange(a.size)),
    ],
)
def test_arrays_of_a_run_that_cannot_be_right_are_damage(
    finished_runs: Path, tmp_path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    shutil.copy(finished_runs / "ce" / "seed0" / "result.json", tmp_path)
    with np.load(finished_runs / "ce" / "seed0" / "test_scores.npz") as stored:
        arrays = dict(stored)
    np.savez(tmp_path / "test_scores.npz", **{**arrays, name: change(arrays[name])})
    with pytest.raises(InputError, match=r"test_scores\.npz is damaged .*run again$"):
        RunOutputs.read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"points": []}, {"negative": 7}, {"negative": "x"}, {"prevalence": [1]}, {"classes": "ab"}],
    ids=str,
)
def test_a_deployment_that_contradicts_itself_is_damage(
    finished_runs: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    values = json.loads((finished_runs / "ce" / "seed0" / "deployment.json").read_text())
    (tmp_path / "deployment.json").write_text(json.dumps({**values, **change}))
    with pytest.raises(InputError, match=r"deployment\.json is damaged"):
        Deployment.read(tmp_path)


def test_no_output_replaces_a_file_of_a_run(finished_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out in (finished_runs, finished_runs / "ce" / "seed0", finished_runs / "config.json"):
        words = [
            "evaluate",
            str(finished_runs),
            "--data.dir",
            str(finished_runs / "pictures"),
            "--out",
            str(out),
        ]
        assert cli.main(words) == 2
        assert capsys.readouterr().err.count("\n") == 1
    for path in (finished_runs / "config.json", finished_runs / "ce" / "seed0" / "result.json"):
        kept = path.read_bytes()
        words = ["compare", str(finished_runs / "ce"), str(finished_runs / "crt"), "--csv", str(path)]
        assert cli.main(words) == 2
        assert "file of a run" in capsys.readouterr().err
        assert path.read_bytes() == kept


def test_a_run_killed_while_it_writes_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imbal_jax import files

    files.write_json(tmp_path / "a.json", {"old": 1})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        files.write_json(tmp_path / "a.json", {"new": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}


def test_the_kept_config_is_that_of_small(finished_runs: Path) -> None:
    """The place of the data is in config.json, which is why a workdir is not what to hand on."""
    kept = json.loads((finished_runs / "config.json").read_text())
    assert kept["data"]["dir"] == str(small(finished_runs / "pictures").data.dir)
