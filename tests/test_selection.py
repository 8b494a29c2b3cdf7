"""The best checkpoint and early stopping."""

import itertools
import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax.errors import InputError
from imbal_jax.selection import FLOOR, Constraint, Term, best_step, parse_criterion, should_stop

fast = settings(max_examples=60, deadline=None)
rates = st.floats(0, 1)


def history_of(values):
    return [{"step": 10 * (i + 1), "auroc": value} for i, value in enumerate(values)]


# Text


@pytest.mark.parametrize(
    ("text", "terms", "constraints"),
    [
        ("auroc", [(1, "auroc")], []),
        ("  - loss ", [(-1, "loss")], []),
        ("sensitivity + f_score", [(1, "sensitivity"), (1, "f_score")], []),
        ("0.5*auroc+sensitivity-2 * loss", [(0.5, "auroc"), (1, "sensitivity"), (-2, "loss")], []),
        ("-.5*loss + 1e-3*auroc", [(-0.5, "loss"), (1e-3, "auroc")], []),
        ("specificity where sensitivity >= 0.95", [(1, "specificity")], [("sensitivity", 1, 0.95)]),
        ("a where b>=1 and c <= -0.5", [(1, "a")], [("b", 1, 1.0), ("c", -1, -0.5)]),
        ("sensitivity/nodule", [(1, "sensitivity/nodule")], []),
        ("mcc/covid-19 - loss", [(1, "mcc/covid-19"), (-1, "loss")], []),
        (
            "f_score/\"no finding\" + f_score/'it + that'",
            [(1, "f_score/no finding"), (1, "f_score/it + that")],
            [],
        ),
        ("auroc/where where auroc/and >= 0.5", [(1, "auroc/where")], [("auroc/and", 1, 0.5)]),
        ("whereabouts", [(1, "whereabouts")], []),
    ],
)
def test_text_is_read_as_the_terms_and_constraints_it_spells(text, terms, constraints):
    criterion = parse_criterion(text)
    assert criterion.terms == tuple(Term(float(c), name) for c, name in terms)
    assert criterion.constraints == tuple(Constraint(*c) for c in constraints)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "auroc +",
        "+ auroc",
        "- - auroc",
        "where",
        "auroc where",
        "auroc where sensitivity",
        "auroc where sensitivity > 0.9",
        "auroc where sensitivity == 0.9",
        "auroc where sensitivity >= specificity",
        "auroc where 0.9 <= sensitivity",
        "auroc where sensitivity >= 0.9 or specificity >= 0.9",
        "auroc where sensitivity >= 0.9 and",
        "auroc where sensitivity >= 1e999",
        "auroc and sensitivity >= 0.9",
        "auroc sensitivity",
        "2",
        "2 auroc",
        "auroc * 2",
        "1.2.3*auroc",
        "1e999*auroc",
        "auroc/",
        'auroc/"no finding',
        "auroc & sensitivity",
        "(auroc)",
        "__import__('os')",
    ],
)
def test_malformed_text_is_an_input_error_of_one_line(text):
    with pytest.raises(InputError) as caught:
        parse_criterion(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_malformed_text_is_answered_with_the_grammar():
    with pytest.raises(InputError, match=r"malformed at '>'.*where NAME >=\|<= NUMBER"):
        parse_criterion("specificity where sensitivity > 0.9")


def test_an_unknown_metric_is_named_with_those_allowed():
    criterion = parse_criterion("auroc where sensitivty >= 0.9")
    with pytest.raises(InputError, match=r"'sensitivty'.*expected one of auroc, sensitivity"):
        criterion.check(["auroc", "sensitivity"])
    with pytest.raises(InputError, match="sensitivty"):
        criterion.score({"auroc": 0.9, "sensitivity": 0.9})
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
    assert parse_criterion(text).score(metrics) == pytest.approx(expected, abs=1e-9)


# Score


def test_score_is_the_sum_of_the_terms():
    metrics = {"auroc": 0.75, "sensitivity": 0.5, "loss": 2.0}
    assert parse_criterion("2*auroc + sensitivity - loss").score(metrics) == 0.0
    assert parse_criterion("- loss").score(metrics) == -2.0


def test_a_bound_that_is_met_exactly_is_satisfied():
    metrics = {"specificity": 0.25, "sensitivity": 0.95}
    assert parse_criterion("specificity where sensitivity >= 0.95").score(metrics) == 0.25
    assert parse_criterion("specificity where sensitivity <= 0.95").score(metrics) == 0.25


def test_violations_of_several_constraints_add_up():
    criterion = parse_criterion("auroc where a >= 0.75 and b <= 0.25")
    assert criterion.score({"auroc": 1.0, "a": 0.5, "b": 0.5}) == FLOOR - 0.5


@fast
@given(st.lists(st.tuples(st.floats(-1e9, 1e9), rates), min_size=1, max_size=20), rates)
def test_whoever_satisfies_the_constraints_beats_whoever_does_not(evaluations, bound):
    criterion = parse_criterion(f"- loss where sensitivity >= {bound!r}")
    scored = [(s >= bound, criterion.score({"loss": v, "sensitivity": s})) for v, s in evaluations]
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
        assert criterion.score({"auroc": v, "sensitivity": first}) > criterion.score(
            {"auroc": w, "sensitivity": second}
        )


@pytest.mark.parametrize("undefined", [math.nan, None, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["auroc", "sensitivity"])
def test_an_undefined_metric_loses_to_everything(undefined, name):
    criterion = parse_criterion("auroc where sensitivity >= 0.9")
    metrics = {"auroc": 0.5, "sensitivity": 0.95, name: undefined}
    assert criterion.score(metrics) == -math.inf
    assert criterion.score({"auroc": 0.0, "sensitivity": 0.0}) > -math.inf


def test_an_undefined_metric_that_is_not_read_does_no_harm():
    assert parse_criterion("auroc").score({"auroc": 0.5, "mcc": math.nan}) == 0.5


# Best step


def test_the_best_step_is_that_of_the_largest_score():
    assert best_step(history_of([0.5, 0.75, 0.625]), parse_criterion("auroc")) == 20
    assert best_step(history_of([0.5, 0.75, 0.625]), parse_criterion("- auroc")) == 10


def test_of_equals_the_earliest_step_is_best():
    assert best_step(history_of([0.5, 0.75, 0.75, 0.75]), parse_criterion("auroc")) == 20
    assert best_step(history_of([math.nan, math.nan]), parse_criterion("auroc")) == 10


def test_the_guarded_best_has_enough_sensitivity_though_others_are_more_specific():
    history = [
        {"step": 1, "specificity": 1.0, "sensitivity": 0.0},
        {"step": 2, "specificity": 0.7, "sensitivity": 0.96},
        {"step": 3, "specificity": 0.8, "sensitivity": 0.95},
        {"step": 4, "specificity": 0.9, "sensitivity": 0.94},
    ]
    assert best_step(history, parse_criterion("specificity where sensitivity >= 0.95")) == 3
    assert best_step(history, parse_criterion("specificity where sensitivity >= 0.99")) == 2
    assert best_step(history, parse_criterion("specificity")) == 1


def test_no_evaluation_has_no_best_step():
    with pytest.raises(InputError, match="no evaluation"):
        best_step([], parse_criterion("auroc"))


@fast
@given(st.lists(rates | st.just(math.nan), min_size=1, max_size=20))
def test_no_evaluation_scores_above_the_best_and_none_before_it_equals_it(values):
    history, criterion = history_of(values), parse_criterion("auroc")
    best = best_step(history, criterion) // 10 - 1
    scores = [criterion.score(metrics) for metrics in history]
    assert all(score < scores[best] for score in scores[:best])
    assert all(score <= scores[best] for score in scores[best:])


# Early stopping


def stops_after(values, patience):
    """The number of evaluations at which a run that stops early has stopped."""
    criterion, history = parse_criterion("auroc"), history_of(values)
    lengths = range(1, len(history) + 1)
    return next((n for n in lengths if should_stop(history[:n], criterion, patience)), None)


def test_training_stops_after_patience_evaluations_without_a_better_one():
    assert stops_after([0.5, 0.6, 0.6, 0.55, 0.7], patience=2) == 4
    assert stops_after([0.5, 0.6, 0.6, 0.55, 0.7], patience=3) is None
    assert stops_after([0.5, 0.4], patience=1) == 2
    assert stops_after([math.nan, math.nan, math.nan], patience=2) == 3


def test_patience_zero_never_stops():
    assert stops_after([0.5] * 50, patience=0) is None


def test_nothing_stops_before_the_first_evaluation():
    assert not should_stop([], parse_criterion("auroc"), 1)


def test_negative_patience_is_an_input_error():
    with pytest.raises(InputError, match="patience=-1"):
        should_stop(history_of([0.5]), parse_criterion("auroc"), -1)


def patient_loop(values, patience):
    """Early stopping by a counter that is reset at every improvement."""
    best, waited = None, 0
    for n, value in enumerate(values, 1):
        if best is None or value > best:
            best, waited = value, 0
        else:
            waited += 1
        if waited >= patience:
            return n
    return None


@fast
@given(st.lists(st.integers(0, 4), max_size=25), st.integers(1, 6))
def test_stopping_agrees_with_a_counter_that_improvements_reset(values, patience):
    assert stops_after(values, patience) == patient_loop(values, patience)


@fast
@given(st.lists(rates | st.just(math.nan), min_size=1, max_size=12), st.integers(0, 4))
def test_a_history_read_back_from_a_file_decides_the_same(values, patience):
    criterion, history = parse_criterion("auroc"), history_of(values)
    stored = [{k: None if math.isnan(v) else v for k, v in metrics.items()} for metrics in history]
    restored = json.loads(json.dumps(stored))
    for n in range(1, len(history) + 1):
        assert best_step(history[:n], criterion) == best_step(restored[:n], criterion)
        assert should_stop(history[:n], criterion, patience) == should_stop(restored[:n], criterion, patience)


def test_the_order_of_terms_and_constraints_does_not_matter():
    rng = random.Random(0)
    metrics = {name: rng.random() for name in "abcd"}
    for terms, bounds in itertools.product(
        itertools.permutations(["a", "0.5*b"]), itertools.permutations(["c >= 0.9", "d <= 0.1"])
    ):
        text = f"{' + '.join(terms)} where {' and '.join(bounds)}"
        expected = FLOOR - max(0, 0.9 - metrics["c"]) - max(0, metrics["d"] - 0.1)
        assert parse_criterion(text).score(metrics) == pytest.approx(expected, abs=1e-9)
