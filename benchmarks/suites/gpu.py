"""CIFAR-10 with a long tail, 100:1, the published protocol of configs/cifar10_lt.py: 15 methods, three seeds.

    IMBAL_JAX_DATA=DIR imbal-jax benchmark benchmarks/suites/gpu.py --out benchmarks/results/gpu

DIR holds cifar10 (docs/DATA.md); the condensed copy is JPEG of quality 75, so its errors are near the published ones,
not equal. A run takes 70 s on an H200 and seven hours on two CPU cores. The most telling methods come first, all with
one seed before any has a second: twelve minutes bring ten runs.

Published errors with this protocol, in per cent: ce 29.7, ldam_drw 23.0, logit_adjusted 22.1 (a longer one),
balanced_softmax 22.5, crt 25.0; the best tricks with plain augmentation 19.97 (Zhang et al. 2021).
"""

from dataclasses import replace
from pathlib import Path

from imbal_jax.config import Data, load_config
from imbal_jax.suite import Cell, Stage, Suite
from imbal_jax.suite.cells import FOLDER

METHODS = (
    "ce",
    "logit_adjusted",
    "ldam_drw",
    "ce_drw",
    "balanced_softmax",
    "crt",
    "post_hoc_logit_adjusted",
    "mixup",
    "mislas",
    "lws",
    "tau_norm",
    "weighted_ce",
    "focal",
    "class_balanced_focal",
    "bayesian_ce",
)
CELL = Cell(
    name="cifar10-lt-100",
    set="cifar10-lt",
    data=Data(source="cifar10", dir=FOLDER / "cifar10", image_size=32, long_tail=100.0),
    ratio=100,
    positives=None,
)


def get_suite() -> Suite:
    base = load_config(Path(__file__).parents[2] / "configs" / "cifar10_lt.py")
    stage = Stage(name="final", cells=(CELL,), methods=METHODS, seeds=(0,))
    return Suite(
        name="gpu",
        title="CIFAR-10 with a long tail, 100:1, the published protocol",
        base=replace(base, methods=base.methods[:1]),
        stages=(
            stage,
            replace(stage, name="more-seeds", draws=(0,), seeds=(1, 2), paired=False),
        ),
        primary="accuracy",
    )
