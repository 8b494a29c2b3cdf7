"""Two processes of two devices each read half a batch each, and train like one process of four devices."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from prepared import prepare

from imbal_jax.config import Config, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.pipeline import Pipeline
from imbal_jax.data.feeding.stream import AHEAD, HostBatches, stream_steps
from imbal_jax.data.records.record_set import RecordImages, open_records
from imbal_jax.engine import parallel
from imbal_jax.engine.state import init_state
from imbal_jax.engine.step import make_train_step
from imbal_jax.methods import find_method
from imbal_jax.sampling import batch_indices
from imbal_jax.tasks import ONE_LABEL
from imbal_jax.training.composition import compose
from imbal_jax.transforms.augment import Augment

LABELS = (np.arange(64) % 8 == 0).astype(np.int32)
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
STEPS = (3, 6)  # from a checkpoint's step, as after a restart


class Watched(RecordImages):
    """Remembers which records were read."""

    seen: set[int] = set()  # noqa: RUF012

    def _read(self, row: int) -> np.ndarray:
        self.seen.add(row)
        return super()._read(row)


def linear(variables: Any, inputs: jax.Array, *, train: bool, rngs: Any) -> Any:
    return inputs.reshape(len(inputs), -1) @ variables["params"]["weights"], {}


def trained(folder: Path) -> dict[str, Any]:
    """The parameters after some steps fed from disk, on all devices of all processes, and what was read here."""
    records = open_records(folder)
    images = Watched(records.images.files, records.images.stored, records.images.rows)
    data = Dataset(images, np.asarray(records.labels), np.asarray(records.groups), records.classes)
    config = Config(name="processes", train=Train(batch_size=8))
    method, mesh = find_method("stratified,mixing=mixup"), parallel.make_mesh()
    plans, shared = compose(config, method, ONE_LABEL, data, mesh.size, 100)
    images.seen.clear()  # the statistics are of all images
    variables = {"params": {"weights": jnp.zeros((64, 2))}}
    step = make_train_step(linear, optax.sgd(1e-2), ONE_LABEL.objective(method))
    state = init_state(variables, step.optimizer, jax.random.key(0))
    state = parallel.replicate(replace(state, step=jnp.int32(STEPS[0])), mesh)
    pipeline = Pipeline(Augment(flip=True), method.image_mixing)

    def fed(state: Any, batch: Any) -> Any:
        raw = {name: value for name, value in batch.items() if name != "shared"}
        return step(state, pipeline.inputs(raw, batch["shared"], state.step))

    own = HostBatches(images=images, labels=data.labels, plans=plans, places=parallel.local_places(8, mesh))
    shared = parallel.replicate(shared, mesh)
    advance = stream_steps(parallel.parallelize(fed, mesh), own, mesh, shared=shared)
    state, metrics, _ = advance(state, STEPS[1] - STEPS[0])
    places = parallel.local_places(8, mesh)
    batches = HostBatches(images=records.images, labels=data.labels, plans=plans, places=places)
    placed = parallel.shard_batch(batches[STEPS[0]], mesh)
    return {
        "params": jax.tree.map(lambda x: np.asarray(x).tolist(), state.params),
        "loss": metrics["loss"],
        "places": places.tolist(),
        "read": sorted(images.seen),
        "drawn": [
            np.concatenate(
                [np.asarray(batch_indices(plan, step))[places] for plan in (plans.plan, plans.partner)]
            ).tolist()
            for step in range(STEPS[0], STEPS[1] + 1 + AHEAD)
        ],
        "global_shape": placed["images"].shape,
        "shards": {
            str(shard.index[0].start): np.asarray(shard.data).tolist()
            for shard in placed["images"].addressable_shards
        },
    }


def test_two_processes_read_half_each_and_train_like_one(tmp_path: Path) -> None:
    folder = prepare(tmp_path, IMAGES, LABELS, None, {"train": np.arange(64)})
    expected = trained(folder)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    programs = [
        subprocess.Popen(
            [sys.executable, __file__, str(port), str(process), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    try:
        outputs = [program.communicate(timeout=120) for program in programs]
    finally:
        for program in programs:
            program.kill()
    assert [program.returncode for program in programs] == [0, 0], outputs[0][1][-2000:]
    found = [json.loads(output.splitlines()[-1]) for output, _ in outputs]

    assert [process["places"] for process in found] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    shards = found[0]["shards"] | found[1]["shards"]
    assert all(process["global_shape"] == [8, 8, 8, 1] for process in found)
    assert shards == expected["shards"]  # the global batch of one process, in its order
    assert set(shards) == {"0", "2", "4", "6"}
    for process in found:
        assert abs(process["loss"] - expected["loss"]) < 1e-5
        ours, theirs = jax.tree.leaves(process["params"]), jax.tree.leaves(expected["params"])
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for process in found:  # read was what is on its own devices, of the steps taken and of those read ahead
        taken, ahead = (set(np.ravel(steps)) for steps in (process["drawn"][:3], process["drawn"]))
        assert taken <= set(process["read"]) <= ahead
        assert ahead < set(range(64))


if __name__ == "__main__":
    port, process, where = sys.argv[1:]
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=int(process))
    result = trained(Path(where))
    print(json.dumps(result))
