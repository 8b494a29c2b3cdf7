"""Images that lie on one device each give the batches of images that are whole on all."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from imbal_jax.config import Config, Data, Model, Patch, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.load import Splits
from imbal_jax.engine import parallel
from imbal_jax.engine.parallel import AXIS, make_mesh
from imbal_jax.engine.spread_rows import gather_rows, own_rows, spread_rows
from imbal_jax.methods import find_method
from imbal_jax.tasks import task_for
from imbal_jax.training import stage as stages
from imbal_jax.training.build import make_mesh as mesh_of


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int8, np.int16, np.float32])
def test_a_batch_of_spread_rows_is_the_batch(dtype: Any) -> None:
    mesh, rng = make_mesh(4), np.random.default_rng(0)
    array = (rng.normal(size=(11, 3, 2)) * 100).astype(dtype)
    items = rng.integers(0, 11, 8).astype(np.int32)
    spread = spread_rows(array, mesh)
    assert spread.shape == (12, 3, 2)
    assert {shard.data.shape for shard in spread.addressable_shards} == {(3, 3, 2)}

    def batch(rows: jax.Array, items: jax.Array) -> tuple[jax.Array, jax.Array]:
        shard = jax.lax.axis_index(AXIS)
        return gather_rows(rows, items, shard, lambda rows, at: rows[at]), own_rows(items, shard)

    found, own = jax.jit(jax.shard_map(batch, mesh=mesh, in_specs=(P(AXIS), P()), out_specs=P(AXIS)))(
        spread, items
    )
    np.testing.assert_array_equal(found, array[items])
    np.testing.assert_array_equal(own, items)
    assert found.dtype == dtype


CNN = {"patch": 2, "width": 4, "stages": 1}
UNET = {"depth": 1, "width": 4}


def pictures(masks: bool) -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 16, 16, 1)).astype(np.uint8)
    if masks:
        labels = np.zeros((30, 16, 16), np.int8)
        for i in range(30):
            labels[i, i % 9 : i % 9 + 4, 3:8] = 1
        return Dataset.from_arrays(images, labels, groups=np.arange(30), classes=("background", "spot"))
    labels = (np.arange(30) % 3 == 0).astype(np.int32)
    return Dataset.from_arrays(images, labels, groups=np.arange(30), classes=("normal", "bright"))


@pytest.mark.parametrize(
    ("method", "masks", "patch", "backend"),
    [
        ("mixup", False, 0, "shard_map"),
        ("ce", True, 0, "shard_map"),
        ("composition=balanced,loss=dice+cross_entropy", True, 8, "shard_map"),
        ("composition=balanced,weights=inverse", False, 0, "jit"),
    ],
)
def test_training_takes_the_same_steps(method: str, masks: bool, patch: int, backend: str) -> None:
    data = pictures(masks)
    found = []
    for spread in (False, True):
        config = Config(
            name="spread",
            data=Data(source="arrays", image_size=16, negative_class=data.classes[0]),
            patch=Patch(size=patch),
            model=Model(name="unet" if masks else "cnn", options=UNET if masks else CNN),
            train=Train(batch_size=8, epochs=10, devices=4, backend=backend, spread_images=spread),
        )
        mesh, task = mesh_of(config), task_for("auto", data)
        splits = Splits(data, data, data, [])
        stage = stages.first_stage(config, find_method(method), task, splits, mesh)
        state = parallel.replicate(stage.state, mesh)
        for _ in range(2):
            state, metrics, _ = stage.advance(state, 2)
            jax.block_until_ready((state, metrics))
        found.append(jax.device_get((state.params, metrics["loss"])))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *found)


def test_images_that_fit_on_no_device_are_spread_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((8, 4, 4, 1), np.uint8)
    config = Config(name="x", train=Train(batch_size=8, devices=4))
    mesh = make_mesh(4)
    monkeypatch.setattr(parallel, "room_for", lambda nbytes, mesh: nbytes <= 40)
    assert stages.is_resident(config, images, mesh)
    assert stages.is_spread(config, images, mesh)
    monkeypatch.setattr(parallel, "room_for", lambda nbytes, mesh: nbytes <= 20)
    assert not stages.is_resident(config, images, mesh)
    monkeypatch.setattr(parallel, "room_for", lambda nbytes, mesh: True)
    assert not stages.is_spread(config, images, mesh)
    assert stages.is_resident(config, images, mesh)


def test_only_a_part_of_the_images_is_on_a_device(tmp_path: Path) -> None:
    data = pictures(True)
    config = Config(
        name="spread",
        data=Data(source="arrays", image_size=16, negative_class="background"),
        model=Model(name="unet", options=UNET),
        train=Train(batch_size=8, epochs=10, devices=4, spread_images=True),
    )
    seen: list[Any] = []
    original = stages.placed

    def placed(*arguments: Any) -> Any:
        seen.append(original(*arguments))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stages, "placed", placed)
        task = task_for("auto", data)
        stages.first_stage(config, find_method("ce"), task, Splits(data, data, data, []), mesh_of(config))
    (resident,) = seen
    assert resident.images.addressable_shards[0].data.shape == (8, 16, 16, 1)
    assert resident.labels.addressable_shards[0].data.shape == (8, 16, 16)
    assert jnp.asarray(resident.images)[:30].tolist() == data.images.tolist()
