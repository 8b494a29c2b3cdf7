"""Paired differences of finished runs, against loops and formulas written here, scipy and scikit-learn."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_once import made_once
from rich.console import Console
from scipy import stats
from scored_runs import binary_run, by
from sklearn import metrics as sklearn_metrics
from small_runs import BRIEF, QUIET, small, write_pictures

from imbal_jax import train
from imbal_jax.cli import compare as command
from imbal_jax.config import Config, Data, to_json
from imbal_jax.decisions.calibration import LogitScaling
from imbal_jax.decisions.operating_point import OperatingPoint
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS
from imbal_jax.runs.compare import compare
from imbal_jax.runs.deployment import Deployment, Inputs
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.runs.paired_difference import (
    MACRO,
    SAMPLES,
    Difference,
    adjusted,
    differences,
    holm,
    seed_spread,
)

CLASSES = ("normal", "nodule", "effusion")


def write_run(
    folder: Path, labels: np.ndarray, scores: np.ndarray, *, config: Config | None = None, **stored: object
) -> Path:
    """What a finished run of ``folder.name`` leaves in WORKDIR/METHOD: a class is called at a probability of 0.5."""
    config = config or Config(name="x", methods=(METHODS["ce"], METHODS["stratified"]))
    config = replace(config, data=replace(config.data, negative_class=CLASSES[0]))
    folder.mkdir(parents=True)
    (folder.parent / "config.json").write_text(json.dumps(to_json(config)))
    own = folder / f"seed{config.seed}"
    own.mkdir()
    size, number = scores.shape
    classes = tuple(stored.pop("classes", CLASSES[:number]))
    scored = RunOutputs(
        best_step=1,
        seconds=1.0,
        skipped=0,
        labels=labels,
        scores=scores,
        outputs=scores,
        validation_labels=labels,
        validation_outputs=scores,
        training_priors=np.full(number, 1 / number),
        correction=np.zeros(number),
        mean=np.float32(0),
        deviation=np.float32(1),
        image_shape=np.array([16, 16, 1]),
        image_bits=np.array(8),
        geometry=None,
        classes=classes,
        task_name="many_labels" if labels.ndim == 2 else "one_label",
        **{"groups": np.arange(size), "digests": np.arange(size, dtype=np.uint64), **stored},
    )
    scored.write(own)
    point = OperatingPoint(0.5, "by hand", 1.0, 1.0, 1, 1)
    one, inputs = LogitScaling((1.0,), (0.0,)), Inputs((16, 16, 1), 8, (0.0,), (1.0,), False, None)
    task = "many_labels" if labels.ndim == 2 else "one_label"
    Deployment(classes, 0, task, one, (point,) * number, (0.1,) * number, "none", inputs).write(own)
    return folder


def one_label(rng: np.random.Generator, size: int = 90) -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels of ``CLASSES``, and the probabilities of a poor and of a good model."""
    labels = np.arange(size) % 9
    labels = np.where(labels > 2, 0, labels)
    logits = [skill * np.eye(3)[labels] + rng.normal(size=(size, 3)) for skill in (0.3, 3.0)]
    return labels, [np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in logits]


def wide() -> Console:
    return Console(width=200, file=io.StringIO())


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    labels, scores = one_label(np.random.default_rng(0))
    methods = ("ce", "stratified")
    return [write_run(tmp_path / "work" / m, labels, s) for m, s in zip(methods, scores, strict=True)]


# Numbers


def test_values_are_those_of_scikit_learn(tmp_path: Path) -> None:
    labels, scores = one_label(np.random.default_rng(1))
    runs = [
        write_run(tmp_path / "w" / m, labels, s) for m, s in zip(("ce", "stratified"), scores, strict=True)
    ]
    found = by(compare(runs, QUIET))
    for place, probabilities in enumerate(scores):
        expected: dict[str, list[float]] = {}
        for c in (1, 2):
            truth, called, p = labels == c, probabilities[:, c] >= 0.5, probabilities[:, c]
            values = {
                "auroc": sklearn_metrics.roc_auc_score(truth, p),
                "average_precision": sklearn_metrics.average_precision_score(truth, p),
                "sensitivity": sklearn_metrics.recall_score(truth, called),
                "specificity": sklearn_metrics.recall_score(~truth, ~called),
                "f_score": sklearn_metrics.f1_score(truth, called),
                "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(truth, called),
                "brier": sklearn_metrics.brier_score_loss(truth, p),
            }
            for metric, value in values.items():
                expected.setdefault(metric, []).append(value)
                row = found[metric, CLASSES[c]]
                assert (row.first_value, row.run_value)[place] == pytest.approx(value, abs=1e-12)
        for metric, values in expected.items():
            row = found[metric, MACRO]
            assert (row.first_value, row.run_value)[place] == pytest.approx(np.mean(values), abs=1e-12)
    for row in found.values():
        assert row.difference == pytest.approx(row.run_value - row.first_value, abs=1e-12)


