"""One run of a suite becomes a line that holds what the ledger promises, whatever happens in it."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.suite import Cell, Setting, Stage, Suite, SuiteAddress, config_of, digest
from imbal_jax.suite import run as suite_run
from imbal_jax.suite.run import run

CELL = Cell(
    name="signals-10-20",
    set="signals",
    data=Data(
        source="signals",
        image_size=8,
        classes=("normal", "blob"),
        negative_class="normal",
        phantom_images=220,
        phantom_imbalance=10,
        signal_places=1,
        signal_positives=(10, 50),
        signal_imbalance=4.0,
    ),
    ratio=10,
    positives=20,
    bayes=True,
)
SUITE = Suite(
    name="small",
    title="Small",
    base=Config(
        name="small",
        select="average_precision",
        model=Model(name="cnn", options={"patch": 2, "width": 8, "stages": 1}),
        optim=Optim(learning_rate=1e-2),
        train=Train(batch_size=16, evaluations=3, devices=1),
    ),
    steps=30,
    stages=(
        Stage(
            name="final",
            cells=(CELL,),
            methods=("ce", "stratified", "crt"),
            settings=(
                Setting(name="default"),
                Setting(name="wild", overrides=("--optim.learning-rate", "1e30", "--optim.clip-norm", "0")),
                Setting(name="wrong", overrides=("--train.batch-size", "3", "--optim.warmup", "0.1")),
            ),
        ),
    ),
)


def address(method: str = "ce", setting: str = "default", seed: int = 0) -> SuiteAddress:
    return SuiteAddress("final", CELL.name, 0, method, setting, seed)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("suite")


@pytest.fixture(scope="module")
def line(out: Path) -> dict:
    return run(SUITE, address(), out, commit="abc")


def test_a_line_has_the_address_the_code_and_the_measures(line: dict, out: Path) -> None:
    assert json.loads(json.dumps(line, allow_nan=False)) == line
    assert (line["key"], line["outcome"], line["reason"]) == (
        "final/signals-10-20/0/ce/default/0",
        "done",
        "",
    )
    assert line["definition"] == digest(config_of(SUITE, address()))
    assert (line["commit"], line["set"], line["ratio"], line["positives"]) == ("abc", "signals", 10, 20)
    assert line["counts"] == {"train": [200, 20], "validation": [40, 10], "test": [200, 50]}
    assert (line["steps"], line["images"], line["curve"]["step"]) == (30, 480, [10, 20, 30])
    assert {"jax", "imbal_jax", "python"} <= set(line["versions"])
    for name in ("seconds", "compile_seconds", "total_seconds", "images_per_second", "peak_memory_mib"):
        assert line[name] > 0
    assert 0.5 < line["bayes"]["auroc"] <= 1
    assert len(line["replicates"]["auroc"]) == 100
    assert not list((out / "runs").rglob("*.npz"))  # nothing is left of it but its line


def test_its_numbers_are_those_of_the_network_on_the_test_images(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {}

    def spy(config, splits, scored, *rest, **more):
        kept["scored"] = scored
        return original(config, splits, scored, *rest, **more)

    original = suite_run.line_of
    monkeypatch.setattr(suite_run, "line_of", spy)
    line = run(SUITE, address(seed=1), out)
    labels, scores = kept["scored"].labels, kept["scored"].scores[:, 1]
    # calibration of two classes is increasing in the score: the ranks stay
    assert line["metrics"]["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    assert line["metrics"]["average_precision"] == pytest.approx(
        average_precision_score(labels, scores), abs=1e-6
    )


def test_the_same_address_gives_the_same_numbers(line: dict, out: Path) -> None:
    again = run(SUITE, address(), out)
    for name in ("metrics", "raw", "post_hoc", "intervals", "replicates", "by_class", "bayes", "best_step"):
        assert again[name] == line[name]


def test_a_second_stage_counts_its_first(out: Path, line: dict) -> None:
    of_two = run(SUITE, address("crt"), out)
    assert of_two["outcome"] == "done"
    assert of_two["steps"] > line["steps"]
    assert of_two["curve"]["stage"][:3] == [1, 1, 1]
    assert of_two["curve"]["stage"][-1] == 2


def test_a_suite_may_have_a_target_of_its_own(out: Path) -> None:
    suite = replace(SUITE, target="sensitivity >= 0.01 where specificity >= 0.8")
    line = run(suite, address(), out)
    assert (line["outcome"], line["reason"]) == ("done", "")
    values = line["curve"]["sensitivity_at_80"]
    first = next((n for n, value in enumerate(values) if value >= 0.01), None)
    assert (line["to_target"] or {}).get("steps") == (None if first is None else line["curve"]["step"][first])


def test_a_run_that_diverges_says_so(out: Path) -> None:
    line = run(SUITE, address(setting="wild"), out)
    assert line["outcome"] == "diverged"
    assert line["reason"]
    assert "\n" not in line["reason"]
    assert line["options"] == {"optim.learning-rate": "1e30", "optim.clip-norm": "0"}


@pytest.mark.parametrize(
    ("raised", "reason"), [(ValueError("odd\nlines"), "ValueError: odd"), (MemoryError(), "memory")]
)
def test_an_error_costs_its_run_only(
    out: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, reason: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(suite_run.train, "fit", fail)
    line = run(SUITE, address(), out)
    assert line["outcome"] == "failed"
    assert reason in line["reason"]
    assert "\n" not in line["reason"]
    assert line["total_seconds"] >= 0


def test_a_cell_that_the_data_cannot_fill_fails_in_one_line(out: Path) -> None:
    data = replace(CELL.data, phantom_images=3, phantom_imbalance=10.0)
    suite = replace(
        SUITE,
        steps=None,
        stages=(replace(SUITE.stages[0], cells=(replace(CELL, data=data, positives=None),)),),
    )
    line = run(suite, address(), out)
    assert line["outcome"] == "failed"
    assert "phantom-images" in line["reason"]


def test_runs_of_equal_shapes_share_their_compilations(line: dict, out: Path) -> None:
    events: list[str] = []

    def heard(event: str, duration_secs: float, **_: object) -> None:
        events.append(event)

    jax.monitoring.register_event_duration_secs_listener(heard)
    run(SUITE, address(seed=2), out)
    assert "/jax/core/compile/backend_compile_duration" not in events
    run(replace(SUITE, steps=31), address(seed=2), out)
    assert "/jax/core/compile/backend_compile_duration" in events  # another schedule is another program


def test_seconds_of_the_curve_grow_with_its_steps(line: dict) -> None:
    assert np.all(np.diff(line["curve"]["seconds"]) > 0)
