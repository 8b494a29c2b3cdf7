"""The folder of an evaluation is named by its data."""

import re
from dataclasses import replace
from pathlib import Path

from small_runs import small

from imbal_jax.runs.evaluation_name import data_name, evaluation_name


def test_two_folders_of_one_name_and_one_folder_twice(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "hospital b", tmp_path / "c" / "hospital b"
    names = [evaluation_name(small(folder), "all", None) for folder in (one, other, one)]
    assert names[0] == names[2] != names[1]
    assert all(re.fullmatch(r"hospital-b-all-[0-9a-f]{8}", name) for name in names)
    assert data_name(small(one).data) == "hospital b"


def test_part_step_and_options_of_the_data_tell_evaluations_apart(tmp_path: Path) -> None:
    config = small(tmp_path / "in")
    other = replace(config, data=replace(config.data, negative_class=None))
    names = {
        evaluation_name(config, "all", None),
        evaluation_name(config, "test", None),
        evaluation_name(config, "test", 20),
        evaluation_name(other, "all", None),
    }
    assert len(names) == 4
    priors = replace(config, data=replace(config.data, deployment_priors=(0.9, 0.1), workers=2))
    assert evaluation_name(priors, "all", None) in names  # the same images


def test_an_evaluation_of_one_run_does_not_replace_that_of_all(tmp_path: Path) -> None:
    config = small(tmp_path)
    runs: list[list[str]] = [[], ["ce"], ["focal, seed 1"], ["loss=focal,gamma=3"], ["ce", "focal"]]
    names = [evaluation_name(config, "all", None, each) for each in runs]
    assert len(set(names)) == len(names)
    assert re.fullmatch(r"test_an_.*-all-ce-\w{8}", names[1])
    assert re.fullmatch(r"[\w.-]+-loss-focal-gamma-3-\w{8}", names[3])
    assert evaluation_name(config, "all", None, ["ce"]) == names[1]


def test_a_source_without_a_folder_gives_its_own_name() -> None:
    config = small(Path("in"))
    config = replace(config, data=replace(config.data, source="tfds:patch_camelyon", dir=None))
    assert evaluation_name(config, "test", None).startswith("tfds-patch_camelyon-test-")
