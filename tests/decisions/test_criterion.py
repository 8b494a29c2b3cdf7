"""The value of a criterion, its constraints, and the operating points that they ask for."""

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax.decisions.class_rules import rules_of
from imbal_jax.decisions.criterion import FLOOR
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.errors import InputError

fast = settings(max_examples=25, deadline=None)


rates = st.floats(0, 1)


# Text


def test_an_unknown_metric_is_named_with_those_allowed():
    criterion = parse_criterion("auroc where sensitivty >= 0.9")
    with pytest.raises(InputError, match=r"'sensitivty'.*expected one of auroc, sensitivity"):
        criterion.check(["auroc", "sensitivity"])
    with pytest.raises(InputError, match="sensitivty"):
        criterion.merit({"auroc": 0.9, "sensitivity": 0.9})
    criterion.check(["auroc", "sensitivty"])


@fast
@given(
    st.lists(
        st.tuples(st.floats(-100, 100), st.sampled_from(["auroc", "loss", "mcc/a b", "f/x-y"])), min_size=1
    )
)
def test_a_sum_of_terms_is_read_and_scored_as_written(terms):
    metrics = {"auroc": 0.5, "loss": 3.0, "mcc/a b": -0.25, "f/x-y": 0.125}
    spelled = [(c, "mcc/'a b'" if name == "mcc/a b" else name) for c, name in terms]
    text = " ".join(
        f"{'-' if c < 0 else '+' if i else ''} {abs(c)!r}*{name}" for i, (c, name) in enumerate(spelled)
    )
    expected = sum(c * metrics[name] for c, name in terms)
    assert parse_criterion(text).merit(metrics) == pytest.approx(expected, abs=1e-9)


def test_rates_at_operating_points_have_names_of_their_own_and_then_decides_between_equals():
    criterion = parse_criterion("sensitivity + 2*f_score/'a b' at operating points then average_precision")
    assert criterion.names == (
        "sensitivity at operating points",
        "f_score/a b at operating points",
        "average_precision",
    )
    low, high = (
        criterion.merit(dict(zip(criterion.names, (0.5, 0.25, ap), strict=True))) for ap in (0.2, 0.9)
    )
    assert low == pytest.approx(1.0, abs=1e-5)
    assert low < high < criterion.merit(dict(zip(criterion.names, (0.501, 0.25, 0.0), strict=True)))
    both = parse_criterion("f_score at operating points then auroc where specificity >= 0.5 smoothed 2")
    assert (both.constraints[0].name, both.smoothed) == ("specificity", 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("auroc at operating points", "reads 'auroc' at operating points, where there are sensitivity"),
        ("f_score at points", "malformed at 'points'"),
        (
            "f_score at operating points within 1 standard error",
            "no standard error of rates at operating points",
        ),
        ("f_score then", "malformed at its end"),
    ],
)
def test_what_cannot_be_read_at_operating_points_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        parse_criterion(text)


# Score


def test_score_is_the_sum_of_the_terms():
    metrics = {"auroc": 0.75, "sensitivity": 0.5, "loss": 2.0}
    assert parse_criterion("2*auroc + sensitivity - loss").merit(metrics) == 0.0
    assert parse_criterion("- loss").merit(metrics) == -2.0


def test_a_bound_that_is_met_exactly_is_satisfied():
    metrics = {"specificity": 0.25, "sensitivity": 0.95}
    assert parse_criterion("specificity where sensitivity >= 0.95").merit(metrics) == 0.25
    assert parse_criterion("specificity where sensitivity <= 0.95").merit(metrics) == 0.25


def test_violations_of_several_constraints_add_up():
    criterion = parse_criterion("auroc where a >= 0.75 and b <= 0.25")
    assert criterion.merit({"auroc": 1.0, "a": 0.5, "b": 0.5}) == FLOOR - 0.5


@fast
@given(st.lists(st.tuples(st.floats(-1e9, 1e9), rates), min_size=1, max_size=20), rates)
def test_whoever_satisfies_the_constraints_beats_whoever_does_not(evaluations, bound):
    criterion = parse_criterion(f"- loss where sensitivity >= {bound!r}")
    scored = [(s >= bound, criterion.merit({"loss": v, "sensitivity": s})) for v, s in evaluations]
    satisfied = [score for holds, score in scored if holds]
    violated = [score for holds, score in scored if not holds]
    assert all(math.isfinite(score) for _, score in scored)
    if satisfied and violated:
        assert min(satisfied) > max(violated)


@fast
@given(rates, rates, rates, rates)
def test_of_two_that_violate_the_nearer_wins_whatever_its_value(first, second, v, w):
    criterion = parse_criterion("auroc where sensitivity >= 2")
    if first > second + 1e-9:
        assert criterion.merit({"auroc": v, "sensitivity": first}) > criterion.merit(
            {"auroc": w, "sensitivity": second}
        )


@pytest.mark.parametrize("undefined", [math.nan, None, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["auroc", "sensitivity"])
def test_an_undefined_metric_loses_to_everything(undefined, name):
    criterion = parse_criterion("auroc where sensitivity >= 0.9")
    metrics = {"auroc": 0.5, "sensitivity": 0.95, name: undefined}
    assert criterion.merit(metrics) == -math.inf
    assert criterion.merit({"auroc": 0.0, "sensitivity": 0.0}) > -math.inf


def test_an_undefined_metric_that_is_not_read_does_no_harm():
    assert parse_criterion("auroc").merit({"auroc": 0.5, "mcc": math.nan}) == 0.5


# Early stopping


def test_the_order_of_terms_and_constraints_does_not_matter():
    rng = random.Random(0)
    metrics = {name: rng.random() for name in "abcd"}
    for terms, limits in itertools.product(
        itertools.permutations(["a", "0.5*b"]), itertools.permutations(["c >= 0.9", "d <= 0.1"])
    ):
        text = f"{' + '.join(terms)} where {' and '.join(limits)}"
        expected = FLOOR - max(0, 0.9 - metrics["c"]) - max(0, metrics["d"] - 0.1)
        assert parse_criterion(text).merit(metrics) == pytest.approx(expected, abs=1e-9)


evaluations = st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 0.6, 0.75, 1.0, None])] * 3)


# What is said, and what is refused
GUARDED = "specificity where sensitivity >= 0.95"


# Does it help? Thirty positives, twenty evaluations, five hundred runs


def test_a_constraint_is_the_operating_point_unless_one_is_given():
    classes = ("normal", "nodule", "mass")

    def of(select, **deploy):
        return list(map(str, rules_of(deploy.get("points"), classes, select)))

    assert of("auroc") == ["youden"] * 3
    assert of(GUARDED) == ["sensitivity >= 0.95"] * 3
    assert of(GUARDED, points=("max f2",)) == ["max f2"] * 3
    bounded = "auroc where sensitivity/nodule lower bound 90 % >= 0.8 and specificity >= 0.5 and auroc >= 0.7"
    assert of(bounded) == [
        "specificity >= 0.5",
        "sensitivity >= 0.8 with 90 % confidence",
        "specificity >= 0.5",
    ]
    assert of("auroc where sensitivity <= 0.5 and loss <= 1") == ["youden"] * 3
