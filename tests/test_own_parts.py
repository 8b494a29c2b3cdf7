"""The user's own model, loss, source and metric: from the command line and from Python, and in other processes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import own_parts
import pytest
from jax import export
from own_parts import HINGE, Averaging, Full, Net
from own_process import command
from rich.console import Console
from sklearn.metrics import brier_score_loss, roc_auc_score

import imbal_jax
from imbal_jax.config import Config, Data, Model, from_json, load_config, to_json
from imbal_jax.data.load import load
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS, Method, find_loss, find_method
from imbal_jax.metrics.own import check_metrics
from imbal_jax.models import make_model
from imbal_jax.runs.address import find_run, find_runs
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.runs.restore import restore_deployed
from imbal_jax.training.tracking import read_history

FOLDER = Path(own_parts.__file__).parent
QUIET = Console(quiet=True)
NAMES = own_parts.METHODS


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    done = command(folder, "train", str(FOLDER / "own_parts.py"), "--workdir", "work")
    assert done.returncode == 0, done.stderr
    assert "negative brier" in done.stdout
    return folder / "work"


def results_of(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    return {run["method"]: run["rows"] for run in json.loads((folder / "results.json").read_text())["runs"]}


def test_the_metric_is_the_one_of_the_probabilities_in_every_file(workdir: Path) -> None:
    rows = results_of(workdir)
    assert list(rows) == list(NAMES)
    for name in NAMES:
        scored = RunOutputs.read(find_run(workdir / name).folder)
        for c, row in enumerate(("normal", "bright")):
            expected = -brier_score_loss(scored.labels == c, scored.scores[:, c])
            assert rows[name][row]["negative_brier"] == pytest.approx(expected, abs=1e-7)
            assert rows[name][row]["auroc"] == pytest.approx(
                roc_auc_score(scored.labels == c, scored.scores[:, c])
            )
        assert rows[name]["macro"]["negative_brier"] == rows[name]["bright"]["negative_brier"]
        records = read_history(find_run(workdir / name).folder)
        (tested,) = [record for record in records if record["kind"] == "test"]
        assert tested["negative_brier"] == rows[name]["macro"]["negative_brier"]
        seen = [record for record in records if record["kind"] == "validation"]
        best = max(seen, key=lambda record: record["negative_brier/bright"])
        assert tested["step"] == best["step"]
    page = (workdir / "report.html").read_text()
    assert "The user&#x27;s own metrics</h2>" in page or "The user's own metrics</h2>" in page
    assert "negative brier" in page


def test_all_parts_are_stored_by_their_paths_and_come_back(workdir: Path) -> None:
    values = json.loads((workdir / "config.json").read_text())
    assert values["model"]["name"] == "own_parts:Net"
    assert values["data"]["source"] == "own_parts:read"
    assert values["metrics"] == ["own_parts:negative_brier"]
    assert [method["loss"] for method in values["methods"]] == ["own_parts:squared", "own_parts:HINGE"]
    config = load_config(FOLDER / "own_parts.py")
    assert from_json(to_json(config)) == config


def test_evaluate_in_another_process_finds_them(workdir: Path) -> None:
    before = results_of(workdir)
    done = command(workdir.parent, "evaluate", "work")
    assert done.returncode == 0, done.stderr
    assert results_of(workdir) == before
    done = command(workdir.parent, "evaluate", f"work/{NAMES[0]}", "--data.source", "own_parts:read_split")
    assert done.returncode == 0, done.stderr
    (folder,) = (workdir / "evaluations").iterdir()
    assert list(results_of(folder)) == [NAMES[0]]


def test_predict_and_export_in_another_process_find_them(workdir: Path) -> None:
    folder = workdir.parent
    done = command(folder, "export", f"work/{NAMES[1]}", "--out", "program")
    assert done.returncode == 0, done.stderr
    program = export.deserialize(bytearray((folder / "program" / "model.stablehlo").read_bytes()))
    images = own_parts.read(Data()).images[:20]
    deployed = restore_deployed(find_run(workdir / NAMES[1]), make_mesh(1))
    np.testing.assert_allclose(
        program.call(images)["probabilities"], deployed.probabilities(images, make_mesh(1)), atol=1e-5
    )
    done = command(folder, "compare", "work")
    assert done.returncode == 0, done.stderr


def test_where_they_are_not_found_a_line_says_what_to_do(workdir: Path) -> None:
    done = command(workdir.parent, "evaluate", str(workdir), path="")
    assert done.returncode == 2
    assert "there is no module own_parts: run in the folder that holds it, install it" in done.stderr
    assert done.stderr.count("\n") == 1


def test_from_python_objects_do_as_paths_do(workdir: Path, tmp_path: Path) -> None:
    config = own_parts.get_config()
    methods = (Method(name="hinge", loss=HINGE, options=(("margin", 2.0),)),)
    (result,) = imbal_jax.fit(replace(config, methods=methods), tmp_path / "w", console=QUIET)
    by_path = results_of(workdir)[NAMES[1]]["macro"]
    for name, value in result.table["macro"].items():
        assert value == by_path[name] or (np.isnan(value) and by_path[name] is None), name
    assert find_runs(tmp_path / "w")[0].definition().loss == "own_parts:HINGE"


def test_a_source_may_bring_its_split(tmp_path: Path) -> None:
    config = replace(own_parts.get_config(), data=Data(source=own_parts.read_split, negative_class="normal"))
    splits = load(config, tmp_path, lambda line: None)
    np.testing.assert_array_equal(np.unique(splits.test.groups), np.arange(50, 60))
    assert len(splits.train) + len(splits.validation) == 100
    whole = replace(config, data=replace(config.data, split="patient"))
    assert len(load(whole, tmp_path, lambda line: None).test) != 20


def test_what_a_model_does_not_take_is_refused_unless_it_changes_nothing() -> None:
    plain = make_model("own_parts:Net", num_outputs=2, norm="group", dropout=0.0, axis_name="data")
    assert repr(plain.module) == repr(Net(2))
    assert repr(make_model("own_parts:Full", num_outputs=3)) == repr(Full(3))
    with pytest.raises(
        InputError, match=r"dropout 0.3 is asked, and model own_parts:Net does not take it; it takes"
    ):
        make_model("own_parts:Net", num_outputs=2, dropout=0.3)
    with pytest.raises(InputError, match="width 'x' is asked, and model own_parts:Full does not take it"):
        make_model("own_parts:Full", num_outputs=2, width="x")


REFUSED = [
    (
        {"model": Model(name="own_parts:Wide")},
        r"gives logits \[B, 3\], expected \[B, 2\], one for each class",
    ),
    ({"model": Model(name="own_parts:Fixed")}, r"cannot be called with images .*: ValueError: no weights$"),
    ({"model": Model(name="own_parts:read")}, r"model own_parts:read cannot be made: TypeError"),
    ({"model": Model(name="own_parts:SIDE")}, r"own_parts:SIDE is 12: give a linen module"),
    ({"model": Model(name=Averaging)}, r"has running averages and knows no axis_name"),
    ({"methods": (METHODS["crt"],)}, r"method crt: second_stage=retrain needs features"),
    ({"data": Data(source="own_parts:SIDE")}, r"data.source own_parts:SIDE is int: give a function"),
    ({"data": Data(source="own_parts:get_config")}, r"raised TypeError: get_config\(\) takes 0 .* line"),
    ({"data": Data(source="own_parts:Data")}, r"own_parts:Data raised TypeError"),
    ({"metrics": ("own_parts:pair",), "select": "pair"}, r"own_parts:pair gives tuple: a number is expected"),
    ({"metrics": ("own_parts:dividing",)}, r"own_parts:dividing raised ZeroDivisionError: division by zero"),
    ({"metrics": ("own_parts:missing",)}, r"metrics own_parts:missing: own_parts has no missing"),
    ({"methods": (Method(name="m", loss="own_parts:mean_loss"),)}, r"gives values \[\], expected \[4\]"),
    (
        {"methods": (Method(name="m", loss="own_parts:raising_loss"),)},
        r"KeyError: 'nothing' .own_parts.py, line",
    ),
]


@pytest.mark.parametrize(("changes", "said"), REFUSED)
def test_what_cannot_be_used_is_refused_in_a_line(changes: dict, said: str, tmp_path: Path) -> None:
    config = own_parts.get_config()
    config = replace(config, **{"select": "auroc", "metrics": (), "model": Model(name=Net), **changes})
    with pytest.raises(InputError, match=said) as error:
        imbal_jax.fit(config, tmp_path / "w", console=QUIET)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loss=own_parts:HINGE,scale=2", "unknown field 'scale' .*margin"),
        ("loss=own_parts:nothing", "loss own_parts:nothing: own_parts has no nothing"),
        ("loss=own_parts:SIDE", "loss own_parts:SIDE is 12: give an imbal_jax.methods.Loss"),
        ("loss=hinges", "loss is 'hinges', allowed are .*, and one's own, package.module:name"),
    ],
)
def test_a_loss_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        find_method(text)


def test_a_loss_of_one_label_is_refused_for_many() -> None:
    from imbal_jax.tasks import MANY_LABELS

    with pytest.raises(InputError, match="loss own_parts:HINGE is not for many labels an image"):
        MANY_LABELS.check(find_method("loss=own_parts:HINGE"))
    MANY_LABELS.check(find_method("loss=own_parts:squared"))
    assert find_loss("own_parts:HINGE").options == {"margin": 1.0}


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (("auroc",), "metrics has 'auroc': give the import path"),
        (("own_parts:auroc",), "auroc is the name of a metric already"),
        (("a:f", "b:f"), "two have one name"),
    ],
)
def test_names_of_metrics_are_checked(paths: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_metrics(paths)


def test_a_class_of_a_script_is_refused() -> None:
    here = type("Here", (Net,), {"__module__": "__main__"})
    with pytest.raises(InputError, match=r"model.name is Here, which other processes cannot import"):
        Config(name="x", model=Model(name=here))
