"""The checks pass on ledgers with the published effects, fail on ledgers without, and say when they cannot tell."""

from dataclasses import replace

import pytest
from suite.simulated import World, simulated_ledger

from imbal_jax.suite.conclusions.validity import CHECKS, judge

LONG_TAIL = World(
    sets=("cifar10_lt",),
    ratios=(100.0,),
    seeds=6,
    classes=10,
    raw=0.0,
    post_hoc=0.0596,
    own_sd=0.004,
    patients_sd=0.0,
    method_patients_sd=0.0,
)
# raw accuracy less that of cross-entropy: BagofTricks and Menon et al., CIFAR-10-LT 100
PUBLISHED = {
    "ce": 0.0,
    "weighted_ce": -0.0365,
    "inverse_drw": 0.0287,
    "stratified": 0.005,
    "ce_drs": 0.0312,
    "logit_adjusted": 0.0653,
    "focal": -0.0039,
}
CHEST = {"crt": 0.294, "ldam_drw": 0.289, "weighted_ce": 0.260, "focal": 0.122, "ce": 0.115}
NAMES = [check.name for check in CHECKS]
DRW, DRS, ADJUSTED, FOCAL, XRAYS, BAYES = NAMES


def judged(name, world, **ledger):
    (check,) = [check for check in CHECKS if check.name == name]
    lines = simulated_ledger(world, curves=False, **ledger)
    return check.holds(lines)


def with_effects(**changed):
    return replace(LONG_TAIL, effects=PUBLISHED | changed)


def test_there_are_six():
    assert len(set(NAMES)) == 6


@pytest.mark.parametrize("seeds", [1, 6])
@pytest.mark.parametrize("name", [DRW, DRS, ADJUSTED, FOCAL])
def test_checks_pass_where_the_published_effects_are(name, seeds):
    quiet = replace(with_effects(), seeds=seeds, own_sd=0.001)
    holds, figures = judged(name, quiet)
    assert holds is True, figures
    assert f"{seeds} run" in figures
    assert ("assumed" in figures) == (seeds == 1)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        (DRW, {"inverse_drw": -0.0365}),  # as bad as weights from the start
        (DRS, {"ce_drs": -0.03}),
        (ADJUSTED, {"logit_adjusted": 0.0}),  # does nothing
        (ADJUSTED, {"logit_adjusted": 0.12}),  # far from post-hoc
        (FOCAL, {"focal": 0.06}),
    ],
)
def test_checks_fail_where_the_effect_is_absent(name, changed):
    holds, figures = judged(name, with_effects(**changed))
    assert holds is False, figures


@pytest.mark.parametrize("name", [DRS, ADJUSTED, FOCAL])
def test_one_run_does_not_tell_what_lies_between(name):  # the effect of DRW is so large that one run does
    between = {"ce_drs": 0.012, "logit_adjusted": 0.04, "focal": 0.015}
    quiet = replace(with_effects(**between), seeds=1, own_sd=0.0001)
    assert judged(name, quiet)[0] is None


@pytest.mark.parametrize("name", [DRW, DRS, FOCAL])
def test_cells_of_two_classes_are_not_judged_by_long_tails(name):
    holds, why = judged(name, replace(with_effects(), classes=2))
    assert holds is None
    assert "three or more classes" in why


def test_logit_adjustment_is_judged_on_two_classes_too():
    world = World(ratios=(100.0,), effects={"ce": 0.0, "logit_adjusted": 0.05}, seeds=8)
    assert judged(ADJUSTED, world)[0] is True
    assert judged(ADJUSTED, replace(world, effects={"ce": 0.0, "logit_adjusted": -0.05}))[0] is False
    holds, why = judged(ADJUSTED, replace(world, ratios=(10.0,)))
    assert holds is None
    assert "ratio of 50" in why


def test_absent_methods_are_named():
    holds, why = judged(DRW, replace(LONG_TAIL, effects={"ce": 0.0, "weighted_ce": 0.0}))
    assert holds is None
    assert "inverse_drw" in why


def test_chest_x_rays_pass_in_the_published_order_and_fail_where_focal_is_as_good_as_weights():
    world = replace(LONG_TAIL, sets=("nih_cxr_lt",), effects=CHEST)
    assert judged(XRAYS, world)[0] is True
    assert judged(XRAYS, replace(world, effects=CHEST | {"focal": 0.26}))[0] is False
    assert judged(XRAYS, replace(world, effects=CHEST | {"crt": 0.2}))[0] is False
    assert judged(XRAYS, replace(world, sets=("cifar10_lt",)))[0] is None


def test_no_method_may_beat_the_ideal_observer():
    world = World(ratios=(100.0,), own_sd=0.003, shared_sd=0.0, patients_sd=0.0, overlap=0.0)
    above = max(world.mean(method, 100, 50) for method in world.effects) + 0.05  # auroc is the highest metric
    assert judged(BAYES, replace(world, bayes=above + 0.01))[0] is True
    holds, figures = judged(BAYES, replace(world, bayes=above - 0.03))
    assert holds is False
    assert "logit_adjusted on phantoms-100-50" in figures
    assert judged(BAYES, world)[0] is None


def test_an_accident_of_one_test_set_does_not_fail_the_ideal_observer():
    world = World(ratios=(100.0,), effects={"ce": 0.0}, one_draw=True, own_sd=0.0001, shared_sd=0.0)
    quiet = replace(world, patients_sd=0.0, method_patients_sd=0.0)
    auroc = quiet.mean("ce", 100, 50) + 0.05
    assert judged(BAYES, replace(quiet, bayes=auroc - 0.005))[0] is True
    assert judged(BAYES, replace(quiet, bayes=auroc - 0.02))[0] is False


@pytest.mark.parametrize("name", NAMES)
def test_no_lines_do_not_tell(name):
    (check,) = [check for check in CHECKS if check.name == name]
    assert check.holds([])[0] is None


def test_all_six_are_printed_as_pass_fail_or_cannot_be_judged():
    lines = simulated_ledger(replace(with_effects(focal=0.06), own_sd=0.001), curves=False)
    printed = [str(each) for each in judge(lines)]
    assert [line.split(":")[0] for line in printed] == [
        "pass",
        "pass",
        "pass",
        "fail",
        *["cannot be judged"] * 2,
    ]
    assert "focal less ce +0.06" in printed[3]
    assert "error 28.44 against 28.05" in printed[3]
    assert all("\n" not in line for line in printed)
