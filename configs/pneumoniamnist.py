"""PneumoniaMNIST: 28x28 X-rays, normal or pneumonia, with the source's own split.

    imbal-jax train configs/pneumoniamnist.py --data.dir DIR [--data.download]
"""

from imbal_jax.augment import Augment
from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.methods import METHODS


def get_config() -> Config:
    return Config(
        name="pneumoniamnist",
        title="PneumoniaMNIST: pneumonia in 28x28 chest X-rays",
        methods=(METHODS["ce"], METHODS["stratified"]),
        select="auroc",
        data=Data(source="pneumoniamnist", image_size=28, negative_class="normal"),
        model=Model(name="resnet_small", dropout=0.2, options={"patch": 2, "stage_sizes": (1, 1, 1)}),
        optim=Optim(learning_rate=2e-3, weight_decay=0.05, warmup=0.1, ema_decay=0.99, label_smoothing=0.1),
        train=Train(epochs=20, batch_size=64, evaluations=10),
        augment=Augment(shift=0.08, rotation=10, zoom=0.1, contrast=0.2),
    )
