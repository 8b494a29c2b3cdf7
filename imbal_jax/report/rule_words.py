"""Threshold rules in words."""

from imbal_jax.console import percent
from imbal_jax.decisions.threshold_rules import AtLeast, LeastCost, MaxFBeta, Rule, Youden, parse_rule
from imbal_jax.errors import InputError


def rule_in_words(text: str) -> str:
    """What the rule ``text`` chooses, as the end of a sentence; the text itself where it is not a known rule."""
    try:
        rule = parse_rule(text)
    except InputError:  # a threshold may have been set by hand, with any words
        return text
    return _words(rule)


def _words(rule: Rule) -> str:
    match rule:
        case Youden():
            return "the largest sum of sensitivity and specificity (Youden)"
        case AtLeast(rate, target, confidence):
            other = "specificity" if rate == "sensitivity" else "sensitivity"
            sure = "" if confidence is None else f", shown with {percent(confidence)} confidence"
            return f"a {rate} of at least {percent(target)}{sure}, and then the largest {other}"
        case MaxFBeta(beta):
            return f"the largest F-score, sensitivity weighted {beta:g} times as much as precision"
        case LeastCost(ratio, prevalence):
            at = "" if prevalence is None else f" at a prevalence of {percent(prevalence)}"
            return f"the least cost, where a miss costs as much as {ratio:g} false alarms{at}"
