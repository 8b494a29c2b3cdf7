"""The examples in docstrings give what they say."""

import doctest
import importlib
import itertools
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import imbal_jax

NUMBER = re.compile(r"-?\d+(?:\.(\d*))?(?:e[+-]?\d+)?")


class ToTheDigitsShown(doctest.OutputChecker):
    """Numbers agree to the digits that the docstring shows, everything else to the letter but for white space."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        shown, numbers = list(NUMBER.finditer(want)), NUMBER.finditer(got)
        if NUMBER.sub("", "".join(want.split())) != NUMBER.sub("", "".join(got.split())):
            return False
        return all(
            found is not None and abs(float(expected[0]) - float(found[0])) <= half_a_digit(expected)
            for expected, found in itertools.zip_longest(shown, numbers)
        )


def half_a_digit(number: re.Match[str]) -> float:
    """Half a unit of the last digit behind the point, and a rounding; 0 of a whole number."""
    return 0.5000001 * 10 ** -len(number[1]) if number[1] else 0.0


def modules() -> list[str]:
    """Every module with an example, by its text: none is imported to find out."""
    root = Path(imbal_jax.__file__).parent
    sources = sorted(root.rglob("*.py"))
    found = [path.relative_to(root) for path in sources if ">>> " in path.read_text()]
    return [".".join(("imbal_jax", *path.with_suffix("").parts)) for path in found]


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_a_module_give_what_they_say(name: str) -> None:
    module = importlib.import_module(name)
    globs = {**vars(module), "np": np, "jnp": jnp}
    runner = doctest.DocTestRunner(ToTheDigitsShown())
    said: list[str] = []
    for test in doctest.DocTestFinder().find(module, name, globs=globs):
        runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


def test_the_main_functions_of_the_library_have_an_example() -> None:
    for room, names in {
        "priors": ("class_counts", "class_priors", "class_weights", "positive_weights"),
        "losses": (
            "cross_entropy",
            "focal",
            "logit_adjusted",
            "binary_cross_entropy",
            "weighted_mean",
            "dice",
        ),
        "sampling": ("make_plan", "batch_indices", "plan_counts"),
        "metrics": ("sensitivity", "specificity", "auroc", "average_precision", "confusion_matrix", "wilson"),
        "decisions": ("choose_threshold", "predictive_values", "parse_criterion"),
    }.items():
        module = importlib.import_module(f"imbal_jax.{room}")
        for name in names:
            assert ">>> " in getattr(module, name).__doc__, f"{room}.{name}"
