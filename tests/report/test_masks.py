"""Sections on masks: what is called beside what is so, from the numbers of numpy."""

import base64
import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
from html_page import Page
from matplotlib.figure import Figure
from PIL import Image

from imbal_jax.metrics.codes import encode
from imbal_jax.report import RunResult, write_report
from imbal_jax.report.masks import FALSE, FOUND, MISSED, marked
from imbal_jax.tasks.mask_table import MaskScores

CLASSES = ("background", "vessel <small>")
THRESHOLD = 0.4
GROUPS = np.array([0, 0, 1, 2, 3, 4, 5, 6])


def truths(size: int = 40) -> np.ndarray:
    """int8 [8, size, size]: image 3 is empty, the first rows of the last image are not known."""
    masks = np.zeros((8, size, size), np.int8)
    for image in range(8):
        masks[image, 5 : 8 + image, 5:25] = 1
    masks[3] = 0
    masks[7, :4] = -1
    return masks


def called_of(masks: np.ndarray, rates: np.ndarray, seed: int) -> np.ndarray:
    """bool: a share ``rates`` of the true pixels of each image, and 1 % of the others."""
    draws = np.random.default_rng(seed).random(masks.shape)
    return np.where(masks == 1, draws < rates[:, None, None], draws < 0.01)


def run_of(method: str, masks: np.ndarray, called: np.ndarray, validation: float) -> RunResult:
    kept = encode(np.where(called, 0.6, 0.2).astype(np.float32))[..., None]
    scores = MaskScores(CLASSES[1:], masks, kept, (THRESHOLD,), 1)
    history = [
        {"kind": "validation", "step": step, "best": step == 20, "dice": value, "dice/vessel": value}
        for step, value in ((10, None), (20, validation), (30, 0.1))
    ]
    return RunResult(
        method, f"{method} is.", history, "dice", 20, scores.table, masks, kept, 75.0, groups=GROUPS,
        decides=False, thresholds={CLASSES[1]: THRESHOLD}, masks=scores,
    )  # fmt: skip


RATES = np.array([0.9, 0.8, 0.7, 0.0, 0.95, 0.05, 0.85, 0.6])


@pytest.fixture(scope="module")
def runs() -> list[RunResult]:
    """The second is better on test, the first on validation."""
    masks = truths()
    better = called_of(masks, np.minimum(RATES + 0.04, 1), 1)
    return [run_of("dice_ce", masks, called_of(masks, RATES, 0), 0.8), run_of("ce", masks, better, 0.7)]


def write(
    path: Path, runs: list[RunResult], images: np.ndarray | None = None, grouped_by: str = "patient"
) -> tuple[str, Page]:
    size = runs[0].labels.shape
    page = write_report(
        path,
        runs=runs,
        title="Vessels",
        classes=CLASSES,
        negative_class="background",
        images=np.random.default_rng(0).integers(0, 256, (*size, 1), np.uint8) if images is None else images,
        split_table=[{"split": "test", "images": size[0], "patients": 7, "prevalence": {CLASSES[1]: 0.875}}],
        config={"method": "ce"},
        environment={"jax": "0.10.2"},
        grouped_by=grouped_by,
    ).read_text()
    parsed = Page(page)
    assert not parsed.open
    parsed.text = parsed.text.replace("\N{NO-BREAK SPACE}", " ")
    return page, parsed


@pytest.fixture(scope="module")
def page(runs: list[RunResult], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Page]:
    with pytest.MonkeyPatch.context() as patch:  # drawing takes most of the time
        patch.setattr(Figure, "savefig", lambda self, file, **_: file.write("<svg></svg>"))
        return write(tmp_path_factory.mktemp("masks") / "report.html", runs)


def of_numpy(run: RunResult, masks: np.ndarray, called: np.ndarray) -> dict[str, float]:
    hits, misses, alarms = (
        int(of.sum()) for of in ((masks == 1) & called, (masks == 1) & ~called, (masks == 0) & called)
    )
    return {
        "found": hits / (hits + misses),
        "right": hits / (hits + alarms),
        "dice": 2 * hits / (2 * hits + misses + alarms),
        "iou": hits / (hits + misses + alarms),
        "share": (hits + misses) / (masks >= 0).sum(),
    }


def numbers(text: str) -> list[float]:
    """Those before an interval, and those of a percentage alone."""
    text = re.sub(r"\[.*?\]", "", text)
    return [float(n) / (100 if percent else 1) for n, percent in re.findall(r"(\d+\.\d+)( %)?", text)]


def test_the_lead_is_of_the_method_that_validation_prefers_with_the_numbers_of_numpy(
    runs: list[RunResult], page: tuple[str, Page]
) -> None:
    masks = truths()
    expected = [
        of_numpy(run, masks, called_of(masks, rates, seed))
        for run, rates, seed in zip(runs, (RATES, np.minimum(RATES + 0.04, 1)), (0, 1), strict=True)
    ]
    assert expected[1]["dice"] > expected[0]["dice"] + 0.02  # on test the other one is better
    (lead,) = re.findall(r"dice_ce finds.*? of 7\.", page[1].text)
    found = numbers(lead.partition(", on ")[0])
    keys = ("found", "share", "right", "dice")
    np.testing.assert_allclose(found, [expected[0][key] for key in keys], atol=6e-4)
    assert lead.endswith("on 6 patients with it of 7.")  # of seven persons six have it
    html = page[0]
    for row, of in zip(re.findall(r"<tr>.*?</tr>", html)[1:3], expected, strict=True):
        cells = numbers(re.sub(r"<.*?>", "|", row).replace("\N{NO-BREAK SPACE}", " "))
        np.testing.assert_allclose(cells, [of["dice"], of["iou"], of["found"], of["right"], 0.4], atol=6e-4)


