"""Tasks: what differs between kinds of labels."""

from functools import cache

from imbal_jax.data.dataset import Dataset
from imbal_jax.errors import InputError
from imbal_jax.import_paths import import_object, is_import_path
from imbal_jax.tasks.episodes import Episodes, InContext, StringEpisodes
from imbal_jax.tasks.many_labels import ManyLabels
from imbal_jax.tasks.one_label import OneLabel
from imbal_jax.tasks.segmentation import Masks, OverlappingMasks
from imbal_jax.tasks.sequences import Sequences
from imbal_jax.tasks.task import PARTS, REQUIRED, REQUIRED_TO_DECIDE, Section, Task

ONE_LABEL = OneLabel()
MANY_LABELS = ManyLabels()
MASKS = Masks()
OVERLAPPING_MASKS = OverlappingMasks()
EPISODES = Episodes()
STRING_EPISODES = StringEpisodes()
IN_CONTEXT = InContext()
SEQUENCES = Sequences()
TASKS: dict[str, Task] = {
    "one_label": ONE_LABEL,
    "many_labels": MANY_LABELS,
    "masks": MASKS,
    "overlapping_masks": OVERLAPPING_MASKS,
    "episodes": EPISODES,
    "string_episodes": STRING_EPISODES,
    "in_context": IN_CONTEXT,
    "sequences": SEQUENCES,
}

__all__ = [
    "EPISODES",
    "IN_CONTEXT",
    "MANY_LABELS",
    "MASKS",
    "ONE_LABEL",
    "OVERLAPPING_MASKS",
    "PARTS",
    "SEQUENCES",
    "STRING_EPISODES",
    "TASKS",
    "Episodes",
    "InContext",
    "ManyLabels",
    "Masks",
    "OneLabel",
    "OverlappingMasks",
    "Section",
    "Sequences",
    "StringEpisodes",
    "Task",
    "find_task",
    "task_for",
    "task_name",
]


def task_name(asked: str, data: Dataset) -> str:
    """The name of the task for ``data``: ``asked`` (``Config.task``), or chosen by the labels if that is auto."""
    if asked != "auto":
        return asked
    if data.labels.ndim > 2:
        of_images = data.labels.shape[1:3] == data.images.shape[1:3]
        if of_images and data.labels.ndim in (3, 4):
            return "masks" if data.labels.ndim == 3 else "overlapping_masks"
        raise InputError(
            f"labels are {data.labels.dtype} {list(data.labels.shape)}, which is neither one label an image [N], nor "
            "many [N, labels], nor masks [N, H, W] of the images: name the task that reads them, task "
            "package.module:name"
        )
    return "many_labels" if data.many_labels else "one_label"


@cache  # one object a name: compilations are shared by the task
def find_task(name: str) -> Task:
    """A built-in task, or the one at an import path, a subclass of ``Task`` or an instance; else InputError."""
    if name in TASKS:
        return TASKS[name]
    if not is_import_path(name):
        raise InputError(f"task is {name!r}, allowed are auto, {', '.join(TASKS)} and package.module:name")
    found = import_object(name, "task")
    if isinstance(found, type) and issubclass(found, Task):
        try:
            found = found()
        except Exception as error:
            raise InputError(f"task {name} cannot be made without arguments: {error}") from error
    if not isinstance(found, Task):
        raise InputError(f"task {name} is {found!r}: give a subclass of imbal_jax.tasks.Task")
    needed = (*REQUIRED, *REQUIRED_TO_DECIDE) if found.decides else REQUIRED
    if lacking := [part for part in needed if getattr(type(found), part) is getattr(Task, part)]:
        raise InputError(f"task {name} does not say {', '.join(lacking)}: see imbal_jax.tasks.Task")
    return found


def task_for(asked: str, data: Dataset, metrics: tuple[str, ...] = ()) -> Task:
    """The task for ``data``, as ``Config.task`` and ``Config.metrics`` ask; InputError for labels of another kind."""
    task = find_task(task_name(asked, data))
    task.check_data(data)
    return task.with_metrics(metrics) if metrics else task
