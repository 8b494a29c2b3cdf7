"""Whether the suite works: four methods at two ratios, two seeds, 16 runs of seconds. Descriptive only.

    imbal-jax benchmark smoke --out DIR

Known signals in noise, 16 pixels, with their Bayes score; no download.
"""

from imbal_jax.config import Config, Model, Optim, Train
from imbal_jax.suite import Stage, Suite
from imbal_jax.suite.cells import signals


def get_suite() -> Suite:
    return Suite(
        name="smoke",
        title="Smoke: four methods on signals in noise at two ratios",
        base=Config(
            name="smoke",
            select="average_precision",
            model=Model(name="cnn", options={"patch": 2, "width": 8, "stages": 2}),
            optim=Optim(learning_rate=3e-3, ema_decay=0.9),
            train=Train(batch_size=64, evaluations=4, steps_per_dispatch=50),
        ),
        steps=200,
        stages=(
            Stage(
                name="final",
                cells=tuple(
                    signals(ratio, 40, side=16, places=1, detectability=3.0, test=200) for ratio in (10, 100)
                ),
                methods=("ce", "weighted_ce", "stratified", "logit_adjusted"),
                draws=(0, 1),
                seeds=(0, 1),
            ),
        ),
        descriptive=True,
    )
