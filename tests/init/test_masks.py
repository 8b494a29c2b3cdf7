"""``imbal-jax init`` on a folder of pictures with masks, and the training that follows."""

import json
from pathlib import Path

import numpy as np
import pytest
from masked_pictures import write_masked

from imbal_jax import cli
from imbal_jax.config import Patch, load_config
from imbal_jax.data.dataset import Dataset
from imbal_jax.init import command
from imbal_jax.init.command import init
from imbal_jax.init.mask_advice import rarest_finding


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that trains 100 images a second; measuring compiles a program."""
    monkeypatch.setattr(command, "images_per_second", lambda config, splits: 100.0)
    monkeypatch.chdir(tmp_path)


def test_a_folder_of_masks_is_trained_on_after_one_command(
    fast: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_masked(tmp_path / "Lesions", [(40, 30), (36, 48)] * 10)
    assert cli.main(["init", "Lesions", "--minutes", "0.1"]) == 0
    said = capsys.readouterr().out
    for line in (
        "Lesions: a folder of images",
        "pictures: PNG 20 (all); 2 sizes",
        "values of the masks: 0 background, 255 foreground",
        "split by column split: train 12, validation 4, test 4 images",
        "validation has 4 images of 2 patients with foreground: the checkpoint and the threshold rest on them",
        "unet on 40 pixels: 100 images/s here",
        "methods ce loss=dice+cross_entropy: foreground, the rarest, is ",
        "my_config.py: look at it, then",
    ):
        assert line in said, line
    config = load_config("my_config.py")
    assert config.select == "iou"
    assert config.data.negative_class == "background"
    assert config.patch == Patch()
    brief = ["--train.epochs", "1", "--train.evaluations", "1", "--model.options.width", "4"]
    assert cli.main(["train", "my_config.py", "--methods", "ce", "--workdir", "w", *brief]) == 0
    (run,) = json.loads((tmp_path / "w" / "results.json").read_text())["runs"]
    assert {"iou", "dice"} <= set(run["rows"]["foreground"])


def test_large_pictures_are_cut_into_patches_and_rare_pixels_are_balanced(
    fast: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_masked(tmp_path / "in", [(200, 170)] * 20)
    config = init(tmp_path / "in", tmp_path / "c.py")
    assert config.data.image_size == 200
    assert config.patch == Patch(size=64)
    assert [method.name for method in config.methods] == [
        "ce",
        "loss=dice+cross_entropy,composition=balanced",
    ]
    assert config.model.name == "unet"
    assert config.model.options == {"depth": 3, "width": 16}
    text = (tmp_path / "c.py").read_text()
    assert "deploy" not in text
    assert "whole images are predicted by tiles" in text
    # twelve images are for training: 12 x (200 / 64)^2 patches
    assert "epochs of 117 patches" in capsys.readouterr().out


def test_the_rarest_finding_is_that_of_the_fewest_known_pixels() -> None:
    masks = np.zeros((2, 10, 10), np.int8)
    masks[0, :2] = 1
    masks[1, 0, :5] = 2
    masks[1, 5:] = -1
    data = Dataset(np.zeros((2, 10, 10, 1), np.uint8), masks, np.arange(2), ("none", "a", "b"))
    name, share = rarest_finding(data)
    assert name == "b"
    assert share == pytest.approx(5 / 150)
