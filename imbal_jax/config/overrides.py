"""Typed options of the command line that change a config."""

import dataclasses
import difflib
import inspect
import re
from typing import Any, get_args

from imbal_jax.arguments import parse
from imbal_jax.config.sections import Config, Data
from imbal_jax.errors import InputError
from imbal_jax.methods import find_method


def override(config: Config, arguments: list[str]) -> Config:
    """``config`` changed by typed command line options such as ``--optim.learning-rate 1e-3``.

    Another network (``--model.name``) has its own options: those of the config's network are left out with it.
    Raises InputError in one line for an unknown option or a value of the wrong type. ``--help`` prints all options
    with their present values and raises SystemExit(0).
    """
    config = _with_named_options(config, arguments)
    allowed = {f"--{name}" for name in option_names(config)}
    for word in arguments:
        flag = word.split("=", 1)[0].replace("_", "-")
        base = re.sub(r"\.no-", ".", re.sub(r"^--no-", "--", flag))
        if flag.startswith("--") and flag != "--help" and flag not in allowed and base not in allowed:
            close = difflib.get_close_matches(flag, allowed, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(close)}?" if close else "see --help for all options"
            raise InputError(f"unknown option {flag}: {hint}")
    if "--help" in arguments or "-h" in arguments:
        rest = [word for word in arguments if word not in ("--help", "-h")]
        return parse(Config, ["--help"], prog="imbal-jax train CONFIG", default=override(config, rest))
    for method in _words_of("--methods", arguments):
        find_method(method)  # tyro would hide which name is wrong
    changed = parse(Config, arguments, prog="imbal-jax train CONFIG", default=config)
    return retitled(changed, config) if changed.title == config.title else changed


def retitled(config: Config, before: Config) -> Config:
    """``config`` without the title that it has from ``before``, where that names other data."""
    was, now, default = before.data, config.data, Data()
    same = was.source == now.source and was.dir in (now.dir, None) and was.sequence == now.sequence
    unnamed = all(
        getattr(was, name) == getattr(default, name)
        for name in ("source", "dir", "phantom_images", "phantom_imbalance")
    )
    return config if same or unnamed else dataclasses.replace(config, title="")


def option_names(value: Any, prefix: str = "") -> list[str]:
    """The dotted names of all options under a config dataclass, as the command line spells them."""
    names: list[str] = []
    for f in dataclasses.fields(value):
        name = prefix + f.name.replace("_", "-")
        inner = getattr(value, f.name)
        if dataclasses.is_dataclass(inner):
            names += option_names(inner, name + ".")
        elif isinstance(inner, dict):
            names += [f"{name}.{key.replace('_', '-')}" for key in inner]
        else:
            names.append(name)
    return names


def _with_named_options(config: Config, arguments: list[str]) -> Config:
    """``config`` with the options of the network that ``arguments`` ask for.

    Those of another network are left out; those that are named and that the config has not, as
    ``--model.options.stages``, are there with the network's own default, which says their type.
    """
    asked = [config.model.name, *_words_of("--model.name", arguments)][-1]
    options = dict(config.model.options) if asked == config.model.name else {}
    flags = [word.partition("=")[0] for word in arguments if word.startswith("--model.options.")]
    named = [flag.removeprefix("--model.options.").replace("-", "_") for flag in flags]
    if missing := [name for name in named if name not in options]:
        from imbal_jax.models import MODELS  # with flax, which the other options do not need

        known = inspect.signature(MODELS[asked]).parameters if asked in MODELS else {}
        for name in missing:
            default = known[name].default if name in known else None
            if default is None and name in known and int in get_args(known[name].annotation):
                default = 1  # a number that may be left out
            if isinstance(default, int | float | str | tuple):
                options[name] = default
    return dataclasses.replace(config, model=dataclasses.replace(config.model, options=options))


def _words_of(flag: str, arguments: list[str]) -> list[str]:
    """The values of an option, whether they follow it or an equals sign."""
    words: list[str] = []
    taking = False
    for word in arguments:
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            taking = option.replace("_", "-") == flag
            words += [value] if taking and equals else []
        elif taking:
            words.append(word)
    return words
