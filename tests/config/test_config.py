"""Config files and overrides: what is accepted, and what is said of what is not."""

from dataclasses import replace
from pathlib import Path

import pytest

from imbal_jax.config import Config, Data, Model, Optim, Train, from_json, load_config, override, to_json
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS, Method

CONFIG = Config(name="test", model=Model(options={"width": 8, "stages": 2}))
SHIPPED = sorted((Path(__file__).parents[2] / "configs").glob("*.py"))


def test_overrides_are_typed() -> None:
    changed = override(
        CONFIG,
        [
            "--optim.learning-rate",
            "3e-4",
            "--train.batch_size=32",
            "--train.no-resident",
            "--data.dir",
            "/d",
            "--data.imbalance",
            "20",
            "--model.options.width",
            "24",
            "--train.backend",
            "pmap",
            "--augment.flip",
            "--seed",
            "5",
        ],
    )
    assert changed == replace(
        CONFIG,
        seed=5,
        optim=Optim(learning_rate=3e-4),
        train=Train(batch_size=32, resident=False, backend="pmap"),
        data=Data(dir=Path("/d"), imbalance=20.0),
        model=Model(options={"width": 24, "stages": 2}),
        augment=replace(CONFIG.augment, flip=True),
    )


def test_methods_are_named_or_combined_on_the_command_line() -> None:
    changed = override(CONFIG, ["--methods", "ce", "stratified,loss=focal,gamma=1", "--seed", "1"])
    assert changed.methods[0] == METHODS["ce"]
    assert (
        changed.methods[1].composition,
        changed.methods[1].loss,
        changed.methods[1].loss_options["gamma"],
    ) == (
        "balanced",
        "focal",
        1.0,
    )


def test_a_draw_is_told_on_the_command_line_and_survives_json() -> None:
    words = "--data.prevalence effusion=0.01 hernia=0.001 --data.draw-splits train test --data.split patient"
    changed = override(CONFIG, words.split())
    assert changed.data == Data(
        prevalence=("effusion=0.01", "hernia=0.001"), draw_splits=("train", "test"), split="patient"
    )
    assert from_json(to_json(changed)) == changed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--data.prevalence hernia", "data.prevalence is 'hernia': expected CLASS=SHARE"),
        (
            "--data.prevalence hernia=2",
            "data.prevalence is 'hernia=2': expected CLASS=SHARE, between 0 and 1",
        ),
        ("--data.prevalence a=0.1 a=0.2", "each class may be named once"),
        ("--data.long-tail 0.5", "data.long-tail is 0.5: 1 or more"),
        ("--data.draw-splits all", "all"),
    ],
)
def test_a_draw_that_cannot_be_is_refused_before_any_data_is_read(words: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        override(CONFIG, words.split())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_override_changes_nothing() -> None:
    assert override(CONFIG, []) == CONFIG


@pytest.mark.parametrize(
    "words", ["--model.name resnet18", "--model.name=resnet18", "--model.name resnet18 --seed 1"]
)
def test_another_network_does_not_inherit_the_options_of_the_configs_network(words: str) -> None:
    config = replace(CONFIG, model=Model(name="cnn", options={"patch": 2}))
    assert override(config, words.split()).model == Model(name="resnet18")
    assert override(config, ["--model.name", "cnn"]).model == config.model


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--optim.learning-rat 3", "unknown option --optim.learning-rat: did you mean --optim.learning-rate"),
        ("--optim.learning-rate abc", "--optim.learning-rate is 'abc', expected a number"),
        ("--optim.learning-rate", "Missing value for argument '--optim.learning-rate'"),
        ("--optim.learning-rate -1", "optim.learning-rate is -1.0: above 0"),
        ("--train.backend ddp", "invalid choice 'ddp' for argument '--train.backend'. Expected one of"),
        ("--train.batch-size 2.5", "--train.batch-size"),
        ("--train.epochs 0", "train.epochs is 0.0: above 0"),
        ("--methods stratifed", "unknown method 'stratifed': did you mean stratified? allowed are ce,"),
        ("--methods ce ce", "methods is ce ce: each may be named once"),
        ("--methods", "methods is empty: name at least one"),
        ("--data.test-share 0.9", "data.test-share is 0.9: leave a share to train on"),
        ("--augment.rotation 400", "augment rotation is 400.0: give a value from 0 to 180"),
        ("--model.options.depth 4", "unknown option --model.options.depth"),
        ("stray", "Unrecognized options: stray"),
    ],
)
def test_a_wrong_override_is_one_line_that_says_what_is_wrong(arguments: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        override(CONFIG, arguments.split())
    message = str(caught.value)
    assert said in message
    assert "\n" not in message


def write(folder: Path, text: str) -> Path:
    path = folder / "c.py"
    path.write_text(text)
    return path


def test_help_shows_the_values_that_the_other_options_give(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        override(CONFIG, ["--optim.learning-rate", "0.0123", "--help", "--seeds", "3", "5"])
    said = capsys.readouterr().out
    assert "0.0123" in said
    assert "3 5" in said
    with pytest.raises(InputError, match=r"did you mean --optim\.learning-rate"):
        override(CONFIG, ["--optim.learning-rat", "1", "--help"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "has no get_config()"),
        ("def get_config():\n    return 3\n", "returned int, expected imbal_jax.config.Config"),
        (
            "from imbal_jax.config import Config\ndef get_config():\n    return Config(name='x', epocs=3)\n",
            "unexpected keyword argument 'epocs' (line 3)",
        ),
        ("import nothing_of_that_name\n", "cannot be run: ModuleNotFoundError"),
        ("def get_config(:\n", "cannot be run: SyntaxError"),
        (
            "from imbal_jax.config import *\n"
            "def get_config():\n    return Config(name='x', optim=Optim(learning_rate=0))\n",
            "optim.learning-rate is 0: above 0",
        ),
    ],
)
def test_a_config_file_that_does_not_give_a_config_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_config_file_lists_those_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "")
    with pytest.raises(InputError, match=r"no config file .*quick.py; there are .*c.py"):
        load_config(tmp_path / "quick.py")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_loads_is_named_after_its_file_and_survives_json(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    assert from_json(to_json(config)) == config


def test_a_combined_method_survives_json() -> None:
    own = Method(name="mine", composition=(0.7, 0.2, 0.1), weights="effective", loss="focal")
    config = replace(CONFIG, methods=(own,), data=Data(dir=Path("somewhere")))
    assert from_json(to_json(config)) == config


def test_json_of_another_version_is_refused() -> None:
    values = to_json(CONFIG)
    values["optim"]["amsgrad"] = True
    with pytest.raises(InputError, match=r"unknown optim.amsgrad"):
        from_json(values)


def test_options_of_a_network_are_known_by_its_own_defaults() -> None:
    config = Config(name="x", model=Model(name="cnn", options={"width": 8}))
    named = override(config, ["--model.options.stages", "2"])
    assert named.model.options == {"width": 8, "stages": 2}
    words = [
        "--model.name",
        "resnet_small",
        "--model.options.stage-sizes",
        "1",
        "1",
        "--model.options.groups",
        "4",
    ]
    other = override(config, words)
    assert other.model.options == {"stage_sizes": (1, 1), "groups": 4}
    assert override(config, ["--model.name", "resnet18"]).model.options == {}
    with pytest.raises(InputError, match=r"unknown option --model\.options\.depth"):
        override(config, ["--model.options.depth", "2"])
