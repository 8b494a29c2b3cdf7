"""One in ten thousand: do the remedies still converge, and what does each need?

    imbal-jax benchmark benchmarks/suites/extreme.py --out benchmarks/results/extreme

Signals of 16 pixels at 1:100, 1:1,000 and 1:10,000 with 20 and 100 positives (up to 1,000,100 training images, made
on the device), a tiny network, 1,024,000 images drawn a run; 8 methods on 12 draws and seeds.
"""

from imbal_jax.config import Config, Model, Optim, Train
from imbal_jax.suite import Stage, Suite
from imbal_jax.suite.cells import signals

SEEDS = tuple(range(12))


def get_suite() -> Suite:
    return Suite(
        name="extreme",
        title="Which remedies converge at 1:10,000, and what each needs",
        base=Config(
            name="extreme",
            select="average_precision",
            model=Model(name="cnn", options={"patch": 4, "width": 16, "stages": 2}),
            optim=Optim(learning_rate=2e-3, weight_decay=1e-2, ema_decay=0.99),
            train=Train(batch_size=256, evaluations=16, steps_per_dispatch=50),
        ),
        steps=4000,
        target="sensitivity_at_90 >= 0.3",
        stages=(
            Stage(
                name="final",
                cells=tuple(
                    signals(ratio, positives, side=16, places=4, detectability=3.0)
                    for ratio in (100, 1000, 10000)
                    for positives in (20, 100)
                ),
                methods=(
                    "ce",
                    "weighted_ce",
                    "bayesian_ce",
                    "stratified",
                    "focal",
                    "logit_adjusted",
                    "ldam_drw",
                    "crt",
                ),
                draws=SEEDS,
                seeds=SEEDS,
            ),
        ),
    )
