import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from imbal_jax.config import Config, Data, Deploy, Model, load_config
from imbal_jax.init.config_text import config_text
from imbal_jax.methods import METHODS, find_method


@pytest.mark.parametrize(
    "config",
    [
        Config(name="plain"),
        Config(
            name="full",
            title='a "title" of one\'s own \\ data',
            methods=(METHODS["ce"], find_method("loss=focal,gamma=3,composition=balanced")),
            seeds=(0, 1),
            data=Data(
                source="folder", dir=Path("/some where/d'ata"), columns=("patient=a b",), classes=("x", "y")
            ),
            model=Model(name="cnn", options={"patch": 2, "flag": True}),
            deploy=Deploy(points=("youden", "x: sensitivity >= 0.95")),
        ),
    ],
)
def test_the_file_gives_the_config_back(tmp_path: Path, config: Config) -> None:
    path = tmp_path / f"{config.name}.py"
    path.write_text(config_text(config, {"data.dir": "a reason " * 30}, config.title, shown=("select",)))
    assert load_config(path) == config


def test_reasons_stand_above_their_fields_and_defaults_are_left_out(tmp_path: Path) -> None:
    config = replace(Config(name="n"), data=Data(image_size=96))
    text = config_text(config, {"data.image_size": "large enough", "data.fit": "unused"}, "Heading")
    assert "            # large enough\n            image_size=96,\n" in text
    assert "fit" not in text
    assert text.startswith('"""Heading\n"""\n')


def test_the_file_is_clean_python(tmp_path: Path) -> None:
    config = Config(name="n", data=Data(source="folder", dir=Path("d")), model=Model(options={"patch": 2}))
    path = tmp_path / "config.py"
    path.write_text(config_text(config, {}, "Heading"))
    subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E,F,I", path], check=True
    )
