"""Whole runs, small: what they leave behind, what they survive, what they refuse."""

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from made_once import made_once, own_copy
from rich.console import Console
from small_runs import BRIEF, QUIET, TWICE, WHOLE, begun, small, write_pictures

from imbal_jax import train
from imbal_jax.config import Data, Optim, Train, to_json
from imbal_jax.data import load as sources
from imbal_jax.engine import parallel
from imbal_jax.errors import InputError, Stopped
from imbal_jax.methods import METHODS, find_method
from imbal_jax.runs.claim import claim, read_claim
from imbal_jax.runs.data_claim import claim_splits
from imbal_jax.runs.rescore import rescore
from imbal_jax.tasks import ONE_LABEL
from imbal_jax.training import composition, stage


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "pictures_to_train", write_pictures)


@pytest.fixture(scope="module")
def finished(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of a run of two methods that nobody disturbed: this worker's own copy."""
    config = small(pictures, methods=(METHODS["ce"], METHODS["stratified"]))
    trained = made_once(
        tmp_path_factory, "trained", lambda workdir: train.fit(config, workdir, console=QUIET)
    )
    return own_copy(tmp_path_factory, trained)


def arrays(workdir: Path, method: str) -> dict[str, np.ndarray]:
    with np.load(workdir / method / "seed0" / "test_scores.npz") as read:
        return dict(read)


def test_a_run_leaves_checkpoints_metrics_events_and_a_report(finished: Path) -> None:
    for method in ("ce", "stratified"):
        folder = finished / method / "seed0"
        assert len(list((folder / "checkpoints").iterdir())) in (2, 3)
        assert list((folder / "tensorboard").iterdir())
        kinds = [json.loads(line)["kind"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert kinds.count("validation") == 3
        assert kinds.count("test") == 1
        assert kinds.count("train") >= 6
    assert "<html" in (finished / "report.html").read_text()
    assert read_claim(finished).name == "small"


def test_the_rare_class_is_learned(finished: Path) -> None:
    scores = arrays(finished, "stratified")
    rare = scores["labels"] == 0  # sorted with "normal" first, so bright is 1
    assert (scores["scores"][~rare, 1] > 0.5).mean() > 0.9
    assert (scores["scores"][rare, 1] < 0.5).mean() > 0.9


def test_a_finished_run_is_not_trained_again_and_gives_the_same_results(
    finished: Path, pictures: Path
) -> None:
    before = (finished / "ce" / "seed0" / "metrics.jsonl").read_bytes()
    config = small(pictures, methods=(METHODS["ce"], METHODS["stratified"]))
    again = train.fit(config, finished, console=QUIET)
    assert [result.method for result in again] == ["ce", "stratified"]
    assert (finished / "ce" / "seed0" / "metrics.jsonl").read_bytes() == before


def test_evaluate_scores_the_chosen_checkpoint_to_the_same_numbers(finished: Path) -> None:
    before = arrays(finished, "stratified")
    results = rescore(read_claim(finished), finished, QUIET)
    after = arrays(finished, "stratified")
    np.testing.assert_allclose(after["scores"], before["scores"], atol=1e-6)
    assert set(results[0].table) == {"normal", "bright", "macro"}


KILLED = """
import os, sys
os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=1"
sys.path.insert(0, {tests!r})
from pathlib import Path
from small_runs import QUIET, small
from imbal_jax import train
train.fit(small(Path({pictures!r})), Path(sys.argv[1]), console=QUIET)
"""


def run_in_a_process(pictures: Path, workdir: Path) -> subprocess.Popen[bytes]:
    code = KILLED.format(tests=str(Path(__file__).parent), pictures=str(pictures))
    return subprocess.Popen([sys.executable, "-c", code, str(workdir)], stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def undisturbed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of that run without a kill."""

    def run(workdir: Path) -> None:
        process = run_in_a_process(pictures, workdir)
        _, said = process.communicate()
        assert process.returncode == 0, said.decode()

    return made_once(tmp_path_factory, "undisturbed", run)


def send_at(process: subprocess.Popen[bytes], metrics: Path, lines: int, number: int) -> bytes:
    """Send a signal once the metrics file has so many lines; returns what the process said."""
    while process.poll() is None:
        if metrics.is_file() and metrics.read_bytes().count(b"\n") >= lines:
            process.send_signal(number)
            break
        time.sleep(0.005)
    return process.communicate()[1]


def check_same_bits(one: Path, other: Path) -> None:
    first, second = (run / "stratified" / "seed0" / "metrics.jsonl" for run in (one, other))
    assert first.read_bytes() == second.read_bytes()
    np.testing.assert_array_equal(arrays(one, "stratified")["scores"], arrays(other, "stratified")["scores"])
    digests = [
        sorted(p.read_text() for p in run.glob("stratified/seed0/checkpoints/*/digest/metadata"))
        for run in (one, other)
    ]
    assert digests[0] == digests[1] != []


@pytest.mark.parametrize("moments", [(8,), pytest.param((1, 8, 12), marks=pytest.mark.slow)])
def test_a_run_killed_at_any_moment_ends_with_the_same_bits(
    pictures: Path, undisturbed: Path, tmp_path: Path, moments: tuple[int, ...]
) -> None:
    """Killed as soon as the metrics file has n lines, for several n, and started again each time."""
    metrics = tmp_path / "stratified" / "seed0" / "metrics.jsonl"
    killed_at = []
    for lines in moments:
        process = run_in_a_process(pictures, tmp_path)
        send_at(process, metrics, lines, signal.SIGKILL)
        killed_at.append(process.returncode)
    assert killed_at.count(-signal.SIGKILL) >= min(2, len(moments)), "it ended before it could be killed"
    last = run_in_a_process(pictures, tmp_path)
    _, said = last.communicate()
    assert last.returncode == 0, said.decode()
    check_same_bits(undisturbed, tmp_path)


def test_a_run_that_is_asked_to_stop_saves_at_once_and_goes_on_to_the_same_bits(
    pictures: Path, undisturbed: Path, tmp_path: Path
) -> None:
    metrics = tmp_path / "stratified" / "seed0" / "metrics.jsonl"
    said = send_at(run_in_a_process(pictures, tmp_path), metrics, 2, signal.SIGTERM)
    assert "stopped by SIGTERM at step" in said.decode()
    kept = [path.name for path in (metrics.parent / "checkpoints").iterdir() if path.name.isdigit()]
    assert len(kept) >= 1
    last = run_in_a_process(pictures, tmp_path)
    _, said = last.communicate()
    assert last.returncode == 0, said.decode()
    one, other = arrays(tmp_path, "stratified"), arrays(undisturbed, "stratified")
    np.testing.assert_array_equal(one["scores"], other["scores"])


def test_a_run_goes_on_where_the_device_has_room_again_or_no_more(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(pictures)
    whole = train.fit(config, tmp_path / "whole", console=QUIET)[0]
    said = Console(record=True, width=200, file=io.StringIO())
    for room in (False, True):
        monkeypatch.setattr(parallel, "room_for", lambda nbytes, mesh, room=room: room)
        results = train.fit(config, tmp_path / "w", console=said)
        shutil.rmtree(tmp_path / "w" / "stratified")
    assert "are streamed from the host" in said.export_text()
    np.testing.assert_allclose(results[0].scores, whole.scores, atol=1e-5)


def test_a_run_resumed_on_another_number_of_devices_agrees_to_float_tolerance(
    pictures: Path, tmp_path: Path
) -> None:
    config = small(pictures)
    whole = train.fit(config, tmp_path / "one", console=QUIET)[0]

    class StopHere(Exception):
        pass

    real, calls = train.evaluation, []

    def stop_at_the_second(*arguments: object) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise StopHere
        return real(*arguments)

    train.evaluation = stop_at_the_second
    try:
        with pytest.raises(StopHere):
            train.fit(config, tmp_path / "other", console=QUIET)
    finally:
        train.evaluation = real
    four = replace(config, train=replace(config.train, devices=4))
    resumed = train.fit(four, tmp_path / "other", console=QUIET)[0]
    assert resumed.best_step == whole.best_step
    np.testing.assert_allclose(resumed.scores, whole.scores, atol=2e-4)


@pytest.mark.parametrize("backend", ["shard_map", "pmap", "jit"])
def test_feeding_from_the_host_trains_like_resident_data(
    pictures: Path, tmp_path: Path, backend: str
) -> None:
    results = []
    for resident in (True, False):
        base = small(pictures).train
        options = replace(base, epochs=BRIEF, evaluations=1, resident=resident, devices=2, backend=backend)
        results.append(train.fit(small(pictures, train=options), tmp_path / str(resident), console=QUIET)[0])
    np.testing.assert_allclose(results[0].scores, results[1].scores, atol=1e-4)


@pytest.mark.parametrize(
    "method",
    [
        "bayesian_ce",
        "logit_adjusted",
        "undersample",
        "perturbed_oversample",
        "composition=progressive,loss=focal",
    ],
)
def test_any_method_runs_through_the_same_trainer(pictures: Path, tmp_path: Path, method: str) -> None:
    base = small(pictures).train
    config = small(pictures, methods=(find_method(method),), train=replace(base, epochs=BRIEF, evaluations=1))
    result = train.fit(config, tmp_path, console=QUIET)[0]
    assert np.isfinite(result.scores).all()


def test_many_labels_train_with_unknown_ones_left_out(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", many_labels=True)
    config = small(folder, methods=(METHODS["weighted_ce"], METHODS["stratified"]), select="auroc")
    config = replace(config, data=replace(config.data, negative_class=None))
    first, second = train.fit(config, tmp_path / "work", console=QUIET)
    assert (first.labels == -2).any()  # an empty cell is missing
    assert first.table["bright"]["auroc"] > 0.95
    assert second.table["bright"]["auroc"] > 0.95


def test_training_stops_early_when_validation_does_not_improve(pictures: Path, tmp_path: Path) -> None:
    options = replace(small(pictures).train, epochs=20, evaluations=20, patience=2)
    config = small(pictures, train=options, optim=Optim(learning_rate=1e-12))
    result = train.fit(config, tmp_path, console=QUIET)[0]
    validations = [record for record in result.history if record["kind"] == "validation"]
    assert len(validations) == 3


def test_a_run_without_finite_updates_is_stopped_with_the_count_and_the_remedy(
    pictures: Path, tmp_path: Path
) -> None:
    options = replace(small(pictures).train, epochs=20, max_nonfinite=5)
    config = small(
        pictures, train=options, optim=Optim(optimizer="sgd", learning_rate=1e30, clip_norm=0.0, warmup=0.0)
    )
    with pytest.raises(
        Stopped, match=r"updates in a row had no finite loss or gradient .*lower --optim.learning-rate"
    ):
        train.fit(config, tmp_path, console=QUIET)


def test_a_workdir_of_another_config_is_refused_by_the_name_of_what_differs(
    pictures: Path, tmp_path: Path
) -> None:
    claim(tmp_path, small(pictures))
    begun(tmp_path, "stratified")
    other = small(pictures, seed=3, optim=Optim(learning_rate=1e-2, ema_decay=0.5))
    with pytest.raises(
        InputError, match=r"holds a run of another config \(differs in optim.ema_decay, seed\)"
    ):
        claim(tmp_path, other)
    claim(tmp_path, small(pictures, methods=(METHODS["focal"],)))  # a method more is no other config


def test_a_workdir_whose_images_were_split_otherwise_is_refused(pictures: Path, tmp_path: Path) -> None:
    groups = np.array(["a", "a", "b", "c"])
    parts = {"train": (np.array([0, 1]), groups[:2]), "test": (np.array([1, 0]), groups[2:])}
    claim_splits(tmp_path, parts)
    begun(tmp_path, "ce")
    renamed = {name: (labels, np.char.add("x", patients)) for name, (labels, patients) in parts.items()}
    claim_splits(tmp_path, renamed)  # other names of the same patients in the same order
    with pytest.raises(InputError, match=r"on another split \(test differ\)"):
        claim_splits(tmp_path, {**parts, "test": (np.array([1, 1]), groups[2:])})
    with pytest.raises(InputError, match=r"on another split \(test differ\)"):
        claim_splits(tmp_path, {**parts, "test": (np.array([1, 0]), np.array(["b", "a"]))})


def test_evaluating_a_run_after_its_folder_has_changed_is_refused(
    finished_runs: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished_runs, tmp_path / "copy")
    table = tmp_path / "copy" / "pictures" / "labels.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-4]) + "\n")
    config = read_claim(tmp_path / "copy")
    config = replace(config, data=replace(config.data, dir=table.parent))
    with pytest.raises(InputError, match="holds runs on another split"):
        rescore(config, tmp_path / "copy", QUIET)


def test_a_damaged_config_json_is_named(pictures: Path, tmp_path: Path) -> None:
    claim(tmp_path, small(pictures))
    begun(tmp_path, "stratified")
    (tmp_path / "config.json").write_text(json.dumps(to_json(small(pictures)))[:50])
    with pytest.raises(InputError, match=r"config.json is damaged"):
        claim(tmp_path, small(pictures))


def test_a_workdir_that_is_a_file_is_named(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        claim(tmp_path / "file", small(pictures))


def test_a_damaged_last_checkpoint_is_passed_over_and_the_run_ends_well(
    pictures: Path, tmp_path: Path
) -> None:
    config = small(pictures)
    whole = train.fit(config, tmp_path / "whole", console=QUIET)[0]
    train.fit(config, tmp_path / "hurt", console=QUIET)
    folder = tmp_path / "hurt" / "stratified" / "seed0"
    (folder / "result.json").unlink()
    last = max(int(p.name) for p in (folder / "checkpoints").iterdir())
    for path in (folder / "checkpoints" / str(last) / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:20])
    said = Console(record=True, quiet=False, file=io.StringIO())
    resumed = train.fit(config, tmp_path / "hurt", console=said)[0]
    text = said.export_text()
    assert f"the checkpoint of step {last} is damaged" in text
    assert "going on from step" in text
    np.testing.assert_allclose(resumed.scores, whole.scores, atol=1e-6)


def hurt_run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run of "stratified", which now has its scores to make again."""
    workdir = tmp_path / "hurt"
    shutil.copytree(finished, workdir)
    (workdir / "stratified" / "seed0" / "result.json").unlink()
    return workdir


def continued(pictures: Path, workdir: Path) -> tuple[object, str]:
    said = Console(record=True, quiet=False, file=io.StringIO(), width=400)
    return train.fit(small(pictures), workdir, console=said)[0], said.export_text()


@pytest.mark.parametrize("damage", ["shortened", "another value", "gone"])
def test_a_damaged_history_changes_no_choice_and_is_told(
    pictures: Path, finished: Path, tmp_path: Path, damage: str
) -> None:
    workdir = hurt_run(finished, tmp_path)
    path = workdir / "stratified" / "seed0" / "metrics.jsonl"
    lines = [line for line in path.read_text().splitlines() if '"validation"' in line]
    if damage == "gone":
        path.unlink()
    elif damage == "shortened":
        path.write_text("\n".join(lines[-1:]) + "\n")
    else:
        records = [json.loads(line) for line in lines]
        records[0]["loss"] = 123.0
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    whole = json.loads((finished / "stratified" / "seed0" / "result.json").read_text())["best_step"]
    result, text = continued(pictures, workdir)
    assert result.best_step == whole
    assert "metrics.jsonl was shortened or changed" in text


def test_a_damaged_best_checkpoint_gives_way_to_the_next_best_and_is_told(
    pictures: Path, finished: Path, tmp_path: Path
) -> None:
    workdir = hurt_run(finished, tmp_path)
    folder = workdir / "stratified" / "seed0" / "checkpoints"
    best = json.loads((finished / "stratified" / "seed0" / "result.json").read_text())["best_step"]
    kept = sorted(int(p.name) for p in folder.iterdir())
    assert len(kept) > 1
    for path in (folder / str(best) / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:20])
    result, text = continued(pictures, workdir)
    assert result.best_step != best
    assert f"the checkpoint of step {best} is damaged" in text
    assert (folder.with_name("checkpoints.damaged") / str(best)).is_dir()


# Any method


def test_second_stages_share_one_first_stage_and_leave_its_features_alone(
    pictures: Path, tmp_path: Path
) -> None:
    names = ("crt", "lws", "tau_norm", "nearest_mean", "smote", "smoothed_bootstrap")
    names += ("prototype_head", "memory_head", "attention_head")
    methods = tuple(
        replace(METHODS[name], second_epochs=0.5 * bool(METHODS[name].second_epochs)) for name in names
    )
    config = small(pictures, methods=methods)
    results = train.fit(config, tmp_path, console=QUIET)
    assert {p.name for p in tmp_path.iterdir() if p.is_dir()} >= {"ce", *names}
    again = rescore(config, tmp_path, QUIET)
    splits = sources.load(config, tmp_path, lambda _: None)
    mesh = parallel.make_mesh(1)
    first = train.restore_state(
        config,
        METHODS["ce"],
        splits.train,
        tmp_path / "ce" / "seed0",
        mesh,
        best_of(tmp_path / "ce" / "seed0"),
    )[1]
    trained = first.evaluation_variables["params"]
    for method, result, rescored in zip(methods, results, again, strict=True):
        np.testing.assert_allclose(rescored.scores, result.scores, atol=1e-6)
        assert result.table["macro"]["auroc"] > 0.7
        folder = tmp_path / method.name / "seed0"
        state = train.restore_state(config, method, splits.train, folder, mesh, best_of(folder))[1]
        kept = state.evaluation_variables["frozen"]
        jax.tree.map(np.testing.assert_array_equal, kept, trained)


def test_tau_is_chosen_on_validation_where_the_last_checkpoint_counts(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = []
    choose = stage.choose_tau

    def watched(head, criterion_of):
        tau, normalized = choose(head, criterion_of)
        chosen.append((tau, criterion_of(normalized), criterion_of(head)))
        return tau, normalized

    monkeypatch.setattr(stage, "choose_tau", watched)
    config = small(pictures, methods=(METHODS["tau_norm"],), select="step")
    result = train.fit(config, tmp_path, console=QUIET)[0]
    ((tau, kept, plain),) = chosen
    assert 0 <= tau <= 1
    assert 0.5 < kept <= 1  # a balanced accuracy, no step
    assert kept >= plain
    assert np.isfinite(result.scores).all()


def best_of(folder: Path) -> int:
    return json.loads((folder / "result.json").read_text())["best_step"]


@pytest.mark.parametrize(
    "names",
    [
        "auc_margin",  # the kind with variables of the loss beside those of the network
        pytest.param(
            "ldam_drw cmo balanced_contrastive stratified_corrected threshold_moving", marks=pytest.mark.slow
        ),
    ],
)
def test_methods_of_every_kind_train_and_score_the_same_again(
    pictures: Path, tmp_path: Path, names: str
) -> None:
    config = small(
        pictures,
        methods=tuple(METHODS[name] for name in names.split()),
        train=Train(epochs=TWICE, batch_size=8, evaluations=1, steps_per_dispatch=8, devices=2),
    )
    results = train.fit(config, tmp_path, console=QUIET)
    again = rescore(config, tmp_path, QUIET)
    for result, rescored in zip(results, again, strict=True):
        np.testing.assert_allclose(rescored.scores, result.scores, atol=1e-6)
        np.testing.assert_allclose(result.scores.sum(axis=1), 1, atol=1e-5)
        assert result.skipped_steps == 0


def test_many_labels_train_with_their_own_losses(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "in", many_labels=True)
    config = small(
        folder,
        data=Data(source="folder", dir=folder, image_size=16, uncertain="zeros"),
        methods=(METHODS["asymmetric"], METHODS["distribution_balanced"], METHODS["smooth_ap"]),
        train=Train(epochs=TWICE, batch_size=8, evaluations=1, steps_per_dispatch=8, devices=1),
    )
    for result in train.fit(config, tmp_path / "run", console=QUIET):
        assert result.scores.shape[1] == 2
        assert np.isfinite(result.scores).all()


def test_undersampling_takes_epochs_of_the_rarest_class(pictures: Path, tmp_path: Path) -> None:
    config = small(pictures, methods=(METHODS["undersample"], METHODS["stratified"]))
    splits = sources.load(config, tmp_path, lambda _: None)
    counts = np.bincount(splits.train.labels)
    few, many = (composition.steps_of(config, method, splits.train) for method in config.methods)
    assert few == round(WHOLE * 2 * counts.min() / 8)
    assert many == round(WHOLE * counts.sum() / 8)


def test_deployment_priors_that_are_none_are_refused(pictures: Path, tmp_path: Path) -> None:
    data = replace(small(pictures).data, deployment_priors=(0.9, 0.2))
    with pytest.raises(InputError, match="give 2 shares above 0, one for each of"):
        train.fit(
            small(pictures, data=data, methods=(METHODS["stratified_corrected"],)), tmp_path, console=QUIET
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", [m.name for m in METHODS.values()])
def test_every_method_of_the_catalogue_trains(name: str, pictures: Path, tmp_path: Path) -> None:
    method = METHODS[name]
    one = method.loss in ONE_LABEL.losses
    folder = pictures if one else write_pictures(tmp_path / "in", many_labels=True)
    config = small(
        folder,
        data=Data(source="folder", dir=folder, image_size=16),
        methods=(method,),
        train=Train(epochs=TWICE, batch_size=8, evaluations=1, steps_per_dispatch=8, devices=1),
    )
    result = train.fit(config, tmp_path / "run", console=QUIET)[0]
    assert np.isfinite(result.scores).all()
    assert result.skipped_steps == 0
