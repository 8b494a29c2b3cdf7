"""Checks the values of a config: ranges, and texts that have a grammar."""

from collections.abc import Callable
from typing import Any

from imbal_jax.arguments import parse_columns
from imbal_jax.decisions.criterion_text import check_criterion
from imbal_jax.decisions.default_criterion import AUTO, RANKING
from imbal_jax.decisions.threshold_rules import parse_rule
from imbal_jax.errors import InputError
from imbal_jax.import_paths import is_import_path
from imbal_jax.metrics.own import check_metrics

EPISODE_TASKS = ("episodes", "string_episodes", "in_context")
_OF_IN_CONTEXT = {"bursty": 0.9, "zipf": 0.0}
UNUSED_OF_EPISODES: dict[str, dict[str, Any]] = {
    "episodes": _OF_IN_CONTEXT,
    "string_episodes": _OF_IN_CONTEXT,
    "in_context": {"queries": 0, "long_tail": 1.0},
}
"""Task -> options of ``Episode`` that it makes no use of, and their defaults."""
DRAWS = {"imbalance": None, "long_tail": None, "prevalence": ()}
"""Options of ``Data`` that draw by class, and what they are where nothing is drawn."""
Require = Callable[[bool, str, Any, str], None]
"""``(holds, key, value, allowed)``: raises InputError unless it holds."""

LARGEST_IMAGE = 4096  # pixels a side, more than the films of any detector are trained at


def check_config(config: Any) -> None:
    """Raise InputError for the first value of a ``sections.Config`` that is out of its range."""

    def require(holds: bool, key: str, value: Any, allowed: str) -> None:
        if not holds:
            raise InputError(f"{key} is {value}: {allowed}")

    data, optim, train = config.data, config.optim, config.train
    require(len(config.methods) > 0, "methods", "empty", "name at least one, see imbal-jax methods")
    names = [method.name for method in config.methods]
    require(all(names), "methods", "one without a name", "its results go to a folder of that name")
    require(len(set(names)) == len(names), "methods", " ".join(names), "each may be named once")
    size, most = data.image_size, LARGEST_IMAGE
    require(8 <= size <= most, "data.image-size", size, f"8 to {most} pixels")
    shares = data.validation_share + data.test_share
    require(0 < data.validation_share < 1, "data.validation-share", data.validation_share, "between 0 and 1")
    require(
        0 < data.test_share < 1 and shares < 1,
        "data.test-share",
        data.test_share,
        "leave a share to train on",
    )
    require(data.imbalance is None or data.imbalance >= 1, "data.imbalance", data.imbalance, "1 or more")
    require(data.long_tail is None or data.long_tail >= 1, "data.long-tail", data.long_tail, "1 or more")
    parse_columns(data.columns)
    _check_patch(config.patch, require)
    _check_episode(config, require)
    named = [name for name, _ in map(prevalence_of, data.prevalence)]
    require(len(set(named)) == len(named), "data.prevalence", " ".join(named), "each class may be named once")
    numbers = [
        ("seed", config.seed),
        ("data.split-seed", data.split_seed),
        *(("seeds", n) for n in config.seeds),
    ]
    for key, number in numbers:
        require(0 <= number < 2**32, key, number, "0 or more, and below 2^32")
    distinct = len(set(config.seeds)) == len(config.seeds)
    require(distinct, "seeds", " ".join(map(str, config.seeds)), "each may be named once")
    require(0 <= config.model.dropout < 1, "model.dropout", config.model.dropout, "from 0 to below 1")
    _check_optim(optim, require)
    require(train.epochs > 0, "train.epochs", train.epochs, "above 0")
    for key in ("batch_size", "accumulation", "evaluations", "steps_per_dispatch", "max_nonfinite"):
        require(getattr(train, key) >= 1, f"train.{key.replace('_', '-')}", getattr(train, key), "1 or more")
    require(train.devices is None or train.devices >= 1, "train.devices", train.devices, "1 or more")
    require(data.workers >= 0, "data.workers", data.workers, "0 or more")
    require(train.patience >= 0, "train.patience", train.patience, "0 or more")
    require(train.save_minutes >= 0, "train.save-minutes", train.save_minutes, "0 or more")
    check_metrics(config.metrics)
    check_criterion(RANKING if config.select == AUTO else config.select)
    require(config.deploy.points != (), "deploy.points", "empty", "give a rule, such as youden")
    for text in config.deploy.points or ():
        parse_rule(text.rpartition(": ")[2])  # a rule's own colon, as in 20:1, has no space after it


