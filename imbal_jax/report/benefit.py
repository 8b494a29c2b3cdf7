"""Section on clinical use: predictive values and net benefit at other prevalences."""

from html import escape

import numpy as np

from imbal_jax.console import UNDEFINED, percent
from imbal_jax.decisions.operating_point import net_benefit, predictive_values
from imbal_jax.decisions.prior_shift import correct_prevalence
from imbal_jax.metrics import Interval
from imbal_jax.report.decisions import Decisions
from imbal_jax.report.html import Html, bracket, counted, decimals, figures, fold, grouped, legend, method
from imbal_jax.report.plots import INK, MUTED, dot, draw, fill, line, shares_axis, svg
from imbal_jax.report.ranking import drawable_classes
from imbal_jax.report.rates import rates
from imbal_jax.report.study import Study

BENEFIT_CLASSES = 6
PREVALENCES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
# Confidence at which both intervals, of sensitivity and of specificity, cover in 95 of 100 studies (Bonferroni)
JOINT = 0.975


def in_use(study: Study) -> str:
    drawable, _ = drawable_classes(study)
    drawn = drawable[:BENEFIT_CLASSES]
    if not drawn:
        return "<p>Undefined: no class has positive and negative test images.</p>"
    left = len(drawable) - len(drawn)
    rest = f"<p class=muted>The {len(drawn)} rarest classes are shown.</p>" if left else ""
    first, *others = (_class(study, k) for k in drawn)
    more = fold(counted(len(others), "more class"), "".join(others))
    return f"{SHORT}{fold('How to read this', INTRODUCTION)}{legend(study.runs)}{first}{more}{rest}"


SHORT = (
    "<p>How often a call is right depends on how common the finding is where the model is used. A model is of use "
    "where its line is above both calling everybody (thin) and calling nobody (dotted, 0).</p>"
)
INTRODUCTION = (
    "<p>Net benefit (Vickers and Elkin, Med Decis Making 2006) counts true positives less false ones, these "
    "weighted by the odds of the risk at which one would just act: at 2&nbsp;%, one true positive is worth 49 false "
    "alarms. The lines use the probabilities as thresholds, so probabilities that are too high or too low lose "
    "benefit here.</p>"
    "<p>The tables hold the decision fixed and let the prevalence change, images of a class looking as they do here. "
    "Number needed to review: images called for one that has the finding. The last column: the risks of acting "
    "between which the decision beats both calling everybody and calling nobody, from 1 − NPV to PPV. Intervals "
    "of PPV and NPV take both sensitivity and specificity to the ends of their 97.5&nbsp;% intervals: they cover at "
    "least 95&nbsp;%, for a prevalence that is known.</p>"
)


def _class(study: Study, k: int) -> str:
    name, prevalence = study.classes[k], study.use(k).prevalence
    figures_of = _benefit(study, k, prevalence) + _benefit_elsewhere(study, k, prevalence) + _values(study, k)
    return (
        f'<h3>{escape(name)}</h3><div class="grid three">{figures_of}</div>'
        f"{fold(f'Predictive values of {escape(name)}', _predictive_table(study, k, prevalence))}"
    )


def _whose(study: Study, k: int) -> str:
    use = study.use(k)
    return "the prevalence of the test set" if use.own else f"the prevalence that {use.source}"


def _thresholds(prevalence: float) -> np.ndarray:
    return np.geomspace(max(prevalence / 5, 1e-4), min(0.9, max(30 * prevalence, 0.1)), 80)


def _curve(
    decided: Decisions, k: int, thresholds: np.ndarray, prevalence: float | None
) -> tuple[np.ndarray, np.ndarray]:
    known = decided.truth[:, k] >= 0
    return net_benefit(decided.truth[known, k], decided.scores[known, k], thresholds, prevalence)[1:]


def _benefit(study: Study, k: int, prevalence: float) -> str:
    thresholds = _thresholds(prevalence)
    figure, axes = draw("risk at which one would act", "net benefit per 1,000 images")
    for i, decided in enumerate(study.decided):
        model, everybody = _curve(decided, k, thresholds, None if study.use(k).own else prevalence)
        axes.plot(thresholds, 1000 * model, **line(study.runs, i))
    axes.plot(thresholds, 1000 * everybody, color=MUTED, linewidth=1)
    axes.axhline(0, color=MUTED, linewidth=1, linestyle=":")
    axes.set_ylim(-200 * prevalence, 1060 * prevalence)
    shares_axis(axes, thresholds[0], thresholds[-1])
    return svg(figure, f"Decision curve at {_whose(study, k)}, {percent(prevalence)}", study.classes[k])


