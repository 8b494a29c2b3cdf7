"""The best checkpoint and early stopping."""

import itertools
import json
import math
import random

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax.config import Config, Deploy
from imbal_jax.decisions.confidence import bounds, standard_error
from imbal_jax.decisions.criterion import FLOOR, STANDARD_ERROR, Constraint, LowerBound, Term
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.decisions.selection import best_step, choice_line, keep_value, should_stop, smooth, unmet
from imbal_jax.errors import InputError
from imbal_jax.metrics import SUMMARY_METRICS, classification_summary, delong, flat_metrics
from imbal_jax.runs.deployment_choice import rules_of

fast = settings(max_examples=25, deadline=None)
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
        ("iou + dice/lesion", [(1, "iou"), (1, "dice/lesion")], []),
        ("auroc/smoothed + auroc/within", [(1, "auroc/smoothed"), (1, "auroc/within")], []),
        (
            "sensitivity lower bound 95 % where specificity/'no finding' lower bound 97.5% >= 0.5",
            [(1, "sensitivity lower bound 95 %")],
            [("specificity/no finding lower bound 97.5 %", 1, 0.5)],
        ),
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
        "auroc smoothed",
        "auroc smoothed 3 + f_score",
        "smoothed 3",
        "auroc smoothed 3 where sensitivity >= 0.9",
        "auroc smoothed 2.5",
        "auroc smoothed 0",
        "auroc within 1",
        "auroc within 1 error",
        "auroc within 0 standard errors",
        "auroc within 1 standard error smoothed 3",
        "auroc lower 95 %",
        "auroc lower bound 95",
        "auroc lower bound 0 %",
        "auroc lower bound 100 %",
        "f_score lower bound 95 %",
        "auroc lower bound 95 % within 1 standard error",
    ],
)
def test_malformed_text_is_an_input_error_of_one_line(text):
    with pytest.raises(InputError) as caught:
        parse_criterion(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_malformed_text_is_answered_with_the_grammar():
    with pytest.raises(InputError, match=r"malformed at '>'.*where METRIC >=\|<= NUMBER"):
        parse_criterion("specificity where sensitivity > 0.9")


def test_clauses_are_read_as_they_are_written():
    plain = parse_criterion("auroc")
    assert (plain.smoothed, plain.within, plain.bounds) == (1, 0.0, ())
    criterion = parse_criterion(
        "specificity where sensitivity/nodule lower bound 95 % >= 0.8 smoothed 3 within 2 standard errors"
    )
    assert (criterion.smoothed, criterion.within) == (3, 2.0)
    assert criterion.bounds == (LowerBound("sensitivity/nodule", 0.95),)
    assert criterion.names == ("specificity", "sensitivity/nodule lower bound 95 %")
    assert parse_criterion("auroc within 0.5 standard error").within == 0.5


def test_a_bound_of_a_metric_that_has_none_is_answered_with_those_that_have():
    with pytest.raises(InputError, match=r"lower bound of 'mcc/nodule'.*sensitivity, specificity, auroc"):
        parse_criterion("mcc/nodule lower bound 95 %")


def test_every_metric_of_the_summary_table_may_be_named():
    labels, scores = np.array([0, 1, 2, 1]), np.random.default_rng(0).dirichlet(np.ones(3), 4)
    values = flat_metrics(classification_summary(labels, scores, ["no finding", "mass", "x-ray"]))
    for name in values:
        metric, _, cls = name.partition("/")
        parse_criterion(f'{metric}/"{cls}"' if cls else metric).check(values)
    assert {name.partition("/")[0] for name in values} == {*SUMMARY_METRICS, "accuracy"}


def test_overlap_is_accepted_where_the_table_has_it_and_only_there():
    parse_criterion("iou + dice/lesion").check(["iou", "dice", "iou/lesion", "dice/lesion"])
    with pytest.raises(InputError, match=r"'iou'.*expected one of auroc"):
        parse_criterion("iou").check(["auroc"])


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
    scores = [criterion.merit(metrics) for metrics in history]
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
    for terms, limits in itertools.product(
        itertools.permutations(["a", "0.5*b"]), itertools.permutations(["c >= 0.9", "d <= 0.1"])
    ):
        text = f"{' + '.join(terms)} where {' and '.join(limits)}"
        expected = FLOOR - max(0, 0.9 - metrics["c"]) - max(0, metrics["d"] - 0.1)
        assert parse_criterion(text).merit(metrics) == pytest.approx(expected, abs=1e-9)


# Smoothing


def test_smoothed_is_the_mean_of_the_last_evaluations():
    history = history_of([0.5, 0.7, 0.9, 0.2, 0.4])
    means = [metrics["auroc"] for metrics in smooth(history, parse_criterion("auroc smoothed 3"))]
    assert means == pytest.approx([0.5, 0.6, 0.7, 0.6, 0.5])


def test_one_lucky_evaluation_does_not_win_a_smoothed_criterion():
    values = [0.6, 0.95, 0.6, 0.7, 0.8, 0.8, 0.8, 0.7]
    assert best_step(history_of(values), parse_criterion("auroc")) == 20
    assert best_step(history_of(values), parse_criterion("auroc smoothed 3")) == 70


def test_constraints_are_smoothed_too():
    history = [
        {"step": n, "specificity": specificity, "sensitivity": sensitivity}
        for n, (specificity, sensitivity) in enumerate([(0.5, 0.8), (0.6, 1.0), (0.9, 0.7), (0.7, 0.95)], 1)
    ]
    text = "specificity where sensitivity >= 0.9"
    assert best_step(history, parse_criterion(text)) == 4
    assert best_step(history, parse_criterion(text + " smoothed 2")) == 2


def test_what_has_no_whole_mean_is_not_chosen_and_a_shorter_run_takes_its_last():
    criterion = parse_criterion("auroc smoothed 3")
    assert best_step(history_of([0.9, 0.9, 0.5, 0.5]), criterion) == 30
    assert best_step(history_of([0.9, 0.5]), criterion) == 20
    assert not should_stop(history_of([0.9, 0.5]), criterion, 1)


def test_an_undefined_evaluation_spoils_the_means_that_it_is_in_and_no_other():
    criterion = parse_criterion("auroc smoothed 2")
    for undefined in (None, math.nan, math.inf, -math.inf):
        assert best_step(history_of([0.5, 0.5, undefined, 0.9, 0.1]), criterion) == 20
        assert best_step(history_of([0.5, 0.5, undefined, 0.9, 0.3]), criterion) == 50


# Within a standard error


def with_errors(values, errors):
    return [
        {**metrics, STANDARD_ERROR: error} for metrics, error in zip(history_of(values), errors, strict=True)
    ]


def test_of_those_within_a_standard_error_of_the_best_the_latest_is_chosen():
    history = with_errors([0.5, 0.875, 0.84, 0.83, 0.7], [1.0, 0.04, 1.0, 1.0, 1.0])
    assert best_step(history, parse_criterion("auroc")) == 20
    assert best_step(history, parse_criterion("auroc within 1 standard error")) == 30
    assert best_step(history, parse_criterion("auroc within 1.5 standard errors")) == 40
    assert best_step(history, parse_criterion("auroc within 5 standard errors")) == 50


def test_what_violates_a_constraint_is_not_within_any_number_of_standard_errors():
    history = [
        {"step": n, "specificity": 0.9, "sensitivity": sensitivity, STANDARD_ERROR: 1e9}
        for n, sensitivity in enumerate([0.95, 0.93, 0.5], 1)
    ]
    clause = "within 1 standard error"
    assert best_step(history, parse_criterion(f"specificity where sensitivity >= 0.9 {clause}")) == 2
    assert best_step(history, parse_criterion(f"specificity where sensitivity >= 0.99 {clause}")) == 1


def test_an_undefined_standard_error_makes_no_margin():
    history = with_errors([0.5, 0.8, 0.8, 0.8], [0.1, None, 0.1, 0.1])
    assert best_step(history, parse_criterion("auroc within 1 standard error")) == 20


def test_a_history_without_standard_errors_is_an_input_error():
    with pytest.raises(InputError, match=r"no standard_error.*within 1 standard error"):
        best_step(history_of([0.5]), parse_criterion("auroc within 1 standard error"))


def test_patience_counts_from_the_highest_score_not_from_the_latest_that_ties_with_it():
    history = with_errors([0.5, 0.8, 0.79, 0.78], [0.1] * 4)
    criterion = parse_criterion("auroc within 1 standard error")
    assert best_step(history, criterion) == 40
    assert should_stop(history, criterion, 2)
    assert not should_stop(history, criterion, 3)


# One best checkpoint is kept


CRITERIA = (
    "auroc",
    "auroc smoothed 3",
    "auroc within 1 standard error",
    "auroc where sensitivity >= 0.5 smoothed 2 within 2 standard errors",
)
evaluations = st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 0.6, 0.75, 1.0, None])] * 3)


