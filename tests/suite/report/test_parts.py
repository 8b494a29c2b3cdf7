"""Parts of the report beside values that were worked out by hand."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from suite.simulated import World, of, simulated_ledger

from imbal_jax.config import Config, Data
from imbal_jax.errors import InputError
from imbal_jax.report.style import DARK, LIGHT
from imbal_jax.suite import Cell, Check, Published, Stage, Suite, config_of, digest
from imbal_jax.suite.report import write, write_figure
from imbal_jax.suite.report.blocks import Section, one_table
from imbal_jax.suite.report.calibration import calibration
from imbal_jax.suite.report.class_curves import class_curves, initial_drop, mean_curve, rare_and_common
from imbal_jax.suite.report.compared import _overhead
from imbal_jax.suite.report.cost import costs
from imbal_jax.suite.report.coverage import missing
from imbal_jax.suite.report.differences import differences
from imbal_jax.suite.report.evidence import evidence_of
from imbal_jax.suite.report.failures import reasons, tallies
from imbal_jax.suite.report.looks import looks
from imbal_jax.suite.report.markdown import markdown
from imbal_jax.suite.report.numbers import p_value, signed, with_interval
from imbal_jax.suite.report.published import beside_published
from imbal_jax.suite.report.ratio import band_of
from imbal_jax.suite.report.results_tables import profile_table
from imbal_jax.suite.report.sections import sections_of
from imbal_jax.suite.report.time_to_target import time_to_target
from imbal_jax.suite.report.validity import validity
from imbal_jax.suite.statistics import Estimate

TWO = {"ce": 0.0, "focal": 0.05}


def small(**changes) -> list[dict]:
    return simulated_ledger(World(**({"seeds": 4, "ratios": (10.0, 100.0), "effects": TWO} | changes)))


# Curves


def test_the_initial_drop_is_the_deepest_fall_below_an_earlier_value():
    drop = initial_drop(np.array([1, 2, 4, 8, 16, 32]), np.array([0.4, 0.5, 0.1, 0.2, 0.5, 0.7]))
    assert drop == (0.5, 0.1, 4, 16)


def test_a_fall_that_is_never_made_good_has_no_step_of_return():
    drop = initial_drop(np.array([1, 2, 6]), np.array([0.5, 0.2, 0.3]))
    assert drop is not None
    assert math.isinf(drop.regained)


def test_a_fall_late_in_training_is_not_the_first_one():
    assert initial_drop(np.array([1, 2, 3, 4]), np.array([0.1, 0.2, 0.5, 0.3])) is None


def test_a_rising_curve_has_no_drop():
    assert initial_drop(np.array([1, 2, 3]), np.array([0.1, 0.1, 0.4])) is None
    assert initial_drop(np.array([1]), np.array([0.1])) is None


def test_the_mean_curve_is_over_the_steps_that_all_runs_evaluated():
    lines = [
        {"curve": {"step": [10, 20, 30], "recall/a": [0.0, 0.5, 1.0]}},
        {"curve": {"step": [10, 30, 40], "recall/a": [0.2, 0.6, 0.9]}},
    ]
    steps, values, spread = mean_curve(lines, "recall/a")
    np.testing.assert_array_equal(steps, [10, 30])
    np.testing.assert_allclose(values, [0.1, 0.8])
    np.testing.assert_allclose(spread, np.array([0.2, 0.4]) / math.sqrt(2))


def test_the_rare_class_is_a_finding_and_not_the_negative_one():
    line = {
        "counts": {"train": [5, 100, 20]},
        "classes": ["normal", "nodule", "mass"],
        "negative_class": "normal",
    }
    assert rare_and_common(line) == ("mass", "nodule")


def test_the_curves_are_those_of_the_highest_ratio():
    drawing = class_curves(evidence_of("Made", small()))
    assert drawing is not None
    assert drawing.read.startswith("phantoms, 1:100, 50 positives")
    assert drawing.runs == 8


# Ratio


def test_bands_of_few_seeds_reach_from_the_lowest_to_the_highest():
    lines = small(seeds=3, ratios=(10.0,))
    values = [line["metrics"]["balanced_accuracy"] for line in of(lines, method="focal")]
    view = evidence_of("Made", lines).main
    assert band_of(view, "focal", view.places[0]) == (10.0, min(values), max(values))


def test_bands_of_many_seeds_are_the_intervals_of_the_findings():
    view = evidence_of("Made", small(seeds=8, ratios=(10.0,))).main
    _, low, high = band_of(view, "focal", view.places[0])
    assert (low, high) == view.comparisons["focal", "phantoms-10-50"].mean[1:3]


def test_a_target_that_nobody_reached_is_said_in_words():
    lines = [line | {"to_target": None} for line in small()]
    section = next(each for each in sections_of(evidence_of("Made", lines)) if each.anchor == "figure-target")
    assert "No method reached the target" in section.blocks[0].text


# Time to the target


def timed(steps: dict[str, float | None]) -> list[dict]:
    """Two conditions in which each method always takes so many steps; None misses."""
    lines = small(seeds=2, effects=dict.fromkeys(steps, 0.0), post_hoc=0.0)
    for line in lines:
        taken = steps[line["method"]]
        line["to_target"] = None if taken is None else {"steps": taken, "seconds": taken / 10}
    return lines


def test_the_profile_rises_where_a_method_reaches_the_target():
    drawing = time_to_target(evidence_of("Made", timed({"ce": 200, "focal": 100, "crt": None})))
    assert drawing is not None
    figure = drawing.panels[0].figure
    heights = {line.get_color(): np.array(line.get_data()) for line in figure.axes[0].lines}
    shown = {look.name: look.colour for look in drawing.key}
    assert heights[shown["focal"]][1].min() == 100
    x, y = heights[shown["ce"]]
    assert x[y == 100].min() == pytest.approx(2, rel=0.02)  # twice the steps of focal
    assert (y[x < 1.98] == 0).all()
    assert (heights[shown["crt"]][1] == 0).all()


def test_the_score_is_the_area_under_the_profile_from_1_to_4():
    table = profile_table(evidence_of("Made", timed({"ce": 200, "focal": 100, "crt": None})).main)
    found = {row[0]: row[1:] for row in table.rows}
    assert found["focal"] == ("1.000", "1.000", "2 of 2")
    assert found["ce"] == ("0.667", "0.667", "2 of 2")  # (4 - 2) / (4 - 1)
    assert found["crt"][2] == "0 of 2"


# Calibration


def test_the_dots_of_calibration_are_means_over_the_conditions():
    lines = small()
    view = evidence_of("Made", lines)
    drawing = calibration(view)
    assert drawing is not None
    dots = [
        line.get_xdata()[0] for line in drawing.panels[0].figure.axes[0].lines if len(line.get_xdata()) == 1
    ]
    for method, dot in zip(("ce", "focal"), dots, strict=True):
        cells = [
            np.mean([line["metrics"]["calibration_error"] for line in of(lines, method=method, ratio=ratio)])
            for ratio in (10.0, 100.0)
        ]
        assert dot == pytest.approx(np.mean(cells))


# Cost


def test_the_front_has_the_methods_that_no_other_beats_in_both():
    effects = {"ce": 0.0, "a": 0.05, "b": 0.02, "c": -0.03, "d": 0.08}
    lines = simulated_ledger(World(seeds=4, ratios=(10.0,), effects=effects, post_hoc=0.0), curves=False)
    factor = {"ce": 1.0, "a": 2.0, "b": 3.0, "c": 0.5, "d": 4.0}
    for line in lines:
        line["seconds"] = 10.0 * factor[line["method"]] * (1 + line["seed"])
        line["post_hoc"] = None
    found = {cost.method: cost for cost in costs(evidence_of("Made", lines).main)}
    for name, cost in found.items():
        assert cost.seconds == pytest.approx(factor[name])
        beaten = any(
            other.seconds <= cost.seconds and other.gain >= cost.gain
            for other in found.values()
            if other is not cost
        )
        assert cost.front is not beaten
    assert not found["b"].front


# Failures and coverage


def test_runs_in_trouble_are_counted_by_outcome():
    lines = small(seeds=3, ratios=(10.0,))
    for line, change in zip(of(lines, method="focal"), ("diverged", "failed", "done"), strict=True):
        line |= {"outcome": change, "reason": "" if change == "done" else f"it {change}", "to_target": None}
    view = evidence_of("Made", lines).main
    focal = next(tally for tally in tallies(view) if tally.method == "focal")
    assert (focal.runs, focal.diverged, focal.failed, focal.missed) == (3, 1, 1, 1)
    assert sorted(reasons(view)) == [("focal", "it diverged", 1), ("focal", "it failed", 1)]


def test_what_is_missing_of_the_grid_is_named():
    lines = small()
    left = [line for line in lines if line["key"] != "final/phantoms-100-50/2/focal/default/2"]
    assert len(left) == len(lines) - 1
    assert missing(evidence_of("Made", lines).main) == []
    assert missing(evidence_of("Made", left).main) == [("phantoms 1:100, 50 positives", ["focal (1 of 4)"])]


# Heat map


def test_every_comparison_of_the_heat_map_is_counted_once():
    lines = small(seeds=8, effects={"ce": 0.0, "focal": 0.1, "crt": -0.1, "stratified": 0.0})
    evidence = evidence_of("Made", lines)
    drawing = differences(evidence, evidence.main)
    assert drawing is not None
    counts = [int(word) for word in drawing.notes[0].replace(",", " ").split() if word.isdecimal()]
    assert counts[0] == sum(counts[1:]) == 8  # 3 methods and the post-hoc adjustment, 2 conditions


# Suite


def suite_of(**changes) -> Suite:
    cells = tuple(
        Cell(name=f"phantoms-{ratio}-50", set="phantoms", data=Data(), ratio=ratio, positives=50)
        for ratio in (10, 100)
    )
    numbers = tuple(range(4))
    stage = Stage(name="final", cells=cells, methods=("ce", "focal"), draws=numbers, seeds=numbers)
    return Suite(
        **({"name": "made", "title": "Made up", "base": Config(name="made"), "stages": (stage,)} | changes)
    )


def lines_of(suite: Suite) -> list[dict]:
    """Simulated lines whose definitions are those of the suite."""
    now = {a.key: digest(config_of(suite, a)) for stage in suite.stages for a in stage.addresses()}
    return [line | {"definition": now[line["key"]]} for line in small() if line["key"] in now]


def test_a_suite_knows_what_is_pending_changed_and_foreign(tmp_path):
    suite = suite_of()
    lines = lines_of(suite)
    assert len(lines) == 16
    lines[3] = lines[3] | {"definition": "0" * 16}
    foreign = lines[0] | {"key": "final/other/0/ce/default/0", "cell": "other"}
    _, text = write(suite, [*lines[:-2], foreign], tmp_path)
    page = text.read_text()
    assert page.startswith("# Made up")
    assert "3 runs of the suite are not in the ledger yet" in page
    assert "1 line were" not in page
    assert "1 line was made with other options than the suite has now" in page
    assert "1 line of runs that the suite no longer has is left out" in page
    assert "benchmark made --report" in page
    assert "14 runs compare 1 method (focal) with ce in 2 data conditions" in page


def test_of_two_lines_of_a_run_that_of_the_present_definition_counts():
    suite = suite_of()
    lines = lines_of(suite)
    old = lines[3] | {"definition": "0" * 16, "metrics": {"balanced_accuracy": 0.1}}
    for order in ([*lines, old], [old, *lines]):
        kept = {line["key"]: line for line in evidence_of(suite, order).lines}
        assert kept[old["key"]] == lines[3]


def test_a_descriptive_suite_says_so_however_many_seeds_it_has():
    evidence = evidence_of(suite_of(descriptive=True), lines_of(suite_of()))
    assert evidence.descriptive


def test_checks_print_pass_fail_and_what_the_runs_say():
    seen = []

    def holds(lines):
        seen.append(len(lines))
        return True, "0.1 against 0.2"

    checks = (
        Check(name="first", claim="one holds", holds=holds),
        Check(name="second", claim="one does not", holds=lambda lines: (False, "0.3")),
        Check(name="third", claim="one is unknown", holds=lambda lines: (None, "no run")),
    )
    text, table = validity(evidence_of(suite_of(checks=checks), lines_of(suite_of())))
    assert [row[:2] for row in table.rows] == [("first", "pass"), ("second", "FAIL"), ("third", "not told")]
    assert table.rows[0][2] == "one holds. 0.1 against 0.2"
    assert "1 of 3 checks pass, 1 fail" in text.text
    assert seen == [16]


def test_the_time_beside_training_is_said():
    times = [(20.0, 8.0, 30.0), (20.0, 0.0, 21.0), (20.0, 0.0, 22.0)]  # training, compiling, in all
    names = ("seconds", "compile_seconds", "total_seconds")
    lines = [
        line | dict(zip(names, times[n % 3], strict=True)) for n, line in enumerate(lines_of(suite_of())[:15])
    ]
    lines[0] = lines[0] | {"outcome": "failed", "seconds": None}  # tells nothing
    lines[1:] = [lines[n] for n in (3, 1, 2, 6, 4, 5, 9, 7, 8)]
    text = _overhead(lines)
    # 180 s of training and 24 of compiling in 219; ratios 0.5, 0.05 and 0.1 thrice each
    assert "Training took 82.2 % of the time, compiling 11.0 %" in text
    assert "adds 10.0 % to it" in text
    assert _overhead([{"outcome": "failed"}]) == ""


def test_errors_stand_beside_published_ones():
    suite = suite_of()
    lines = lines_of(suite)
    first = lines[0]
    accuracies = {
        line["key"]: 0.7 + 0.01 * n
        for n, line in enumerate(lines)
        if (line["method"], line["cell"]) == (first["method"], first["cell"])
    }
    lines = [{**line, "raw": {"accuracy": accuracies.get(line["key"], 0.1)}} for line in lines]
    published = (
        Published(method=first["method"], cell=first["cell"], error=22.5, source="A, 2020"),
        Published(method="ldam", cell=first["cell"], error=23.0, source="B, 2019"),
    )
    _, table = beside_published(evidence_of(suite_of(published=published), lines))
    errors = 100 * (1 - np.array(list(accuracies.values())))
    assert len(errors) > 1
    shown = f"{errors.mean():.2f} ± {errors.std(ddof=1):.2f}"
    assert table.rows[0] == (first["method"], shown, str(len(errors)), "22.50", "A, 2020")
    assert table.rows[1] == ("ldam", "not run", "0", "23.00", "B, 2019")
    assert beside_published(evidence_of(suite, lines)) == ()


def test_an_unknown_figure_and_an_empty_ledger_are_explained(tmp_path):
    with pytest.raises(InputError, match="unknown figure 'ratios': did you mean ratio"):
        write_figure("Made", small(), tmp_path, "ratios")
    with pytest.raises(InputError, match="nothing to draw"):
        write_figure("Made", small(), tmp_path, "screen")
    with pytest.raises(InputError, match="holds no run"):
        write("Made", [], tmp_path)


def test_one_figure_is_written_alone(tmp_path):
    path = write_figure("Made", small(), tmp_path, "cost")
    assert [each.name for each in tmp_path.rglob("*.svg")] == ["cost.svg"]
    assert "(16 runs)" in path.read_text()


# Looks


def test_every_method_keeps_one_look_and_the_rest_are_grey():
    effects = {"ce": 0.0} | {f"m{i}": 0.01 * i for i in range(12)}
    view = evidence_of(
        "Made", simulated_ledger(World(seeds=2, ratios=(10.0,), effects=effects), curves=False)
    ).main
    shown = looks(view)
    assert len(shown) == 8
    assert "ce + post-hoc" in shown
    assert next(iter(shown)) == "ce"
    signs = [(look.colour, look.dash) for look in shown.values()]
    assert len(signs) == len(set(signs))


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_better_and_worse_differ_for_the_colour_blind(palette):
    # matrices of Machado, Oliveira and Fernandes (IEEE TVCG 2009) for a complete deficiency, on linear RGB
    blind = {
        "protan": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deutan": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        "tritan": [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    }
    values = dict(part.split(":") for part in palette.replace("\n", "").split(";"))

    def linear(name: str) -> np.ndarray:
        parts = np.array([int(values[name][i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)

    for matrix in blind.values():
        seen = [np.clip(np.array(matrix) @ linear(f"--m{i}"), 0, 1) for i in (1, 2)]
        assert np.abs(seen[0] - seen[1]).max() > 0.2


# Text


def test_markdown_shows_names_as_they_are():
    table = one_table(("a|b", "c"), [("ldam_drw", "<b> *x* _y_")])
    text = markdown("T", [Section("x", "H", (table,))], "figures")
    assert "| a\\|b | c |" in text
    assert "| ldam_drw | \\<b\\> \\*x\\* \\_y\\_ |" in text


def test_numbers_of_the_tables():
    assert signed(0.0234) == "+0.023"
    assert signed(-0.0234) == "−0.023"
    assert with_interval(Estimate(0.5, 0.41, 0.61, 0.1), plus=True) == "+0.500 [0.410, 0.610]"
    assert with_interval(Estimate(0.5, math.nan, math.nan, math.nan)) == "0.500"
    assert (p_value(0.0004), p_value(0.0341), p_value(math.nan)) == ("< 0.001", "0.034", "–")


def test_views_are_unchanged_by_the_order_of_the_lines():
    lines = small()
    views = [evidence_of("Made", order).main for order in (lines, lines[::-1])]
    assert dataclasses.replace(views[0].table, profiles=()).methods == views[1].table.methods
    for method, place in itertools.product(views[0].methods, views[0].places):
        first, second = (view.mean(method, place.cell, "balanced_accuracy") for view in views)
        assert first == pytest.approx(second)


def test_times_are_those_to_the_target_that_the_suite_has_now():
    curve = {
        "step": [10, 20, 30],
        "seconds": [1.0, 2.0, 3.0],
        "auroc": [0.5, 0.7, 0.9],
        "loss": [3.0, 2.0, 1.0],
    }
    lines = [
        line | {"curve": curve, "to_target": {"steps": 30, "seconds": 3.0}} for line in lines_of(suite_of())
    ]
    for target, steps in (("auroc >= 0.6", 20), ("loss <= 1.5", 30), ("auroc >= 0.5", 10)):
        evidence = evidence_of(suite_of(target=target), lines)
        assert {line["to_target"]["steps"] for line in evidence.lines} == {steps}
    assert {line["to_target"] for line in evidence_of(suite_of(target="auroc >= 0.95"), lines).lines} == {
        None
    }
    # a metric that the curves have not: what the run found counts
    kept = evidence_of(suite_of(target="other >= 0.5"), lines).lines
    assert {line["to_target"]["steps"] for line in kept} == {30}
