"""Fields of a config's dataclasses: what is refused, with the field, the value and what is allowed."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from imbal_jax.config import Config, Data, Deploy, Model, Optim, Train, from_json, load_config, to_json
from imbal_jax.errors import InputError
from imbal_jax.fields import check_fields
from imbal_jax.methods import METHODS, Method
from imbal_jax.transforms.augment import Augment


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Optim(optimizer="adam"), "optim.optimizer is 'adam', allowed are adamw, sgd"),
        (lambda: Optim(schedule="cosin"), "optim.schedule is 'cosin', allowed are cosine, constant, steps"),
        (lambda: Optim(learning_rate="1e-3"), "optim.learning-rate is '1e-3', expected a number"),
        (lambda: Optim(learning_rate=math.nan), "optim.learning-rate is nan, expected a finite number"),
        (lambda: Optim(clip_norm=math.inf), "optim.clip-norm is inf, expected a finite number"),
        (lambda: Optim(weight_decay=True), "optim.weight-decay is True, expected a number"),
        (lambda: Optim(nesterov=1), "optim.nesterov is 1, expected True or False"),
        (lambda: Optim(milestones=0.8), "optim.milestones is 0.8, expected a tuple, each item a number"),
        (lambda: Optim(milestones=(0.5, "0.8")), "optim.milestones is '0.8', expected a number"),
        (lambda: Train(batch_size=64.0), "train.batch-size is 64.0, expected a whole number"),
        (lambda: Train(evaluations=True), "train.evaluations is True, expected a whole number"),
        (lambda: Train(backend="ddp"), "train.backend is 'ddp', allowed are shard_map, pmap, jit"),
        (lambda: Train(resident="yes"), "train.resident is 'yes', expected True or False"),
        (lambda: Train(devices=2.0), "train.devices is 2.0, expected a whole number or None"),
        (lambda: Data(split="random"), "data.split is 'random', allowed are official, patient"),
        (lambda: Data(source=None), "data.source is None, expected text"),
        (lambda: Data(dir=3), "data.dir is 3, expected a path or None"),
        (lambda: Data(imbalance=math.nan), "data.imbalance is nan, expected a finite number"),
        (lambda: Data(prevalence="a=0.1"), "data.prevalence is 'a=0.1', expected a tuple, each item text"),
        (
            lambda: Data(draw_splits=("all",)),
            "data.draw-splits is 'all', allowed are train, validation, test",
        ),
        (lambda: Model(norm="layer"), "model.norm is 'layer', allowed are group, batch"),
        (
            lambda: Model(options={"width": None}),
            "model.options.width is None, expected a whole number or a number",
        ),
        (lambda: Model(options=(("width", 8),)), "model.options is (('width', 8),), expected a dict"),
        (lambda: Deploy(points="youden"), "deploy.points is 'youden', expected a tuple, each item text"),
        (lambda: Deploy(calibration="platt"), "deploy.calibration is 'platt', allowed are none, prior"),
        (lambda: Augment(flip=1), "augment flip is 1, expected True or False"),
        (lambda: Augment(fill="black"), "augment fill is 'black', allowed are edge, zero"),
        (lambda: Augment(shift=math.nan), "augment shift is nan, expected a finite number"),
        (lambda: Config(name="x", methods=("ce",)), "methods is 'ce', expected a Method"),
        (lambda: Config(name=3), "name is 3, expected text"),
        (lambda: Config(name="x", seed=1.5), "seed is 1.5, expected a whole number"),
        (lambda: Config(name="x", optim={"learning_rate": 1}), "expected a Optim"),
        (lambda: Config(name="x", model=Model(dropout=1.5)), "model.dropout is 1.5: from 0 to below 1"),
        (lambda: Config(name="x", seed=99999999999), "seed is 99999999999: 0 or more, and below 2^32"),
        (lambda: Config(name="x", optim=Optim(weight_decay=-1)), "optim.weight-decay is -1: 0 or more"),
        (lambda: Config(name="x", optim=Optim(milestones=(0.9, 0.8))), "optim.milestones is (0.9, 0.8): ris"),
        (lambda: Method(name="m", head="cosin"), "method m: head is 'cosin', allowed are linear, cosine"),
        (lambda: Method(name="m", second_epochs="10"), "method m: second_epochs is '10', expected a number"),
        (
            lambda: Method(name="m", correction_tau=math.nan),
            "method m: correction_tau is nan, expected a fin",
        ),
        (
            lambda: Method(name="m", mixing_span=(0.0,)),
            "method m: mixing_span is (0.0,), expected a tuple of",
        ),
        (lambda: Method(name="m", loss="focal", options=(("gamma", math.nan),)), "is nan, expected a finite"),
        (lambda: Method(name="m", composition=(0.5, math.inf)), "composition is inf, expected a finite"),
        (lambda: Method(name="../m"), "its name is that of a folder"),
    ],
)
def test_a_field_that_does_not_hold_what_its_annotation_says_is_refused(make, said) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_means_the_same_is_kept_as_the_annotation_says() -> None:
    optim = Optim(learning_rate=np.float32(0.5), milestones=[0.5, 0.75])
    assert (type(optim.learning_rate), optim.learning_rate, optim.milestones) == (float, 0.5, (0.5, 0.75))
    assert type(Train(batch_size=np.int64(8)).batch_size) is int
    assert Train(epochs=5).epochs == 5
    assert Data(dir="pictures").dir == Path("pictures")
    config = Config(name="x", methods=[METHODS["ce"]], model=Model(options={"blocks": [1, 2]}))
    assert config.methods == (METHODS["ce"],)
    assert config.model.options == {"blocks": (1, 2)}
    assert from_json(to_json(config)) == config


def test_a_literal_tells_one_from_true() -> None:
    @dataclass(frozen=True)
    class Choice:
        value: Literal[1, 2]

    check_fields(Choice(1))
    with pytest.raises(InputError, match="value is True, allowed are 1, 2"):
        check_fields(Choice(True))


def test_values_from_files_are_checked_too(tmp_path: Path) -> None:
    values = to_json(Config(name="x"))
    values["optim"]["schedule"] = "cosin"
    with pytest.raises(InputError, match=r"optim.schedule is 'cosin', allowed are"):
        from_json(values)
    path = tmp_path / "own.py"
    path.write_text(
        "from imbal_jax.config import *\ndef get_config():\n"
        "    return Config(name='own', train=Train(backend='ddp'))\n"
    )
    with pytest.raises(InputError, match=r"own.py: train.backend is 'ddp', allowed are shard_map, pmap, jit"):
        load_config(path)
