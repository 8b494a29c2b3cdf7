"""Quickstart."""

from imbal_jax.augment import Augment
from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.methods import METHODS


def get_config() -> Config:
    return Config(
        name="quickstart",
        title="Quickstart: three rare findings in phantom radiographs, 1 abnormal in 100",
        methods=(METHODS["ce"], METHODS["stratified"]),
        data=Data(source="phantom", image_size=64, negative_class="normal", phantom_images=8000),
        model=Model(name="cnn"),
        optim=Optim(learning_rate=2e-3, ema_decay=0.99),
        train=Train(epochs=6, batch_size=64, evaluations=6),
        augment=Augment(flip=True, shift=0.05, rotation=5, contrast=0.1),
    )
