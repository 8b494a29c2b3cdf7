"""The pages that are written from a stored ledger, read as text and computed again with numpy."""

import json
import re
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from html_page import Page
from scipy.stats import wilcoxon
from suite.report.made_ledger import FINALISTS, whole_ledger
from suite.simulated import World, simulated_ledger

from imbal_jax.methods import METHODS
from imbal_jax.suite.report import figure_names, write
from imbal_jax.suite.report.evidence import evidence_of
from imbal_jax.suite.report.markdown import markdown
from imbal_jax.suite.report.page import page
from imbal_jax.suite.report.sections import sections_of

LEDGER = Path(__file__).with_name("ledger.jsonl")


@pytest.fixture(scope="module")
def stored() -> list[dict]:
    return [json.loads(line) for line in LEDGER.read_text().splitlines()]


@pytest.fixture(scope="module")
def written(stored, tmp_path_factory) -> tuple[str, str, Path]:
    """HTML, Markdown and the folder of the stored ledger's report."""
    out = tmp_path_factory.mktemp("report")
    html, text = write("Stored runs", stored, out)
    return html.read_text(), text.read_text(), out


def tables(markdown: str, heading: str) -> list[list[list[str]]]:
    """The tables of a section, rows of cells, the headings first."""
    section = re.split(r"^## ", markdown, flags=re.MULTILINE)
    body = next(part for part in section if part.startswith(heading))
    found: list[list[list[str]]] = []
    inside = False
    for line in body.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not inside:
                found.append([])
            if not set(line) <= set("|-: "):
                found[-1].append(cells)
        inside = line.startswith("|")
    return found


def markdown_of(lines: list[dict]) -> str:
    """The Markdown page, without drawing the figures."""
    return markdown("Made", sections_of(evidence_of("Made", lines)), "figures")


def number(text: str) -> float:
    return float(text.split(" ")[0].replace("−", "-").replace("+", "").replace(",", ""))


# Tables beside numpy


def test_the_table_of_means_is_that_of_numpy(stored, written):
    first = tables(written[1], "What was measured")[0]
    columns = {
        "balanced accuracy": ("metrics", "balanced_accuracy"),
        "balanced accuracy, plain call": ("raw", "balanced_accuracy"),
        "worst class": ("metrics", "worst_class"),
        "average precision": ("metrics", "average_precision"),
        "calibration error": ("metrics", "calibration_error"),
    }
    checked = 0
    for row in first[1:]:
        runs = [line for line in stored if line["setting"] == "tuned" and line["method"] == row[0]]
        for heading, cell in zip(first[0], row, strict=True):
            if heading in columns and runs:
                part, metric = columns[heading]
                by_cell = defaultdict(list)
                for line in runs:
                    if line["outcome"] == "done":
                        by_cell[line["cell"]].append(line[part][metric])
                expected = np.mean([np.mean(values) for values in by_cell.values()])
                assert number(cell) == pytest.approx(expected, abs=5.1e-4), (row[0], heading)
                checked += 1
    assert checked == 3 * len(columns)


def test_the_table_of_statistics_is_that_of_numpy_and_scipy(stored, written):
    by_condition = tables(written[1], "Statistics")[1]
    assert by_condition[0][:4] == ["method", "pairs", "difference", "p"]
    cell, checked = "", 0
    cells = {
        "**phantoms 1:10, 50 positives**": "phantoms-10-50",
        "**phantoms 1:100, 50 positives**": "phantoms-100-50",
    }
    for row in by_condition[1:]:
        if row[0] in cells:
            cell = cells[row[0]]
        elif row[0] == "logit_adjusted":
            runs = {
                (line["method"], line["seed"]): line["metrics"]["balanced_accuracy"]
                for line in stored
                if (line["setting"], line["cell"], line["outcome"]) == ("tuned", cell, "done")
            }
            seeds = sorted({seed for method, seed in runs if (row[0], seed) in runs and ("ce", seed) in runs})
            differences = np.array([runs[row[0], seed] - runs["ce", seed] for seed in seeds])
            assert int(row[1]) == len(differences)
            assert number(row[2]) == pytest.approx(differences.mean(), abs=5.1e-4)
            assert number(row[3]) == pytest.approx(wilcoxon(differences, method="exact").pvalue, abs=5.1e-4)
            checked += 1
    assert checked == 2


def test_the_table_of_coverage_counts_the_lines(stored, written):
    rows = {row[0]: row[1:] for row in tables(written[1], "Failures and coverage")[0][1:]}
    tuned = [line["outcome"] for line in stored if line["setting"] == "tuned"]
    assert rows["final, tuned"] == [
        "2",
        "3",
        "6",
        *(str(tuned.count(o)) for o in ("done", "diverged", "failed")),
        "0",
    ]
    assert rows["tune, 2 trials"][:3] == ["1", "3", "1"]
    assert sum(int(row[3]) + int(row[4]) + int(row[5]) for row in rows.values()) == len(stored)


def test_equal_lines_give_equal_pages(stored, written, tmp_path):
    again, text = write("Stored runs", stored, tmp_path)
    assert text.read_text() == written[1]
    assert again.read_text() == written[0]


# Pages


def test_the_page_is_well_formed_and_loads_nothing(written):
    tags = Page(written[0])
    assert not tags.open
    loading = {"script", "link", "img", "iframe", "object", "embed"}
    assert not [tag for tag, _ in tags.tags if tag in loading]
    links = [
        value for _, attributes in tags.tags for key, value in attributes.items() if key in ("href", "src")
    ]
    assert links
    assert all(str(link).startswith("#") for link in links)
    assert "url(http" not in written[0]
    assert "@import" not in written[0]


