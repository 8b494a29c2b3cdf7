"""Outlines of pigmented skin lesions in dermatoscopic images.

    imbal-jax train configs/skin_lesions.py --data.dir DIR

Source: HAM10000 (Tschandl et al. 2018, CC BY-NC 4.0, doi.org/10.7910/DVN/DBW86T) and the masks of Tschandl et al.
2020 (HAM10000_segmentations_lesion_tschandl.zip), or the condensed ham10000_200x150.npz. The split is by lesion.

Seen on one core (AMD EPYC, jax 0.10.2), --seed 0, condensed copy, 1,725 test images of 1,299 lesions, which are 27 %
of the pixels; 95 % intervals by lesion:

    method                    IoU                     Dice                    Dice by image   Hausdorff 95
    ce                        0.840 [0.829, 0.852]    0.913 [0.907, 0.920]    0.910           5.5 pixels of 96
    loss=dice+cross_entropy   0.845 [0.834, 0.856]    0.916 [0.909, 0.922]    0.915           5.3

Training took 14 minutes a method at 42 images a second on that core; 27 where other work shared it. The worst images
are those whose outline is drawn around a halo, or around one lesion of a mottled skin.
"""

from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.methods import METHODS, find_method
from imbal_jax.transforms.augment import Augment


def get_config() -> Config:
    return Config(
        name="skin_lesions",
        title="HAM10000: outlines of skin lesions",
        methods=(METHODS["ce"], find_method("loss=dice+cross_entropy")),
        select="iou",
        data=Data(source="skin_lesions", image_size=96, negative_class="background"),
        model=Model(name="unet", options={"depth": 4, "width": 16}),
        optim=Optim(learning_rate=2e-3, weight_decay=1e-2, warmup=0.1, ema_decay=0.99),
        train=Train(epochs=5, batch_size=32, evaluations=5),
        augment=Augment(
            flip=True,
            flip_vertical=True,
            quarter_turns=True,
            brightness=0.1,
            contrast=0.1,
            saturation=0.1,
            hue=4,
        ),
    )
