import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax import metrics, priors, sampling
from imbal_jax.priors import SCHEMES, class_counts, class_priors, class_weights, positive_weights

laws = settings(max_examples=30, deadline=None)
counts_lists = st.lists(st.integers(1, 10**6), min_size=1, max_size=8)


def test_counts_of_class_indices_include_absent_classes():
    counts = class_counts([2, 0, 2, 2], 5)
    assert counts.tolist() == [1, 0, 3, 0, 0]
    assert isinstance(counts, np.ndarray)


def test_counts_of_many_labels_leave_out_negative_uncertain_and_missing():
    labels = np.array([[1, 0, -1], [1, -1, -2], [-2, 1, -1], [1, 1, 0]], np.int8)
    assert class_counts(labels, 3).tolist() == [3, 2, 0]


def test_counts_of_more_than_127_int8_labels_do_not_overflow():
    assert class_counts(np.ones((1000, 2), np.int8), 2).tolist() == [1000, 1000]


@pytest.mark.parametrize("labels", [np.array([1, 0, 1, 3]), np.array([[1, 0], [1, 1], [-1, -2]])])
def test_counts_and_priors_of_jax_arrays_agree_inside_and_outside_jit(labels):
    classes = 4 if labels.ndim == 1 else 2
    expected = class_counts(labels, classes)
    np.testing.assert_array_equal(class_counts(jnp.asarray(labels), classes), expected)
    traced = jax.jit(lambda x: class_counts(x, classes))(labels)
    np.testing.assert_array_equal(traced, expected)
    priors = jax.jit(lambda x: class_priors(class_counts(x, classes)))(labels)
    np.testing.assert_allclose(priors, class_priors(expected), rtol=1e-6)


def test_traced_counts_ignore_labels_out_of_range():
    counts = jax.jit(lambda x: class_counts(x, 2))(jnp.array([0, -1, 1, 7, 1]))
    assert counts.tolist() == [1, 2]


def test_priors_are_fractions_of_all_items():
    np.testing.assert_allclose(class_priors([1, 0, 3]), [0.25, 0, 0.75])


def test_weights_of_a_hand_computed_case():
    counts = [900, 90, 10]
    np.testing.assert_allclose(class_weights(counts, "none"), [1, 1, 1])
    np.testing.assert_allclose(class_weights(counts), [1000 / 2700, 1000 / 270, 1000 / 30])
    np.testing.assert_allclose(
        class_weights(counts, "sqrt_inverse"), np.sqrt([1000 / 2700, 1000 / 270, 1000 / 30])
    )
    np.testing.assert_allclose(class_weights(counts, "median_frequency"), [0.1, 1, 9])
    np.testing.assert_allclose(
        class_weights(counts, power=2.0), np.square([1000 / 2700, 1000 / 270, 1000 / 30])
    )


def test_inverse_weights_agree_with_scikit_learn():
    weighting = pytest.importorskip("sklearn.utils.class_weight")
    labels = np.repeat(np.arange(4), [400, 30, 2, 68])
    expected = weighting.compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(class_weights(class_counts(labels, 4)), expected, rtol=1e-14)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.99, 0.999, 0.9999])
def test_effective_weights_follow_the_formula_as_published(beta):
    counts = np.array([5000, 300, 20, 1])
    unnormalised = (1 - beta) / (1 - beta**counts)
    expected = unnormalised / unnormalised.sum() * 4
    np.testing.assert_allclose(class_weights(counts, "effective", beta=beta), expected, rtol=1e-11)


def test_effective_weights_keep_their_digits_as_beta_nears_one():
    # E_n = n (1 - (n - 1) (1 - beta) / 2 + ...): the inverse counts, where 1 - beta**n loses half its digits.
    counts = np.array([1000, 10, 1])
    inverse = 1 / counts / (1 / counts).sum() * 3
    np.testing.assert_allclose(class_weights(counts, "effective", beta=1 - 1e-12), inverse, rtol=1e-8)


