"""The primal-dual optimiser: steps by hand and in NumPy, where it ends, and what it shares with optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from imbal_jax.engine.pesg import AUC_MARGIN, add_proximal_term, auc_margin_variables, pesg
from imbal_jax.losses.ranking import auc_margin


def problem(size: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [N, 4] and targets, one positive in 20: two overlapping Gaussians."""
    random = np.random.default_rng(seed)
    targets = (np.arange(size) % 20 == 0).astype(int)
    inputs = random.normal(size=(size, 4)) * [1.0, 0.5, 2.0, 1.0]
    return (inputs + targets[:, None] * [1.0, 0.5, 0.0, -0.5]).astype(np.float32), targets


def linear_loss(params, inputs, targets):
    scores = jax.nn.sigmoid(inputs @ params["w"] + params["bias"])
    return auc_margin(scores, targets, **params[AUC_MARGIN])


# Steps


def test_first_step_has_the_values_computed_by_hand():
    params = {
        "w": jnp.array([1.0, -2.0]),
        AUC_MARGIN: {"a": jnp.array(0.5), "b": jnp.array(0.0), "alpha": jnp.array(0.3)},
    }
    gradients = {"w": jnp.array([0.4, 9.0]), AUC_MARGIN: {"a": -0.2, "b": 0.6, "alpha": 5.0}}
    optimizer = pesg(0.1, period=3, weight_decay=0.01, clip=1.0)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    moved = optax.apply_updates(params, updates)
    # the reference is still the start, so its term is 0; 9 is clipped to 1, the dual variable's 5 is not
    np.testing.assert_allclose(moved["w"], [1 - 0.1 * (0.4 + 0.01), -2 - 0.1 * (1 - 0.02)], rtol=1e-6)
    np.testing.assert_allclose(moved[AUC_MARGIN]["a"], 0.5 - 0.1 * (-0.2 + 0.005), rtol=1e-6)
    np.testing.assert_allclose(moved[AUC_MARGIN]["b"], -0.06, rtol=1e-6)
    np.testing.assert_allclose(moved[AUC_MARGIN]["alpha"], 0.3 + 0.1 * 5, rtol=1e-6)


def test_alpha_stops_at_0():
    params = {AUC_MARGIN: auc_margin_variables(3)}
    params[AUC_MARGIN]["alpha"] = jnp.array([0.3, 0.0, 0.3])
    gradients = jax.tree.map(jnp.zeros_like, params)
    gradients[AUC_MARGIN]["alpha"] = jnp.array([-9.0, -1.0, -1.0])
    optimizer = pesg(0.1, period=1)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    np.testing.assert_allclose(
        optax.apply_updates(params, updates)[AUC_MARGIN]["alpha"], [0, 0, 0.2], rtol=1e-6
    )


def test_steps_agree_with_the_algorithm_written_in_numpy():
    inputs, targets = problem(60)
    inputs = inputs.astype(np.float64)
    eta, gamma, decay, clip, period = 0.2, 0.5, 0.01, 0.3, 4
    v = np.array([0.5, -0.3, 0.2, 0.1, 0.0, 0.3, 0.1])  # w, bias, a, b
    alpha, reference, iterates = 0.0, v, []
    with jax.enable_x64(True):
        params = {
            "w": jnp.array(v[:4]),
            "bias": jnp.array(v[4]),
            AUC_MARGIN: {"a": jnp.array(v[5]), "b": jnp.array(v[6]), "alpha": jnp.array(0.0)},
        }
        optimizer = pesg(eta, period=period, proximal=gamma, weight_decay=decay, clip=clip)
        state = optimizer.init(params)
        step = jax.jit(lambda p, s: optimizer.update(jax.grad(linear_loss)(p, inputs, targets), s, p))
        for _ in range(14):
            updates, state = step(params, state)
            params = optax.apply_updates(params, updates)

            h = 1 / (1 + np.exp(-(inputs @ v[:4] + v[4])))
            positive, negative = targets / targets.sum(), (1 - targets) / (1 - targets).sum()
            slope = positive * (2 * (h - v[5]) - 2 * alpha) + negative * (2 * (h - v[6]) + 2 * alpha)
            slope = slope * h * (1 - h)
            gap = negative @ h - positive @ h
            gradient = np.array(
                [*(slope @ inputs), slope.sum(), 2 * (v[5] - positive @ h), 2 * (v[6] - negative @ h)]
            )
            alpha, v = (
                max(0, alpha + eta * (2 * (1 + gap) - 2 * alpha)),
                v - eta * (np.clip(gradient, -clip, clip) + gamma * (v - reference) + decay * v),
            )
            iterates.append(v)
            if len(iterates) == period:
                reference, iterates = np.mean(iterates, axis=0), []

            np.testing.assert_allclose(params["w"], v[:4], rtol=1e-10)
            found = params["bias"], *(params[AUC_MARGIN][k] for k in ("a", "b", "alpha"))
            np.testing.assert_allclose(found, [v[4], v[5], v[6], alpha], rtol=1e-10)


def test_reference_is_the_start_and_then_the_mean_of_each_period():
    term = add_proximal_term(1.0, period=3)
    iterates = np.array([[4.0], [1.0], [2.0], [6.0], [0.0], [-3.0], [9.0], [5.0]])
    state, references = term.init(jnp.array(iterates[0])), []
    for p in iterates:
        updates, state = term.update(jnp.zeros(1), state, jnp.array(p))
        np.testing.assert_allclose(updates, p - state.reference)
        references.append(float(state.reference[0]))
    np.testing.assert_allclose(references, [4, 4, 4, 3, 3, 3, 2, 2])  # (1 + 2 + 6) / 3, then (0 - 3 + 9) / 3
    assert state.count == len(iterates)


