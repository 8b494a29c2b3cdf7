"""Long-tailed CIFAR-10 at imbalance 100 in an hour of a laptop's processor: images of 16 x 16, 20 epochs."""

from imbal_jax.augment import Augment
from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.methods import METHODS

NAMES = (
    "ce",
    "focal",
    "ce_drw",
    "ldam_drw",
    "logit_adjusted",
    "balanced_softmax",
    "crt",
    "tau_norm",
    "post_hoc_logit_adjusted",
)


def get_config() -> Config:
    return Config(
        name="cifar10_lt_short",
        title="CIFAR-10 with a long tail, 100:1, short protocol",
        methods=tuple(METHODS[name] for name in NAMES),
        select="step",
        data=Data(source="cifar10", image_size=16, long_tail=100.0),
        model=Model(name="resnet32", norm="batch"),
        optim=Optim(
            optimizer="sgd",
            learning_rate=0.05,
            schedule="steps",
            warmup=0.05,
            decay=0.1,
            nesterov=False,
            weight_decay=2e-4,
            clip_norm=0.0,
        ),
        train=Train(epochs=20, batch_size=64, evaluations=2),
        augment=Augment(flip=True, shift=2 / 16, fill="zero"),
    )