@laws
@given(counts_lists, st.sampled_from([s for s in SCHEMES if s != "none"]))
def test_a_rarer_class_never_weighs_less(counts, scheme):
    weights = class_weights(counts, scheme)
    in_order = weights[np.argsort(counts, kind="stable")]
    assert (np.diff(in_order) <= 1e-9 * in_order[:-1]).all()
    assert np.isfinite(weights).all()
    assert (weights > 0).all()


@laws
@given(counts_lists)
def test_inverse_weights_average_to_one_over_the_items(counts):
    np.testing.assert_allclose((class_weights(counts) * counts).sum(), sum(counts), rtol=1e-9)


@laws
@given(counts_lists, st.floats(0, 0.9999999))
def test_effective_weights_sum_to_the_number_of_classes(counts, beta):
    np.testing.assert_allclose(class_weights(counts, "effective", beta=beta).sum(), len(counts), rtol=1e-9)


def test_positive_weights_are_negatives_over_positives():
    np.testing.assert_allclose(positive_weights([1, 50], 100), [99, 1])
    np.testing.assert_allclose(positive_weights([1, 50], 101, power=0.5), [10, np.sqrt(51 / 50)])
    np.testing.assert_allclose(positive_weights([1, 50], [11, 100]), [10, 1])


def test_weights_enter_a_jitted_step_as_arrays_and_do_not_recompile_it():
    traces = 0

    @jax.jit
    def step(weights):
        nonlocal traces
        traces += 1
        return weights.sum()

    for counts in ([10, 1], [1000, 1], [5, 5]):
        step(class_weights(counts))
    assert traces == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: class_counts([0, 3], 3), "label 3 is outside 0..2"),
        (lambda: class_counts([0, -1], 3), "label -1 is outside 0..2"),
        (lambda: class_counts([0.0, 1.0], 2), "labels are float64"),
        (lambda: class_counts([[1, 0], [2, 0]], 2), "multi-hot label 2 of item 1, class 0.* 1, 0, -1, -2"),
        (lambda: class_counts([[1, 0], [-3, 0]], 2), "multi-hot label -3 of item 1, class 0"),
        (lambda: class_counts([[1, 0]], 3), "2 columns, expected 3"),
        (lambda: class_counts(np.zeros((1, 1, 1), int), 3), r"shape \(1, 1, 1\)"),
        (lambda: class_priors([0, 0]), "sum to zero"),
        (lambda: class_priors([3, -1]), "count -1.0 of class 1"),
        (lambda: class_weights([3, 0, 0]), "no weight for class 1, 2: its count is zero"),
        (lambda: class_weights([3, 0], "effective"), "no weight for class 1"),
        (lambda: class_weights([3, 1], "inverted"), "unknown weight scheme 'inverted'.*median_frequency"),
        (lambda: class_weights([3, 1], "effective", beta=1.0), "beta 1.0"),
        (lambda: class_weights([[3, 1]]), r"counts have shape \(1, 2\)"),
        (lambda: class_weights([3, float("nan")]), "count nan of class 1"),
        (lambda: positive_weights([3, 0], 10), "no positive weight for class 1"),
        (lambda: positive_weights([3, 11], 10), "label 1 has 11 positives of a total of 10"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_weights_of_none_need_no_items():
    assert class_weights([3, 0], "none").tolist() == [1, 1]


def test_labels_that_are_text_are_refused_in_words():
    names = np.array(["a", "b", "a", "b"])
    for call in (
        lambda: priors.class_counts(names, 2),
        lambda: priors.class_counts(names.astype(object), 2),
        lambda: priors.class_counts(np.array([["1", "0"]]), 2),
        lambda: sampling.make_plan(names, 2),
        lambda: sampling.make_plan(names, 2, "repeat_factor"),
        lambda: metrics.auroc(names, np.linspace(0, 1, 4)),
        lambda: metrics.confusion_matrix(np.array(["0", "1", "0", "1"]), np.linspace(0, 1, 4)),
    ):
        with pytest.raises(ValueError, match=r"np\.unique"):
            call()
