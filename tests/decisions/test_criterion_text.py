"""The text of a criterion is read as it is spelled, and refused where no value could satisfy it."""

import numpy as np
import pytest

from imbal_jax.config import Config
from imbal_jax.decisions.criterion import Constraint, LowerBound, Term
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.errors import InputError
from imbal_jax.metrics import SUMMARY_METRICS, classification_summary, flat_metrics

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


# What is said, and what is refused
GUARDED = "specificity where sensitivity >= 0.95"


# Does it help? Thirty positives, twenty evaluations, five hundred runs


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