def test_the_order_of_the_runs_has_no_say(runs: list[RunResult], tmp_path: Path, undrawn: None) -> None:
    _, parsed = write(tmp_path / "report.html", [runs[1], runs[0]])
    assert re.search(r"it findsdice_ce finds", parsed.text)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: file.write("<svg></svg>"))


def test_pictures_begin_with_the_worst_and_say_in_words_what_they_show(page: tuple[str, Page]) -> None:
    masks, called = truths(), called_of(truths(), RATES, 0)
    of = []
    for truth, found in zip(masks, called, strict=True):
        hits, misses, alarms = (
            int(n.sum()) for n in ((truth == 1) & found, (truth == 1) & ~found, (truth == 0) & found)
        )
        if hits + misses:
            dice = 2 * hits / (2 * hits + misses + alarms)
            of.append((dice, f"found {hits:,}, missed {misses:,}, false {alarms:,} pixels"))
        else:
            nothing = f"nothing to find, false {alarms:,} pixels"
    texts = [attributes["alt"] for tag, attributes in page[1].tags if tag == "img"]
    assert all(marked == f"marked; {plain}" for plain, marked in zip(texts[::2], texts[1::2], strict=True))
    order = sorted(of)
    shown = [
        *order[:4],
        *order[5:7],
    ]
    assert len(texts) == 2 * (len(shown) + 1)
    for text, (dice, counts) in zip(texts[::2], shown, strict=False):
        value, _, rest = text.removeprefix("Dice ").partition(", ")
        assert float(value) == pytest.approx(dice, abs=6e-4)
        assert rest == counts
    assert texts[-2] == nothing


def test_colours_of_pixels_are_explained_and_are_those_of_the_pictures(page: tuple[str, Page]) -> None:
    for colour, text in ((FOUND, "found"), (MISSED, "missed"), (FALSE, "called and not so")):
        assert f'<i class="key" style="background:rgb{colour}"></i>{text}' in page[0]
    truth, called = np.array([[1, 1, 0, 0, -1]], np.int8), np.array([[True, False, True, False, True]])
    pixels = marked(np.full((1, 5, 1), 100, np.uint8), truth, called)[0]
    blend = [np.rint(0.45 * 100 + 0.55 * np.array(colour)) for colour in (FOUND, MISSED, FALSE)]
    np.testing.assert_array_equal(pixels, [*blend, [100] * 3, [50] * 3])
    deep = marked(np.full((1, 5, 3), 100 << 8, np.uint16), truth, called)[0]
    np.testing.assert_array_equal(deep, pixels)


def test_cases_are_summed_and_empty_ones_have_a_table_of_their_own(page: tuple[str, Page]) -> None:
    masks, called = truths(), called_of(truths(), RATES, 0)
    dice = []
    for case in np.unique(GROUPS):
        truth, found = masks[case == GROUPS], called[case == GROUPS]
        if (truth == 1).any():
            hits = int(((truth == 1) & found).sum())
            dice.append(2 * hits / ((truth == 1).sum() + (found & (truth >= 0)).sum()))
    assert len(dice) == 6
    quantiles = np.quantile(dice, [0.1, 0.25, 0.5, 0.75, 0.9])
    (row,) = re.findall(r"not found at all.*?dice_ce(.*?) of 6", page[1].text)
    found = [float(n) for n in re.findall(r"0\.\d{3}", row)]
    np.testing.assert_allclose(found, quantiles, atol=6e-4)
    alarms = int(called[3].sum())
    assert f"vessel <small>1 of 1{alarms}.0" in page[1].text


def test_no_name_of_a_patient_or_file_is_in_the_page(runs: list[RunResult], tmp_path: Path) -> None:
    named = np.array([f"ZZMARKERZZ_{group}" for group in GROUPS])
    page, _ = write(tmp_path / "report.html", [dataclasses.replace(run, groups=named) for run in runs])
    assert "ZZMARKERZZ" not in page
    assert str(tmp_path) not in page


def test_large_pictures_are_shown_around_what_is_there_in_a_page_below_three_megabytes(
    tmp_path: Path, undrawn: None
) -> None:
    masks = np.zeros((8, 1000, 1000), np.int8)
    for image in range(8):
        masks[image, 700 : 720 + image, 300:340] = 1
    called = np.roll(masks, 5, axis=1) == 1
    images = np.random.default_rng(0).integers(0, 256, (8, 1000, 1000, 3), np.uint8)
    page, parsed = write(tmp_path / "report.html", [run_of("ce", masks, called, 0.8)], images)
    assert len(page) < 3_000_000
    sources = [str(a["src"]) for tag, a in parsed.tags if tag == "img"]
    assert len(sources) == 12
    for source in sources[1::2]:
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))
        assert max(shown.shape) <= 320
        green = (shown[..., 1].astype(int) - shown[..., 0] > 15).sum()  # of at least 35 x 15 found pixels
        assert green > 300


def test_the_page_says_by_how_much_the_bins_leave_the_ranks_open(
    page: tuple[str, Page], runs: list[RunResult]
) -> None:
    (gap,) = re.findall(r"whose order leaves them open by ([\d.e-]+) at most", page[0])
    shares = []
    for run in runs:
        # of two probabilities: a positive and a negative of equal code may stand in either order
        known = run.labels >= 0
        positive = run.labels[known] == 1
        high = run.masks.kept[..., 0][known] == run.masks.kept.max()
        tied = sum((positive & side).sum() * (~positive & side).sum() for side in (high, ~high))
        shares.append(tied / (positive.sum() * (~positive).sum()))
    assert float(f"{max(shares):.1g}") <= float(gap) <= 1