@fast
@given(st.lists(evaluations, min_size=1, max_size=12), st.sampled_from(CRITERIA))
def test_the_best_is_the_newest_or_was_the_best_before_so_one_checkpoint_is_enough(rows, text):
    criterion = parse_criterion(text)
    history = [
        {"step": n, "auroc": auroc, "sensitivity": sensitivity, STANDARD_ERROR: error}
        for n, (auroc, sensitivity, error) in enumerate(rows, 1)
    ]
    kept, saved = None, {}
    for n in range(1, len(history) + 1):
        best = best_step(history[:n], criterion)
        assert best in (kept, n)
        kept = best
        saved[n] = keep_value(history[:n], criterion)
        # as checkpoint.py keeps: the largest, of equals the earliest
        assert max(saved, key=lambda step: (saved[step], -step)) == best


# Bounds and errors from the cases


def cases(positives=30, negatives=300, seed=0, images=1):
    """Labels, probabilities of (normal, nodule), and the patient of each of his ``images``."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [positives, negatives])
    p = 1 / (1 + np.exp(-(rng.normal(size=len(labels)) + 2.0 * labels - 1.0)))
    labels, p = np.repeat(labels, images), np.repeat(p, images)
    return labels, np.stack([1 - p, p], axis=1), np.repeat(np.arange(positives + negatives), images)


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("many", [False, True])
def test_the_bound_of_a_rate_is_one_sided_and_copies_of_an_image_do_not_tighten_it(many, images):
    labels, scores, groups = cases(images=images)
    called = scores.argmax(axis=1)[::images]
    hits = {1: int(called[:30].sum()), 0: int(300 - called[30:].sum())}
    given = np.stack([1 - labels, labels], axis=1) if many else labels
    criterion = parse_criterion(
        "sensitivity/nodule lower bound 90 % + sensitivity lower bound 95 % + specificity lower bound 95 %"
    )
    found = bounds(criterion, given, scores, ["normal", "nodule"], negative_class="normal", groups=groups)

    def one_sided(k, n, confidence):
        return scipy.stats.beta.ppf(1 - confidence, k, n - k + 1)

    assert found == {
        "sensitivity/nodule lower bound 90 %": pytest.approx(one_sided(hits[1], 30, 0.90)),
        "sensitivity lower bound 95 %": pytest.approx(one_sided(hits[1], 30, 0.95)),
        "specificity lower bound 95 %": pytest.approx(one_sided(hits[0], 300, 0.95)),
    }


def test_the_bound_of_a_macro_metric_is_the_mean_of_those_of_the_classes_of_interest():
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 3, 200), rng.dirichlet(np.ones(3), 200)
    criterion = parse_criterion("auroc lower bound 95 % + auroc/b lower bound 95 %")
    found = bounds(criterion, labels, scores, ["a", "b", "c"], negative_class="a")
    low = delong(
        labels, scores, confidence=0.9
    ).low  # two-sided 90 %: its lower end is that of one-sided 95 %
    assert found["auroc lower bound 95 %"] == pytest.approx((low[1] + low[2]) / 2)
    assert found["auroc/b lower bound 95 %"] == pytest.approx(low[1])


def test_a_bound_of_a_class_without_an_example_is_undefined_and_of_an_unknown_class_an_input_error():
    labels, scores, _ = cases(positives=0)
    criterion = parse_criterion("sensitivity/nodule lower bound 95 %")
    assert math.isnan(bounds(criterion, labels, scores, ["normal", "nodule"])[criterion.names[0]])
    with pytest.raises(InputError, match=r"'sensitivity/nodule lower bound 95 %'.*normal, mass"):
        bounds(criterion, labels, scores, ["normal", "mass"])


def measure(labels, scores):
    return flat_metrics(classification_summary(labels, scores, ["normal", "nodule"], negative_class="normal"))


def test_the_standard_error_is_that_of_a_share_of_the_positives_and_that_of_delong():
    labels, scores, groups = cases(positives=60, seed=3)
    p = measure(labels, scores)["sensitivity"]
    criterion = parse_criterion("sensitivity within 1 standard error")
    found = standard_error(criterion, measure, labels, scores, groups=groups, samples=400)[STANDARD_ERROR]
    assert found == pytest.approx(math.sqrt(p * (1 - p) / 60), rel=0.15)
    criterion = parse_criterion("2*auroc within 1 standard error")
    found = standard_error(criterion, measure, labels, scores, groups=groups, samples=400)[STANDARD_ERROR]
    assert found == pytest.approx(2 * math.sqrt(delong(labels, scores).variance[1]), rel=0.15)


def test_copies_of_an_image_leave_the_standard_error_as_it_is():
    criterion = parse_criterion("f_score - sensitivity where specificity >= 2 within 1 standard error")
    errors = []
    for images in (1, 3):
        labels, scores, groups = cases(images=images)
        errors.append(standard_error(criterion, measure, labels, scores, groups=groups)[STANDARD_ERROR])
    assert errors[0] > 0
    assert errors[1] == pytest.approx(errors[0])


def test_a_criterion_without_clauses_asks_for_nothing_more():
    labels, scores, _ = cases()
    criterion = parse_criterion("auroc smoothed 3")
    assert standard_error(criterion, measure, labels, scores) == {}
    assert bounds(criterion, labels, scores, ["normal", "nodule"]) == {}


# Does it help? Thirty positives, twenty evaluations, five hundred runs


def runs_on_the_same_positives(curve, runs=500, positives=30, seed=0):
    """Histories of a sensitivity that is truly ``curve`` [T], read off ``positives`` that stay the same.

    A positive is found where a normal variate is low: half of its variance is its own, half the evaluation's.
    """
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(runs, 1, positives))
    drawn = rng.normal(size=(runs, len(curve), positives))
    found = math.sqrt(0.5) * (own + drawn) < scipy.stats.norm.ppf(curve)[:, None]
    for rates in found.mean(axis=2):
        errors = np.sqrt(rates * (1 - rates) / positives)
        yield [
            {"step": n, "sensitivity": float(rate), STANDARD_ERROR: float(error)}
            for n, (rate, error) in enumerate(zip(rates, errors, strict=True))
        ]


def true_means(curve, *texts):
    """Mean over runs of the true sensitivity of what each criterion chooses; less the first's, and its error."""
    chosen = np.array(
        [
            [curve[best_step(history, parse_criterion(text))] for text in texts]
            for history in runs_on_the_same_positives(curve)
        ]
    )
    paired = chosen[:, 1:] - chosen[:, :1]
    return chosen.mean(axis=0), paired.mean(axis=0), paired.std(axis=0, ddof=1) / math.sqrt(len(chosen))


