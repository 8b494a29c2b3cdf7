"""Episodes as a task: whole runs, the same on any number of devices, resident and streamed; numbers by hand."""

import json
from dataclasses import replace
from pathlib import Path

import episode_network
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from episode_network import get_config
from own_process import command
from PIL import Image
from rich.console import Console

from imbal_jax import cli
from imbal_jax.config import Episode
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.load import load
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS
from imbal_jax.runs.address import find_run
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.runs.restore import restore_deployed
from imbal_jax.tasks import EPISODES, STRING_EPISODES
from imbal_jax.tasks.episodes import letters
from imbal_jax.train import fit

FOLDER = Path(episode_network.__file__).parent
CONFIG = FOLDER / "episode_network.py"
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("episodes")
    done = command(folder, "train", str(CONFIG), "--workdir", "work")
    assert done.returncode == 0, done.stderr
    assert "checkpoints are chosen by accuracy (the default for episodes)" in done.stdout
    return folder / "work"


def rows_of(folder: Path) -> dict[str, dict[str, float]]:
    (run,) = json.loads((folder / "results.json").read_text())["runs"]
    return run["rows"]


def test_the_network_learns_and_the_report_has_a_row_a_presentation(workdir: Path) -> None:
    rows = rows_of(workdir)
    assert list(rows) == ["presentation 1", "presentation 2", "presentation 3", "presentation 4", "macro"]
    assert rows["presentation 4"]["accuracy"] > 0.9
    assert rows["presentation 1"]["accuracy"] < 0.5
    page = (workdir / "report.html").read_text()
    assert "presentation 2" in page
    assert "accuracy margin" in page


def test_rows_are_the_means_of_what_was_kept_counted_by_hand(workdir: Path) -> None:
    config = get_config()
    kept = RunOutputs.read(workdir / "ce" / "seed0").outputs
    labels = load(config, workdir).test.labels[..., 0]
    hits: dict[int, list[float]] = {}
    for episode, outputs in zip(labels, kept, strict=True):
        before: dict[int, int] = {}
        for label, (hit, _) in zip(episode.tolist(), outputs, strict=True):
            before[label] = before.get(label, 0) + 1
            hits.setdefault(before[label], []).append(float(hit))
    rows = rows_of(workdir)
    for number, found in hits.items():
        assert rows[f"presentation {number}"]["accuracy"] == pytest.approx(np.mean(found), abs=1e-7)
    by_episode = kept[..., 0].mean(axis=1)
    margin = 1.96 * by_episode.std(ddof=1) / np.sqrt(len(by_episode))
    assert rows["macro"]["accuracy_margin"] == pytest.approx(margin, rel=1e-6)


