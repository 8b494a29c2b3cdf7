"""The catalogue of methods, and how they are written down."""

from dataclasses import replace

import pytest

from imbal_jax.errors import InputError
from imbal_jax.methods import LOSSES, METHODS, Method, definition, find_method, first_stage
from imbal_jax.training.composition import second_stage_method


def test_every_method_says_when_to_use_it_and_who_proposed_it() -> None:
    for name, method in METHODS.items():
        assert method.name == name
        assert method.summary.endswith(".")
        assert method.paper or name == "ce"
    assert len(METHODS) >= 40


def test_the_catalogue_holds_what_is_promised() -> None:
    promised = (
        "ce weighted_ce bayesian_ce effective_number focal logit_adjusted balanced_softmax stratified undersample "
        "oversample perturbed_oversample ldam ldam_drw crt lws tau_norm nearest_mean mixup cutmix remix cmo "
        "balanced_mixup asymmetric distribution_balanced auc_margin smote progressive repeat_factor ce_drs ce_drw "
        "prototype_head memory_head attention_head"
    )
    assert set(promised.split()) <= set(METHODS)


def test_names_differ_from_each_other_in_what_they_do() -> None:
    recipes = [replace(m, name="", summary="", paper="") for m in METHODS.values()]
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
        ("undersample_fixed,composition=balanced", "resample=under already balances"),
        ("mixup,mixing_span=0.5:0.2", "mixing_span is (0.5, 0.2), give two rising shares"),
        ("mixup,mixing_span=half", "expected shares such as 0:0.9"),
        ("sup_con,views=0", "views is 0, at least 1"),
        ("sup_con,views=1.5", "expected a whole number"),
        ("mixing=blend", "mixing is 'blend', allowed are none, mixup"),
        ("mixup,mixing_alpha=-1", "mixing alpha is -1"),
        ("deferred=weights", "give both or neither"),
        ("ce,defer=0.5", "give both or neither"),
        ("deferred=head,defer=0.5", "deferred is 'head', allowed are weights, composition, loss"),
        ("ce_drw,defer=2", "defer is 2.0, give a share of the run"),
        ("second_stage=retrain", "give second_epochs"),
        ("second_stage=attention_head", "give second_epochs"),
        ("memory_head,memory_size=0", "memory_size is 0, at least 1 example a class"),
        ("memory_head,memory_distance=manhattan", "allowed are cosine, euclidean"),
        ("memory_head,memory_strength=-1", "memory_strength is -1.0"),
        ("ce,gamma=2", "unknown field 'gamma' in method"),
        ("hard_negatives=-1", "hard_negatives is -1.0"),
        ("weights=inverse,power=-1", "power is -1.0"),
    ],
)
def test_a_wrong_method_is_told_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        find_method(text)
    assert said in str(caught.value)


def test_a_method_value_is_checked_when_it_is_made() -> None:
    with pytest.raises(InputError, match="method mine: normalize is 'sum'"):
        Method(name="mine", normalize="sum")


def test_options_belong_to_the_loss_and_leave_with_it() -> None:
    assert find_method("focal,gamma=1").loss_options == {"gamma": 1.0}
    assert find_method("loss=vector_scaling,tau=0.5").loss_options == {"gamma": 0.15, "tau": 0.5}
    assert replace(METHODS["ldam"], options=(("scale", 20.0),)).loss_options == {
        "max_margin": 0.5,
        "scale": 20.0,
    }
    with pytest.raises(InputError, match="loss focal has no option 'tau', allowed are gamma"):
        Method(name="mine", loss="focal", options=(("tau", 1.0),))


def test_deferred_parts_are_joined_by_a_plus() -> None:
    method = find_method("logit_adjusted,weights=inverse,deferred=weights+loss,defer=0.8,ramp=0.1")
    assert method.deferred == ("weights", "loss")
    assert (method.defer, method.ramp) == (0.8, 0.1)


def test_settings_are_what_differs_from_plain_cross_entropy() -> None:
    assert METHODS["ce"].settings == {}
    assert METHODS["ldam_drw"].settings == {
        "weights": "effective",
        "loss": "ldam",
        "head": "cosine",
        "deferred": ("weights",),
        "defer": 0.8,
        "max_margin": 0.5,
        "scale": 30.0,
    }


def test_methods_that_share_a_first_stage_find_the_same_one() -> None:
    for name in ("crt", "lws", "tau_norm", "smote", "smoothed_bootstrap", "memory_head", "attention_head"):
        assert first_stage(METHODS[name], METHODS) is METHODS["ce"]
    assert first_stage(METHODS["label_aware_smoothing"], METHODS) is METHODS["ce"]
    assert first_stage(METHODS["mislas"], METHODS) is METHODS["mixup"]
    mine = replace(METHODS["mislas"], name="mine", mixing_alpha=0.3)
    own = first_stage(mine, METHODS)
    assert (own.name, own.second_stage, own.mixing_alpha) == ("mine_first_stage", "none", 0.3)


