"""NIH ChestX-ray14: fourteen labels an image, the rarest in 1 of 500.

    imbal-jax train configs/chest_xray_nih.py --data.dir DIR

Source: Wang et al. 2017, nihcc.app.box.com/v/ChestXray-NIHCC: Data_Entry_2017_v2020.csv and any of the archives
images_001.tar.gz to images_012.tar.gz (MD5 of each in imbal_jax/data/sources/nih.py), or the condensed nih1000_64.npz
(SHA-256 b70b5690...e4e1ff5924) that the numbers below were seen on: 1,000 images of 264 patients, half of them
abnormal, which is not the true prevalence. Split 64/16/20 by patient.

Seen on 2 cores (AMD EPYC, jax 0.10.2), 1 minute 30 seconds a method on the idle machine; about 200 test images;
--seed and --data.split-seed 0, 1, 2 (splits of an earlier version: same shares, other patients):

    ce            macro AUROC 0.583 0.649 0.663 (mean 0.632), sensitivity 0.000 throughout
    weighted_ce   macro AUROC 0.630 0.631 0.701 (mean 0.654), sensitivity 0.366 0.508 0.584,
                  specificity 0.746 0.711 0.697

To compare: PCA and logistic regression, mean AUROC 0.595. A thousand images are few, and labels with 1 (Hernia) or 2
(Pneumonia) positives in a test split move the mean by more than the methods differ: take this as a demonstration of
many labels, not as a result. The whole set of 112,120 images was not run.
The first seed was run with an earlier version, whose augmentation drew one random number fewer per image: its numbers
differ slightly now.
"""

from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.methods import METHODS
from imbal_jax.transforms.augment import Augment


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