def _benefit_elsewhere(study: Study, k: int, prevalence: float) -> str:
    """Standardised, so that the prevalences share an axis; the probabilities corrected for each."""
    decided = study.decided[study.winner]
    known = decided.truth[:, k] >= 0
    truth, scores = decided.truth[known, k], decided.scores[known, k]
    figure, axes = draw("risk at which one would act", "net benefit / prevalence")
    shown = [q for q in (prevalence / 10, prevalence, 10 * prevalence) if 1e-4 <= q < 0.9]
    for q, style in zip(shown, ("-", "--", "-."), strict=False):
        thresholds = _thresholds(q)
        there = net_benefit(truth, correct_prevalence(scores, prevalence, q), thresholds, prevalence=q)
        axes.plot(thresholds, there.model / q, color=INK, linewidth=1.5, linestyle=style, label=percent(q))
    axes.axhline(0, color=MUTED, linewidth=1, linestyle=":")
    axes.set_ylim(-0.2, 1.06)
    shares_axis(axes, _thresholds(shown[0])[0], _thresholds(shown[-1])[-1])
    axes.legend(title="prevalence", frameon=False, labelcolor=INK).get_title().set_color(INK)
    of = f" of {study.runs[study.winner].method}" if len(study.runs) > 1 else ""
    return svg(
        figure,
        f"Net benefit{of} at other prevalences, the probabilities corrected for each, as a share of what perfect "
        "decisions bring (Kerr et al., J Clin Oncol 2016)",
        study.classes[k],
    )


def _values(study: Study, k: int) -> str:
    """PPV over the prevalence."""
    prevalence = study.use(k).prevalence
    over = np.geomspace(5e-4, 0.5, 60)
    figure, axes = draw("prevalence", "PPV")
    for i in range(len(study.runs)):
        ppv, low, high = (predictive_values(s, c, over).ppv for s, c in _bounds(study, i, k))
        axes.plot(over, ppv, **line(study.runs, i))
        if len(study.runs) <= 3 or i == study.winner:
            axes.fill_between(over, low, high, **fill(study.runs, i))
        if over[0] <= prevalence <= over[-1]:
            axes.plot(prevalence, np.interp(np.log(prevalence), np.log(over), ppv), **dot(study.runs, i))
    axes.set_ylim(-0.02, 1.02)
    shares_axis(axes, over[0], over[-1])
    return svg(
        figure,
        f"PPV of the decision; the marker is {_whose(study, k)}, the band the interval",
        study.classes[k],
    )


def _bounds(study: Study, i: int, k: int) -> list[tuple[float, float]]:
    """Sensitivity and specificity: estimates, lower bounds, upper bounds."""
    here = rates(study, i, k, JOINT)
    (s, si), (c, ci) = here["sensitivity"], here["specificity"]
    return [(s, c), (float(si.low), float(ci.low)), (float(si.high), float(ci.high))]


def _named(study: Study, k: int, prevalence: float, of_test: float) -> str:
    """The name of a row; bold at the prevalence of use."""
    name, use = percent(prevalence), study.use(k)
    if prevalence == use.prevalence:
        return Html(f"<b>{name}, {'test set' if use.own else 'use (' + escape(use.source) + ' it)'}</b>")
    return f"{name}, test set" if prevalence == of_test else name


def _predictive_table(study: Study, k: int, prevalence: float) -> str:
    here = study.decided[0].counts(k).prevalence
    groups = [
        (
            _named(study, k, q, here),
            [[method(study.runs, i), *_predictive_values(study, i, k, q)] for i in range(len(study.runs))],
        )
        for q in sorted({*PREVALENCES, prevalence, here})
    ]
    headings = ["method", "PPV", "NPV", "number needed to review", "images called per\N{NO-BREAK SPACE}1,000"]
    headings += ["missed per\N{NO-BREAK SPACE}1,000", "of use at a risk of"]
    return grouped(headings, groups)


def _predictive_values(study: Study, i: int, k: int, q: float) -> list[str]:
    """The cells of one method at the prevalence ``q``."""
    value, low, high = (predictive_values(s, c, q) for s, c in _bounds(study, i, k))
    (s, c), *_ = _bounds(study, i, k)
    worth = value.ppv > 1 - value.npv  # False where undefined
    return [
        bracket(float(value.ppv), Interval(float(low.ppv), float(high.ppv))),
        bracket(
            float(value.npv),
            Interval(float(low.npv), float(high.npv)),
            places=max(3, decimals(1 - float(low.npv)) - 1),  # two significant digits of 1 - NPV
        ),
        figures(float(value.number_needed_to_review)),
        figures(1000 * (s * q + (1 - c) * (1 - q))),
        figures(1000 * (1 - s) * q),
        f"{percent(float(1 - value.npv))} to {percent(float(value.ppv))}" if worth else UNDEFINED,
    ]
