"""The public data sets that can be named in a config or prepared as records."""

from imbal_jax.data.sources.chase import CHASE, CHASE_SECOND
from imbal_jax.data.sources.cifar import CIFAR10
from imbal_jax.data.sources.ham10000 import HAM10000
from imbal_jax.data.sources.kermany import KERMANY, KERMANY_PNEUMONIA
from imbal_jax.data.sources.medmnist import MEDMNIST_PUBLIC
from imbal_jax.data.sources.nih import NIH
from imbal_jax.data.sources.omniglot import OMNIGLOT
from imbal_jax.data.sources.public_set import PublicSet
from imbal_jax.data.sources.skin_lesions import SKIN_LESIONS

PUBLIC: dict[str, PublicSet] = {
    "kermany": KERMANY,
    "kermany_pneumonia": KERMANY_PNEUMONIA,
    "nih": NIH,
    "ham10000": HAM10000,
    "skin_lesions": SKIN_LESIONS,
    "omniglot": OMNIGLOT,
    "chase": CHASE,
    "chase_second": CHASE_SECOND,
    **MEDMNIST_PUBLIC,
    "cifar10": CIFAR10,
}
