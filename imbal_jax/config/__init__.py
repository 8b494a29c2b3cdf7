"""Config of a run: frozen dataclasses, config files, typed overrides from the command line."""

from imbal_jax.config.file import load_config
from imbal_jax.config.overrides import override, retitled
from imbal_jax.config.plain import from_json, to_json
from imbal_jax.config.ranges import prevalence_of
from imbal_jax.config.sections import Config, Data, Deploy, Episode, Model, Optim, Patch, Train, images_of

__all__ = [
    "Config",
    "Data",
    "Deploy",
    "Episode",
    "Model",
    "Optim",
    "Patch",
    "Train",
    "from_json",
    "images_of",
    "load_config",
    "override",
    "prevalence_of",
    "retitled",
    "to_json",
]
