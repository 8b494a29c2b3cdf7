import dataclasses
import math
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from html_page import Page
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import binomtest, norm
from sklearn import metrics as oracle

from imbal_jax.console import percent
from imbal_jax.decisions.operating_point import OperatingPoint, choose_thresholds
from imbal_jax.errors import InputError
from imbal_jax.metrics import Interval, classification_summary, wilson
from imbal_jax.report import RunResult, write_report
from imbal_jax.report.curves import GRID, bands, corners, cumulative
from imbal_jax.report.decisions import decide
from imbal_jax.report.html import Html, bracket, figures, listed, plain, share
from imbal_jax.report.learning import series
from imbal_jax.report.pictures import overlay
from imbal_jax.report.reliability import reliability
from imbal_jax.report.resampling import cohort_of, decision_tables, percentile_interval, rate_interval
from imbal_jax.report.style import STYLE

CLASSES = ("normal", 'nodule <6 mm & "firm"', "mass")


class Cells(HTMLParser):
    """The cells of the tables whose rows become lists on a phone: section, group, row and heading -> text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.of: dict[tuple[str, str, str, str], str] = {}
        self.section = self.group = self.row = self.text = ""
        self.heading: str | None = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "section":
            self.section = str(given["id"])
        if tag in ("table", "tbody"):
            self.group = ""
        if tag in ("th", "td"):
            self.text, self.heading = "", given.get("data-label")
            self.scope = given.get("scope")

    def handle_data(self, data: str) -> None:
        self.text += data.replace("\N{NO-BREAK SPACE}", " ")

    def handle_endtag(self, tag: str) -> None:
        if tag == "th" and self.scope == "rowgroup":
            self.group = self.text
        elif tag == "th":
            self.row = self.text
        elif tag == "td" and self.heading is not None:
            self.of[self.section, self.group, self.row, self.heading] = self.text

    def cell(self, section: str, group: str, row: str, heading: str) -> str:
        """The only cell whose group and row begin so."""
        found = [
            text
            for (s, g, r, h), text in self.of.items()
            if (s, h) == (section, heading) and g.startswith(group) and r.startswith(row)
        ]
        assert len(found) == 1, (section, group, row, heading, found)
        return found[0]


def scores_for(labels: np.ndarray, separation: float, seed: int) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(len(labels), len(CLASSES)))
    logits[np.arange(len(labels)), labels] += separation
    exponential = np.exp(logits)
    return exponential / exponential.sum(axis=1, keepdims=True)


def result(method: str, labels: np.ndarray, scores: np.ndarray, **changes: object) -> RunResult:
    history = [{"kind": "train", "step": step, "loss": 1 / step} for step in range(1, 400)]
    history += [
        {"kind": "validation", "step": step, "best": False, "f_score": None if step == 100 else step / 500}
        for step in (100, 200, 300)
    ]
    negative = CLASSES[0]
    table = classification_summary(labels, scores, CLASSES, negative_class=negative)
    run = RunResult(method, f"{method} is.", history, "f_score", 300, table, labels, scores, 3723.0)
    return dataclasses.replace(run, **changes)


def write(path: Path, runs: list[RunResult], **changes: object) -> tuple[str, Page]:
    size = len(runs[0].labels)
    arguments = {
        "title": "Chest <X-ray>",
        "classes": CLASSES,
        "negative_class": "normal",
        "images": np.random.default_rng(0).integers(0, 256, (size, 32, 32, 1), np.uint8),
        "split_table": [{"split": "test", "images": size, "patients": size, "prevalence": {"mass": 0.05}}],
        "config": {"method": "ldam_drw"},
        "environment": {"jax": "0.10.2"},
    } | changes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = write_report(path, runs=runs, **arguments).read_text()
    parsed = Page(page)
    assert not parsed.open
    return page, parsed


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of words and numbers: drawing takes most of the time."""
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: file.write("<svg></svg>"))


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.repeat([0, 1, 2], [180, 8, 12])


@pytest.fixture(scope="module")
def two_runs(labels: np.ndarray) -> list[RunResult]:
    return [
        result("cross_entropy", labels, scores_for(labels, 1.0, 0)),
        result("<b>ldam</b> & drw", labels, scores_for(labels, 3.0, 1), skipped_steps=3),
    ]


@pytest.fixture(scope="module")
def page(two_runs: list[RunResult], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Page]:
    return write(tmp_path_factory.mktemp("report") / "new" / "report.html", two_runs)


def test_page_refers_to_nothing_outside_itself(page: tuple[str, Page]) -> None:
    html, parsed = page
    assert not re.search(
        r"https?:|//[a-z]|url\((?!#)|@import|<script|<link", re.sub(r"base64,[^\"]*", "", html)
    )
    identifiers = {attributes["id"] for _, attributes in parsed.tags if "id" in attributes}
    for _, attributes in parsed.tags:
        for name in ("href", "src", "xlink:href"):
            target = attributes.get(name) or "#summary"
            assert target.startswith("data:image/") or target[1:] in identifiers
    assert len(identifiers) == sum("id" in attributes for _, attributes in parsed.tags)
    for clip in re.findall(r"url\(#([^)]+)\)", html):
        assert clip in identifiers


