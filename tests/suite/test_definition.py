"""Definitions of suites: what a file may say, the config of a run, the digest of its definition."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from suite_files import write_suite

from imbal_jax.config import Config, Data, Optim
from imbal_jax.errors import InputError
from imbal_jax.methods import find_method
from imbal_jax.suite import Cell, Setting, Stage, Suite, SuiteAddress, config_of, digest, grid, load_suite
from imbal_jax.suite.definition import definitions, parse_key
from imbal_jax.suite.ledger import read_ledger

ROOT = Path(__file__).parents[2]
CELL = Cell(name="p-10", set="phantoms", data=Data(phantom_imbalance=10.0), ratio=10, positives=None)
OTHER = Cell(name="p-100", set="phantoms", data=Data(phantom_imbalance=100.0), ratio=100, positives=50)


def suite(**stage: object) -> Suite:
    given = {"name": "final", "cells": (CELL, OTHER), "methods": ("ce", "focal"), **stage}
    return Suite(name="s", title="S", base=Config(name="s"), stages=(Stage(**given),))  # type: ignore[arg-type]


def test_paired_draws_and_seeds_go_together_and_crossed_ones_do_not() -> None:
    paired = suite(draws=(0, 1, 2), seeds=(10, 11, 12)).stages[0]
    assert [(a.draw, a.seed) for a in paired.addresses()][:5] == [(0, 10)] * 4 + [(1, 11)]
    assert len(list(paired.addresses())) == 12
    crossed = suite(draws=(0, 1), seeds=(10, 11, 12), paired=False).stages[0]
    assert len({a.key for a in crossed.addresses()}) == 2 * 3 * 2 * 2
    with pytest.raises(InputError, match="stage final: 2 draws and 3 seeds are paired: give as many of each"):
        suite(draws=(0, 1), seeds=(0, 1, 2))


def test_the_config_of_a_run_has_the_data_draw_method_seed_and_options_of_its_address() -> None:
    tuned = Setting(name="tuned", overrides=("--optim.learning-rate", "0.02", "--methods", "focal,gamma=1"))
    one = suite(settings=(Setting(name="default"), tuned), draws=(7,), seeds=(3,))
    config = config_of(one, SuiteAddress("final", "p-100", 7, "focal", "tuned", 3))
    expected = replace(
        Config(name="s"),
        seed=3,
        data=replace(OTHER.data, split_seed=7),
        methods=(find_method("focal,gamma=1"),),
        optim=Optim(learning_rate=0.02),
    )
    assert config == expected
    plain = config_of(one, SuiteAddress("final", "p-10", 7, "ce", "default", 3))
    assert (plain.methods[0].name, plain.optim) == ("ce", Optim())


def test_a_setting_of_one_name_may_differ_between_cells_and_methods() -> None:
    settings = tuple(
        Setting(name="tuned", overrides=("--optim.learning-rate", rate), cells=(cell,), methods=(method,))
        for cell, method, rate in (("p-10", "ce", "0.1"), ("p-10", "focal", "0.2"), ("p-100", "ce", "0.3"))
    )
    one = suite(settings=settings)
    rates = {a.key: config_of(one, a).optim.learning_rate for a in one.stages[0].addresses()}
    assert rates == {
        "final/p-10/0/ce/tuned/0": 0.1,
        "final/p-10/0/focal/tuned/0": 0.2,
        "final/p-100/0/ce/tuned/0": 0.3,
    }
    with pytest.raises(InputError, match=r"runs: final/p-10/0/ce/tuned/0 is there twice"):
        suite(settings=(*settings, Setting(name="tuned")))


@pytest.mark.parametrize("words", [("--seed", "3"), ("--data.split-seed", "3"), ("--methods", "ce", "focal")])
def test_a_setting_does_not_change_what_the_address_says(words: tuple[str, ...]) -> None:
    one = suite(settings=(Setting(name="bad", overrides=words),))
    with pytest.raises(InputError, match="setting bad: it changes a seed or the number of methods"):
        config_of(one, next(one.stages[0].addresses()))


def test_the_digest_follows_what_decides_the_results_and_nothing_else(tmp_path: Path) -> None:
    config = Config(name="a")
    same = replace(config, name="b", title="B", data=replace(config.data, dir=tmp_path, workers=3))
    same = replace(same, train=replace(config.train, devices=2, save_minutes=0.0))
    assert digest(same) == digest(config)
    assert len(digest(config)) == 16
    others = [
        replace(config, seed=1),
        replace(config, data=replace(config.data, split_seed=1)),
        replace(config, optim=Optim(learning_rate=0.5)),
        replace(config, methods=(find_method("ce,weights=inverse"),)),
        replace(config, deploy=replace(config.deploy, calibration="none")),
    ]
    assert len({digest(each) for each in (config, *others)}) == 6


def test_the_digests_of_a_stage_are_those_of_its_configs() -> None:
    one = suite(
        draws=(0, 1), seeds=(5, 6), settings=(Setting(name="sgd", overrides=("--optim.optimizer", "sgd")),)
    )
    assert definitions(one, one.stages[0]) == {
        a.key: digest(config_of(one, a)) for a in one.stages[0].addresses()
    }


def test_a_key_names_its_address_and_folder(tmp_path: Path) -> None:
    address = SuiteAddress("final", "p-100", 2, "focal,gamma=1", "tuned", 12)
    assert address.key == "final/p-100/2/focal,gamma=1/tuned/12"
    assert parse_key(address.key) == address
    assert address.folder(tmp_path) == tmp_path / "runs/final/p-100/draw2/focal,gamma=1/tuned/seed12"
    for text in ("final/p-100/2/ce/default", "final/p-100/x/ce/default/0", "final//2/ce/default/0"):
        with pytest.raises(InputError, match="no key of a run: it is STAGE/CELL/DRAW"):
            parse_key(text)


def test_a_file_gives_its_suite(tmp_path: Path) -> None:
    one = load_suite(write_suite(tmp_path, methods=("ce", "crt")))
    assert [a.key for a in one.stages[0].addresses()][:2] == [
        "screen/phantom-10/0/ce/default/0",
        "screen/phantom-10/0/crt/default/0",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": ("ce", "focl")}, "stage screen: unknown method 'focl': did you mean focal?"),
        ({"methods": ("ce", "ce")}, "stage screen: methods: ce is there twice"),
        ({"methods": ()}, "stage screen: methods is empty"),
        ({"draws": (0, 1, 0)}, "stage screen: draws: 0 is there twice"),
        ({"draws": (-1,)}, "draw or seed -1: 0 or more"),
        ({"more": "settings=(Setting(name='a b'),)"}, "setting 'a b': a name has letters, digits"),
        (
            {"more": "settings=(Setting(name='x', overrides=('--optim.rate', '1')),)"},
            "unknown option --optim.rate",
        ),
        ({"more": "settings=[Setting(name='x', overrides='--seed')]"}, "setting overrides is '--seed'"),
        ({"more": "choose=3"}, "stage choose is 3, expected a function"),
        ({"more": "colour=3"}, "unexpected keyword argument 'colour'"),
    ],
)
def test_a_wrong_definition_is_one_line_that_names_the_file(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    path = write_suite(tmp_path, **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        load_suite(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_cells_of_one_name_and_a_file_without_a_suite_are_refused(tmp_path: Path) -> None:
    path = write_suite(tmp_path)
    text = path.read_text()
    path.write_text(text.replace("(cell(10), cell(100))", "(cell(10), cell(10))"))
    with pytest.raises(InputError, match="cells: phantom-10 is there twice"):
        load_suite(path)
    path.write_text("def get_suite():\n    return 3\n")
    with pytest.raises(InputError, match=r"returned int, expected imbal_jax.suite.Suite"):
        load_suite(path)
    path.write_text("x = 1\n")
    with pytest.raises(
        InputError, match=r"has no get_suite\(\): define one that returns imbal_jax.suite.Suite"
    ):
        load_suite(path)
    with pytest.raises(InputError, match="no suite file"):
        load_suite(tmp_path / "none.py")


def test_an_unknown_name_says_what_ships_and_where_a_file_of_that_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imbal_jax.suite import definition

    (tmp_path / "smoke.py").write_text("")
    monkeypatch.setattr(definition, "SHIPPED", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"unknown suite 'smok': did you mean smoke\? what ships is smoke"):
        load_suite("smok")
    (tmp_path / "benchmarks" / "suites").mkdir(parents=True)
    (tmp_path / "benchmarks" / "suites" / "cpu.py").write_text("")
    with pytest.raises(InputError, match=r"unknown suite 'cpu': .*or give benchmarks/suites/cpu.py"):
        load_suite("cpu")


@pytest.mark.parametrize("name", ["cpu", "extreme", "gpu"])
def test_the_definitions_of_the_repository_are_whole(name: str) -> None:
    suite = load_suite(ROOT / "benchmarks" / "suites" / f"{name}.py")
    state = grid(suite, [])
    assert state.pending
    for cell in {cell.name: cell for stage in suite.stages for cell in stage.cells}.values():
        if cell.positives is not None:
            images = cell.data.phantom_images
            assert round(images / (1 + cell.data.phantom_imbalance)) == cell.positives
            assert images == cell.positives * (1 + cell.ratio)


def test_the_suite_of_the_documentation_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "BENCHMARK.md").read_text()
    (block,) = re.findall(r"```python\n# my_suite.py\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "my_suite.py").write_text(block)
    assert len(grid(load_suite(tmp_path / "my_suite.py"), []).pending) == 24


def test_every_run_of_a_suite_takes_as_many_steps() -> None:
    suite = load_suite(ROOT / "benchmarks" / "suites" / "cpu.py")
    for cell in suite.stages[0].cells:
        config = config_of(suite, SuiteAddress("screen", cell.name, 0, "ce", "default", 0))
        steps = config.train.epochs * cell.data.phantom_images / config.train.batch_size
        assert steps == pytest.approx(suite.steps, abs=1e-6)


RESULTS = ROOT / "benchmarks" / "results"


SUITES = RESULTS.parent / "suites"


@pytest.mark.parametrize(
    "name", [path.stem for path in sorted(SUITES.glob("*.py")) if (RESULTS / path.stem).is_dir()]
)
def test_the_lines_of_a_committed_ledger_are_those_of_its_suite(name: str) -> None:
    """An option that comes later, at its default, changes no definition."""
    state = grid(load_suite(SUITES / f"{name}.py"), read_ledger(RESULTS / name).lines)
    assert state.lines
    assert not state.changed
    assert not state.foreign
