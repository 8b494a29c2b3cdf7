"""A state in parts on several devices trains as one that is whole on each."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from imbal_jax import losses
from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.engine.fully_sharded import SMALL, bytes_a_device, fully_shard, spec_of
from imbal_jax.engine.parallel import make_mesh, parallelize, replicate, scan_steps, shard_batch
from imbal_jax.engine.state import init_state
from imbal_jax.engine.step import linen_apply, make_train_step
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS
from imbal_jax.train import fit


def test_the_longest_axis_that_divides_is_cut_and_small_arrays_are_whole() -> None:
    assert spec_of((3, 3, 64, 128), 4) == P(None, None, None, "data")
    assert spec_of((256, 64), 4) == P("data")
    assert spec_of((64, 64), 4) == P(None, "data")
    assert spec_of((63, 130), 4) == P()
    assert spec_of((SMALL - 4,), 4) == P()
    assert spec_of((), 4) == P()


class Net(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.Dense(2)(nn.relu(nn.Dense(256)(nn.relu(nn.Dense(256)(x)))))


def objective(logits: jax.Array, data: Any, axis: str | None) -> tuple[jax.Array, dict[str, jax.Array]]:
    weights = jnp.where(data["labels"] == 1, 3.0, 1.0)
    return losses.weighted_mean(losses.cross_entropy(logits, data["labels"]), weights, axis), {}


def begun() -> tuple[Any, Any, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    data = {
        "inputs": rng.normal(size=(16, 32)).astype(np.float32),
        "labels": rng.integers(0, 2, 16).astype(np.int32),
    }
    optimizer = optax.sgd(0.1, momentum=0.9)  # adam would divide by gradients that are rounding
    step = make_train_step(linen_apply(Net()), optimizer, objective, ema_decay=0.9)
    return (
        step,
        init_state(Net().init(jax.random.key(0), data["inputs"]), optimizer, jax.random.key(1), ema=True),
        data,
    )


def test_steps_are_those_of_a_whole_state_with_a_quarter_of_the_memory() -> None:
    mesh = make_mesh(4)
    step, state, data = begun()
    whole, parts = replicate(state, mesh), fully_shard(begun()[1], mesh)
    assert bytes_a_device(parts) < 0.3 * bytes_a_device(whole)
    as_whole = parallelize(step, mesh)
    as_parts = parallelize(step, mesh, "jit", sharded=True)
    batch = shard_batch(data, mesh)
    for _ in range(3):
        whole, expected = as_whole(whole, batch)
        parts, found = as_parts(parts, batch)
        jax.block_until_ready((whole, parts))
    assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-5)
    for name in ("params", "opt_state", "ema_params"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            getattr(parts, name),
            getattr(whole, name),
        )
    kernel = parts.params["Dense_1"]["kernel"]
    assert kernel.sharding.spec == P(None, "data"), "it stays in parts"
    assert kernel.addressable_shards[0].data.shape == (256, 64)
    moments = jax.tree.leaves(parts.opt_state[0].trace)
    assert all(m.addressable_shards[0].data.size < m.size for m in moments if m.size >= SMALL)


def test_the_compiled_step_gathers_parameters_and_holds_no_whole_state() -> None:
    mesh = make_mesh(4)
    step, state, data = begun()

    def batch_of(resident: Any, at: jax.Array, shard: Any) -> Any:
        return resident

    many = scan_steps(step, batch_of, mesh, "jit", sharded=True)
    begins = fully_shard(state, mesh)
    before = jax.tree.map(lambda leaf: leaf.sharding, begins)
    parts, metrics = many(begins, replicate(data, mesh), 4)
    assert int(parts.step) == 4
    assert np.isfinite(metrics["loss"])
    assert parts.params["Dense_1"]["kernel"].sharding.spec == P(None, "data")
    for (name, leaf), sharding in zip(jax.tree.leaves_with_path(parts), jax.tree.leaves(before), strict=True):
        # small arrays too, or the next dispatch would be compiled again
        assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim), name


def test_another_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="a sharded one needs jit"):
        parallelize(lambda s, b: (s, b), make_mesh(2), "shard_map", sharded=True)
    from imbal_jax.training.build import make_mesh as mesh_of

    with pytest.raises(
        InputError, match=r"train\.shard-parameters needs --train\.backend jit, not shard_map"
    ):
        mesh_of(Config(name="x", train=Train(batch_size=8, devices=2, shard_parameters=True)))


def test_a_run_saved_in_parts_goes_on_whole_and_the_other_way_round(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(60) % 3 == 0).astype(np.int32)
    images = rng.integers(0, 120, (60, 12, 12, 1)).astype(np.uint8)
    images[labels == 1, 3:8, 3:8] += 90
    data = Dataset.from_arrays(images, labels, groups=np.arange(60) // 2, classes=("normal", "bright"))

    def trained(folder: str, order: tuple[tuple[bool, int], ...]) -> np.ndarray:
        """Stopped after each evaluation but the last, and gone on with another layout of the state."""
        for turn, (parts, devices) in enumerate(order):
            config = Config(
                name="parts",
                methods=(METHODS["weighted_ce"],),
                data=Data(source="arrays", negative_class="normal"),
                model=Model(name="cnn", options={"patch": 2, "width": 32, "stages": 2}),
                optim=Optim(ema_decay=0.9),
                train=Train(
                    epochs=4,
                    batch_size=8,
                    evaluations=2,
                    backend="jit",
                    devices=devices,
                    shard_parameters=parts,
                ),
            )
            last = turn == len(order) - 1

            def watch(seen: Any, last: bool = last) -> None:
                if not last and len(list((tmp_path / folder).glob("**/checkpoints/[0-9]*"))):
                    raise KeyboardInterrupt

            try:
                (result,) = fit(config, tmp_path / folder, data, report=False, watch=watch)
            except KeyboardInterrupt:
                continue
        return np.asarray(result.predict(images[:10]))

    whole = trained("whole", ((False, 2),))
    np.testing.assert_allclose(trained("parts", ((True, 2),)), whole, atol=2e-4)
    np.testing.assert_allclose(trained("mixed", ((True, 2), (False, 1))), whole, atol=2e-4)
    np.testing.assert_allclose(trained("other", ((False, 2), (True, 4))), whole, atol=2e-4)
