"""Tasks: what differs between kinds of labels."""

from imbal_jax.data.dataset import Dataset
from imbal_jax.tasks.many_labels import ManyLabels
from imbal_jax.tasks.one_label import OneLabel
from imbal_jax.tasks.task import PARTS, Task

ONE_LABEL = OneLabel()
MANY_LABELS = ManyLabels()

__all__ = ["MANY_LABELS", "ONE_LABEL", "PARTS", "ManyLabels", "OneLabel", "Task", "task_for"]


def task_for(data: Dataset) -> Task:
    """The task that the labels of ``data`` pose."""
    return MANY_LABELS if data.many_labels else ONE_LABEL