def test_the_same_command_again_trains_nothing_and_says_the_same(
    workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = rows_of(workdir)
    assert cli.main(["train", str(CONFIG), "--workdir", str(workdir)]) == 0
    assert "finished before, not trained again" in capfd.readouterr().out
    assert rows_of(workdir) == before


def test_evaluate_scores_new_classes_and_predict_and_export_say_what_is_missing(
    workdir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    work, other = str(workdir), tmp_path / "other"
    assert cli.main(["evaluate", work, "--data.split-seed", "5", "--out", str(other)]) == 0
    assert "24 episodes of all 24 classes of the set" in capfd.readouterr().out
    assert rows_of(other)["presentation 4"]["accuracy"] > 0.8
    for words in (
        ("predict", work, ".", "--out", str(tmp_path / "p.csv")),
        ("export", work, "--out", str(tmp_path / "model")),
    ):
        assert cli.main(list(words)) == 2
        error = capfd.readouterr().err
        assert "episodes" in error
        assert error.count("\n") == 1


def test_nobody_is_example_and_question_where_another_folder_is_scored(
    workdir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Classes of noise, in which only the second picture of the same patient is alike: nothing can be known."""
    rng, hospital = np.random.default_rng(0), tmp_path / "hospital"
    hospital.mkdir()
    table = ["file,label,patient"]
    for patient in range(120):
        pixels = rng.integers(0, 250, (8, 8), np.uint8)
        for copy in range(2):
            Image.fromarray(pixels + np.uint8(copy)).save(hospital / f"{patient}_{copy}.png")
            table.append(f"{patient}_{copy}.png,finding{patient % 12},p{patient}")
    (hospital / "labels.csv").write_text("\n".join(table))
    asked = ["--data.source", "folder", "--data.dir", str(hospital), "--episode.test", "300"]
    assert cli.main(["evaluate", str(workdir), *asked, "--out", str(tmp_path / "out")]) == 0
    said = capfd.readouterr().out
    assert "120 further pictures of the same patient: left out of the episodes" in said
    assert "300 episodes of all 12 classes of the set" in said
    rows = rows_of(tmp_path / "out")
    for presentation in (2, 3, 4):
        assert rows[f"presentation {presentation}"]["accuracy"] < 0.33, "a quarter by chance"


def test_the_classes_of_folders_elsewhere_are_learned_from_their_examples(
    workdir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng, hospital = np.random.default_rng(1), tmp_path / "hospital"
    for name in ("effusion", "hernia", "mass", "nodule", "scar", "wart"):
        (hospital / name).mkdir(parents=True)
        shape = np.kron(rng.integers(0, 2, (4, 4)), np.ones((2, 2), int)) * 200
        for number in range(6):
            pixels = (shape + rng.integers(0, 40, (8, 8))).astype(np.uint8)
            Image.fromarray(pixels).save(hospital / name / f"{number}.png")
    asked = ["--data.source", "folder", "--data.dir", str(hospital)]
    assert cli.main(["evaluate", str(workdir), *asked, "--out", str(tmp_path / "out")]) == 0
    assert "24 episodes of all 6 classes of the set" in capfd.readouterr().out
    rows = rows_of(tmp_path / "out")
    assert rows["presentation 1"]["accuracy"] < 0.5
    assert rows["presentation 4"]["accuracy"] > 0.8


def test_a_network_that_compares_is_scored_on_episodes_of_other_ways_and_shots(
    workdir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    work, same, other = str(workdir), tmp_path / "same", tmp_path / "other"
    assert cli.main(["evaluate", work, "--split", "test", "--episode.ways", "4", "--out", str(same)]) == 0
    assert rows_of(same) == rows_of(workdir)
    wider = ["--episode.ways", "3", "--episode.shots", "2", "--episode.queries", "1", "--episode.test", "200"]
    assert cli.main(["evaluate", work, *wider, "--out", str(other)]) == 0
    found = np.load(other / "ce.npz")["kept"]
    assert found.shape == (200, 9, 2)
    # right by hand: every picture but the six examples, of the class whose two examples point its way
    config = replace(get_config(), episode=Episode(ways=3, shots=2, queries=1, rotations=True, test=200))
    test = load(config, workdir).test
    deployed = restore_deployed(find_run(workdir), make_mesh(1)).on_episodes(config.episode)
    pictures = test.images.reshape(200, 9, 64) / 255.0
    statistics = deployed.deployment.inputs.statistics
    embedding = deployed.variables["params"]["embedding"]
    z = (pictures - statistics["mean"].item()) / statistics["deviation"].item()
    z = z @ embedding["kernel"] + embedding["bias"]
    z /= np.linalg.norm(z, axis=-1, keepdims=True) + 1e-6
    shown, asked = test.labels[..., 0], test.labels[..., 1]
    for episode in range(200):
        for t in np.flatnonzero(asked[episode] >= 0):
            votes = [
                np.exp(10 * z[episode, :t][shown[episode, :t] == way] @ z[episode, t]).sum()
                for way in range(3)
            ]
            assert found[episode, t, 0] == (np.argmax(votes) == asked[episode, t])
    assert rows_of(other)["macro"]["accuracy"] > 0.9
    capfd.readouterr()
    folder = tmp_path / "lstm"
    words = ["--model.name", "episode_lstm", "--train.epochs", "1", "--train.evaluations", "1"]
    assert cli.main(["train", str(CONFIG), "--workdir", str(folder), *words]) == 0
    capfd.readouterr()
    assert cli.main(["evaluate", str(folder), "--episode.ways", "3"]) == 2
    error = capfd.readouterr().err
    assert "model episode_lstm was made for episodes of 4 ways of 16 pictures" in error
    assert error.count("\n") == 1


def test_a_network_without_parameters_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--model.name", "prototypical", "--model.options.encoder", "pixels"]
    assert cli.main(["train", str(CONFIG), "--workdir", str(tmp_path), *words]) == 2
    assert capfd.readouterr().err == "imbal-jax: the model has no parameters to train\n"


@pytest.mark.parametrize(
    "changes", [{"devices": 4}, {"devices": 2, "resident": False}, {"devices": 2, "backend": "jit"}]
)
def test_parameters_are_the_same_on_any_devices_resident_and_streamed(
    workdir: Path, tmp_path: Path, changes: dict
) -> None:
    config = get_config()
    config = replace(config, train=replace(config.train, **changes))
    (result,) = fit(config, tmp_path / "work", console=QUIET, report=False)
    for row, values in rows_of(workdir).items():
        assert result.table[row]["surprisal"] == pytest.approx(values["surprisal"], rel=2e-4)


def test_letters_are_the_digits_of_base_five() -> None:
    labels = np.array([0, 1, 5, 3124, 1234])
    expected = [[int(digit) for digit in np.base_repr(label, 5).zfill(5)] for label in labels]
    assert np.asarray(letters(jnp.asarray(labels))).tolist() == expected


def test_a_string_label_is_right_where_all_letters_are_and_its_surprisal_is_their_sum() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 7, 25)).astype(np.float32)
    targets = rng.integers(0, 3125, (3, 7))
    by_letter = logits.reshape(3, 7, 5, 5)
    digits = np.array([[[int(d) for d in np.base_repr(t, 5).zfill(5)] for t in row] for row in targets])
    targets[0, 0] = int("".join(map(str, by_letter[0, 0].argmax(axis=1))), 5)
    digits[0, 0] = by_letter[0, 0].argmax(axis=1)
    logs = by_letter - np.log(np.exp(by_letter).sum(axis=-1, keepdims=True))
    nats = -np.take_along_axis(logs, digits[..., None], axis=-1)[..., 0].sum(axis=-1)
    labels = jnp.stack([jnp.asarray(targets)] * 2, axis=-1)
    predictions = STRING_EPISODES.predictor(METHODS["ce"])({"logits": jnp.asarray(logits)})
    kept = np.asarray(STRING_EPISODES.for_evaluation(predictions, labels))
    np.testing.assert_allclose(kept[..., 1], nats, rtol=1e-5)
    np.testing.assert_array_equal(kept[..., 0], (by_letter.argmax(axis=-1) == digits).all(axis=-1))
    assert kept[0, 0, 0] == 1


def test_pictures_of_an_episode_are_perturbed_one_by_one() -> None:
    from imbal_jax.transforms.augment import Augment

    strip = np.tile(np.arange(64, dtype=np.uint8).reshape(8, 8, 1), (2, 3, 1, 1))
    labels = np.zeros((2, 3, 2), np.int32)
    keys = jax.random.split(jax.random.key(0), 2)
    moved, same = EPISODES.transform(
        keys, jnp.asarray(strip), jnp.asarray(labels), Augment(brightness=0.3), 1.0
    )
    added = np.asarray(moved - strip / 255).reshape(6, -1).mean(axis=1)
    assert same.shape == labels.shape
    assert len(np.unique(added.round(4))) == 6


def test_a_run_of_what_is_learned_in_context_is_scored_on_its_own_test_set_only(tmp_path: Path) -> None:
    given = {
        **{"task": "in_context", "train.epochs": 0.5, "model.name": "episode_transformer"},
        **{"episode.ways": 2, "episode.shots": 3, "episode.test": 30, "episode.validation": 20},
        **{"model.options.encoder": "pixels", "model.options.layers": 1, "model.options.width": 16},
    }
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    done = command(tmp_path, "train", str(CONFIG), "--workdir", "work", *words)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "work")
    assert list(rows) == ["in context", "in weights, common", "in weights, rare", "macro"]
    assert "accuracy among shown" in done.stdout
    done = command(tmp_path, "evaluate", "work", "--split", "test", "--out", "again")
    assert done.returncode == 0, done.stderr
    assert rows_of(tmp_path / "again") == rows
    kept = np.load(tmp_path / "again" / "ce.npz")["kept"]
    assert kept.shape == (60, 7, 3)
    for other in (("--data.split-seed", "5"), ("--split", "test", "--data.split-seed", "5")):
        done = command(tmp_path, "evaluate", "work", *other, "--out", "other")
        assert done.returncode == 2
        assert "evaluate it on its own data" in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("method", ["stratified", "weighted_ce", "focal", "crt", "mixup"])
def test_methods_that_balance_are_refused(method: str) -> None:
    with pytest.raises(InputError, match="is not for episodes"):
        EPISODES.check(METHODS[method])


def test_labels_of_another_kind_are_refused() -> None:
    data = Dataset(np.zeros((4, 8, 8, 1), np.uint8), np.zeros((4, 3), np.int8), np.arange(4), ("a", "b", "c"))
    with pytest.raises(InputError, match=r"--episode\.ways"):
        EPISODES.check_data(data)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--episode.ways", "9"), "have the 4 pictures"),
        (("--episode.ways", "0"), "needs the classes of an episode"),
        (("--methods", "stratified"), "is not for episodes"),
        (("--optim.label-smoothing", "0.1"), "label-smoothing"),
        (("--model.name", "cnn"), "model cnn takes images, and the task of episodes gives episodes"),
        (("--select", "auroc"), "auroc"),
    ],
)
def test_a_wrong_option_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert cli.main(["train", str(CONFIG), "--workdir", str(tmp_path / "work"), *words]) == 2
    error = capfd.readouterr().err
    assert said in error
    assert error.count("\n") == 1