def _check_patch(patch: Any, require: Require) -> None:
    require(patch.size == 0 or patch.size >= 8, "patch.size", patch.size, "8 pixels or more, or 0")
    require(0 <= patch.share <= 1, "patch.share", patch.share, "a share, 0 to 1")
    require(patch.places >= 1, "patch.places", patch.places, "1 or more")
    require(0 <= patch.overlap < 1, "patch.overlap", patch.overlap, "from 0 to below 1")


def _check_optim(optim: Any, require: Require) -> None:
    require(optim.learning_rate > 0, "optim.learning-rate", optim.learning_rate, "above 0")
    require(optim.weight_decay >= 0, "optim.weight-decay", optim.weight_decay, "0 or more")
    require(0 <= optim.momentum < 1, "optim.momentum", optim.momentum, "from 0 to below 1")
    require(optim.decay > 0, "optim.decay", optim.decay, "above 0")
    rising = list(optim.milestones) == sorted({share for share in optim.milestones if 0 < share < 1})
    require(rising, "optim.milestones", optim.milestones, "rising shares of the run, above 0 and below 1")
    require(0 <= optim.swa_start <= 1, "optim.swa-start", optim.swa_start, "a share of the run, 0 to 1")
    require(0 <= optim.warmup < 1, "optim.warmup", optim.warmup, "a share of the run, 0 to 1")
    require(0 <= optim.ema_decay < 1, "optim.ema-decay", optim.ema_decay, "from 0 to below 1")
    require(
        0 <= optim.label_smoothing < 1, "optim.label-smoothing", optim.label_smoothing, "from 0 to below 1"
    )
    require(optim.clip_norm >= 0, "optim.clip-norm", optim.clip_norm, "0 or more")


def _check_episode(config: Any, require: Require) -> None:
    episode = config.episode
    require(episode.ways == 0 or episode.ways >= 2, "episode.ways", episode.ways, "2 or more, or 0")
    asked = config.task in EPISODE_TASKS
    require(
        not asked or episode.ways > 0,
        "episode.ways",
        episode.ways,
        f"the task {config.task} needs the classes of an episode, 2 or more",
    )
    require(
        asked or episode.ways == 0 or is_import_path(config.task),
        "episode.ways",
        episode.ways,
        f"it is for the tasks {', '.join(EPISODE_TASKS)}, and task is {config.task}",
    )
    require(episode.shots >= 1, "episode.shots", episode.shots, "1 or more")
    require(episode.queries >= 0, "episode.queries", episode.queries, "0 or more")
    require(episode.long_tail >= 1, "episode.long-tail", episode.long_tail, "1 or more")
    require(0 <= episode.bursty <= 1, "episode.bursty", episode.bursty, "a share, 0 to 1")
    require(episode.zipf >= 0, "episode.zipf", episode.zipf, "0 or more")
    for key in ("validation", "test"):
        require(getattr(episode, key) >= 1, f"episode.{key}", getattr(episode, key), "1 or more")
    for key, plain in UNUSED_OF_EPISODES.get(config.task, {}).items():
        value = getattr(episode, key)
        require(
            value == plain,
            f"episode.{key.replace('_', '-')}",
            value,
            f"the task {config.task} makes no use of it",
        )
    for key, none in DRAWS.items():
        value = getattr(config.data, key)
        require(
            value == none or not (episode.ways or config.data.source == "sequences"),
            f"data.{key.replace('_', '-')}",
            value,
            "it leaves out images of a class, which is not for episodes and sequences",
        )


def prevalence_of(word: str) -> tuple[str, float]:
    """Class and share of ``CLASS=SHARE``; InputError for another form, or a share that is not between 0 and 1."""
    name, _, share = word.rpartition("=")
    try:
        if name and 0 < float(share) < 1:
            return name, float(share)
    except ValueError:
        pass
    raise InputError(
        f"data.prevalence is {word!r}: expected CLASS=SHARE, between 0 and 1, as pneumonia=0.001"
    )
