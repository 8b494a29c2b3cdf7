"""The Neural Turing Machine beside its equations written out step by step in numpy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax.errors import InputError
from imbal_jax.models import NTM, make_model, ntm
from imbal_jax.models.ntm import CONSTANT

SMALL = {"size": 7, "places": 6, "width": 4}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


def written_out(params: dict[str, Any], x: np.ndarray, model: NTM) -> np.ndarray:
    """Logits [T, O] of one sequence [T, F], head after head and place after place."""
    p = {
        name: np.asarray(value, np.float64) if not isinstance(value, dict) else value
        for name, value in params.items()
    }
    R, W, N, D, S = model.read_heads, model.write_heads, model.places, model.width, model.shifts
    memory = p["first_memory"] if model.memory == "learned" else np.full((N, D), CONSTANT)
    if model.weighting == "learned":
        w = softmax(p["first_weightings"])
    else:
        w = np.zeros((R + W, N))
        w[:, 0] = 1
    reads = p["first_reads"]
    hidden = cell = np.zeros(model.size)
    logits = []
    for now in x:
        before = now @ p["inputs"] + p["bias"] + reads.reshape(-1) @ p["reads"]
        if model.controller == "lstm":
            i, f, g, o = np.split(before + hidden @ p["hidden"], 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            hidden = sigmoid(o) * np.tanh(cell)
        else:
            hidden = np.tanh(before)
        said = hidden @ p["heads"] + p["heads_bias"]
        taken = iter(np.split(said, np.cumsum([(R + W) * D, R + W, R + W, (R + W) * S, R + W, W * D])))
        keys, strengths, gates, shifts, exponents, erase, add = taken
        keys, shifts = np.tanh(keys).reshape(R + W, D), softmax(shifts.reshape(R + W, S))
        new = np.zeros_like(w)
        for head in range(R + W):
            lengths = np.linalg.norm(memory, axis=1) * np.linalg.norm(keys[head])
            content = softmax(softplus(strengths[head]) * (memory @ keys[head]) / lengths)
            gate = sigmoid(gates[head])
            mixed = gate * content + (1 - gate) * w[head]
            moved = np.array(
                [
                    sum(shifts[head, k] * mixed[(place - (k - S // 2)) % N] for k in range(S))
                    for place in range(N)
                ]
            )
            powers = moved ** (1 + softplus(exponents[head]))
            new[head] = powers / powers.sum()
        w = new
        reads = w[:R] @ memory
        erased = memory.copy()
        for head in range(W):
            erased *= 1 - np.outer(w[R + head], sigmoid(erase.reshape(W, D)[head]))
        memory = erased + sum(np.outer(w[R + h], np.tanh(add.reshape(W, D)[h])) for h in range(W))
        features = np.concatenate([hidden, reads.reshape(-1)])
        if model.readout:
            layer = {name: np.asarray(value) for name, value in p["readout"].items()}
            features = np.tanh(features @ layer["kernel"] + layer["bias"])
        logits.append(features @ np.asarray(p["head"]["kernel"]) + np.asarray(p["head"]["bias"]))
    return np.array(logits)


def initial(model: Any, x: np.ndarray, scale: float = 1.0) -> Any:
    """Variables with parameters large enough that every gate matters."""
    variables = jax.jit(model.init)(jax.random.key(0), x)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: p + scale * rng.normal(size=p.shape).astype(np.float32), variables)


def sequences(count: int = 2, steps: int = 9, width: int = 5) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, steps, width)).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"controller": "lstm", "weighting": "one_hot"},
        {"read_heads": 2, "write_heads": 3, "shifts": 5},
        {"controller": "lstm", "read_heads": 3, "memory": "constant"},
        {"heads_start": "content", "readout": 5},
    ],
)
def test_the_machine_is_the_one_written_out(options: dict[str, Any]) -> None:
    x = sequences()
    model = make_model("ntm", num_outputs=3, **SMALL, **options)
    variables = initial(model, x)
    found = jax.jit(model.apply)(variables, x)
    assert found.shape == (2, 9, 3)
    for one, expected in zip(x, found, strict=True):
        np.testing.assert_allclose(
            written_out(variables["params"], one, model), expected, rtol=2e-3, atol=2e-3
        )


@pytest.mark.parametrize("controller", ["feed_forward", "lstm"])
def test_the_gradients_that_are_products_over_all_steps_are_those_of_the_scan(controller: str) -> None:
    x = sequences()
    model = make_model("ntm", num_outputs=3, **SMALL, read_heads=2, controller=controller)
    params = initial(model, x, 0.5)["params"]
    taken = []

    def scanned(cell: Any, weights: Any, offsets: Any, carry: Any) -> Any:
        taken.append(cell)

        def step(carry: Any, offset: Any) -> Any:
            return cell(lambda name, x: x @ weights[name] + offset[name], carry)

        return jax.lax.scan(step, carry, offsets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ntm, "recurrence", scanned)
        expected = jax.jit(jax.grad(lambda p: jnp.sin(model.apply({"params": p}, x)).sum()))(params)
    found = jax.jit(jax.grad(lambda p: jnp.sin(model.apply({"params": p}, x)).sum()))(params)
    assert len(taken) == 1
    for path, slope in jax.tree_util.tree_leaves_with_path(expected):
        other = dict(jax.tree_util.tree_leaves_with_path(found))[path]
        np.testing.assert_allclose(other, slope, rtol=1e-3, atol=1e-4, err_msg=str(path))
        assert np.abs(slope).max() > 0


def test_heads_that_start_by_content_single_out_the_place_of_their_key_and_stay_there() -> None:
    model = make_model("ntm", num_outputs=3, **SMALL, read_heads=2, heads_start="content")
    params = jax.jit(model.init)(jax.random.key(0), sequences())["params"]
    said = iter(np.split(np.asarray(params["heads_bias"]), np.cumsum([3 * 4, 3, 3, 3 * 3, 3, 4])))
    keys, strengths, gates, shifts, *rest = said
    np.testing.assert_allclose(np.log1p(np.exp(strengths)), 8, atol=1e-3)
    np.testing.assert_allclose(sigmoid(gates), 0.731, atol=1e-3)
    np.testing.assert_allclose(
        softmax(shifts.reshape(3, 3)), np.tile([0.1065, 0.787, 0.1065], (3, 1)), atol=1e-3
    )
    for zeros in (keys, *rest):
        assert not zeros.any()
    neutral = make_model("ntm", num_outputs=3, **SMALL, read_heads=2)
    assert not jax.jit(neutral.init)(jax.random.key(0), sequences())["params"]["heads_bias"].any()


def test_a_machine_for_copying_has_as_many_parameters_as_counted_from_the_paper() -> None:
    """16,096: an independent count for 9 inputs, 100 units, 128 places of 20, learned start."""
    shapes = jax.eval_shape(lambda: NTM(8).init(jax.random.key(0), jnp.zeros((1, 3, 9))))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 16_096


@pytest.mark.parametrize("name", ["ntm", "lstm"])
def test_a_sequence_does_not_depend_on_the_others_of_its_batch_nor_on_what_comes_later(name: str) -> None:
    options = SMALL if name == "ntm" else {"size": 6, "layers": 2}
    model, x = make_model(name, num_outputs=3, **options), sequences(3)
    variables = initial(model, x, 0.3)
    whole = jax.jit(model.apply)(variables, x)
    np.testing.assert_allclose(jax.jit(model.apply)(variables, x[1:2, :4])[0], whole[1, :4], atol=1e-5)


@pytest.mark.parametrize("name", ["ntm", "lstm"])
def test_features_and_head_give_the_logits_and_pictures_one_pixel_wide_are_sequences(name: str) -> None:
    options = SMALL if name == "ntm" else {"size": 6, "layers": 2}
    model, x = make_model(name, num_outputs=3, **options), sequences()
    variables = initial(model, x, 0.3)
    both = model.apply(variables, x, train=True, outputs="both")
    head = variables["params"]["head"]
    np.testing.assert_allclose(both["features"] @ head["kernel"] + head["bias"], both["logits"], atol=1e-5)
    np.testing.assert_array_equal(model.apply(variables, x, outputs="features"), both["features"])
    np.testing.assert_allclose(model.apply(variables, x[:, :, None]), both["logits"], atol=1e-6)
    with pytest.raises(InputError, match=r"input of shape \[2, 3, 3, 1\] of a recurrent network"):
        model.init(jax.random.key(0), np.zeros((2, 3, 3, 1)))


def test_it_is_called_wrong_in_one_line() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"controller": "gru"}, "controller 'gru' of model 'ntm': choose from 'lstm', 'feed_forward'"),
        ({"places": 0}, "places 0 of model 'ntm': give a whole number from 1"),
        ({"shifts": 4}, "shifts 4 of model 'ntm': give an odd number"),
        ({"readout": -1}, "readout -1 of model 'ntm': give 0 for none"),
        ({"norm": "batch"}, "option 'norm' of model 'ntm' is unknown"),
        ({"depth": 2}, "option 'depth' of model 'ntm' is unknown; choose from controller, heads_start"),
    ]
    for options, said in wrong:
        with pytest.raises(InputError, match=said):
            make_model("ntm", num_outputs=2, **options)
    usual = {"norm": "group", "dropout": 0.0, "axis_name": "data", "dtype": jnp.dtype("float32")}
    assert make_model("ntm", num_outputs=2, **usual) == NTM(2)
