"""Long-tailed CIFAR-10 at imbalance 100, the published 200-epoch protocol: 12,406 training images.

    imbal-jax train configs/cifar10_lt.py --data.dir DIR [--data.download] [--methods ce ldam_drw ...]

Source: Krizhevsky 2009, cs.toronto.edu/~kriz/cifar.html, cifar-10-binary.tar.gz (MD5 c32a1d4a...e8d87530, checked
after a download), or the condensed train.npz and test.npz (SHA-256 3f8743ce..., 95e2e82d...), which are JPEG of
quality 75: results on them are near those on the original, not equal.

The protocol is that of Cao et al., NeurIPS 2019: ResNet-32 with BatchNorm, batches of 128, SGD with momentum 0.9,
learning rate 0.1 with 5 epochs of warm-up, times 0.01 at epochs 160 and 180, weight decay 2e-4, shifts of 4 pixels
and flips; the last checkpoint counts. Here 1,000 of the 10,000 test images serve as validation.

Published errors in per cent with this protocol: ce 29.7, ldam_drw 23.0, balanced_softmax 22.5, crt 25.0; with a
longer one logit_adjusted 22.1. Not run to its end yet: it takes about seven hours a method on 2 CPU cores, and no GPU
was available. cifar10_lt_short.py compares ten methods on a CPU in nine minutes each.
"""

from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.methods import METHODS
from imbal_jax.transforms.augment import Augment


def get_config() -> Config:
    return Config(
        name="cifar10_lt",
        title="CIFAR-10 with a long tail, 100:1",
        methods=tuple(
            METHODS[name] for name in ("ce", "ldam_drw", "logit_adjusted", "balanced_softmax", "crt")
        ),
        select="step",
        data=Data(source="cifar10", image_size=32, long_tail=100.0),
        model=Model(name="resnet32", norm="batch"),
        optim=Optim(
            optimizer="sgd",
            learning_rate=0.1,
            schedule="steps",
            warmup=0.025,
            nesterov=False,
            weight_decay=2e-4,
            clip_norm=0.0,
        ),
        train=Train(epochs=200, batch_size=128, evaluations=20),
        augment=Augment(flip=True, shift=4 / 32, fill="zero"),
    )
