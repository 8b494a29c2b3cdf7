"""The values of mask files as classes."""

from collections.abc import Sequence

import numpy as np

from imbal_jax.data.labels import IGNORED, mask_dtype, mask_values
from imbal_jax.data.masks.mask_error import MaskError
from imbal_jax.errors import InputError

MOST_VALUES = 256  # of all masks together; more are grey levels and no classes
MOST_UNNAMED = 64  # classes that nobody has named
BACKGROUND, FOREGROUND = "background", "foreground"


class ValueClasses:
    """Numbers the values of masks as they come, and says in the end which classes these are.

    ignore: the value of pixels that do not count; -1 never does.
    """

    def __init__(self, ignore: int | None = None) -> None:
        self.ignore = ignore
        self.numbers: dict[int, int] = {}

    def codes(self, stored: np.ndarray) -> np.ndarray:
        """int16 like ``stored`` [h, w], a number for each value, -1 ignored. MaskError for too many values."""
        values = mask_values(stored[None])
        codes = [IGNORED if value in (self.ignore, IGNORED) else self._number(int(value)) for value in values]
        return np.array(codes, np.int16)[np.searchsorted(values, stored)]

    def _number(self, value: int) -> int:
        number = self.numbers.setdefault(value, len(self.numbers))
        if number >= MOST_VALUES:
            raise MaskError(
                f"and those before it hold more than {MOST_VALUES} values: masks are classes, saved without smoothing"
            )
        return number

    def settle(self, names: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray, str]:
        """The names of the classes, the class of each number (int, the last entry is of -1), and a line that says so.

        names: the classes as asked for. As many as there are values: their classes in the order of the values. More,
        where the values are 0 to the number of names - 1: the values count the classes. Without names 0 is the
        background, and one other value the foreground; several are called by their numbers. InputError for other
        numbers of names and values.
        """
        values = sorted(self.numbers)
        shown = ", ".join(map(str, values[:12])) + (", ..." if len(values) > 12 else "")
        if names and len(names) == len(values):
            classes, place = tuple(names), {value: at for at, value in enumerate(values)}
        elif names and values and values[0] >= 0 and values[-1] < len(names):
            classes, place = tuple(names), {value: value for value in values}
        elif names:
            raise InputError(
                f"the masks hold {len(values)} values ({shown}), and {len(names)} classes are named: name "
                f"{len(values)} with --data.classes, or say which value is ignored, --data.ignore-value"
            )
        elif len(values) > MOST_UNNAMED:
            raise InputError(
                f"the masks hold {len(values)} values ({shown}), which are grey levels rather than classes: save "
                "masks without smoothing, or name the classes, --data.classes"
            )
        elif len(values) <= 2 and (not values or values[0] == 0):
            classes, place = (BACKGROUND, FOREGROUND), {value: at for at, value in enumerate(values)}
        else:
            classes = tuple(BACKGROUND if value == 0 else str(value) for value in values)
            place = {value: at for at, value in enumerate(values)}
        table = np.full(len(self.numbers) + 1, IGNORED, mask_dtype(len(classes)))
        for value, number in self.numbers.items():
            table[number] = place[value]
        meaning = ", ".join(f"{value} {classes[place[value]]}" for value in values[:12])
        ignored = "" if self.ignore is None else f"; {self.ignore} is ignored"
        return classes, table, f"values of the masks: {meaning}{', ...' if len(values) > 12 else ''}{ignored}"
