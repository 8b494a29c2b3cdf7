"""The compiled step on many devices: pure functions of arrays, without data sets and without a disk."""

from imbal_jax.engine.parallel import make_mesh, parallelize, scan_steps
from imbal_jax.engine.state import TrainState, init_state
from imbal_jax.engine.step import linen_apply, make_eval_step, make_train_step

__all__ = [
    "TrainState",
    "init_state",
    "linen_apply",
    "make_eval_step",
    "make_mesh",
    "make_train_step",
    "parallelize",
    "scan_steps",
]