def test_ids_are_unique_and_every_link_has_its_place(written):
    tags = Page(written[0])
    ids = [attributes["id"] for _, attributes in tags.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in tags.tags:
        if link := attributes.get("href"):
            assert link.removeprefix("#") in ids


def test_every_figure_says_what_it_shows_how_it_is_made_and_from_how_many_runs(written):
    html, text, out = written
    pictures = [
        attributes for tag, attributes in Page(html).tags if tag == "svg" and attributes.get("role") == "img"
    ]
    assert len(pictures) >= 10
    assert all(len(str(picture["aria-label"])) > 20 for picture in pictures)
    drawn = re.findall(r"!\[([^\]]+)\]\(figures/(\w+)\.svg\)", text)
    assert {name for _, name in drawn} == {*figure_names()} - {"screen"}
    for about, name in drawn:
        assert len(about) > 40
        after = text[text.index(f"figures/{name}.svg") :].split("\n\n")[1]
        assert re.search(
            rf"\d runs\. Made by `imbal-jax benchmark simulated --report --figure {name}`", after
        )
        assert f"imbal-jax benchmark simulated --report --figure {name}</p>" in re.sub(
            "</?(span|code)>", "", html
        )
        root = ElementTree.fromstring((out / "figures" / f"{name}.svg").read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(--" not in (out / "figures" / f"{name}.svg").read_text()


def test_both_pages_have_the_sections_in_order(written):
    html, text, _ = written
    of_text = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    of_html = [re.sub(r"<[^>]+>", "", heading) for heading in re.findall(r"<h2>(.*?)</h2>", html)]
    assert of_text == of_html
    assert of_text[:3] == ["What was compared", "Which method to use", "Failures and coverage"]
    assert of_text[-1] == "Statistics"


def test_the_face_says_what_was_compared(stored, written):
    lead = written[1].split("## Which method")[0]
    assert (
        "36 runs compare 2 methods (logit_adjusted and stratified) with ce in 2 data conditions of phantoms"
        in lead
    )
    assert "6 seeds each" in lead
    assert f"All {len(stored)} runs" in lead
    assert "Descriptive only" not in lead


# Conclusions


def test_few_seeds_are_descriptive_on_the_face_and_recommend_nothing():
    lines = simulated_ledger(World(seeds=3, ratios=(10.0,), effects={"ce": 0.0, "focal": 0.1}), curves=False)
    sections = sections_of(evidence_of("Smoke", lines))
    text = markdown("Smoke", sections, "figures")
    assert '<aside class="large"><b>Descriptive only</b>' in page("Smoke", "", sections[:1])
    assert "> **Descriptive only.** With 3 seeds" in text
    assert "p = 0.25" in text  # 2 / 2**3
    rows = tables(text, "Which method to use")[0]
    assert [row[1] for row in rows[1:]] == ["no recommendation"]


def test_a_large_effect_is_recommended_and_no_effect_is_not():
    def large(ratio: float, positives: int) -> float:
        return 0.08 if ratio > 30 else 0.0

    world = World(ratios=(10.0, 100.0), effects={"ce": 0.0, "focal": large}, post_hoc=0.0)
    text = markdown_of(simulated_ledger(world, curves=False))
    rows = tables(text, "Which method to use")[0]
    assert [row[1] for row in rows[1:]] == ["ce", "focal"]
    assert rows[1][2] == "the reference itself"
    assert number(rows[2][2]) == pytest.approx(0.08, abs=0.03)


@pytest.mark.parametrize("lacking", ["absent", "null"])
def test_lines_that_lack_what_they_may_lack_are_reported(tmp_path, lacking):
    optional = (
        "curve", "to_target", "bayes", "replicates", "post_hoc", "raw", "seconds", "peak_memory_mib", "unlearned",
        "images_per_second", "compile_seconds", "total_seconds", "counts", "versions", "hardware", "positives",
    )  # fmt: skip
    lines = simulated_ledger(World(seeds=2, ratios=(10.0,), effects={"ce": 0.0, "focal": 0.1}))
    kept = [{key: value for key, value in line.items() if key not in optional} for line in lines]
    if lacking == "null":
        kept = [{**line, **dict.fromkeys(optional)} for line in kept]
    _, text = write("Bare", kept, tmp_path)
    assert "4 of 4 runs ended with numbers" in text.read_text()


def test_a_ledger_of_failures_is_reported(tmp_path):
    lines = simulated_ledger(
        World(seeds=2, ratios=(10.0,), effects={"ce": 0.0, "focal": 0.1}, fails={"ce": 1.0, "focal": 1.0})
    )
    _, text = write("Failed", lines, tmp_path)
    assert "0 of 4 runs ended with numbers, 4 failed" in text.read_text()
    assert "InputError: no memory" in text.read_text()


@pytest.mark.slow
def test_a_page_of_more_than_2300_runs_of_62_methods_stays_below_3_megabytes(tmp_path):
    lines = whole_ledger(FINALISTS, screened=list(METHODS))
    assert len(lines) > 2300
    html, text = write("Large", lines, tmp_path)
    assert html.stat().st_size < 3e6
    assert not Page(html.read_text()).open
    assert all(method in text.read_text() for method in METHODS)
