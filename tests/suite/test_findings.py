"""Findings on simulated ledgers whose truth is known: what is there is found, as often as is promised."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import stats
from suite.simulated import World, of, simulated_ledger

from imbal_jax.errors import InputError
from imbal_jax.runs.paired_difference import holm
from imbal_jax.suite.conclusions.comparison import estimate
from imbal_jax.suite.conclusions.runs import by_run, overlaps, pairs
from imbal_jax.suite.findings import conclude
from imbal_jax.suite.statistics import attainable_level, bayesian_signed_rank, signed_rank

METRIC = "balanced_accuracy"
# Little chance in the patients and from seed to seed, so that 12 seeds can show equality
PRECISE = World(own_sd=0.003, shared_sd=0.01, patients_sd=0.005, method_patients_sd=0.001, post_hoc=0.0)


def many(world, cells):
    """``world`` with as many independent cells."""
    return replace(world, ratios=tuple(map(float, range(20, 20 + cells))))


def paired(world, cells, method, *, rng=0, overlap="counts"):
    """The differences of ``method`` to ce in each of many cells."""
    lines = simulated_ledger(replace(many(world, cells), replicated=(METRIC,)), rng=rng, curves=False)
    runs, shared = by_run(lines), overlaps(lines)
    names = dict.fromkeys(line["cell"] for line in lines)
    return [
        pairs(runs[cell, method], runs[cell, "ce"], METRIC, shared[cell] if overlap == "counts" else overlap)
        for cell in names
    ]


def within(rate, expected, trials, errors=3.3):
    """Whether a rate in ``trials`` is that expected, up to 3.3 binomial standard errors (1 in 1,000)."""
    return abs(rate - expected) <= errors * math.sqrt(expected * (1 - expected) / trials)


@pytest.fixture(scope="module")
def resplits():
    """Differences of a method that is better by 0.03, in 250 cells of 12 re-splits each."""
    return paired(World(effects={"ce": 0.0, "good": 0.03}, overlap=0.25), 250, "good", rng=2)


# Nothing there


def test_equal_methods_are_told_apart_as_often_as_the_level_says():
    world = World(effects={"ce": 0.0, "same": 0.0}, overlap=0.0)
    found = [signed_rank(each.differences).p_value <= 0.05 for each in paired(world, 200, "same")]
    assert within(np.mean(found), attainable_level(12, 0.05), 200)


def test_patients_that_seeds_share_are_no_difference(resplits):
    null = [replace(each, differences=each.differences - 0.03) for each in resplits]
    seeds_alone = np.array([signed_rank(each.differences).p_value for each in null])
    both = np.maximum(seeds_alone, [estimate(each).p_value for each in null])
    assert (seeds_alone <= 0.05).mean() > 0.1
    assert (both <= 0.05).mean() <= 0.05 + 3.3 * math.sqrt(0.05 * 0.95 / len(null))


def test_among_equal_methods_holm_keeps_the_chance_of_any_false_alarm():
    differences = np.random.default_rng(0).normal(0, 0.02, (300, 9, 12))
    families = np.array([[signed_rank(each).p_value for each in family] for family in differences])
    alarms = np.mean([(holm(family) <= 0.05).any() for family in families])
    assert alarms <= 0.05 + 3.3 * math.sqrt(0.05 * 0.95 / 300)
    assert np.mean((families <= 0.05).any(axis=1)) > 0.2  # without Holm


@pytest.mark.slow
def test_a_method_that_equals_the_reference_gets_a_false_verdict_in_at_most_one_of_twenty_tables():
    alarms = np.zeros(2)
    for rng in range(200):
        world = World(effects={"ce": 0.0, "a": 0.0, "b": 0.0}, post_hoc=0.0, ratios=(10.0, 100.0))
        found = conclude(simulated_ledger(world, rng=rng, curves=False)).main.comparisons
        for n, method in enumerate(("a", "b")):
            alarms[n] += any(each.verdict in ("better", "worse") for each in found if each.method == method)
    assert (alarms / 200 <= 0.05 + 3.3 * math.sqrt(0.05 * 0.95 / 200)).all()


# A difference of known size


@pytest.mark.parametrize(
    "world", [World(one_draw=True), World(seeds=6, overlap=0.25)], ids=["one test set", "few seeds"]
)
def test_intervals_cover_the_true_difference_as_often_as_they_say(world):
    covers_and_centres(paired(replace(world, effects={"ce": 0.0, "good": 0.03}), 200, "good", rng=2))


def test_intervals_cover_the_true_difference_over_re_splits_of_one_pool(resplits):
    covers_and_centres(resplits)


def covers_and_centres(cells):
    found = [estimate(each) for each in cells]
    assert within(np.mean([low <= 0.03 <= high for _, low, high, _ in found]), 0.95, len(found))
    assert np.mean([value for value, *_ in found]) == pytest.approx(0.03, abs=0.003)


def test_the_textbook_bootstrap_is_too_wide_for_test_sets_of_their_own_and_too_narrow_for_one_pool():
    half = {}
    for overlap in (0.0, 0.8):
        world = World(effects={"ce": 0.0, "good": 0.0}, overlap=overlap, own_sd=0.001)
        found = [estimate(each) for each in paired(world, 60, "good", rng=3, overlap=None)]
        half[overlap] = np.mean([low <= 0 <= high for _, low, high, _ in found])
    assert half[0.0] > 0.95
    assert half[0.8] < 0.7


def test_a_difference_is_found_and_has_its_size():
    world = World(effects={"ce": 0.0, "good": 0.06, "bad": -0.06}, overlap=0.1)
    main = conclude(simulated_ledger(world, rng=4, curves=False)).main
    for place in main.places:
        good, bad = (main.comparison(place.cell, name) for name in ("good", "bad"))
        assert (good.verdict, bad.verdict) == ("better", "worse")
        assert good.difference.low < 0.06 < good.difference.high
        assert good.probabilities.better > 0.95
        assert good.mean.value - good.difference.value == pytest.approx(
            main.comparison(place.cell, "ce").mean.value
        )
    assert main.methods[:2] == ("ce", "good")
    assert main.methods[-1] == "bad"
    assert main.tests == 9  # good, bad and ce + post-hoc in three cells


def test_values_of_a_cell_are_those_of_scipy():
    lines = simulated_ledger(World(effects={"ce": 0.0, "good": 0.02}, ratios=(100.0,)), rng=5, curves=False)
    main = conclude(lines).main
    one, other = ([line["metrics"][METRIC] for line in of(lines, method=m)] for m in ("ce", "good"))
    found = main.comparison("phantoms-100-50", "good")
    assert found.ranks.p_value == pytest.approx(stats.wilcoxon(other, one, method="exact").pvalue)
    assert found.difference.value == pytest.approx(np.mean(other) - np.mean(one))
    assert found.deviation == pytest.approx(np.std(other, ddof=1))
    post_hoc = [line["post_hoc"][METRIC] for line in of(lines, method="ce")]
    rival = main.comparison("phantoms-100-50", "ce + post-hoc")
    assert rival.mean.value == pytest.approx(np.mean(post_hoc))
    assert not rival.patients
    assert found.p_holm == max(found.ranks.p_value, found.difference.p_value)  # one cell


def test_holm_is_over_the_cells_of_a_method():
    world = World(effects={"ce": 0.0, "good": 0.02, "same": 0.0}, ratios=(10.0, 100.0, 1000.0, 3000.0))
    main = conclude(simulated_ledger(world, rng=3, curves=False)).main
    for method in ("good", "same"):
        cells = [main.comparison(place.cell, method) for place in main.places]
        p_values = [max(each.ranks.p_value, each.difference.p_value) for each in cells]
        # statsmodels' definition: in ascending order the running maximum of (m - i) p
        order = np.argsort(p_values)
        steps = np.minimum(np.maximum.accumulate(np.sort(p_values) * [4, 3, 2, 1]), 1)
        np.testing.assert_allclose(np.array([each.p_holm for each in cells])[order], steps)


def test_fifteen_cells_leave_room_for_a_verdict():
    world = World(
        effects={"ce": 0.0, "good": 0.08, "too": 0.09},
        post_hoc=0.08,
        ratios=tuple(map(float, range(10, 25))),
        overlap=0.1,
    )
    main = conclude(simulated_ledger(world, curves=False)).main
    verdicts = [each.verdict for each in main.comparisons if each.method != "ce"]
    assert verdicts == ["better"] * 45


# A tie


def test_equal_methods_are_called_so_where_seeds_and_patients_tell():
    world = replace(PRECISE, effects={"ce": 0.0, "same": 0.0, "good": 0.05})
    main = conclude(simulated_ledger(world, rng=6, curves=False)).main
    for place in main.places:
        assert main.comparison(place.cell, "same").verdict == "no difference"
        assert main.comparison(place.cell, "ce + post-hoc").verdict == "no difference"
        assert main.comparison(place.cell, "good").verdict == "better"


def test_where_the_chance_is_large_no_difference_is_not_shown_and_what_could_be_missed_is_said():
    world = World(effects={"ce": 0.0, "same": 0.0}, method_patients_sd=0.03, overlap=0.3)
    main = conclude(simulated_ledger(world, rng=7, curves=False)).main
    found = [main.comparison(place.cell, "same") for place in main.places]
    assert [each.verdict for each in found] == ["not shown"] * 3
    # the mean difference alone varies by sqrt(2 x 0.3) x 0.03 with the patients
    assert all(each.detectable > 3 * math.sqrt(0.6) * 0.03 for each in found)


def test_no_difference_is_seldom_said_of_methods_that_differ_by_more_than_the_region():
    world = replace(PRECISE, effects={"ce": 0.0, "good": 0.02})
    equal = [
        bayesian_signed_rank(c.differences, c.patients).equal >= 0.95 for c in paired(world, 200, "good")
    ]
    assert np.mean(equal) <= 0.05


# Failures and missing lines


def test_a_method_that_diverges_on_half_of_its_seeds_is_not_judged_by_the_others_alone():
    world = World(effects={"ce": 0.0, "frail": 0.06}, diverges={"frail": 0.5}, ratios=(10.0, 100.0, 1000.0))
    main = conclude(simulated_ledger(world, rng=8, curves=False)).main
    for place in main.places:
        found = main.comparison(place.cell, "frail")
        assert found.failures.diverged + found.seeds == found.failures.runs == 12
        assert found.difference.value > 0.03  # of the runs that ended
        assert found.verdict != "better"
        assert found.failures.reasons == ("the loss is not finite at step 120",)
    assert all(regime.recommended != "frail" for regime in main.regimes)


def test_a_method_that_always_diverges_is_worse_and_has_no_value():
    world = World(effects={"ce": 0.0, "frail": 0.06}, diverges={"frail": 1.0}, ratios=(100.0,))
    main = conclude(simulated_ledger(world, curves=False)).main
    found = main.comparison("phantoms-100-50", "frail")
    assert (found.verdict, found.seeds) == ("worse", 0)
    assert math.isnan(found.mean.value)
    times = main.profiles[0].times[main.profiles[0].methods.index("frail")]
    assert np.isinf(times).all()
    assert main.profiles[0].scores[main.profiles[0].methods.index("frail")] == 0


def test_runs_that_failed_for_another_reason_are_no_evidence():
    world = World(effects={"ce": 0.0, "good": 0.0}, fails={"good": 1.0}, ratios=(100.0,))
    main = conclude(simulated_ledger(world, curves=False)).main
    found = main.comparison("phantoms-100-50", "good")
    assert (found.verdict, found.pairs, found.failures.failed) == ("descriptive only", 0, 12)
    assert "good" not in main.profiles[0].methods


def test_missing_lines_take_their_pairs_along():
    lines = simulated_ledger(World(effects={"ce": 0.0, "good": 0.05}, missing=0.2, ratios=(100.0,)), rng=9)
    seeds = {m: {line["seed"] for line in of(lines, method=m)} for m in ("ce", "good")}
    found = conclude(lines).main.comparison("phantoms-100-50", "good")
    assert found.pairs == len(seeds["ce"] & seeds["good"]) < 12
    assert found.seeds == len(seeds["good"])


def test_without_the_reference_nothing_is_compared():
    lines = simulated_ledger(World(effects={"a": 0.0, "b": 0.05}, ratios=(100.0,)), curves=False)
    main = conclude(lines).main
    assert {each.verdict for each in main.comparisons} == {"descriptive only"}
    assert main.descriptive
    assert main.regimes[0].recommended is None


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_fewer_than_six_seeds_are_descriptive_only(seeds):
    main = conclude(simulated_ledger(World(seeds=seeds), curves=False)).main
    verdicts = {each.verdict for each in main.comparisons if each.method != "ce"}
    assert verdicts == {"descriptive only"}
    assert main.descriptive
    found = main.comparison("phantoms-100-50", "logit_adjusted")
    assert found.ranks.least == 2 / 2**seeds
    assert math.isnan(found.difference.low) == (seeds == 1)
    assert math.isinf(found.detectable) or seeds == 1
    assert seeds == 1 or 0 <= found.mean.low < found.mean.value < found.mean.high <= 1
    assert [regime.recommended for regime in main.regimes] == [None] * 3


def test_no_lines_give_no_tables():
    assert conclude([]).main is None


def test_a_run_that_failed_and_was_repeated_counts_once():
    lines = simulated_ledger(World(effects={"ce": 0.0, "good": 0.05}, ratios=(100.0,)), curves=False)
    first = of(lines, method="good", seed=3)[0]
    failed = first | {"outcome": "failed", "reason": "out of memory"}
    again = conclude([failed, *lines]).main.comparison("phantoms-100-50", "good")
    assert again == conclude(lines).main.comparison("phantoms-100-50", "good")


def test_a_metric_of_which_less_is_better_is_refused():
    with pytest.raises(InputError, match="calibration_error"):
        conclude([], primary="calibration_error")


# Over cells


def test_over_cells_means_areas_and_quartiles_are_those_of_the_world():
    world = World(ratios=(10.0, 100.0, 1000.0, 10000.0), positives=(10, 250), patients_sd=0.005)
    main = conclude(simulated_ledger(world, rng=10, curves=False)).main
    for found in main.overall:
        if found.method == "ce + post-hoc":
            continue
        truth = [world.mean(found.method, r, p) for r in world.ratios for p in world.positives]
        assert found.complete
        assert found.mean == pytest.approx(np.mean(truth), abs=0.01)
        # linear in the logarithm of the ratio: the area is the mean of the ends
        ends = [world.mean(found.method, r, p) for r in (10, 10000) for p in world.positives]
        assert found.area == pytest.approx(np.mean(ends), abs=0.01)
        assert set(found.areas) == {("phantoms", 10), ("phantoms", 250)}
        middle = stats.trim_mean(np.sort(truth), 0.25)
        assert found.interquartile_mean.value == pytest.approx(middle, abs=0.015)
        assert found.interquartile_mean.low < found.interquartile_mean.value < found.interquartile_mean.high
    best = main.overall[1]
    assert best.method == "logit_adjusted"
    assert best.difference.low < 0.05 < best.difference.high
    assert best.verdicts["better"] == 8
    assert best.probabilities.better > 0.95


def test_the_profile_knows_which_method_is_faster_and_a_miss_is_infinite():
    world = World(effects={"ce": 0.0, "fast": 0.0, "never": -0.2}, speed={"fast": 3.0}, ratios=(10.0, 30.0))
    main = conclude(simulated_ledger(world, rng=11)).main
    steps = main.profiles[0]
    scores = dict(zip(steps.methods, steps.scores, strict=True))
    assert (steps.unit, scores["fast"], scores["never"], steps.reached) == ("steps", 1.0, 0.0, 2)
    assert scores["ce"] == pytest.approx((4 - 3) / 3, abs=0.12)
    np.testing.assert_array_equal(steps.shares([1, 4])[steps.methods.index("fast")], [1, 1])


def test_a_null_target_is_missed_and_an_absent_one_is_unknown():
    lines = simulated_ledger(World(effects={"ce": 0.0}, seeds=3, ratios=(10.0,)), curves=False)
    lines[0]["to_target"] = None
    lines[1]["to_target"] = {"steps": None, "seconds": None}
    main = conclude(lines).main
    assert main.comparison("phantoms-10-50", "ce").cost.steps_to_target == math.inf
    assert np.isinf(main.profiles[0].times).all()
    for line in lines:
        del line["to_target"]
    main = conclude(lines).main
    assert math.isnan(main.comparison("phantoms-10-50", "ce").cost.steps_to_target)
    assert main.profiles[0].methods == ()


def test_of_tuned_studies_the_best_trial_counts_and_the_median_study():
    world = World(
        effects={"ce": 0.0, "slow": 0.0},
        speed={"slow": 0.5},
        ratios=(10.0,),
        seeds=3,
        settings=("trial0", "trial1", "trial2"),
        stage="tune",
    )
    lines = simulated_ledger(world, rng=12)
    found = conclude(lines)
    assert found.tables == ()
    expected = [
        np.median([min(ln["to_target"]["steps"] for ln in of(lines, method=m, seed=s)) for s in range(3)])
        for m in ("ce", "slow")
    ]
    np.testing.assert_allclose(found.tuning[0].times[:, 0], expected)


def test_tuned_and_default_settings_have_tables_of_their_own():
    found = conclude(simulated_ledger(World(settings=("default", "tuned")), curves=False))
    assert (found.main.setting, found.defaults.setting) == ("tuned", "default")
    gain = found.main.comparison("phantoms-10-50", "ce").mean.value
    gain -= found.defaults.comparison("phantoms-10-50", "ce").mean.value
    assert gain == pytest.approx(0.01, abs=0.012)


# Recommendations


def test_each_regime_gets_the_method_that_is_best_there():
    def late(ratio, positives):
        return 0.08 if ratio >= 1000 else -0.04

    world = World(
        effects={"ce": 0.0, "early": lambda r, p: 0.06 if r < 1000 else 0.0, "late": late},
        ratios=(10.0, 100.0, 1000.0, 10000.0),
        positives=(10, 250),
        post_hoc=0.0,
        overlap=0.1,
    )
    regimes = conclude(simulated_ledger(world, rng=13, curves=False)).main.regimes
    assert len(regimes) == 8
    for regime in regimes:
        assert regime.recommended == ("late" if regime.ratios[0] >= 300 else "early")
        assert regime.difference.low > 0
        assert regime.p_holm < 0.05
        assert [place.ratio for place in regime.cells] == [
            place.ratio for place in regime.cells if regime.ratios[0] < place.ratio <= regime.ratios[1]
        ]
    assert {regime.positives for regime in regimes} == {(0, 25), (100, math.inf)}


def test_where_nothing_is_better_the_reference_is_recommended_and_what_may_be_missed_said():
    world = World(effects={"ce": 0.0, "same": 0.0, "bad": -0.05}, post_hoc=0.0)
    for regime in conclude(simulated_ledger(world, rng=14, curves=False)).main.regimes:
        assert regime.recommended == "ce"
        assert 0 < regime.missed < 0.05
        assert any("missed" in sentence for sentence in regime.evidence_against())


def test_what_speaks_against_a_recommendation_is_said():
    world = World(
        effects={"ce": 0.0, "good": lambda ratio, _: -0.01 if ratio == 100 else 0.11, "alike": 0.04},
        ratios=(100.0, 300.0),
        fails={"good": 0.1},
        post_hoc=0.0,
        seeds=16,
        overlap=0.05,
    )
    lines = simulated_ledger(world, rng=18, curves=False)
    for line in of(lines, method="good", outcome="done"):
        line["seconds"] *= 2
        line["metrics"]["calibration_error"] += 0.1
    (regime,) = conclude(lines).main.regimes
    assert regime.recommended == "good"
    assert [(cell, verdict) for cell, _, verdict in regime.lost] == [("phantoms-100-50", "not shown")]
    assert regime.failed == len(of(lines, method="good", outcome="failed")) > 0
    assert regime.seconds_ratio == pytest.approx(2, rel=0.05)
    assert regime.calibration_change == pytest.approx(0.1, abs=0.01)
    assert [rival.method for rival in regime.rivals] == ["alike"]
    said = regime.evidence_against()
    for sentence, words in zip(
        said, ("in 1 of 2 cells", "failed", "times as long", "calibration", "alike"), strict=True
    ):
        assert words in sentence


# Form


def test_equal_lines_give_equal_findings_and_they_can_be_written():
    lines = simulated_ledger(World(seeds=6, ratios=(100.0,)), curves=False)
    first, again = (conclude(lines) for _ in range(2))
    text = [json.dumps(asdict(each.main.comparisons[1]), allow_nan=True) for each in (first, again)]
    assert text[0] == text[1]
    assert first.lines == len(lines)