def test_names_are_escaped_everywhere(page: tuple[str, Page]) -> None:
    html, parsed = page
    assert "<b>ldam" not in html
    assert "<X-ray>" not in html
    assert "nodule <6" not in html
    assert 'nodule <6 mm & "firm"' in parsed.text
    assert "<b>ldam</b> & drw" in parsed.text
    assert not {tag for tag, _ in parsed.tags} & {"x-ray", "6"}
    alternatives = [attributes["alt"] for tag, attributes in parsed.tags if tag == "img"]
    assert any(
        alt.startswith('true: nodule <6 mm & "firm"') or 'nodule <6 mm & "firm"' in alt
        for alt in alternatives
    )


def test_the_first_table_has_both_errors_of_each_method_with_wilsons_intervals(
    page: tuple[str, Page], two_runs: list[RunResult]
) -> None:
    cells = Cells(page[0])
    for run in two_runs:
        called = run.scores.argmax(axis=1)
        for k in (1, 2):
            quiet, alarms, missed, found = oracle.confusion_matrix(run.labels == k, called == k).ravel()
            for heading, count, of in (
                ("cases found", found, found + missed),
                ("false alarms", alarms, alarms + quiet),
            ):
                low, high = binomtest(int(count), int(of)).proportion_ci(method="wilson")
                bounds = [percent(bound).removesuffix(" %") for bound in (low, high)]
                assert cells.cell("summary", CLASSES[k], run.method, heading) == (
                    f"{count:,} of {of:,}, {percent(count / of)} [{', '.join(bounds)}]"
                )
    text = page[1].text
    assert "moves its sensitivity by 12 percentage points" in text  # 1 of 8
    assert "if they have several images each, the intervals are too short" in text
    assert re.search(r"not finite: <b>ldam</b> & drw 3\.", text)


def test_the_first_sentence_names_the_method_of_the_highest_balanced_accuracy(
    page: tuple[str, Page], two_runs: list[RunResult]
) -> None:
    lead = plain(Html(re.search(r"<p class=lead>(.*?)</p>", page[0], flags=re.DOTALL)[1]))
    values, errors = [], []
    for run in two_runs:
        called = run.scores.argmax(axis=1)
        rates = []
        for k in (1, 2):
            quiet, alarms, missed, found = oracle.confusion_matrix(run.labels == k, called == k).ravel()
            rates.append((found / (found + missed), alarms / (alarms + quiet)))
        errors.append(np.mean(rates, axis=0))
        values.append(np.mean([oracle.balanced_accuracy_score(run.labels == k, called == k) for k in (1, 2)]))
    text = lead.replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith(f"Use <b>ldam</b> & drw: it finds {percent(errors[1][0])} [")
    assert f"raises a false alarm in {percent(errors[1][1])} [" in text
    assert f"balanced accuracy {values[1]:.3f} [" in text
    assert f"; cross_entropy has {values[0]:.3f} (difference +{values[1] - values[0]:.3f} [" in text


def called_by(method: str, labels: np.ndarray, called: np.ndarray, **changes: object) -> RunResult:
    """A run of two classes that calls the finding where ``called`` says."""
    finding = np.where(called, 0.9, 0.1)
    scores = np.stack([1 - finding, finding], axis=1)
    points = tuple(OperatingPoint(0.5, "youden", 1.0, 1.0, 10, 10) for _ in range(2))
    table = classification_summary(labels, scores, ("clear", "finding"), negative_class="clear")
    base = {"criterion": "sensitivity", "points": points, "history": [], **changes}
    return dataclasses.replace(
        result(method, np.zeros(2, int), np.eye(3)[:2]), **base, table=table, labels=labels, scores=scores
    )


def lead_of(path: Path, runs: list[RunResult]) -> str:
    html, _ = write(path, runs, classes=("clear", "finding"), negative_class="clear")
    return plain(Html(re.search(r"<p class=lead>(.*?)</p>", html, flags=re.DOTALL)[1]))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("first", [True, False])
def test_a_method_that_calls_everything_is_not_recommended(tmp_path: Path, *, first: bool) -> None:
    """Its sensitivity, by which checkpoints were chosen, is higher, and so is its F-score: half have the finding."""
    labels = np.repeat([0, 1], 50)
    everything = called_by("everything", labels, np.ones(100, bool))
    careful = called_by("careful", labels, (np.arange(100) < 10) | (np.arange(100) >= 72))
    assert oracle.f1_score(labels, np.ones(100)) > oracle.f1_score(labels, careful.scores.argmax(axis=1))
    runs = [everything, careful] if first else [careful, everything]
    lead = lead_of(tmp_path / "report.html", runs).replace("\N{NO-BREAK SPACE}", " ")
    assert lead.startswith("Use careful: it finds 28 of 50 finding images (56.0 % [42.3, 68.8])")
    assert "10 false alarms in 50 others (20.0 % [11.2, 33.0])" in lead
    assert "everything has 0.500" in lead
    html = (tmp_path / "report.html").read_text()
    assert (
        Cells(html)
        .cell("summary", "finding", "everything calls every image", "false alarms")
        .startswith("50 of 50")
    )


@pytest.mark.usefixtures("undrawn")
def test_methods_that_cannot_be_told_apart_are_not_ranked(tmp_path: Path) -> None:
    labels, place = np.repeat([0, 1], [80, 20]), np.arange(100)
    one = called_by("one", labels, (place >= 82) | (place < 8))
    other = called_by("other", labels, (place >= 83) | ((place >= 4) & (place < 12)))
    assert lead_of(tmp_path / "a.html", [other, one]).startswith(
        "No clear winner: one is ahead, and the test set"
    )
    same = dataclasses.replace(one, method="same")
    assert lead_of(tmp_path / "b.html", [one, same]).startswith(
        "No difference: one and same decide alike. Each"
    )
    guess = called_by("guess", labels, place % 2 == 0)
    lead = lead_of(tmp_path / "c.html", [guess, called_by("none", labels, place < 0)])
    assert lead.startswith("No method is shown to be better than guessing.")


