"""``imbal-jax init``: from a folder of one's own to a config, without a question."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from imbal_jax.config import Config, Data, load_config, override
from imbal_jax.console import make_console, say
from imbal_jax.data.folders.left_out import NAME as LEFT_OUT
from imbal_jax.data.load import Splits, split_dataset
from imbal_jax.data.read import Say
from imbal_jax.data.splits.patient_split import row_line
from imbal_jax.engine import parallel
from imbal_jax.errors import InputError
from imbal_jax.files import write_text
from imbal_jax.init.advice import Advice, advise, epochs_for, name_of, side_for
from imbal_jax.init.config_text import config_text
from imbal_jax.init.look import Pictures
from imbal_jax.init.mask_advice import advise_masks
from imbal_jax.init.speed import images_per_second
from imbal_jax.init.survey import Survey, kind_of, survey
from imbal_jax.report.use import few_cases, few_positives
from imbal_jax.tasks import task_for

FILL_IN = {
    "data.negative_class": "Fill in the class that is no finding, if there is one",
    "select": (
        "Fill in which checkpoint is best, on validation: what the use demands, as "
        '"specificity where sensitivity >= 0.95" (then the operating rule, too); auto is sensitivity + f_score '
        "at the thresholds, or average precision where there are few positives"
    ),
    "deploy.points": (
        'Fill in the rule that chooses the thresholds, as "sensitivity >= 0.95" or "cost 20:1 at prevalence '
        "0.002\"; None is select's constraint, or else youden, which weighs missed cases and false alarms alike"
    ),
}

SHOWN: tuple[str, ...] = (
    "select",
    "deploy.points",
    "data.source",
    "data.image_size",
    "model.name",
    "train.batch_size",
)
"""Fields that are written also where they have their default."""


def init(
    where: Path,
    out: Path,
    *,
    minutes: float = 10.0,
    overrides: Sequence[str] = (),
    workdirs: Path = Path("workdirs"),
    console: Console | None = None,
) -> Config:
    """Look at the data at ``where``, print what is found, write a config for them to ``out``, and return it.

    where: a folder of images with a table or with folders as classes, records, or an NPZ file.
    minutes: that the training of a method may take on this machine.
    overrides: options of ``imbal-jax train``, which replace what is suggested.
    workdirs: the folder of the run's default workdir, where decoded files are kept for the training.
    Raises InputError for data that cannot be used, with the row where there is one, and where ``out`` exists.
    """
    console = console or make_console()
    tell = partial(say, console)
    _check(out, minutes)
    words = list(overrides)
    named = {word.split("=")[0].replace("_", "-") for word in words if word.startswith("--")}
    asked = override(
        Config(name=name_of(where), data=Data(source=kind_of(where), dir=where.absolute())), words
    )
    accelerator = parallel.present_devices()[0].platform != "cpu"

    # Found
    tell(f"{where}: {_kind(asked.data)}")
    own_side = "--data.image-size" in named

    def side(pictures: Pictures, masked: bool) -> int:
        return asked.data.image_size if own_side else side_for(pictures, accelerator, masked=masked)

    found = survey(asked, workdirs / asked.name, side, tell)
    task = task_for(asked.task, found.data)
    for line in (*found.pictures.lines(found.images), *found.data.notes):
        tell(line)
    if (left_out := workdirs / asked.name / LEFT_OUT).is_file():
        tell(f"rows and files that were left out: {left_out}")
    if found.is_part:
        tell(
            f"about {found.images:,} images in all: imbal-jax ingest makes records of them, which are read once"
        )

    # Split
    splits = split_dataset(found.options, found.data, found.given, tell)
    for row in splits.table:
        tell(row_line(row, splits.classes))

    # Suggested
    advice = (advise if task.decides else advise_masks)(found, asked.name, accelerator)
    suggested = advice.config
    if "--model.name" in named:
        suggested = replace(suggested, model=asked.model)
    config = override(suggested, words)
    held = splits.validation
    few = few_positives if task.decides else few_cases
    for line in few(held.image_labels, held.groups, splits.classes, config.data.negative_class):
        tell(line)
    config = _timed(config, found, splits, minutes, "--train.epochs" in named, tell)
    write_text(out, _text(config, advice, found, named, where))
    if load_config(out) != config:
        raise RuntimeError(f"{out} does not give the config that was meant")
    tell(f"methods {' '.join(method.name for method in config.methods)}: {advice.reasons['methods']}")
    tell(f"{out}: fill in select and deploy.points, then" if task.decides else f"{out}: look at it, then")
    tell(f"  imbal-jax train {out}")
    return config


def _check(out: Path, minutes: float) -> None:
    if out.exists():
        raise InputError(f"{out} exists: give another --out, or delete it")
    if out.suffix != ".py":
        raise InputError(f"--out {out}: a config is a Python file, give a name that ends in .py")
    if not minutes > 0:
        raise InputError(f"--minutes is {minutes:g}: above 0")


def _kind(data: Data) -> str:
    return {"npz": "arrays", "records": "records", "folder": "a folder of images"}[data.source]


def _timed(
    config: Config, found: Survey, splits: Splits, minutes: float, own_epochs: bool, tell: Say
) -> Config:
    """``config`` with the epochs that take so many minutes on this machine."""
    speed = images_per_second(config, splits)
    train, what = round(len(splits.train) * found.images / len(found.data)), "images"
    if config.patch.size:
        train, what = round(train * (config.data.image_size / config.patch.size) ** 2), "patches"
    if not own_epochs:
        epochs = epochs_for(speed, train, minutes)
        config = replace(config, train=replace(config.train, epochs=epochs))
    taken = config.train.epochs * train / speed / 60 / 0.8
    side = config.patch.size or config.data.image_size
    tell(
        f"{config.model.name} on {side} pixels: {speed:,.0f} {what}/s here; "
        f"{config.train.epochs:g} epochs of {train:,} {what} take about {max(1, round(taken))} min a method"
    )
    return config


def _text(config: Config, advice: Advice, found: Survey, named: set[str], where: Path) -> str:
    own = {option.removeprefix("--").replace("-", "_") for option in named}
    reasons = {field: reason for field, reason in advice.reasons.items() if field not in own}
    title = config.title or config.name
    heading = f"{title}.\n\n    imbal-jax train THIS_FILE\n\nWritten by imbal-jax init for {where}."
    shown, fill_in, task = SHOWN, FILL_IN, task_for(config.task, found.data)
    if not task.decides:
        shown, fill_in = tuple(field for field in SHOWN if field != "deploy.points"), {}
    elif config.data.negative_class is None and task.label_kind == "one":
        shown += ("data.negative_class",)
    return config_text(
        config, {**fill_in, "train.epochs": "by the measured speed", **reasons}, heading, shown
    )
