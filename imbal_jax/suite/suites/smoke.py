"""Whether the suite works: four methods at two ratios, two seeds, 16 runs of seconds. Descriptive only.

    imbal-jax benchmark smoke --out DIR

Known signals in noise, 16 pixels, with their Bayes score; no download.
"""

from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.suite import Cell, Stage, Suite

POSITIVES = 40


def _cell(ratio: int) -> Cell:
    return Cell(
        name=f"signals-{ratio}-{POSITIVES}",
        set="signals",
        data=Data(
            source="signals",
            image_size=16,
            classes=("normal", "blob"),
            negative_class="normal",
            phantom_images=POSITIVES * (1 + ratio),
            phantom_imbalance=ratio,
            signal_positives=(20, 200),
            signal_imbalance=5.0,
        ),
        ratio=ratio,
        positives=POSITIVES,
        bayes=True,
    )


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
                cells=(_cell(10), _cell(100)),
                methods=("ce", "weighted_ce", "stratified", "logit_adjusted"),
                draws=(0, 1),
                seeds=(0, 1),
            ),
        ),
        descriptive=True,
    )
