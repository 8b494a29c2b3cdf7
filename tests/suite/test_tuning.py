"""Trials are the same for all methods, and what is chosen is chosen by validation."""

import numpy as np
import pytest

from imbal_jax.config import Data
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS, find_method
from imbal_jax.suite import Cell, Setting, Stage
from imbal_jax.suite.tuning import KNOBS, by_rank, finalists, knob, reached, trials, tuned

CELLS = tuple(Cell(name=name, set="s", data=Data(), ratio=10, positives=5) for name in ("a", "b"))


def line(cell: str, method: str, value: float | None, **more: object) -> dict:
    """A run that reached ``value`` on validation at its chosen step, more elsewhere, and the reverse on test."""
    test = None if value is None else 1 - value
    return {
        "stage": "screen",
        "cell": cell,
        "method": method,
        "key": f"screen/{cell}/0/{method}/default/{more.get('seed', 0)}",
        "outcome": "done",
        "best_step": 20,
        "curve": {"step": [10, 20, 30], "sensitivity_at_90": [0.99, value, 0.99]},
        "metrics": {"balanced_accuracy": test, "sensitivity_at_90": test},
        "options": {},
        **more,
    }


def test_all_methods_get_the_same_learning_rates_and_weight_decays() -> None:
    settings = trials(("ce", "focal", "logit_adjusted"), 5)
    common = {
        name: [s.overrides[:4] for s in settings if s.methods == (name,)]
        for name in ("ce", "focal", "logit_adjusted")
    }
    assert common["ce"] == common["focal"] == common["logit_adjusted"]
    assert len({s.overrides for s in settings if s.methods == ("ce",)}) == 5
    rates = [float(words[1]) for words in common["ce"]]
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    # a quasirandom sequence fills the three decades: no gap of two of them
    assert np.diff(np.log10(sorted([1e-4, *rates, 1e-1]))).max() < 2


@pytest.mark.parametrize("method", METHODS)
def test_a_turned_knob_is_a_method_of_the_range(method: str) -> None:
    for share in (0.0, 0.5, 1.0):
        turned = find_method(knob(method, share))
        option = next((option for option, has_it, _ in KNOBS if has_it(METHODS[method])), None)
        if option is None:
            assert turned == METHODS[method]
            continue
        low, high = next(limits for name, has_it, limits in KNOBS if has_it(METHODS[method]))
        value = dict(turned.options).get(option, getattr(turned, option, None))
        assert value == pytest.approx(low + share * (high - low), rel=1e-2)


def test_a_run_reaches_what_validation_says_at_its_checkpoint() -> None:
    assert reached(line("a", "ce", 0.4)) == 0.4
    assert reached(line("a", "ce", None)) == -np.inf
    assert reached(line("a", "ce", 0.4, outcome="diverged")) == -np.inf
    assert reached({"outcome": "failed", "reason": "x"}) == -np.inf


def test_finalists_are_the_controls_and_the_best_on_validation() -> None:
    lines = [
        line(cell, m, v)
        for cell in "ab"
        for m, v in (("ce", 0.1), ("focal", 0.7), ("ldam", 0.8), ("crt", 0.2))
    ]
    lines.append(line("a", "crt", None, outcome="failed", seed=1))
    assert by_rank(lines) == ["ldam", "focal", "ce", "crt"]
    stage = Stage(
        name="tune",
        cells=CELLS,
        methods=(),
        settings=(Setting(name="t0"), Setting(name="t1")),
        choose=finalists(2, ("ce",)),
    )
    chosen = stage.choose(lines, stage)
    assert chosen.methods == ("ce", "ldam")
    assert {s.name for s in chosen.settings} == {"trial0", "trial1"}
    with pytest.raises(InputError, match="ask for at least 2"):
        finalists(1, ("ce", "focal"))


def test_each_cell_and_method_gets_the_best_of_its_trials() -> None:
    def trial(cell: str, method: str, number: int, value: float | None, **more: object) -> dict:
        options = {"optim.learning-rate": f"{number + 1}e-3"}
        return line(cell, method, value, **({"stage": "tune", "seed": number, "options": options} | more))

    lines = [
        *(trial("a", "ce", t, v) for t, v in enumerate((0.2, 0.6, 0.4))),
        *(trial("b", "ce", t, v) for t, v in enumerate((0.9, 0.6, 0.4))),
        *(trial("a", "focal", t, None, outcome="diverged") for t in range(3)),
        *(trial("b", "focal", t, v) for t, v in enumerate((0.1, 0.2, 0.3))),
        line("a", "ce", 1.0, options={"optim.learning-rate": "7"}),  # of another stage
    ]
    stage = Stage(name="final", cells=CELLS, methods=(), choose=tuned("tune"))
    chosen = stage.choose(lines, stage)
    found = {(s.cells[0], s.methods[0]): s.overrides for s in chosen.settings}
    assert found == {
        ("a", "ce"): ("--optim.learning-rate", "2e-3"),
        ("b", "ce"): ("--optim.learning-rate", "1e-3"),
        ("a", "focal"): ("--optim.learning-rate", "1e-3"),
        ("b", "focal"): ("--optim.learning-rate", "3e-3"),
    }
    assert {s.name for s in chosen.settings} == {"tuned"}
    assert len(list(chosen.addresses())) == 4
