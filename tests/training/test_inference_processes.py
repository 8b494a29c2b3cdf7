"""Scores, counts and metrics are the same on one device, on four, and on two processes of two devices."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from imbal_jax.engine.parallel import make_mesh, replicate
from imbal_jax.methods import METHODS
from imbal_jax.metrics import auroc, average_precision, confusion_matrix, sensitivity
from imbal_jax.tasks import ONE_LABEL
from imbal_jax.training.inference import make_predict

NUMBER = 37  # no multiple of a batch, of the devices or of the processes: the last batch is mostly padding


def linear(variables: Any, inputs: jax.Array, *, train: bool, rngs: Any) -> jax.Array:
    return inputs.reshape(len(inputs), -1) @ variables["params"]


def measured(devices: int | None, batch: int) -> dict[str, Any]:
    """What evaluation reports, as JSON keeps it: counts, and floats to their last bit."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (NUMBER, 4, 4, 1)).astype(np.uint8)
    labels = (np.arange(NUMBER) % 6 == 0).astype(int)
    variables = {"params": rng.normal(size=(16, 2)).astype(np.float32)}
    mesh = make_mesh(devices)
    statistics = {"mean": np.float32(0.5), "deviation": np.float32(0.3)}
    predict = make_predict(linear, ONE_LABEL.predictor(METHODS["ce"]), mesh, batch)
    scores = predict(replicate(variables, mesh), statistics, images)
    return {
        "number": len(scores),
        "confusion": confusion_matrix(labels, scores).tolist(),
        "sensitivity": sensitivity(labels, scores[:, 1]).hex(),
        "auroc": float(auroc(labels, scores[:, 1])).hex(),
        "average_precision": float(average_precision(labels, scores[:, 1])).hex(),
        "scores": scores.tolist(),
    }


def by_two_processes(batch: int) -> list[dict[str, Any]]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
    }
    words = [sys.executable, __file__, address, str(batch)]
    running = [
        subprocess.Popen([*words, str(k)], stdout=subprocess.PIPE, text=True, env=environment) for k in (0, 1)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def test_counts_and_metrics_do_not_depend_on_devices_processes_or_padding() -> None:
    alone = measured(1, 8)
    many = [measured(4, 8), measured(2, 64), *by_two_processes(16)]
    scores = alone.pop("scores")
    for other in many:
        np.testing.assert_allclose(other.pop("scores"), scores, atol=1e-6)
        assert other == alone
    assert alone["number"] == NUMBER
    assert np.array(alone["confusion"]).sum() == NUMBER


if __name__ == "__main__":
    address, batch, process = sys.argv[1:]
    jax.distributed.initialize(address, num_processes=2, process_id=int(process))
    assert jax.device_count() == 4
    print(json.dumps(measured(None, int(batch))))
