"""The best step, early stopping and what is said of the choice, on histories written by hand."""

import json
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax.decisions.criterion import STANDARD_ERROR
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.decisions.selection import best_step, choice_line, saved_value, should_stop, smooth, unmet
from imbal_jax.errors import InputError

fast = settings(max_examples=25, deadline=None)


rates = st.floats(0, 1)


def history_of(values):
    return [{"step": 10 * (i + 1), "auroc": value} for i, value in enumerate(values)]


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
        saved[n] = saved_value(history[:n], criterion)
        # as checkpoint.py keeps: the largest, of equals the earliest
        assert max(saved, key=lambda step: (saved[step], -step)) == best


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
