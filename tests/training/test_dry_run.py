"""--train.dry-run says what a run would take, and begins none."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imbal_jax.cli import main
from imbal_jax.training import dry_run as module

CONFIG = """
from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.methods import METHODS


def get_config():
    return Config(
        name="dry",
        methods=(METHODS["ce"], METHODS["crt"], METHODS["stratified"]),
        data=Data(source="signals", image_size=16, phantom_images=505, phantom_imbalance=100),
        model=Model(name="cnn", options={"patch": 2, "width": 32, "stages": 2}),
        optim=Optim(ema_decay=0.9),
        train=Train(epochs=2, batch_size=16, evaluations=3, devices=4, backend="jit"),
    )
"""


def said(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any, *words: str) -> str:
    monkeypatch.setattr(module, "SECONDS", 0.1)
    (tmp_path / "config.py").write_text(CONFIG)
    command = ["train", str(tmp_path / "config.py"), "--workdir", str(tmp_path / "run"), "--train.dry-run"]
    assert main([*command, *words]) == 0
    return capsys.readouterr().out


def test_it_prints_steps_memory_speed_time_and_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = said(tmp_path, capsys, monkeypatch)
    assert re.search(
        r"^ce: cnn, [\d,]+ parameters; 63 steps of 16 examples, 3 evaluations, on 4 cpu$", text, re.M
    )
    assert len(re.findall(r"parameters; ", text)) == 2, "crt begins with ce, which is measured once"
    (parameters,) = {int(n.replace(",", "")) for n in re.findall(r"cnn, ([\d,]+) parameters", text)}
    state, of_parameters, averages = map(
        float, re.search(r"([\d.]+) of state \(parameters ([\d.]+), .*averages ([\d.]+)", text).groups()
    )
    assert of_parameters == averages == pytest.approx(4 * parameters / 2**20, abs=0.06)
    assert state >= 4 * of_parameters - 0.2  # two moments of adam beside them
    assert re.search(r"[\d.]+ of training images, [\d.]+ for a step", text)
    assert re.search(r"[\d,]+ examples/s, [\d,]+ scored/s: \d+:\d+ of steps and \d+:\d+ of evaluations", text)
    assert "whole on each device" in text
    assert not list((tmp_path / "run").glob("*/seed*"))
    assert not (tmp_path / "run/config.json").exists()


def test_a_sharded_state_takes_a_share_of_each_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = said(tmp_path, capsys, monkeypatch, "--train.shard-parameters", "--methods", "ce")
    whole, shape, own = re.search(
        r"\n  (\S+) \[([\d, ]+)\]: \[([\d, ]+)\] on each of 4 devices", text
    ).groups()
    sizes = [np.prod([int(n) for n in axes.split(", ")]) for axes in (shape, own)]
    assert sizes[0] == 4 * sizes[1], whole
