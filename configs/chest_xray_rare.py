"""Pneumonia made rare: the Kermany X-rays drawn 1:20 or 1:100 for training, the test set whole.

    imbal-jax train configs/chest_xray_rare.py --data.dir DIR --data.imbalance 100
"""

from imbal_jax.augment import Augment
from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.methods import METHODS


def get_config() -> Config:
    return Config(
        name="chest_xray_rare",
        title="Rare pneumonia: trained on few, tested at the whole prevalence",
        methods=(METHODS["ce"], METHODS["weighted_ce"], METHODS["stratified"], METHODS["logit_adjusted"]),
        select="sensitivity + f_score",
        data=Data(source="kermany_pneumonia", image_size=64, negative_class="normal", imbalance=20.0),
        model=Model(name="resnet_small", dropout=0.2, options={"patch": 4, "width": 32}),
        optim=Optim(learning_rate=1e-3, weight_decay=0.05, warmup=0.1, ema_decay=0.98),
        train=Train(epochs=30, batch_size=32, evaluations=10),
        augment=Augment(flip=True, shift=0.08, rotation=10, zoom=0.12, brightness=0.1, contrast=0.2),
    )