def formula_of_delong(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Difference, sd and p-value from the matrix of all pairs (DeLong et al. 1988, eq. 4 to 8)."""
    wins = [
        (s[truth == 1][:, None] > s[truth == 0]) + 0.5 * (s[truth == 1][:, None] == s[truth == 0])
        for s in (second, first)
    ]
    P, N = wins[0].shape
    of_positives = np.cov([w.mean(axis=1) for w in wins])
    of_negatives = np.cov([w.mean(axis=0) for w in wins])
    contrast = np.array([1, -1])
    variance = contrast @ (of_positives / P + of_negatives / N) @ contrast
    difference = wins[0].mean() - wins[1].mean()
    return difference, np.sqrt(variance), 2 * stats.norm.sf(abs(difference) / np.sqrt(variance))


@pytest.mark.parametrize("ties", [False, True])
def test_the_auroc_difference_of_independent_images_is_that_of_delongs_formula(ties: bool) -> None:
    rng = np.random.default_rng(2)
    truth = (np.arange(80) % 5 == 0).astype(int)
    first, second = (0.2 * k * truth + 0.6 * rng.random(80) for k in (1, 2))
    if ties:
        first, second = first.round(1), second.round(1)
    row = by(differences(binary_run(truth, first), binary_run(truth, second), samples=10))["auroc", "nodule"]
    difference, sd, p_value = formula_of_delong(truth, first, second)
    assert row.method == "DeLong"
    assert row.difference == pytest.approx(difference, abs=1e-12)
    bounds = stats.norm.interval(0.95, loc=difference, scale=sd)
    np.testing.assert_allclose((row.low, row.high), bounds, atol=1e-12)
    assert row.p_value == pytest.approx(p_value, rel=1e-9)


@pytest.mark.parametrize("clustered", [False, True])
def test_intervals_of_the_bootstrap_are_those_of_a_loop_over_patients(clustered: bool) -> None:
    rng = np.random.default_rng(3)
    number = 60
    patients = np.repeat(np.arange(number // 2), 2) if clustered else np.arange(number)
    truth = (patients % 4 == 0).astype(int)
    first, second = (k * truth + (1 - k) * rng.random(number) for k in (0.1, 0.2))
    run, reference = binary_run(truth, second), binary_run(truth, first)
    found = by(differences(reference, run, patients if clustered else None))

    images = [np.flatnonzero(patients == g) for g in np.unique(patients)]
    strata = [[rows for rows in images if truth[rows[0]] == t] for t in (0, 1)]
    replicates: dict[str, list[float]] = {"average_precision": [], "sensitivity": [], "brier": []}
    for _ in range(SAMPLES):
        at = np.concatenate([s[i] for s in strata for i in rng.integers(len(s), size=len(s))])
        t, a, b = truth[at], first[at], second[at]
        precision = sklearn_metrics.average_precision_score
        replicates["average_precision"].append(precision(t, b) - precision(t, a))
        replicates["sensitivity"].append((b[t == 1] >= 0.5).mean() - (a[t == 1] >= 0.5).mean())
        replicates["brier"].append(((b - t) ** 2).mean() - ((a - t) ** 2).mean())
    for metric, values in replicates.items():
        row, sd = found[metric, "nodule"], np.std(values)
        assert row.method == "bootstrap"
        # quantiles of 2,000 draws of a normal law: the difference of two has sd 0.084 of the law's
        np.testing.assert_allclose((row.low, row.high), np.quantile(values, (0.025, 0.975)), atol=0.35 * sd)
        share = min(np.mean(np.array(values) <= 0), np.mean(np.array(values) >= 0))
        deviation = 2 * np.sqrt(2 * share * (1 - share) / SAMPLES)
        assert abs(row.p_value - min(1, 2 * share)) < 4 * deviation + 4 / SAMPLES


def test_two_images_of_each_patient_count_for_no_more_than_one() -> None:
    rng = np.random.default_rng(4)
    truth = (np.arange(60) % 5 == 0).astype(int)
    first, second = (k * truth + (1 - k) * rng.random(60) for k in (0.1, 0.3))
    single = by(differences(binary_run(truth, first), binary_run(truth, second)))
    twice = [binary_run(np.repeat(truth, 2), np.repeat(s, 2)) for s in (first, second)]
    clustered = by(differences(*twice, groups=np.repeat(np.arange(60), 2)))
    careless = by(differences(*twice))
    for key, row in single.items():
        assert clustered[key].low == pytest.approx(row.low, abs=1e-9), key
        assert clustered[key].p_value == pytest.approx(row.p_value, abs=1e-9), key
    widths = [rows["auroc", "nodule"].high - rows["auroc", "nodule"].low for rows in (single, careless)]
    assert widths[1] < 0.75 * widths[0]


def test_of_two_equally_good_scores_about_one_in_twenty_is_called_different() -> None:
    rng, studies = np.random.default_rng(5), 300
    truth = (np.arange(120) % 4 == 0).astype(int)
    alarms = {"auroc": 0, "brier": 0}
    for _ in range(studies):
        evidence = truth + rng.normal(size=120)
        pair = [stats.norm.cdf(evidence + rng.normal(size=120) - 0.5) for _ in range(2)]
        found = by(differences(*(binary_run(truth, s) for s in pair), samples=200))
        for metric in alarms:
            alarms[metric] += found[metric, "nodule"].p_value < 0.05
    low, high = stats.binom.ppf((0.001, 0.999), studies, 0.05)
    assert all(low <= count <= high for count in alarms.values()), alarms


def test_a_better_model_is_found_better_in_every_metric_but_specificity(pair: list[Path]) -> None:
    found = by(compare(pair, QUIET))
    for metric in ("auroc", "average_precision", "sensitivity", "f_score", "balanced_accuracy"):
        row = found[metric, MACRO]
        assert row.low > 0, metric
        assert row.p_holm < 0.02, metric
    assert found["brier", MACRO].high < 0


def test_swapping_the_runs_negates_the_differences_and_keeps_the_p_values(pair: list[Path]) -> None:
    there, back = by(compare(pair, QUIET)), by(compare(pair[::-1], QUIET))
    for key, row in there.items():
        other = back[key]
        np.testing.assert_allclose(
            [row.difference, row.low, row.high, row.p_value],
            [-other.difference, -other.high, -other.low, other.p_value],
            atol=1e-9,
        )
        assert (row.first_value, row.run_value) == (other.run_value, other.first_value)


def test_runs_of_the_same_scores_do_not_differ(tmp_path: Path) -> None:
    labels, (scores, _) = one_label(np.random.default_rng(6))
    for row in compare([write_run(tmp_path / "w" / m, labels, scores) for m in ("ce", "stratified")], QUIET):
        assert (row.difference, row.low, row.high, row.p_value, row.p_holm) == (0, 0, 0, 1, 1)


def test_unknown_labels_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    labels = np.stack([np.zeros(80, int), np.arange(80) % 4 == 0, np.arange(80) % 3 == 0], axis=1)
    labels[::7, 1], labels[5::7, 2] = -1, -2
    scores = [np.clip(k * (labels == 1) + 0.6 * rng.random((80, 3)), 0, 1) for k in (0.1, 0.4)]
    runs = [
        write_run(tmp_path / "w" / m, labels, s) for m, s in zip(("ce", "stratified"), scores, strict=True)
    ]
    console = wide()
    found = by(compare(runs, console))
    for c in (1, 2):
        known = labels[:, c] >= 0
        truth, p = labels[known, c], scores[1][known, c]
        assert found["auroc", CLASSES[c]].run_value == pytest.approx(sklearn_metrics.roc_auc_score(truth, p))
        assert found["brier", CLASSES[c]].run_value == pytest.approx(np.mean((p - truth) ** 2))
        assert found["sensitivity", CLASSES[c]].run_value == np.mean(p[truth == 1] >= 0.5)
    positives = [(labels[:, c] == 1).sum() for c in (1, 2)]
    share = positives[0] / (labels[:, 1] >= 0).sum()
    assert f"nodule {positives[0]} ({100 * share:.1f} %)" in console.file.getvalue()


def test_a_class_without_positives_shows_a_dash_and_is_left_out_of_the_mean(tmp_path: Path) -> None:
    labels, scores = one_label(np.random.default_rng(8))
    labels = np.where(labels == 2, 0, labels)
    runs = [
        write_run(tmp_path / "w" / m, labels, s) for m, s in zip(("ce", "stratified"), scores, strict=True)
    ]
    console = wide()
    found = by(compare(runs, console))
    row = found["auroc", "effusion"]
    assert np.isnan([row.run_value, row.difference, row.low, row.p_value, row.p_holm]).all()
    assert found["auroc", MACRO].run_value == found["auroc", "nodule"].run_value
    lines = console.file.getvalue().splitlines()
    after = lines[next(n for n, line in enumerate(lines) if "AUROC, effusion" in line) :]
    assert after[2].split() == ["stratified", *"–––––"]
    assert any("– undefined" in line for line in after)
    assert found["auroc", "nodule"].p_holm == found["auroc", "nodule"].p_value  # an undefined test counts not


# Several tests at once


@given(arrays(np.float64, st.integers(1, 6), elements=st.floats(0, 1)))
@settings(max_examples=25, deadline=None)
def test_holms_p_values_reject_what_the_step_down_procedure_rejects(p_values: np.ndarray) -> None:
    found = holm(p_values)
    for level in (0.01, 0.05, 0.3):
        rejected = np.zeros(len(p_values), bool)
        for rank, place in enumerate(np.argsort(p_values, kind="stable")):
            if p_values[place] * (len(p_values) - rank) > level:
                break
            rejected[place] = True
        np.testing.assert_array_equal(found <= level, rejected)


def test_holm_counts_the_tests_of_a_metric_over_findings_and_runs_and_those_of_the_mean_apart() -> None:
    values = dict.fromkeys(("first_value", "run_value", "difference", "low", "high"), 0.0)
    given = [
        Difference(run=run, finding=finding, metric=metric, p_value=0.01, method="", p_holm=np.nan, **values)
        for run in ("a", "b")
        for finding in (MACRO, "nodule", "effusion", "mass")
        for metric in ("auroc", "brier")
    ]
    for row in adjusted(given):
        assert row.p_holm == pytest.approx(0.02 if row.finding == MACRO else 0.06)


def test_seeds_of_a_method_give_mean_and_sample_deviation(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    labels, _ = one_label(rng)
    config = Config(name="x", methods=(METHODS["ce"], METHODS["stratified"]))
    runs, aurocs = [], []
    for seed in range(3):
        _, (scores, _) = one_label(rng)
        runs.append(
            write_run(tmp_path / f"s{seed}" / "ce", labels, scores, config=replace(config, seed=seed))
        )
        values = [sklearn_metrics.roc_auc_score(labels == c, scores[:, c]) for c in (1, 2)]
        aurocs.append(np.mean(values))
    runs.append(write_run(tmp_path / "s3" / "stratified", labels, scores, config=config))
    console, file = wide(), tmp_path / "out.json"
    compare(runs, console, {"json": file})
    (spread,) = json.loads(file.read_text())["seeds"]
    assert spread["method"] == "ce"
    assert spread["runs"] == ["s0/ce", "s1/ce", "s2/ce"]
    assert spread["mean"]["auroc"] == pytest.approx(np.mean(aurocs))
    assert spread["sd"]["auroc"] == pytest.approx(np.std(aurocs, ddof=1))
    assert "Seeds of one method" in console.file.getvalue()


def test_runs_of_other_settings_are_no_seeds_of_one_method() -> None:
    run = binary_run(np.arange(4) % 2, np.linspace(0, 1, 4))
    config = to_json(Config(name="x", methods=(METHODS["ce"],)))
    other = {**config, "seed": 1, "optim": {**config["optim"], "learning_rate": 0.5}}
    of = [replace(run, method="ce", config=c) for c in (config, other, {**config, "seed": 2})]
    assert len(seed_spread([of[0], of[1]])) == 0
    assert len(seed_spread([of[0], of[2]])) == 1


# What is shown and written


def test_the_table_says_what_it_is_of(tmp_path: Path) -> None:
    labels, scores = one_label(np.random.default_rng(10))
    groups = np.arange(90) // 2
    runs = [
        write_run(tmp_path / "w" / m, labels, s, groups=groups)
        for m, s in zip(("ce", "stratified"), scores, strict=True)
    ]
    compare(runs, console := wide())
    shown = console.file.getvalue()
    assert "Differences from ce on the same 90 test images of 45 patients" in shown
    assert "nodule 10 (11.1 %), effusion 10 (11.1 %)" in shown
    assert "draws of patients" in shown
    assert "adjusted for the 2 tests" in shown
    assert "at the run's operating point" in shown


def test_findings_with_few_positives_are_named_as_uncertain(tmp_path: Path) -> None:
    for size, few in ((90, True), (270, False)):
        labels, scores = one_label(np.random.default_rng(11), size)
        methods = zip(("ce", "stratified"), scores, strict=True)
        console = wide()
        compare([write_run(tmp_path / str(size) / m, labels, s) for m, s in methods], console)
        note = "20 positives or fewer, so intervals too short and p too small (bootstrap above all): nodule, effusion"
        assert (note in console.file.getvalue()) == few


def test_at_80_columns_no_line_is_longer_and_no_number_is_cut(pair: list[Path]) -> None:
    rows = compare(pair, console := Console(width=80, file=io.StringIO()))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in console.file.getvalue()
    shown = " ".join(lines)
    assert all(f"{row.difference:+.3f}" in shown for row in rows if row.finding == MACRO)


def test_files_hold_the_differences_at_full_precision(pair: list[Path], tmp_path: Path) -> None:
    files = {"csv": tmp_path / "a.csv", "json": tmp_path / "a.json"}
    rows = compare(pair, QUIET, files)
    read = list(csv.DictReader(io.StringIO(files["csv"].read_text())))
    values = json.loads(files["json"].read_text())
    assert len(rows) == len(read) == len(values["differences"]) == 7 * 3
    for row, cells, stored in zip(rows, read, values["differences"], strict=True):
        assert {k: type(getattr(row, k))(v) for k, v in cells.items()} == stored == vars(row)
    assert values["first"] == "ce"
    assert values["test"]["images"] == 90
    assert values["test"]["patients"] == 90
    assert values["test"]["findings"]["nodule"] == {"positives": 10, "prevalence": 10 / 90}


def test_what_is_undefined_is_an_empty_cell_and_a_null(tmp_path: Path) -> None:
    labels, scores = one_label(np.random.default_rng(8))
    labels = np.where(labels == 2, 0, labels)
    runs = [
        write_run(tmp_path / "w" / m, labels, s) for m, s in zip(("ce", "stratified"), scores, strict=True)
    ]
    files = {"csv": tmp_path / "a.csv", "json": tmp_path / "a.json"}
    compare(runs, QUIET, files)
    read = list(csv.DictReader(io.StringIO(files["csv"].read_text())))
    place = next(n for n, r in enumerate(read) if (r["metric"], r["finding"]) == ("auroc", "effusion"))
    assert read[place]["difference"] == ""
    assert json.loads(files["json"].read_text())["differences"][place]["difference"] is None


def test_the_command_takes_a_workdir_and_says_which_method_is_not_finished(
    pair: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((pair[0].parent / "config.json").read_text())
    config["methods"].append({**config["methods"][0], "name": "focal"})
    (pair[0].parent / "config.json").write_text(json.dumps(config))
    assert (
        command([str(pair[0].parent), f"--csv={tmp_path / 'a.csv'}", "--json", str(tmp_path / "a.json")]) == 0
    )
    shown = capsys.readouterr().out
    assert "left out, not finished: focal" in shown
    assert (tmp_path / "a.csv").is_file()
    assert (tmp_path / "a.json").is_file()


# What is refused


def changed(change: Callable[[np.ndarray, dict], tuple[np.ndarray, dict]]) -> Callable[[Path], list[Path]]:
    """A run, and one whose labels and stored arrays were changed."""

    def build(folder: Path) -> list[Path]:
        labels, (scores, _) = one_label(np.random.default_rng(0))
        stored = {"groups": np.arange(90), "digests": np.arange(90, dtype=np.uint64)}
        other, other_stored = change(labels.copy(), dict(stored))
        return [
            write_run(folder / "a" / "ce", labels, scores, **stored),
            write_run(folder / "b" / "ce", other, scores[: len(other)], **other_stored),
        ]

    return build


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (changed(lambda y, s: (np.roll(y, 1), s)), "the labels of 30 of 90 test images differ"),
        (changed(lambda y, s: (y, s | {"digests": s["digests"][::-1]})), "the pixels of 90 of 90"),
        (changed(lambda y, s: (y, s | {"groups": np.arange(90) // 2})), "the patients of 89 of 90"),
        (changed(lambda y, s: (y[:80], {})), "a/ce has test labels .90. and b/ce .80."),
        (
            changed(lambda y, s: (y, s | {"classes": ("normal", "mass", "effusion")})),
            "b/ce by mass, effusion",
        ),
    ],
)
def test_runs_of_other_images_or_classes_are_refused(
    build: Callable[[Path], list[Path]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as error:
        compare(build(tmp_path), QUIET)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Data(split_seed=1), r"0/ce has --data\.split-seed 0 and 1/ce 1"),
        (Data(), "the pixels of 90 of 90 test images differ"),
        (Data(image_size=32), None),
    ],
)
def test_other_pixels_under_equal_labels_are_refused_unless_the_images_were_read_otherwise(
    data: Data, message: str | None, tmp_path: Path
) -> None:
    labels, scores = one_label(np.random.default_rng(0))
    paths = [
        write_run(
            tmp_path / str(n) / "ce",
            labels,
            s,
            config=Config(name="x", methods=(METHODS["ce"],), data=d),
            digests=np.arange(90, dtype=np.uint64) + 90 * n,
        )
        for n, (s, d) in enumerate(zip(scores, (Data(), data), strict=True))
    ]
    if message is None:
        assert compare(paths, QUIET)
        return
    with pytest.raises(InputError, match=message):
        compare(paths, QUIET)


def test_one_run_twice_alone_unfinished_or_absent_is_refused(pair: list[Path]) -> None:
    ce, stratified = pair
    with pytest.raises(InputError, match="two finished runs or more, got 1"):
        compare([ce], QUIET)
    with pytest.raises(InputError, match="two finished runs or more, got 0"):
        compare([], QUIET)
    with pytest.raises(InputError, match="ce/seed0 is named twice"):
        compare([ce, stratified, ce.parent / "." / "ce"], QUIET)
    with pytest.raises(InputError, match="ce/seed0 is named twice"):
        compare([ce.parent, ce], QUIET)
    (stratified / "seed0" / "result.json").unlink()
    with pytest.raises(InputError, match=r"no run in .*stratified is finished"):
        compare([ce, stratified], QUIET)
    with pytest.raises(InputError, match="two finished runs or more, got 1"):
        compare([ce.parent], QUIET)
    with pytest.raises(InputError, match="there is no method nowhere in"):
        compare([ce, ce.parent / "nowhere"], QUIET)


def test_damaged_scores_are_refused(pair: list[Path]) -> None:
    (pair[1] / "seed0" / "test_scores.npz").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"test_scores\.npz is damaged"):
        compare(pair, QUIET)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["w", "--xml", "a"], "compare does not know --xml"),
        (["w", "--csv"], "Missing value for argument '--csv'"),
        (["w", "--csv", "no/such/folder/a.csv"], "there is no folder no/such/folder"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_computed(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        command(words)


# Real runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "trained_to_compare", train_briefly)


def train_briefly(workdir: Path) -> None:
    config = small(write_pictures(workdir / "pictures"), methods=(METHODS["ce"], METHODS["stratified"]))
    # a perfect score would prove less
    config = replace(
        config,
        train=replace(config.train, epochs=BRIEF, evaluations=1),
        optim=replace(config.optim, learning_rate=1e-3),
    )
    train.fit(config, workdir, console=QUIET)


def test_runs_that_were_trained_can_be_compared_at_their_operating_points(trained: Path) -> None:
    found = by(compare([trained], QUIET))
    for place, method in enumerate(("ce", "stratified")):
        scored, deployment = (
            RunOutputs.read(trained / method / "seed0"),
            Deployment.read(trained / method / "seed0"),
        )
        truth, p = scored.labels == 1, deployment.probabilities(scored.outputs)[:, 1]
        called = p >= deployment.points[1].threshold
        expected = {
            "auroc": sklearn_metrics.roc_auc_score(truth, scored.outputs[:, 1]),
            "sensitivity": sklearn_metrics.recall_score(truth, called),
            "specificity": sklearn_metrics.recall_score(~truth, ~called),
            "brier": np.mean((p - truth) ** 2),
        }
        for metric, value in expected.items():
            row = found[metric, "bright"]
            assert (row.first_value, row.run_value)[place] == pytest.approx(value, abs=1e-9)
