"""Evaluation during training: predictions that are no numbers stop the run."""

import numpy as np
import pytest

from imbal_jax.config import Config
from imbal_jax.data.dataset import Dataset
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.errors import Stopped
from imbal_jax.tasks import ONE_LABEL
from imbal_jax.training.evaluation import evaluation

LABELS = np.array([0, 0, 0, 1], np.int32)
DATA = Dataset(np.zeros((4, 8, 8, 1), np.uint8), LABELS, np.arange(4), ("normal", "rare"))


def test_predictions_that_are_nan_stop_the_run_in_one_line_with_the_remedy() -> None:
    config = Config(name="x", select="auroc")
    kept = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.2, 0.8]], np.float32)
    assert evaluation(config, ONE_LABEL, parse_criterion("auroc"), DATA, kept)["auroc"] == 1
    kept[1] = np.nan
    with pytest.raises(Stopped, match=r"NaN for 1 of 4 validation images: lower --optim\.learning-rate"):
        evaluation(config, ONE_LABEL, parse_criterion("auroc"), DATA, kept)
