"""Threshold rules in words."""

import pytest

from imbal_jax.report.rule_words import rule_in_words


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("youden", "the largest sum of sensitivity and specificity (Youden)"),
        ("sensitivity >= 0.95", "a sensitivity of at least 95.0 %, and then the largest specificity"),
        (
            "specificity >= 0.9 with 95 % confidence",
            "a specificity of at least 90.0 %, shown with 95.0 % confidence, and then the largest sensitivity",
        ),
        ("max f2", "the largest F-score, sensitivity weighted 2 times as much as precision"),
        (
            "cost 20:1 at prevalence 0.01",
            "the least cost, where a miss costs as much as 20 false alarms at a prevalence of 1.0 %",
        ),
        ("by hand <b>", "by hand <b>"),
    ],
)
def test_every_rule_has_words(rule: str, words: str) -> None:
    assert rule_in_words(rule) == words
