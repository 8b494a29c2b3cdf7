"""CIFAR-10 with a long tail, 100:1, the published protocol of configs/cifar10_lt.py: 18 methods, three seeds.

    IMBAL_JAX_DATA=DIR imbal-jax benchmark benchmarks/suites/gpu.py --out benchmarks/results/gpu

DIR holds cifar10 (docs/DATA.md); the condensed copy is JPEG of quality 75, so its errors are near the published ones,
not equal. A run takes 70 s on an H200 and seven hours on two CPU cores. The most telling methods come first, all with
one seed before any has a second: twelve minutes bring ten runs.

The report puts the errors beside the published ones. The best with plain augmentation is 19.97 (Zhang et al. 2021,
the best tricks combined), with AutoAugment and Cutout 14.1 (ProCo).
"""

from dataclasses import replace
from pathlib import Path

from imbal_jax.config import Data, load_config
from imbal_jax.suite import Cell, Published, Setting, Stage, Suite
from imbal_jax.suite.cells import FOLDER

TRICKS = "BagofTricks-LT, Zhang et al. 2021"
ERRORS = {
    "ce": (28.05, TRICKS),
    "logit_adjusted": (22.11, "Menon et al. 2021, 1,241 epochs"),
    "ldam_drw": (22.27, TRICKS),
    "ce_drw": (25.36, TRICKS),
    "balanced_softmax": (22.46, TRICKS),
    "crt": (25.01, TRICKS),
    "post_hoc_logit_adjusted": (22.68, "Menon et al. 2021, 1,241 epochs"),
    "mixup": (25.94, TRICKS),
    "mislas": (None, ""),
    "lws": (27.37, TRICKS),
    "tau_norm": (27.30, TRICKS),
    "weighted_ce": (31.70, TRICKS),
    "focal": (28.44, TRICKS),
    "class_balanced_focal": (24.80, TRICKS),
    "bayesian_ce": (None, ""),
    "inverse_drw": (25.18, TRICKS),
    "stratified": (27.55, TRICKS),
    "ce_drs": (24.93, TRICKS),
}
"""Method -> published error in per cent, and its source. The first are run first; the last three serve the checks."""
AUTOAUGMENT = (
    *("--augment.policy", "autoaugment_cifar10", "--augment.erase", "0.5"),
    *("--optim.learning-rate", "0.3", "--train.batch-size", "256"),
)
"""The recipe of ProCo (Du et al. 2024): AutoAugment, Cutout of 16 pixels, batches of 256 at a rate of 0.3."""
CELL = Cell(
    name="cifar10-lt-100",
    set="cifar10-lt",
    data=Data(source="cifar10", dir=FOLDER / "cifar10", image_size=32, long_tail=100.0),
    ratio=100,
    positives=None,
)


def get_suite() -> Suite:
    base = load_config(Path(__file__).parents[2] / "configs" / "cifar10_lt.py")
    stage = Stage(name="final", cells=(CELL,), methods=tuple(ERRORS), seeds=(0,))
    return Suite(
        name="gpu",
        title="CIFAR-10 with a long tail, 100:1, the published protocol",
        base=replace(base, methods=base.methods[:1]),
        stages=(
            stage,
            replace(stage, name="more-seeds", draws=(0,), seeds=(1, 2), paired=False),
            replace(
                stage,
                name="autoaugment",
                methods=("balanced_softmax", "logit_adjusted", "ce", "ldam_drw", "balanced_contrastive"),
                settings=(Setting(name="autoaugment", overrides=AUTOAUGMENT),),
            ),
        ),
        published=tuple(
            Published(method=method, cell=CELL.name, error=error, source=source)
            for method, (error, source) in ERRORS.items()
            if error is not None
        ),
    )
