"""Pneumonia made rare: the Kermany X-rays drawn 1:20 or 1:100 for training and validation, the test set whole.

    imbal-jax train configs/chest_xray_rare.py --data.dir DIR [--data.imbalance 100] [--workdir DIR]

Source and files: as in chest_xray_kermany.py (normal against either pneumonia), split 64/16/20 by patient.
At 1:20 there
are 855 normal and 43 pneumonia images to train on, at 1:100 855 and 9. The test set keeps its prevalence: 725
pneumonias in 992 images (73 %), which is the hospital's of origin and no screening population's.

Seen on 2 cores (AMD EPYC, jax 0.10.2), 1 minute 40 seconds a method; one seed, one draw:

    at 1:20           sensitivity  specificity  F-score  AUROC
    ce                      0.538        1.000    0.700  0.968
    weighted_ce             0.628        0.993    0.770  0.968
    stratified              0.691        0.974    0.813  0.969
    logit_adjusted          0.713        0.981    0.829  0.965
    at 1:100
    ce                      0.277        1.000    0.434  0.952
    weighted_ce             0.287        1.000    0.446  0.944
    stratified              0.554        1.000    0.713  0.965
    logit_adjusted          0.527        0.996    0.690  0.953

Balancing moves the decision, hardly the ranking: at 1:100 the AUROC is within 0.02 and the sensitivity
doubles. With 11
(1:20) or 2 (1:100) positives in validation the checkpoint's choice is coarse.
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
