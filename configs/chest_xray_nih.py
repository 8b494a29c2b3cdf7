"""NIH ChestX-ray14: fourteen labels an image, the rarest in 1 of 500.

    imbal-jax train configs/chest_xray_nih.py --data.dir DIR
"""

from imbal_jax.augment import Augment
from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.methods import METHODS


def get_config() -> Config:
    return Config(
        name="chest_xray_nih",
        title="NIH ChestX-ray14: fourteen findings",
        methods=(METHODS["ce"], METHODS["weighted_ce"]),
        select="auroc",
        data=Data(source="nih", image_size=64),
        model=Model(name="resnet_small", dropout=0.3, options={"patch": 4, "width": 32}),
        optim=Optim(learning_rate=1e-3, weight_decay=0.1, warmup=0.1, ema_decay=0.99),
        train=Train(epochs=40, batch_size=32, evaluations=10),
        augment=Augment(flip=True, shift=0.08, rotation=10, zoom=0.12, brightness=0.1, contrast=0.2),
    )