def test_only_a_method_with_a_memory_is_defined_by_it() -> None:
    """A run of before there were memories keeps its definition."""
    assert not [key for key in definition(METHODS["crt"]) if key.startswith("memory")]
    assert definition(METHODS["memory_head"])["memory_size"] == 64
    assert first_stage(replace(METHODS["memory_head"], memory_size=3), METHODS) is METHODS["ce"]


PAPERS = {
    # MiSLAS, config/cifar10 at 1:100 of the authors' code: mixup 1.0, then the head and a factor a class
    "mislas": {
        "mixing_alpha": 1.0,
        "second_stage": "head_and_scale",
        "second_loss_options": (("head", 0.3), ("tail", 0.0)),
    },
    "label_aware_smoothing": {
        "second_stage": "head_and_scale",
        "loss": "cross_entropy",
        "second_loss": "label_aware_smoothing",
        "second_loss_options": (("head", 0.3), ("tail", 0.0)),
    },
    # Zhu et al. 2022 and the authors' main.py: one view classified, two contrasted, weights 1 and 0.35
    "balanced_contrastive": {
        "views": 3,
        "contrast_views": 2,
        "auxiliary_temperature": 0.07,
        "auxiliary_weight": 0.35,
        "head": "cosine",
    },
    # Park et al. 2021, cifar_train.py: from half of the run on, learning rate x 0.01
    "influence_balanced": {"defer": 0.5, "rate_after": 0.01, "normalize": "count"},
    "distribution_balanced": {"composition": "balanced"},
}


@pytest.mark.parametrize("name", PAPERS)
def test_recipes_have_the_settings_of_their_papers(name: str) -> None:
    for field, value in PAPERS[name].items():
        assert getattr(METHODS[name], field) == value, field


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("class_balanced_focal", {"gamma": 1.0}),  # Cui et al. 2019, CIFAR-10-LT at 1:100
        ("vector_scaling", {"gamma": 0.15, "tau": 1.25}),  # Kini et al. 2021, CIFAR-10-LT
        ("class_dependent_temperature", {"gamma": 0.2}),  # Ye et al. 2020, CIFAR-10-LT
        ("asymmetric", {"gamma_neg": 4.0, "gamma_pos": 0.0, "clip": 0.05}),  # the authors' train.py
    ],
)
def test_losses_have_the_options_of_their_papers(name: str, options: dict[str, float]) -> None:
    assert METHODS[name].loss_options == options


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"views": 2, "contrast_views": 2, "auxiliary": "sup_con"}, "leave one for the labels"),
        ({"views": 2, "contrast_views": 1}, "the loss that contrasts them"),
        ({"rate_after": 0.1}, "there is no switch"),
        ({"rate_after": 0.0, "deferred": ("loss",), "defer": 0.5}, "above zero"),
        ({"auxiliary_temperature": 0.0}, "above zero"),
        (
            {"deferred": ("weights",), "defer": 0.5},
            "weights=none is what a run begins with: give the weights",
        ),
        ({"deferred": ("composition",), "defer": 0.5}, "composition=natural is what a run begins with"),
        ({"deferred": ("loss",), "defer": 0.5}, "loss=cross_entropy is what a run begins with"),
        ({"deferred": ("loss", "loss"), "loss": "focal", "defer": 0.5}, "each part may be named once"),
        ({"deferred": ("loss",), "loss": "focal", "defer": 1.0}, "would never start, give less than 1"),
        ({"deferred": ("loss",), "loss": "focal", "defer": 0.8, "ramp": 0.4}, "1.2 of the run together"),
        (
            {"deferred": ("composition",), "composition": "balanced", "ramp": 0.5},
            "a composition changes at one step: give defer alone",
        ),
        (
            {"deferred": ("composition",), "composition": "progressive", "defer": 0.5},
            "or defer composition=balanced",
        ),
        ({"perturb_repeats": True, "composition": "balanced"}, "the copies that resample=over makes"),
        ({"weights": "inverse", "power": 1e9}, "power is 1e\\+09, expected 4 or less"),
        ({"second_loss_options": (("gamma", 1.0),)}, "loss cross_entropy has no option 'gamma'"),
    ],
)
def test_parts_that_exclude_each_other_are_refused(changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Method(name="mine", **changes)


def test_the_second_loss_takes_options():
    method = find_method("crt,second_loss=focal,second_loss.gamma=1")
    assert method.second_loss_options == (("gamma", 1.0),)
    assert second_stage_method(method).loss_options == {"gamma": 1.0}
    with pytest.raises(InputError, match="loss cross_entropy has no option 'gamma'"):
        Method(name="x", second_loss_options=(("gamma", 1.0),))


def test_a_number_under_a_name_that_field_and_option_share_is_the_options() -> None:
    method = find_method("loss=label_aware_smoothing,head=0.3,tail=0.05")
    assert method.loss_options["head"] == 0.3
    assert method.head == "linear"
    both = find_method("loss=label_aware_smoothing,head=cosine")
    assert both.head == "cosine"
    assert both.loss_options["head"] == 0.4
