"""A Neural Turing Machine that learns to copy sequences of 1 to 20 vectors, and copies longer ones.

imbal-jax train configs/ntm_copy.py
"""

from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.methods import METHODS


def get_config() -> Config:
    return Config(
        name="ntm_copy",
        seed=2,
        title="Neural Turing Machine: copying sequences of 1 to 20 vectors of 8 bits",
        methods=(METHODS["ce"],),
        data=Data(source="sequences", sequence="copy"),
        model=Model(name="ntm"),
        optim=Optim(
            optimizer="rmsprop",
            learning_rate=1e-4,
            schedule="constant",
            warmup=0.0,
            weight_decay=0.0,
            clip_norm=10.0,
        ),
        # An epoch of sequences is 1,000; many small updates find the copy sooner than fewer large ones
        train=Train(epochs=20, batch_size=1, evaluations=10, steps_per_dispatch=500),
    )