def test_every_confusion_is_shown(page: tuple[str, Page], two_runs: list[RunResult]) -> None:
    html, _ = page
    cells = [int(count) for count in re.findall(r'class="cell [^>]*>(\d+)<', html)]
    expected = [
        oracle.confusion_matrix(run.labels, run.scores.argmax(axis=1), labels=[0, 1, 2]) for run in two_runs
    ]
    assert cells == np.ravel(expected).tolist()


@pytest.mark.usefixtures("undrawn")
def test_paths_are_left_out(tmp_path: Path, two_runs: list[RunResult]) -> None:
    config = {
        "data": {
            "dir": Path("/data/Doe^Jane"),
            "source": "folder",
            "labels_file": "jane.csv",
            "sizes": [1, 2],
        },
        "workdir": "runs/jane doe",
        "note": "read C:\\scans\\Doe Jane\\1.dcm --seed 3",
        "download": "https://host/jane",
        "rate": "1/2",
    }
    environment = {"command": "imbal-jax train configs/x.py --workdir /home/jane doe/run --steps 7"}
    html, parsed = write(tmp_path / "report.html", two_runs, config=config, environment=environment)
    assert not re.search(r"\bdoe\b|jane|scans|https", html, re.IGNORECASE)
    assert str(tmp_path) not in html
    for kept in ('"source": "folder"', "--seed 3", "--steps 7", '"rate": "1/2"', '"note": "read (path)'):
        assert kept in parsed.text


@pytest.mark.usefixtures("undrawn")
def test_class_without_positives_is_undefined_not_an_error(tmp_path: Path) -> None:
    labels = np.repeat([0, 2], [90, 10])
    _, parsed = write(tmp_path / "report.html", [result("focal", labels, scores_for(labels, 2.0, 0))])
    assert "– undefined: no positive example" in parsed.text
    assert 'Undefined, with no positive or no negative test image: nodule <6 mm & "firm".' in parsed.text
    assert "nan" not in parsed.text.lower().replace("finance", "")


@pytest.mark.usefixtures("undrawn")
def test_test_set_without_any_positive_says_so(tmp_path: Path) -> None:
    labels = np.zeros(30, np.int32)
    scores = np.tile([0.9, 0.06, 0.04], (30, 1))
    _, parsed = write(tmp_path / "report.html", [result("focal", labels, scores, history=[])])
    assert "hold no positive example" in parsed.text
    assert "There is no positive and no false alarm to show." in parsed.text
    assert "No history was recorded" in parsed.text


@pytest.mark.usefixtures("undrawn")
def test_single_run_is_not_compared(tmp_path: Path, two_runs: list[RunResult]) -> None:
    _, parsed = write(tmp_path / "report.html", two_runs[:1])
    assert "Its balanced accuracy" in parsed.text
    assert not re.search(
        r"Use |against|No clear winner|chosen on these same", parsed.text.split("Read with care")[0]
    )
    assert "chosen on these same" not in parsed.text


@pytest.mark.usefixtures("undrawn")
def test_perfect_method_has_nothing_missed(tmp_path: Path, labels: np.ndarray) -> None:
    scores = np.eye(3)[labels]
    _, parsed = write(tmp_path / "report.html", [result("perfect", labels, scores)])
    assert "No mass image was missed." in parsed.text
    assert "No other image was called mass." in parsed.text


