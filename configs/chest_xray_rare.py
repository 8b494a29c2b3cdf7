"""Pneumonia made rare: the Kermany X-rays drawn 1:20 or 1:100 for training and validation, the test set whole.

    imbal-jax train configs/chest_xray_rare.py --data.dir DIR [--data.imbalance 100] [--workdir DIR]

Source and files: as in chest_xray_kermany.py (normal against either pneumonia), split 64/16/20 by patient. At 1:20
there are 855 normal and 43 pneumonia images to train on, at 1:100 855 and 9. The test set keeps its prevalence: 725
pneumonias in 992 images (73 %), which is that of the hospital of origin, not of a screening population.

Seen on 2 cores (AMD EPYC, jax 0.10.2), 1 minute 40 seconds a method on the idle machine; --seed and
--data.split-seed 0, 1, 2, so that split, draw and initial weights all vary (splits of an earlier version: same
shares, other patients):

    at 1:20           sensitivity           specificity           F-score               AUROC
    ce                0.538 0.538 0.491     1.000 0.993 0.993     0.700 0.698 0.657     0.968 0.969 0.958
    weighted_ce       0.628 0.775 0.659     0.993 0.933 0.978     0.770 0.861 0.791     0.968 0.947 0.957
    stratified        0.691 0.817 0.785     0.974 0.974 0.966     0.813 0.894 0.873     0.969 0.973 0.961
    logit_adjusted    0.713 0.803 0.731     0.981 0.955 0.966     0.829 0.882 0.839     0.965 0.966 0.959
    at 1:100
    ce                0.277 0.000 0.188     1.000 1.000 0.996     0.434 0.000 0.316     0.952 0.672 0.944
    weighted_ce       0.287 0.000 0.194     1.000 1.000 0.996     0.446 0.000 0.325     0.944 0.704 0.920
    stratified        0.554 0.629 0.688     1.000 0.989 0.970     0.713 0.770 0.810     0.965 0.964 0.950
    logit_adjusted    0.527 0.459 0.611     0.996 0.966 0.981     0.690 0.624 0.755     0.953 0.884 0.929

At 1:20 balancing changes the decisions and hardly the ranking. At 1:100 plain and weighted cross-entropy may fail to
learn (seed 1: AUROC 0.672 and 0.704); stratified batches learned with every seed. With 11 (1:20) or 2 (1:100)
positives in validation the choice of the checkpoint is coarse. These runs used --select 'sensitivity + f_score'.
The first seed was run with an earlier version, whose augmentation drew one random number fewer per image: its numbers
differ slightly now.
"""

from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.methods import METHODS
from imbal_jax.transforms.augment import Augment


def get_config() -> Config:
    return Config(
        name="chest_xray_rare",
        title="Rare pneumonia: few cases in training, the full prevalence in the test set",
        methods=(METHODS["ce"], METHODS["weighted_ce"], METHODS["stratified"], METHODS["logit_adjusted"]),
        # ranking metrics: with sensitivity + f_score, plain cross-entropy ties at 0 throughout, and the first wins
        select="auroc + average_precision",
        data=Data(
            source="kermany_pneumonia",
            image_size=64,
            fit="squeeze",  # as the condensed copies have it
            negative_class="normal",
            imbalance=20.0,
        ),
        model=Model(name="resnet_small", dropout=0.2, options={"patch": 4, "width": 32}),
        optim=Optim(learning_rate=1e-3, weight_decay=0.05, warmup=0.1, ema_decay=0.98),
        train=Train(epochs=30, batch_size=32, evaluations=10),
        augment=Augment(flip=True, shift=0.08, rotation=10, zoom=0.12, brightness=0.1, contrast=0.2),
    )