TIME = np.arange(1, 21) / 20
LEARNS = 0.9 - 0.4 * np.exp(-5 * TIME)
OVERFITS = 0.85 - 0.4 * np.exp(-12 * TIME) - 0.25 * np.clip(TIME - 0.4, 0, None)
RULES = ("sensitivity", "sensitivity smoothed 3", "sensitivity within 1 standard error")


def test_on_thirty_positives_both_rules_choose_truly_better_checkpoints_than_the_maximum():
    _, gain, error = true_means(LEARNS, *RULES)
    assert (gain > 4 * error).all()


def test_where_training_goes_on_too_long_smoothing_still_gains_and_the_margin_costs_less_than_itself():
    truth, gain, error = true_means(OVERFITS, *RULES)
    assert gain[0] > 4 * error[0]
    assert gain[1] > -math.sqrt(truth[0] * (1 - truth[0]) / 30)


# What is said, and what is refused


GUARDED = "specificity where sensitivity >= 0.95"


def rows(*values, names=("sensitivity", "specificity")):
    return [{"step": 10 * n, **dict(zip(names, v, strict=True))} for n, v in enumerate(values, 1)]


def test_a_constraint_that_no_checkpoint_reached_is_said_and_not_passed_off_as_the_best():
    history, criterion = rows((0.5, 0.9), (0.25, 1.0), (0.5, 0.8)), parse_criterion(GUARDED)
    assert best_step(history, criterion) == 30  # as near as step 10, and trained longer
    line = choice_line(history, criterion, 30)
    assert line == (
        "no checkpoint reached sensitivity >= 0.95 on validation; the best had 0.50; chosen is step 30, with "
        "sensitivity 0.50"
    )
    assert unmet(history, criterion) == line
    assert unmet(rows((0.5, 0.9), (0.96, 0.2)), criterion) == ""
    assert choice_line(rows((0.96, 0.2)), criterion, 10) == f"best at step 10 by {GUARDED}"