def test_state_shares_no_buffer_with_the_parameters_so_that_both_may_be_donated():
    params = {"w": jnp.ones(3), AUC_MARGIN: auc_margin_variables()}
    optimizer = pesg(0.1, period=2)

    def step(params, state):
        updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
        return optax.apply_updates(params, updates), state

    pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves((params, optimizer.init(params)))]
    assert len(set(pointers)) == len(pointers)
    params, state = jax.jit(step, donate_argnums=(0, 1))(params, optimizer.init(params))
    np.testing.assert_allclose(jax.jit(step, donate_argnums=(0, 1))(params, state)[0]["w"], 0.8, atol=1e-4)


# Where it ends


def train(optimizer: optax.GradientTransformation, steps: int = 1500, batch_size: int | None = None):
    """The parameters after so many steps from zero, and alpha along the way."""
    inputs, targets = problem()
    positives, negatives = np.flatnonzero(targets == 1), np.flatnonzero(targets == 0)
    params = {"w": jnp.zeros(4), "bias": jnp.zeros(()), AUC_MARGIN: auc_margin_variables()}

    def step(carry, key):
        params, state = carry
        x, y = jnp.asarray(inputs), jnp.asarray(targets)
        if batch_size is not None:  # half of each kind
            keys = jax.random.split(key)
            half = (batch_size // 2,)
            rows = jnp.concatenate(
                [
                    jax.random.choice(k, jnp.asarray(r), half)
                    for k, r in zip(keys, (positives, negatives), strict=True)
                ]
            )
            x, y = x[rows], y[rows]
        updates, state = optimizer.update(jax.grad(linear_loss)(params, x, y), state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params[AUC_MARGIN]["alpha"]

    keys = jax.random.split(jax.random.key(0), steps)
    (params, _), alphas = jax.jit(lambda c: jax.lax.scan(step, c, keys))((params, optimizer.init(params)))
    return params, np.asarray(alphas)


def auroc_of(params, inputs, targets) -> float:
    return roc_auc_score(targets, inputs @ np.asarray(params["w"]))


def logistic_regression_auroc() -> float:
    inputs, targets = problem()
    test_inputs, test_targets = problem(20_000, seed=1)
    model = LogisticRegression(class_weight="balanced").fit(inputs, targets)
    return roc_auc_score(test_targets, model.decision_function(test_inputs))


@pytest.mark.parametrize(
    ("optimizer", "batch_size"),
    [
        (pesg(0.5, period=300), None),
        (pesg(optax.piecewise_constant_schedule(0.2, {750: 0.1}), period=750), 64),
        (pesg(0.1, period=300, direction=optax.trace(0.9)), 64),
        (pesg(0.01, period=300, direction=optax.scale_by_adam()), 64),
    ],
    ids=["whole_data", "stages", "momentum", "adam"],
)
def test_auroc_reaches_that_of_logistic_regression_and_alpha_stays_above_0(optimizer, batch_size):
    params, alphas = train(optimizer, batch_size=batch_size)
    assert alphas.min() >= 0
    assert alphas.max() > 0.1
    assert auroc_of(params, *problem(20_000, seed=1)) > logistic_regression_auroc() - 0.005


def test_auxiliary_variables_reach_their_closed_form():
    params, _ = train(pesg(0.5, period=300), steps=3000)
    inputs, targets = problem()
    scores = 1 / (1 + np.exp(-(inputs @ params["w"] + params["bias"])))
    of_positives, of_negatives = scores[targets == 1].mean(), scores[targets == 0].mean()
    found = [params[AUC_MARGIN][k] for k in ("a", "b", "alpha")]
    np.testing.assert_allclose(
        found, [of_positives, of_negatives, 1 + of_negatives - of_positives], atol=5e-3
    )


def test_descent_on_alpha_too_would_have_diverged():
    _, alphas = train(optax.sgd(0.5), steps=20)
    assert alphas[-1] < -100


# Input


def test_variables_are_zeros_of_each_class():
    assert {k: v.shape for k, v in auc_margin_variables().items()} == {"a": (), "b": (), "alpha": ()}
    assert {k: v.shape for k, v in auc_margin_variables(3).items()} == {"a": (3,), "b": (3,), "alpha": (3,)}


def test_only_alpha_among_the_variables_ascends_wherever_they_lie():
    params = {"head": {AUC_MARGIN: auc_margin_variables()}, "alpha": jnp.zeros(()), "w": jnp.zeros(2)}
    optimizer = pesg(1.0, period=1)
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
    assert updates["head"][AUC_MARGIN] == {"a": -1, "b": -1, "alpha": 1}
    assert updates["alpha"] == -1
    np.testing.assert_array_equal(updates["w"], -1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pesg(0.1, period=0), "period is 0, expected 1 or more steps"),
        (lambda: pesg(0.1, period=1, proximal=-0.5), "proximal is -0.5"),
        (lambda: pesg(0.1, period=1, weight_decay=-1.0), "weight_decay is -1"),
        (lambda: pesg(0.1, period=1, clip=0.0), "clip is 0"),
        (lambda: pesg(0.1, period=1).init({"w": jnp.zeros(2)}), "parameters hold no auc_margin/alpha"),
        (
            lambda: add_proximal_term(1.0, 1).update(
                jnp.zeros(1), add_proximal_term(1.0, 1).init(jnp.zeros(1))
            ),
            "add_proximal_term needs the parameters",
        ),
    ],
)
def test_bad_input_raises_naming_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
