"""Which remedy works at which ratio: every method at its paper's settings, then eight of them tuned, on three sets.

    IMBAL_JAX_DATA=DIR imbal-jax benchmark benchmarks/suites/cpu.py --out benchmarks/results/cpu

DIR holds ham10000 and cifar10 (``docs/DATA.md``); signals are made on the device. About 3,000 runs of 8 to 30
seconds on one core, replicate by replicate, so that the table is whole at any time, and can be stopped and started.

screen: 61 methods (of the 65, without the four for many labels) with the defaults, 3 draws, 2 ratios of 2 sets.
tune: the four controls and the four methods of the best mean rank on validation, 5 trials of one search space.
final: the best trial of each cell on 12 fresh draws and seeds. sgd: SGD with momentum beside AdamW on one set.
"""

from dataclasses import replace

from imbal_jax.config import Config, Model, Optim, Train
from imbal_jax.methods import METHODS
from imbal_jax.suite import Setting, Stage, Suite
from imbal_jax.suite.cells import cifar10, ham10000, signals
from imbal_jax.suite.tuning import finalists, tuned
from imbal_jax.transforms.augment import Augment

CONTROLS = ("ce", "weighted_ce", "bayesian_ce", "stratified")
MANY_LABELS = ("repeat_factor", "asymmetric", "distribution_balanced", "class_balanced_sigmoid_focal")
FINAL = (
    signals(10, 50),
    signals(100, 10),
    signals(100, 50),
    signals(100, 250),
    signals(1000, 50),
    ham10000(10, 50),
    ham10000(10, 250),
    ham10000(30, 100),
    ham10000(70, 50),
    ham10000(300, 12),
    cifar10(10, 250),
    cifar10(100, 50),
    cifar10(100, 250),
    cifar10(300, 100),
    cifar10(1000, 40),
)


def get_suite() -> Suite:
    fresh = tuple(range(1000, 1012))
    sgd = ("--optim.optimizer", "sgd", "--optim.learning-rate", "0.03", "--optim.weight-decay", "5e-4")
    return Suite(
        name="cpu",
        title="Which remedy works at which ratio, on signals, skin lesions and photographs",
        base=Config(
            name="cpu",
            select="average_precision",
            model=Model(name="cnn", options={"patch": 2, "width": 16, "stages": 3}),
            optim=Optim(learning_rate=2e-3, weight_decay=1e-2, ema_decay=0.98),
            train=Train(batch_size=64, evaluations=10, steps_per_dispatch=20),
            augment=Augment(
                flip=True
            ),  # signals have mirror images among their places; a shift would move them
        ),
        steps=600,
        stages=(
            Stage(
                name="screen",
                cells=(signals(30, 50), signals(300, 50), ham10000(10, 100), ham10000(70, 50)),
                methods=tuple(name for name in METHODS if name not in MANY_LABELS),
                draws=(0, 1, 2),
                seeds=(0, 1, 2),
            ),
            Stage(
                name="tune",
                cells=FINAL,
                methods=(),
                settings=tuple(Setting(name=f"trial{t}") for t in range(5)),
                draws=(100,),
                seeds=(100,),
                choose=finalists(8, CONTROLS),
            ),
            Stage(name="final", cells=FINAL, methods=(), draws=fresh, seeds=fresh, choose=tuned("tune")),
            Stage(
                name="sgd",
                cells=FINAL[:5],
                methods=(),
                draws=fresh[:6],
                seeds=fresh[:6],
                choose=lambda lines, stage: replace(
                    stage,
                    methods=tuple(dict.fromkeys(str(x["method"]) for x in lines if x["stage"] == "final")),
                    settings=(Setting(name="sgd", overrides=sgd),),
                ),
            ),
        ),
    )
