"""The refusal of a mask."""

from imbal_jax.errors import InputError


class MaskError(InputError):
    """A mask that is refused. The text names no file: who reads many masks says which row it is of."""
