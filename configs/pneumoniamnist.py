"""PneumoniaMNIST: 28x28 paediatric X-rays, normal or pneumonia, with the source's own split.

    imbal-jax train configs/pneumoniamnist.py --data.dir DIR [--data.download]

Source: Yang et al. 2023, MedMNIST v2, CC BY 4.0, zenodo.org/records/10519652, pneumoniamnist.npz (MD5
28209eda62fecd6e6a2d98b1501bb15f, checked after a download). The file names no patients, so its own split into
4,708, 524 and 624 images is kept.

Seen on 2 cores (AMD EPYC, jax 0.10.2), 1 minute 12 seconds a method on the idle machine, on a repacked copy of the
file (SHA-256 20568c3c...d11900d8b0), 390 pneumonias in 624 test images; --seed 0, 1, 2:

    ce           sensitivity 0.982 0.977 0.974   specificity 0.803 0.808 0.795   F-score 0.935 0.934 0.929
                 AUROC 0.973 0.971 0.974   average precision 0.978 0.977 0.979
    stratified   sensitivity 0.949 0.954 0.964   specificity 0.902 0.872 0.893   F-score 0.945 0.939 0.951
                 AUROC 0.976 0.975 0.975   average precision 0.981 0.981 0.981

Here pneumonia is the common class: stratified batches give more weight to the rarer class, normal.
The first seed was run with an earlier version, whose augmentation drew one random number fewer per image: its numbers
differ slightly now.
"""

from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.methods import METHODS
from imbal_jax.transforms.augment import Augment


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
