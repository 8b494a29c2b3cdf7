"""Three classes of paediatric chest X-rays, from scratch, on a laptop.

    imbal-jax train configs/chest_xray_kermany.py --data.dir DIR
"""

from imbal_jax.augment import Augment
from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.methods import METHODS


def get_config() -> Config:
    return Config(
        name="chest_xray_kermany",
        title="Paediatric chest X-rays: normal, bacterial or viral pneumonia",
        methods=(METHODS["ce"],),
        select="auroc",  # the classes are 1:2:1; no use is named that would price one error above another
        # 96 pixels: 64 cost twice as much at the same accuracy, on a grid of 32x32 instead of 24x24 places
        data=Data(source="kermany", image_size=96),
        model=Model(name="resnet_small", dropout=0.2, options={"patch": 4, "width": 32}),
        optim=Optim(learning_rate=2e-3, weight_decay=0.05, warmup=0.1, ema_decay=0.996, label_smoothing=0.1),
        train=Train(epochs=40, batch_size=64, evaluations=10),
        augment=Augment(flip=True, shift=0.08, rotation=10, zoom=0.12, brightness=0.1, contrast=0.2),
    )