def test_constraints_that_are_reached_only_apart_are_said_to_be():
    criterion = parse_criterion("auroc where sensitivity >= 0.9 and specificity >= 0.9")
    history = rows((0.95, 0.2, 0.7), (0.3, 0.95, 0.7), names=("sensitivity", "specificity", "auroc"))
    assert unmet(history, criterion) == (
        "no checkpoint reached sensitivity >= 0.9 and specificity >= 0.9 together on validation; chosen is step 20, "
        "with sensitivity 0.30"
    )


def test_a_criterion_that_was_never_defined_chose_nothing():
    line = unmet(rows((math.nan, 1.0), (math.nan, 1.0)), parse_criterion(GUARDED))
    assert line.startswith("sensitivity undefined on validation in every evaluation: nothing was chosen")


def test_smoothed_constraints_are_said_as_they_were_read():
    criterion = parse_criterion(f"{GUARDED} smoothed 2")
    assert "the best had 0.75" in unmet(rows((1.0, 0.5), (0.5, 0.5), (0.25, 0.5)), criterion)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("specificity where sensitivity >= 95", "sensitivity is a share from 0 to 1, .* did you mean 0.95"),
        ("auroc where sensitivity/nodule >= 90", "did you mean 0.9"),
        ('auroc where specificity/"no finding" <= 20', "did you mean 0.2"),
        ("auroc where specificity >= 0.5 and average_precision >= 1.5", "average_precision is a share"),
        ("auroc where f_score >= - 0.1", "f_score is a share"),
        ("auroc where accuracy <= - 1", "accuracy is a share"),
        ("auroc where mcc >= 2", "from -1 to 1"),
        ("auroc where sensitivity lower bound 95 % >= 90", "did you mean 0.9"),
        ("auroc where sensitivity lower bound 95 % >= 1", "its lower bound is below 1"),
        ("auroc where sensitivity lower bound 0.95 % >= 0.5", "did you mean 95 %"),
    ],
)
def test_what_no_share_can_reach_is_refused_before_training(text, message):
    with pytest.raises(InputError, match=message):
        Config(name="x", select=text)


