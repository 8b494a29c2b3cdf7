"""A small run on sequences to copy."""

from imbal_jax.config import Config, Data, Model, Optim, Train

OPTIONS = Data(source="sequences", sequence_lengths=(1, 2), sequence_tests=(3,), sequence_counts=(6, 4))


def tiny() -> Config:
    return Config(
        name="tiny",
        data=OPTIONS,
        model=Model(name="ntm", options={"size": 8, "places": 6, "width": 4}),
        optim=Optim(optimizer="rmsprop", learning_rate=1e-3, schedule="constant", warmup=0.0, clip_norm=10.0),
        train=Train(epochs=0.096, batch_size=4, evaluations=3, steps_per_dispatch=4, devices=1),
    )
