"""The catalogue of methods, and how they are written down."""

import pytest

from imbal_jax.errors import InputError
from imbal_jax.methods import LOSSES, METHODS, Method, find_method


def test_every_method_says_when_to_use_it_and_who_proposed_it() -> None:
    for name, method in METHODS.items():
        assert method.name == name
        assert method.summary.endswith(".")
        assert method.paper or name == "ce"


def test_the_catalogue_holds_what_is_promised() -> None:
    promised = (
        "ce weighted_ce bayesian_ce effective_number focal logit_adjusted balanced_softmax stratified undersample "
        "oversample perturbed_oversample"
    )
    assert set(promised.split()) <= set(METHODS)


def test_names_differ_from_each_other_in_what_they_do() -> None:
    recipes = [
        (m.composition, m.resample, m.weights, m.normalize, m.loss, m.perturb_repeats)
        for m in METHODS.values()
    ]
    assert len(set(recipes)) == len(recipes)


def test_a_combination_starts_from_a_name_or_from_plain_cross_entropy() -> None:
    assert find_method("stratified") is METHODS["stratified"]
    combined = find_method("stratified, weights=inverse, power=0.5, loss=focal")
    assert (combined.composition, combined.weights, combined.power, combined.loss) == (
        "balanced",
        "inverse",
        0.5,
        "focal",
    )
    assert combined.name == "stratified,weights=inverse,power=0.5,loss=focal"
    plain = find_method("composition=3:1:1")
    assert (plain.composition, plain.loss) == ((3.0, 1.0, 1.0), "cross_entropy")
    assert find_method("perturb_repeats=true,resample=over").perturb_repeats is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no method given"),
        ("fokal", "unknown method 'fokal': did you mean focal"),
        ("loss=hinge", f"loss is 'hinge', allowed are {', '.join(LOSSES)}"),
        ("composition=even", "composition is 'even', allowed are natural, balanced"),
        ("weights=huge", "weights is 'huge', allowed are none, inverse"),
        ("gamma=high,loss=focal", "gamma=high in method"),
        ("perturb_repeats=maybe", "expected true or false"),
        ("composition=3:x", "expected shares such as 3:1:1"),
        ("los=focal", "unknown field 'los' in method"),
        ("undersample,composition=balanced", "resample=under already balances"),
    ],
)
def test_a_wrong_method_is_told_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        find_method(text)
    assert said in str(caught.value)


def test_a_method_value_is_checked_when_it_is_made() -> None:
    with pytest.raises(InputError, match="method mine: normalize is 'sum'"):
        Method(name="mine", normalize="sum")