def test_what_a_share_can_reach_is_accepted():
    for text in (
        GUARDED,
        "auroc where sensitivity >= 1",
        "auroc where loss <= 95",
        "auroc where mcc >= - 0.5",
    ):
        assert Config(name="x", select=text).select == text


def test_the_default_criterion_ranks_so_that_calling_nobody_decides_nothing():
    names = ("auroc", "average_precision", "sensitivity", "f_score")
    history = rows((0.42, 0.01, 0, 0), (0.8, 0.3, 0, 0), (0.9, 0.4, 0, 0), (0.85, 0.2, 0, 0), names=names)
    assert best_step(history, parse_criterion(Config(name="x").select)) == 30


def test_a_constraint_is_the_operating_point_unless_one_is_given():
    classes = ("normal", "nodule", "mass")

    def of(select, **deploy):
        return list(map(str, rules_of(Deploy(**deploy), classes, select)))

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


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_a_lower_bound_counts_patients_and_is_below_the_truth_as_often_as_it_says(correlation):
    rng, kept = np.random.default_rng(0), 0
    criterion = parse_criterion("sensitivity/nodule lower bound 95 %")
    of = np.repeat(np.arange(60), 8)
    for _ in range(60):
        z = rng.normal(size=60)[of] * np.sqrt(correlation) + rng.normal(size=480) * np.sqrt(1 - correlation)
        p = scipy.special.ndtr(z + 1)  # called where z > -1
        found = bounds(criterion, np.ones(480, int), np.stack([1 - p, p], 1), ["normal", "nodule"], groups=of)
        kept += found[criterion.names[0]] <= scipy.stats.norm.cdf(1)
    assert kept / 60 >= 0.93
