"""The user's own source of data: a function, found by its import path."""

from collections.abc import Mapping

import numpy as np

from imbal_jax.config import Data
from imbal_jax.data.dataset import Dataset, check_labels
from imbal_jax.data.tables.given_split import PARTS
from imbal_jax.errors import InputError
from imbal_jax.import_paths import explained, import_object


def own_source(options: Data) -> tuple[Dataset, Mapping[str, np.ndarray] | None]:
    """What the function at ``options.source`` returns for ``options``: a data set, and its own split if it has one.

    Raises InputError for what is no data set or no split, and, with file and line, where the function raises.
    """
    name = options.source
    function = import_object(name, "data.source")
    if not callable(function):
        raise InputError(
            f"data.source {name} is {type(function).__name__}: give a function that returns a Dataset"
        )
    with explained(f"data.source {name}"):
        found = function(options)
    data, given = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    if not isinstance(data, Dataset):
        raise InputError(
            f"data.source {name} returned {type(data).__name__}: return an imbal_jax.Dataset, or one and its split"
        )
    check_labels(data)
    return data, None if given is None else _split(name, given, len(data))


def _split(name: str, given: object, count: int) -> dict[str, np.ndarray]:
    if not isinstance(given, Mapping) or not set(given) <= set(PARTS):
        raise InputError(
            f"data.source {name}: its split is {given!r:.80}: return a mapping of train, validation and test to "
            "indices"
        )
    parts = {part: np.asarray(indices) for part, indices in given.items()}
    for part, indices in parts.items():
        whole = indices.ndim == 1 and indices.dtype.kind in "iu"
        if not whole or (indices.size and not 0 <= indices.min() <= indices.max() < count):
            raise InputError(f"data.source {name}: {part} of its split holds no indices of 0..{count - 1}")
        if len(np.unique(indices)) < len(indices):
            raise InputError(f"data.source {name}: {part} of its split holds an image twice")
    return {part: indices.astype(np.int64) for part, indices in parts.items() if len(indices)}
