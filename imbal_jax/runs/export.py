"""A finished run as one StableHLO program: standardisation, network, calibration and thresholds together.

The program needs jax and nothing of this package::

    model = jax.export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
    out = model.call(images)  # uint8 [N, H, W, C] -> {"probabilities": float32 [N, C], "called": bool [N, C]}

Images of 16 bits are uint16, where the network was trained on such.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

import imbal_jax
from imbal_jax.files import write_bytes, write_json
from imbal_jax.runs.deployment import Inputs
from imbal_jax.runs.restore import Deployed

PROGRAM, DESCRIPTION = "model.stablehlo", "model.json"
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def predictions(deployed: Deployed, images: jax.Array) -> dict[str, jax.Array]:
    """``probabilities`` float32 and ``called`` bool, [B, C], of images [B, H, W, C]: pure and jittable.

    Of a task that does not decide, ``predictions`` float32 [B, ...]. In float32 what ``Deployment`` does in float64:
    probabilities agree to 1e-5, and so do decisions but for those that lie as near to a threshold.
    """
    deployment = deployed.deployment
    outputs = deployed.outputs(images).astype(jnp.float32)
    if not deployed.task.decides:
        return {"predictions": outputs}
    scale, bias = (jnp.float32(getattr(deployment.scaling, name)) for name in ("scale", "bias"))
    probabilities = deployed.task.scaled(outputs, scale, bias)
    called = probabilities >= jnp.float32([point.threshold for point in deployment.points])
    called &= ~jnp.array([point.threshold > 1 for point in deployment.points])  # which float32 may round to 1
    if (negative := deployment.negative) is not None:
        others = np.arange(len(deployment.classes)) != negative
        called = called.at[:, negative].set(~called[:, others].any(axis=1))
    return {"probabilities": probabilities, "called": called}


@contextmanager
def without_source_paths() -> Iterator[None]:
    """Programs lowered inside the block contain no source paths, which may name users or folders."""
    name = "jax_hlo_source_file_canonicalization_regex"
    before = getattr(jax.config, name)
    jax.config.update(name, ".*")
    try:
        yield
    finally:
        jax.config.update(name, before)


def export_run(deployed: Deployed, folder: Path) -> Path:
    """Write the program and a description of what it takes and gives to ``folder``; returns ``folder``.

    The batch size is free, and the platform may be any of ``PLATFORMS``. Raises InputError where the folder
    cannot be written.
    """
    deployment = deployed.deployment
    (batch,) = jax_export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *deployment.inputs.shape), deployment.inputs.dtype)
    with without_source_paths():
        program = jax_export.export(jax.jit(lambda x: predictions(deployed, x)), platforms=PLATFORMS)(images)
    description = {
        "imbal_jax": imbal_jax.__version__,
        "jax": jax.__version__,
        "takes": {
            "images": ["batch", *deployment.inputs.shape],
            "dtype": str(deployment.inputs.dtype),
            **described(deployment.inputs),
        },
        "gives": {"probabilities": "float32 [batch, classes]", "called": "bool [batch, classes]"}
        if deployed.task.decides
        else {"predictions": "float32 [batch, ...]"},
        "method": deployed.method.name,
        "step": deployed.step,
        **{k: v for k, v in deployment.to_json().items() if k not in ("inputs", "scaling")},
    }
    write_bytes(folder / PROGRAM, bytes(program.serialize()))
    write_json(folder / DESCRIPTION, description)
    return folder


def described(inputs: Inputs) -> dict[str, Any]:
    """How pictures become what the program takes: what training did, or that nothing is known of it."""
    if inputs.geometry is None:
        return {
            "geometry": None,
            "range": [0, 2**inputs.bits - 1],
            "preprocessing": "not known: the training images were arrays",
        }
    return inputs.geometry.described()
