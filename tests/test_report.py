import dataclasses
import math
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from imbal_jax import report
from imbal_jax.errors import InputError
from imbal_jax.metrics import classification_summary
from imbal_jax.report import RunResult, write_report

CLASSES = ("normal", 'nodule <6 mm & "firm"', "mass")
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Text and tags of a page; raises on a closing tag that does not fit."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


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


def test_summary_counts_what_was_found(page: tuple[str, Page], two_runs: list[RunResult]) -> None:
    _, parsed = page
    before, after = (
        oracle.confusion_matrix(run.labels, run.scores.argmax(axis=1), labels=[0, 1, 2]) for run in two_runs
    )
    text = parsed.text.replace("\N{NO-BREAK SPACE}", " ")
    assert (
        f'of 8 nodule <6 mm & "firm" images it found {after[1, 1]} instead of {before[1, 1]}, with '
        f"{after[[0, 2], 1].sum()} false alarms instead of {before[[0, 2], 1].sum()}." in text
    )
    expected = np.mean(
        [oracle.f1_score(two_runs[1].labels == k, two_runs[1].scores.argmax(1) == k) for k in (1, 2)]
    )
    assert f"highest macro F\N{NON-BREAKING HYPHEN}score, {expected:.3f} against" in text
    assert "4.0 %" in text  # the prevalence of the rarest class: 8 of 200
    assert "moves its sensitivity by 12 percentage points" in text  # 1 of 8
    assert "point estimates without a confidence interval" in text
    assert re.search(r"not finite: <b>ldam</b> & drw 3\.", text)


def test_every_confusion_is_shown(page: tuple[str, Page], two_runs: list[RunResult]) -> None:
    html, _ = page
    cells = [int(count) for count in re.findall(r'class="cell [^>]*>(\d+)<', html)]
    expected = [
        oracle.confusion_matrix(run.labels, run.scores.argmax(axis=1), labels=[0, 1, 2]) for run in two_runs
    ]
    assert cells == np.ravel(expected).tolist()


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
    assert not re.search(r"doe|jane|scans|https", html, re.IGNORECASE)
    assert str(tmp_path) not in html
    for kept in ('"source": "folder"', "--seed 3", "--steps 7", '"rate": "1/2"', '"note": "read (path)'):
        assert kept in parsed.text


def test_class_without_positives_is_undefined_not_an_error(tmp_path: Path) -> None:
    labels = np.repeat([0, 2], [90, 10])
    _, parsed = write(tmp_path / "report.html", [result("focal", labels, scores_for(labels, 2.0, 0))])
    assert "– undefined: no positive example" in parsed.text
    assert 'Undefined, with no positive or no negative test image: nodule <6 mm & "firm".' in parsed.text
    assert "nan" not in parsed.text.lower().replace("finance", "")


def test_test_set_without_any_positive_says_so(tmp_path: Path) -> None:
    labels = np.zeros(30, np.int32)
    scores = np.tile([0.9, 0.06, 0.04], (30, 1))
    _, parsed = write(tmp_path / "report.html", [result("focal", labels, scores, history=[])])
    assert "hold no positive example" in parsed.text
    assert "There is no positive and no false alarm to show." in parsed.text
    assert "No history was recorded" in parsed.text


def test_single_run_is_not_compared(tmp_path: Path, two_runs: list[RunResult]) -> None:
    _, parsed = write(tmp_path / "report.html", two_runs[:1])
    assert "reached a macro" in parsed.text
    assert not re.search(r"highest macro|instead of|named on these same", parsed.text)


def test_perfect_method_has_nothing_missed(tmp_path: Path, labels: np.ndarray) -> None:
    scores = np.eye(3)[labels]
    _, parsed = write(tmp_path / "report.html", [result("perfect", labels, scores)])
    assert "No mass image was missed." in parsed.text
    assert "No other image was called mass." in parsed.text


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
        cells = "".join(f"{count:,} ({report.percent(count / of)})" for count, of in shares)
        assert CLASSES[k] + cells + f"{(~known).sum()}" in text


def test_hundred_classes_list_the_frequent_confusions(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    classes = tuple(f"class {k}" for k in range(100))
    labels = generator.integers(0, 100, 1000)
    scores = generator.dirichlet(np.ones(100), 1000)
    table = classification_summary(labels, scores, classes)
    run = RunResult("focal", "It is.", [], "auroc", 1, table, labels, scores, 1.0)
    html, parsed = write(tmp_path / "report.html", [run], classes=classes, negative_class=None)
    assert "The 20 most frequent confusions" in parsed.text
    assert "The 12 rarest classes are drawn" in parsed.text
    assert len(html) < 3_000_000


def test_thousands_of_large_images_stay_below_three_megabytes(tmp_path: Path) -> None:
    classes = tuple(f"finding {k}" for k in range(14))
    generator = np.random.default_rng(0)
    labels = (generator.random((1500, 14)) < 0.1).astype(np.int8)
    images = np.broadcast_to(generator.integers(0, 256, (1, 200, 200, 3), np.uint8), (1500, 200, 200, 3))
    runs = []
    for method in ("a", "b", "c"):
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
    steps, values = report._series(history, "validation", lambda record: record["f_score"] - record["loss"])
    assert (steps.tolist(), values.tolist()) == ([1], [-0.25])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_roc_corners_have_the_area_of_scikit_learn(pairs: list[tuple[bool, int]]) -> None:
    positive, score = np.array([p for p, _ in pairs]), np.array([s for _, s in pairs])
    hits, alarms = report._cumulative(positive, score)
    assert (hits[-1], alarms[-1]) == (positive.sum(), (~positive).sum())
    if 0 < positive.sum() < len(positive):
        corners = report._corners(hits, alarms)
        area = np.trapezoid(hits[corners], alarms[corners]) / (hits[-1] * alarms[-1])
        assert area == pytest.approx(oracle.roc_auc_score(positive, score))
        gained = 1 + np.flatnonzero(np.diff(hits))
        precision = hits[gained] / (hits + alarms)[gained]
        area = np.sum(np.diff(np.append(0, hits[gained])) * precision) / hits[-1]
        assert area == pytest.approx(oracle.average_precision_score(positive, score))


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, two_runs: list[RunResult]) -> None:
    with pytest.raises(ValueError, match="do not fit 3 images"):
        write(tmp_path / "report.html", two_runs, images=np.zeros((3, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="different names"):
        write(tmp_path / "report.html", two_runs[:1] * 2)


def test_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path, two_runs: list[RunResult]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*report\.html"):
        write(tmp_path / "file" / "report.html", two_runs)


def test_same_result_makes_the_same_file(
    tmp_path: Path, two_runs: list[RunResult], page: tuple[str, Page]
) -> None:
    assert write(tmp_path / "again.html", two_runs)[0] == page[0]


def test_change_is_undefined_where_a_value_is() -> None:
    empty = dataclasses.replace(
        result("a", np.array([0, 1, 2]), np.eye(3)), table={"macro": {"sensitivity": math.nan}}
    )
    assert report._change(empty, empty, "sensitivity") == "undefined"