@pytest.mark.usefixtures("undrawn")
def test_many_labels_leave_unknown_ones_out(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    labels = generator.choice([1, 0, -1], size=(300, 3), p=[0.1, 0.7, 0.2])
    scores = np.clip(0.3 * (labels == 1) + generator.uniform(0, 0.7, labels.shape), 0, 1)
    table = classification_summary(labels, scores, CLASSES, mask=labels >= 0)
    run = RunResult("asymmetric", "It is.", [], "auroc", 1, table, labels, scores, 1.0)
    _, parsed = write(tmp_path / "report.html", [run], negative_class=None)
    text = parsed.text.replace("\N{NO-BREAK SPACE}", " ")
    for k in range(3):
        known = labels[:, k] >= 0
        quiet, alarms, missed, found = oracle.confusion_matrix(
            labels[known, k], scores[known, k] >= 0.5
        ).ravel()
        shares = [
            (found, found + missed),
            (missed, found + missed),
            (alarms, alarms + quiet),
            (quiet, alarms + quiet),
        ]
        cells = "".join(f"{count:,} ({percent(count / of)})" for count, of in shares)
        assert CLASSES[k] + "asymmetric" + cells + f"{(~known).sum()}" in text


@pytest.mark.usefixtures("undrawn")
def test_many_classes_list_the_frequent_confusions(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    classes = tuple(f"class {k}" for k in range(30))
    labels = generator.integers(0, 30, 1000)
    scores = generator.dirichlet(np.ones(30), 1000)
    table = classification_summary(labels, scores, classes)
    run = RunResult("focal", "It is.", [], "auroc", 1, table, labels, scores, 1.0)
    _, parsed = write(tmp_path / "report.html", [run], classes=classes, negative_class=None)
    assert "The 20 most frequent confusions" in parsed.text
    assert "The 12 rarest classes are drawn" in parsed.text


def test_thousands_of_large_images_stay_below_three_megabytes(tmp_path: Path) -> None:
    classes = tuple(f"finding {k}" for k in range(14))
    generator = np.random.default_rng(0)
    labels = (generator.random((1500, 14)) < 0.1).astype(np.int8)
    images = np.broadcast_to(generator.integers(0, 256, (1, 200, 200, 3), np.uint8), (1500, 200, 200, 3))
    runs = []
    for method in ("a", "b"):
        scores = generator.random((1500, 14))
        table = classification_summary(labels, scores, classes)
        runs.append(RunResult(method, "It is.", [], "auroc + f_score", 1, table, labels, scores, 1.0))
    html, parsed = write(tmp_path / "report.html", runs, classes=classes, negative_class=None, images=images)
    assert len(html.encode()) < 3_000_000
    assert "More pictures would make this file too large." in parsed.text


def test_criterion_of_terms_and_constraints_is_drawn_without_its_constraints() -> None:
    history = [
        {"kind": "validation", "step": 1, "f_score": 0.25, "loss": 0.5},
        {"kind": "validation", "step": 2, "f_score": None, "loss": 0.5},
        {"kind": "train", "step": 3, "loss": 0.5},
    ]
    steps, values = series(history, "validation", lambda record: record["f_score"] - record["loss"])
    assert (steps.tolist(), values.tolist()) == ([1], [-0.25])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_roc_corners_have_the_area_of_scikit_learn(pairs: list[tuple[bool, int]]) -> None:
    positive, score = np.array([p for p, _ in pairs]), np.array([s for _, s in pairs])
    hits, alarms = cumulative(positive, score)
    assert (hits[-1], alarms[-1]) == (positive.sum(), (~positive).sum())
    if 0 < positive.sum() < len(positive):
        at = corners(hits, alarms)
        area = np.trapezoid(hits[at], alarms[at]) / (hits[-1] * alarms[-1])
        assert area == pytest.approx(oracle.roc_auc_score(positive, score))
        gained = 1 + np.flatnonzero(np.diff(hits))
        precision = hits[gained] / (hits + alarms)[gained]
        area = np.sum(np.diff(np.append(0, hits[gained])) * precision) / hits[-1]
        assert area == pytest.approx(oracle.average_precision_score(positive, score))


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, two_runs: list[RunResult]) -> None:
    with pytest.raises(ValueError, match="do not fit 3 images"):
        write(tmp_path / "report.html", two_runs, images=np.zeros((3, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="different methods or seeds"):
        write(tmp_path / "report.html", two_runs[:1] * 2)


@pytest.mark.usefixtures("undrawn")
def test_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path, two_runs: list[RunResult]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*report\.html"):
        write(tmp_path / "file" / "report.html", two_runs)


def test_same_result_makes_the_same_file(
    tmp_path: Path, two_runs: list[RunResult], page: tuple[str, Page]
) -> None:
    assert write(tmp_path / "again.html", two_runs)[0] == page[0]


@pytest.mark.usefixtures("undrawn")
def test_several_seeds_of_one_finding_are_given_by_their_mean(tmp_path: Path) -> None:
    """Seeds find 10 and 16 of 20, with 4 and 8 false alarms in 80."""
    labels, place = np.repeat([0, 1], [80, 20]), np.arange(100)
    one = called_by("ce", labels, (place >= 90) | (place < 4))
    two = called_by("ce", labels, (place >= 84) | (place < 8), seed=1)
    lead = lead_of(tmp_path / "report.html", [one, two]).replace("\N{NO-BREAK SPACE}", " ")
    assert re.match(
        r"ce finds 65.0 % \[[\d.]+, [\d.]+\] of the cases and raises a false alarm in 7.5 % \[", lead
    )
    assert "on average over 2 seeds" in lead
    cells = Cells((tmp_path / "report.html").read_text())
    assert cells.cell("summary", "Mean over 2 seeds", "ce", "cases found").startswith("65.0 % [")
    assert cells.cell("summary", "finding", "ce, seed 0", "cases found").startswith("10 of 20, 50.0 % [")


def test_precision_of_a_rare_finding_has_a_logarithmic_axis(page: tuple[str, Page]) -> None:
    """Of 200 images 8 have the one finding and 12 the other."""
    labels = [given["aria-label"] for tag, given in page[1].tags if tag == "svg" and "aria-label" in given]
    precision = [label.replace("\N{NO-BREAK SPACE}", " ") for label in labels if "Precision-recall" in label]
    assert [("logarithmic" in label, label.startswith("mass")) for label in precision] == [
        (True, False),
        (False, True),
    ]
    text = page[1].text.replace("\N{NO-BREAK SPACE}", " ")
    assert "prevalence 4.0 %" in text
    assert "prevalence 6.0 %" in text


def test_contents_list_every_section_beside_the_page_and_folded_above_it(page: tuple[str, Page]) -> None:
    html, parsed = page
    sections = [given["id"] for tag, given in parsed.tags if tag == "section"]
    for kind in ("beside", "above"):
        nav = re.search(rf'<nav class="{kind}".*?</nav>', html, flags=re.DOTALL)[0]
        assert re.findall(r'href="#(\w+)"', nav) == sections
        assert ("<details>" in nav) == (kind == "above")
    assert ".beside{position:sticky" in html


def test_no_word_is_broken_where_another_place_is_left() -> None:
    assert not re.search(r"anywhere|break-all|hyphens", STYLE)


@pytest.mark.usefixtures("undrawn")
def test_cautions_count_validation_positives_and_say_what_follows(whole: RunResult, tmp_path: Path) -> None:
    """Of 8 validation images with the rarest finding, four patients: one image is 12.5 points."""
    run = dataclasses.replace(whole, validation_groups=np.arange(200) // 2, saliency=None)
    _, parsed = write(tmp_path / "report.html", [run])
    cautions = parsed.text[parsed.text.index("Read with care") :]
    assert 'Few positives on test (nodule <6 mm & "firm" 8, mass 12)' in cautions
    assert (
        'Few validation positives (nodule <6 mm & "firm" 8 of 4 patients, mass 12 of 6 patients)' in cautions
    )
    assert "moved the sensitivity by which it was chosen by 12 percentage points" in cautions
    first = parsed.text[parsed.text.index("Before anything else") : parsed.text.index("Read with care")]
    assert "a threshold that finds all of" in first


# Accessibility


def test_pictures_plots_and_tables_speak_to_a_screen_reader(page: tuple[str, Page]) -> None:
    html, parsed = page
    for tag, attributes in parsed.tags:
        if tag == "img":
            assert attributes["alt"]
        if tag == "th":
            assert attributes["scope"] in ("row", "col", "rowgroup")
    plots = [attributes for tag, attributes in parsed.tags if tag == "svg" and "role" in attributes]
    assert len(plots) == html.count('<figure class="plot">') > 10
    assert len({plot["aria-label"] for plot in plots}) == len(plots)
    assert 'lang="en"' in html


def test_a_phone_shows_rows_with_the_headings_of_their_cells(page: tuple[str, Page]) -> None:
    labels = {attributes.get("data-label") for tag, attributes in page[1].tags if tag == "td"}
    assert {"cases found", "false alarms", "sensitivity", "number needed to review"} <= labels


# With operating points, patients, calibration and saliency


@pytest.fixture(scope="module")
def whole(labels: np.ndarray) -> RunResult:
    """A run with every optional field; patients have two images each."""
    scores, validation = scores_for(labels, 3.0, 5), scores_for(labels, 3.0, 6)
    return result(
        "ldam",
        labels,
        scores,
        points=choose_thresholds(labels, validation, "sensitivity >= 0.7"),
        groups=np.arange(len(labels)) // 2,
        validation_labels=labels,
        validation_scores=validation,
        raw_scores=scores**0.5,
        saliency=lambda indices, cls: np.ones((len(indices), 32, 32)) * np.arange(32),
    )


@pytest.fixture(scope="module")
def whole_page(whole: RunResult, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Page]:
    return write(tmp_path_factory.mktemp("whole") / "report.html", [whole])


def test_operating_points_decide_what_is_found(whole: RunResult, whole_page: tuple[str, Page]) -> None:
    text = whole_page[1].text.replace("\N{NO-BREAK SPACE}", " ")
    called = whole.scores[:, 1] >= whole.points[1].threshold
    quiet, alarms, missed, found = oracle.confusion_matrix(whole.labels == 1, called).ravel()
    cells = Cells(whole_page[0])
    assert cells.cell("summary", CLASSES[1], "ldam", "cases found").startswith(f"{found} of 8, ")
    assert cells.cell("summary", CLASSES[1], "ldam", "false alarms").startswith(f"{alarms} of 192, ")
    shares = [(found, 8), (missed, 8), (alarms, 192), (quiet, 192)]
    assert CLASSES[1] + "ldam" + "".join(f"{count} ({percent(count / of)})" for count, of in shares) in text
    point = whole.points[1]
    low, high = wilson(round(8 * point.sensitivity), 8)
    assert f"{CLASSES[1]} sensitivity ≥ 0.7, on 8 positivesldam{figures(point.threshold)}" in text
    assert f"{point.sensitivity:.3f} [{low:.3f}, {high:.3f}]" in text
    assert (
        "chosen on validation, for a sensitivity of at least 70.0 %, and then the largest specificity" in text
    )


def test_summary_has_two_sentences(page: tuple[str, Page], whole_page: tuple[str, Page]) -> None:
    for html, _ in (page, whole_page):
        lead = plain(re.search(r"<p class=lead>(.*?)</p>", html)[1])
        assert len(re.findall(r"[.](?: |$)", lead)) == 2


def test_macro_values_at_operating_points_are_those_of_scikit_learn(
    whole: RunResult, whole_page: tuple[str, Page]
) -> None:
    cells = Cells(whole_page[0])
    called = [whole.scores[:, k] >= whole.points[k].threshold for k in (1, 2)]
    truth = [whole.labels == k for k in (1, 2)]
    scores = {
        "balanced accuracy": oracle.balanced_accuracy_score,
        "precision": oracle.precision_score,
        "MCC": oracle.matthews_corrcoef,
    }
    for name, score in scores.items():
        expected = np.mean([score(t, c) for t, c in zip(truth, called, strict=True)])
        assert cells.cell("methods", "Mean over", "ldam", name).startswith(f"{expected:.3f} [")


def test_an_image_below_every_threshold_is_called_negative() -> None:
    scores = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.3, 0.35, 0.35]])
    points = tuple(OperatingPoint(t, "by hand", 1.0, 1.0, 1, 1) for t in (0.0, 0.4, 0.3))
    run = result("a", np.array([0, 1, 2]), scores, points=points)
    decided = decide(run, CLASSES, CLASSES[0])
    assert decided.called.tolist() == [[True, False, False], [False, True, False], [False, False, True]]
    assert decided.taken_for.tolist() == [0, 1, 2]
    both = dataclasses.replace(
        run, points=(points[0], *(dataclasses.replace(p, threshold=0.2) for p in points[1:]))
    )
    decided = decide(both, CLASSES, CLASSES[0])
    assert decided.called[0].tolist() == [False, True, True]
    assert decided.taken_for.tolist() == [1, 1, 1]  # of equal excess the first


@pytest.mark.usefixtures("undrawn")
def test_a_threshold_that_does_not_hold_on_test_is_said(whole: RunResult, tmp_path: Path) -> None:
    lost = dataclasses.replace(whole.points[2], threshold=0.999)
    run = dataclasses.replace(whole, points=(*whole.points[:2], lost), saliency=None)
    _, parsed = write(tmp_path / "report.html", [run])
    assert re.search(r"Not kept on test: mass, sensitivity 0 \[0, 0.\d+\] for sensitivity ≥ 0.7", parsed.text)


def test_sections_appear_only_where_their_data_exist(
    page: tuple[str, Page], whole_page: tuple[str, Page]
) -> None:
    words = ("Operating points", "Before calibration", "saliency map", "200 test images of 100 patients")
    for word in words:
        assert word in whole_page[1].text
        assert word not in page[1].text


@pytest.mark.usefixtures("undrawn")
def test_misses_and_false_alarms_are_shown_with_their_maps(whole: RunResult, tmp_path: Path) -> None:
    asked = []

    def saliency(indices: np.ndarray, cls: int) -> np.ndarray:
        asked.append((cls, indices.tolist()))
        return np.zeros((len(indices), 32, 32))

    run = dataclasses.replace(whole, saliency=saliency)
    html, _ = write(tmp_path / "report.html", [run])
    assert [cls for cls, _ in asked] == [1, 2]
    for cls, indices in asked:
        truth, score = run.labels == cls, run.scores[:, cls]
        called = score >= run.points[cls].threshold
        missed = sorted(np.flatnonzero(truth & ~called), key=lambda i: score[i])[:6]
        alarms = sorted(np.flatnonzero(~truth & called), key=lambda i: -score[i])[:6]
        assert indices == [*missed, *alarms]
    assert html.count('alt="saliency map; ') == sum(len(indices) for _, indices in asked)
    wrong = dataclasses.replace(whole, saliency=lambda indices, cls: np.zeros((1, 2)))
    with pytest.raises(ValueError, match="saliency gives"):
        write(tmp_path / "report.html", [wrong])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_map_covers_the_picture_where_it_is_hot(mode: str) -> None:
    heat = np.zeros((32, 32))
    heat[8, 24] = 1.0
    shown = np.asarray(overlay(Image.new(mode, (64, 64), "gray"), heat)).astype(int)
    covered = np.abs(shown - 128).sum(axis=-1)
    centre = (np.indices(covered.shape) * covered).sum(axis=(1, 2)) / covered.sum()
    np.testing.assert_allclose(centre, (16.5, 48.5), atol=0.5)
    assert not covered[:, :32].any()
    assert not np.ptp(np.asarray(overlay(Image.new(mode, (8, 8)), np.zeros((8, 8))))).any()


def test_predictive_values_follow_the_prevalence(whole: RunResult, whole_page: tuple[str, Page]) -> None:
    called = whole.scores[:, 2] >= whole.points[2].threshold
    quiet, alarms, missed, found = oracle.confusion_matrix(whole.labels == 2, called).ravel()
    s, c, q = found / (found + missed), quiet / (quiet + alarms), 0.01
    ppv = s * q / (s * q + (1 - c) * (1 - q))
    npv = c * (1 - q) / (c * (1 - q) + (1 - s) * q)
    text = whole_page[1].text[whole_page[1].text.index("Predictive values of mass") :]
    row = re.search(
        r"1.0.%ldam([\d.]+) \[[\d., ]+\]([\d.]+) \[[\d., ]+\]([\d.]{4})([\d.]{4,5})([\d.]{4})([\d.]+).% to "
        r"([\d.]+).%",
        text,
    )
    assert float(row[1]) == pytest.approx(ppv, abs=6e-4)
    assert float(row[2]) == pytest.approx(npv, abs=6e-4)
    assert float(row[7]) == pytest.approx(100 * ppv, abs=0.06)
    test_set = re.search(r"6.0.%, test setldam([\d.]+) \[", text)
    assert float(test_set[1]) == pytest.approx(found / (found + alarms), abs=6e-4)


# Resampling


@pytest.fixture(scope="module")
def clustered() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth [80, 2], scores [80, 2] with ties, and 30 patients."""
    generator = np.random.default_rng(0)
    truth = (generator.random((80, 2)) < [0.2, 0.5]).astype(np.int8)
    truth[:5, 1] = -1
    return truth, np.round(generator.normal(size=(80, 2)) + truth, 1), generator.integers(0, 30, 80)


def test_bands_are_quantiles_of_the_curves_of_resampled_patients(clustered: tuple) -> None:
    truth, scores, groups = clustered
    cohort = cohort_of(truth, groups)
    found = bands(cohort, 1, scores[:, 1])
    counts = cohort.replicates(lambda drawn: drawn, most=500)
    curves = []
    for row in counts:
        drawn = np.repeat(np.arange(80), row[cohort.patients])
        drawn = drawn[truth[drawn, 1] >= 0]
        fpr, tpr, _ = oracle.roc_curve(truth[drawn, 1], scores[drawn, 1], drop_intermediate=False)
        precision, recall, _ = oracle.precision_recall_curve(truth[drawn, 1], scores[drawn, 1])
        above = [
            tpr[fpr <= g + 1e-12].max() if np.isclose(fpr, g).any() else np.interp(g, fpr, tpr) for g in GRID
        ]
        reached = [precision[np.flatnonzero(recall >= max(g, 1e-9) - 1e-12)[-1]] for g in GRID]
        curves.append([above, reached])
    expected = np.quantile(curves, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(found.sensitivity, expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(found.precision, expected[:, 1], atol=1e-9)


def test_replicates_draw_patients_and_keep_every_class(clustered: tuple) -> None:
    truth, _, groups = clustered
    cohort = cohort_of(truth, groups)
    counts = cohort.replicates(lambda drawn: drawn)
    assert counts.shape == (1000, len(np.unique(groups)))
    for stratum in cohort.strata:
        assert (counts[:, stratum].sum(axis=1) == len(stratum)).all()
    positives = np.stack([counts[:, cohort.patients[truth[:, k] == 1]].sum(axis=1) for k in range(2)])
    assert (positives > 0).all()


def test_tables_of_replicates_count_the_images_of_drawn_patients(clustered: tuple) -> None:
    truth, scores, groups = clustered
    cohort = cohort_of(truth, groups)
    called = scores > 0.5
    counts = cohort.replicates(lambda drawn: drawn)[:5]
    tables = decision_tables(cohort, called)(counts)
    for row, table in zip(counts, tables, strict=True):
        drawn = np.repeat(np.arange(80), row[cohort.patients])
        for k in range(2):
            known = drawn[truth[drawn, k] >= 0]
            expected = oracle.confusion_matrix(truth[known, k], called[known, k], labels=[0, 1])
            np.testing.assert_array_equal(table[k], expected)


def test_groups_that_are_lesions_are_not_called_patients(labels: np.ndarray, tmp_path: Path) -> None:
    groups = np.arange(len(labels)) // 2
    runs = [result("ce", labels, scores_for(labels, 2.0, 0), groups=groups)]
    table = [{"split": "test", "images": len(labels), "patients": len(set(groups))}]
    text = write(tmp_path / "lesions.html", runs, grouped_by="lesion", split_table=table)[1].text
    lead = text[text.index("balanced accuracy") :]
    assert f"of {len(set(groups)):,} lesions" in lead
    assert "of the sampling of test lesions" in text
    allowed = "names no patients: every lesion belongs to one split only, and is counted as a patient"
    assert allowed in text
    assert "patient" not in text.replace(allowed, "")
    assert not re.search(r"[0-9] patients?", text)


def test_percentiles_leave_out_what_is_undefined() -> None:
    values = np.random.default_rng(0).normal(size=(200, 3))
    values[::7, 0] = np.nan
    expected = np.nanquantile(values, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(percentile_interval(values), expected, rtol=1e-12)
    assert np.isnan(percentile_interval(np.full((5, 1), np.nan))).all()


cases = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40)


@settings(max_examples=25, deadline=None)
@given(cases)
def test_interval_of_a_rate_mirrors_that_of_the_opposite(pairs: list[tuple[bool, int]]) -> None:
    right, patients = np.array([r for r, _ in pairs]), np.array([p for _, p in pairs])
    low, high = rate_interval(right, patients)
    assert 0 <= low <= right.mean() <= high <= 1
    np.testing.assert_allclose(rate_interval(~right, patients), (1 - high, 1 - low), atol=1e-12)


def test_interval_of_a_rate_counts_images_of_one_patient_as_fewer() -> None:
    right = np.array([1, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 1, 0, 1], bool)
    patients = np.array([0, 0, 0, 1, 1, 2, 2, 3, 4, 4, 4, 5, 6, 7])
    assert rate_interval(right, np.arange(14)) == wilson(10, 14)
    # Rao and Scott: deff = v / (p q / n), v = G / (G - 1) sum_g (k_g - p n_g)^2 / n^2
    p = 10 / 14
    residuals = [right[patients == g].sum() - p * (patients == g).sum() for g in range(8)]
    m = 14 / (8 / 7 * np.sum(np.square(residuals)) / 14**2 / (p * (1 - p) / 14))
    z = norm.ppf(0.975)
    roots = np.roots([1 + z**2 / m, -(2 * p + z**2 / m), p**2])  # (p - x)^2 = z^2 x (1 - x) / m
    np.testing.assert_allclose(rate_interval(right, patients), sorted(roots), rtol=1e-12)
    assert rate_interval(np.ones(14, bool), patients) == wilson(8, 8)
    assert rate_interval(right[:0], patients[:0]) == pytest.approx((np.nan, np.nan), nan_ok=True)


def test_interval_of_a_rate_covers_clustered_images() -> None:
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 5)
    covered = alone = 0
    for _ in range(400):
        right = generator.random(300) < np.repeat(generator.beta(3, 1, 60), 5)
        low, high = rate_interval(right, patients)
        covered += low <= 0.75 <= high
        low, high = wilson(int(right.sum()), 300)
        alone += low <= 0.75 <= high
    assert 0.92 <= covered / 400 <= 0.98
    assert alone / 400 < 0.9


# Calibration


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=200))
def test_bins_of_a_reliability_diagram_hold_every_image_once(pairs: list[tuple[bool, int]]) -> None:
    positive, scores = np.array([p for p, _ in pairs]), np.array([s / 20 for _, s in pairs])
    predicted, observed, (low, high) = reliability(positive, scores, np.arange(len(scores)))
    assert (np.diff(predicted) > 0).all()
    assert ((low <= observed) & (observed <= high)).all()
    between = np.searchsorted((predicted[1:] + predicted[:-1]) / 2, scores)
    if len(set(between)) == len(predicted) == len(set(scores.tolist())):  # a bin for each distinct score
        np.testing.assert_allclose(predicted, sorted(set(scores.tolist())))


def test_reliability_of_rare_findings_looks_closely_at_the_highest_scores() -> None:
    generator = np.random.default_rng(0)
    scores = generator.beta(0.5, 50, 20000)
    positive = generator.random(20000) < scores
    predicted, _, (low, high) = reliability(positive, scores, np.arange(20000))
    edges = np.quantile(scores, [0.9, 0.95, 0.975])
    np.testing.assert_allclose(
        predicted[9], scores[(scores > edges[0]) & (scores <= edges[1])].mean(), rtol=1e-3
    )
    assert len(predicted) > 15
    assert np.mean((low <= predicted) & (predicted <= high)) > 0.8


@pytest.mark.usefixtures("undrawn")
def test_calibration_errors_are_shown_before_and_after(
    whole: RunResult, whole_page: tuple[str, Page]
) -> None:
    text = whole_page[1].text.replace("\N{NO-BREAK SPACE}", " ")
    shown = []
    for scores in (whole.raw_scores, whole.scores):
        shown.append(oracle.brier_score_loss(whole.labels == 2, scores[:, 2]))
    assert f"{figures(shown[0])} → {figures(shown[1])}" in text
    assert f"{percent(whole.raw_scores[:, 2].mean())} → {percent(whole.scores[:, 2].mean())}" in text


# Numbers


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.84712, "0.847"),
        (0.012345, "0.0123"),
        (0.00045678, "0.00046"),
        (12.345, "12.3"),
        (9.996, "10.0"),
        (1234.5, "1,234"),
        (1.0, "1.000"),
        (0.0, "0"),
        (-0.05, "−0.0500"),
        (math.nan, "–"),
        (math.inf, "∞"),
    ],
)
def test_numbers_have_three_significant_digits(value: float, shown: str) -> None:
    assert figures(value) == shown


def test_shares_are_given_in_per_cent() -> None:
    assert plain(share(0.5333, Interval(0.30119, 1.0))) == "53.3 % [30.1, 100]"
    assert plain(share(math.nan, Interval(math.nan, math.nan))) == "–"
    assert [listed(names) for names in ((), ("a",), ("a", "b"), ("a", "b", "c"))] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_intervals_have_the_digits_of_their_largest_number() -> None:
    assert plain(bracket(0.00947, Interval(-0.14757, 0.18922), plus=True)) == "+0.009 [−0.148, 0.189]"
    assert plain(bracket(1.0, Interval(0.5101, 1.0))) == "1.000 [0.510, 1.000]"
    assert plain(bracket(0.5, Interval(math.nan, math.nan))) == "0.500"
    assert plain(bracket(math.nan, Interval(math.nan, math.nan))) == "–"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": ()}, "0 operating points for 3 classes"),
        ({"groups": np.zeros(3)}, r"groups have shape \(3,\), expected \(200,\)"),
        ({"raw_scores": np.zeros((200, 2))}, "raw_scores have shape"),
        ({"validation_labels": None}, "both validation_labels and validation_scores"),
        ({"validation_scores": np.zeros((7, 3))}, "do not fit"),
    ],
)
def test_optional_arrays_that_do_not_fit_are_refused(
    whole: RunResult, tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "report.html", [dataclasses.replace(whole, **changes)])


def test_runs_on_other_test_images_are_refused(two_runs: list[RunResult], tmp_path: Path) -> None:
    other = dataclasses.replace(two_runs[1], labels=two_runs[1].labels[::-1])
    with pytest.raises(ValueError, match="other test images"):
        write(tmp_path / "report.html", [two_runs[0], other])


PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]], np.float32)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("labels", "scores", "groups"),
    [
        (np.full((4, 2), -1), PROBABILITIES, None),
        (np.array([[1, -1], [0, 1], [-1, 0], [0, 0]]), PROBABILITIES, np.array(["b", "a", "b", "c"])),
        (np.array([0, 1, 1, 0]), PROBABILITIES, np.zeros(4, int)),
        (np.array([0, 1, 1, 0]), np.full((4, 2), 0.5), None),
        (np.array([0, 1, 1, 0]), np.eye(2)[[0, 1, 1, 0]], np.array([0, 0, 1, 1])),
        (np.array([1, 1, 1, 0]), PROBABILITIES, np.arange(4)),
    ],
    ids=["nothing known", "some known", "one patient", "equal scores", "no error", "three positives"],
)
def test_degenerate_test_sets_have_a_report(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray | None, tmp_path: Path
) -> None:
    classes = ("clear", "finding")
    negative = None if labels.ndim == 2 else "clear"
    table = classification_summary(labels, scores, classes, negative_class=negative)
    run = RunResult("a", "It is.", [], "auroc", 1, table, labels, scores, 1.0, groups=groups)
    _, parsed = write(tmp_path / "report.html", [run], classes=classes, negative_class=negative)
    assert not re.search(r"\bnan\b", parsed.text.lower())
