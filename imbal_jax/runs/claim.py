"""The claim on a workdir: one config, and one definition of each method, as long as a run holds a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from imbal_jax.config import Config, from_json, to_json
from imbal_jax.config.plain import what_counts, with_defaults
from imbal_jax.decisions.default_criterion import AUTO
from imbal_jax.engine import hosts
from imbal_jax.errors import InputError
from imbal_jax.files import DamagedError, present, read_json, write_json
from imbal_jax.methods import Method, definition, trained_methods
from imbal_jax.runs.checkpoints_held import holds_checkpoints, method_holds_checkpoints
from imbal_jax.runs.config_difference import changes, differing_values, shown

CLAIM = "config.json"
DEFINITIONS = "definitions"  # beside the config's own keys
CONFIG_REMEDY = "restore it from a copy, or choose another --workdir"


@hosts.first_only
def claim(workdir: Path, config: Config, *, trained: bool = False) -> None:
    """Write the config to ``workdir``; InputError if another config's run is there already.

    The claim holds as soon as a run has a checkpoint. Until then another config replaces it, so that a typing
    mistake does not block the workdir. Methods and seeds may be added later. A method's name has one definition:
    ``config.json`` keeps that of every method that was asked for, and of first stages. What does not change the
    results of training may change: the folder of the data, download, workers, devices, and all of ``deploy``. Where
    everything is ``trained``, the deployment priors and the user's own metrics may change too.
    """
    write_json(workdir / CLAIM, check_claim(workdir, config, trained=trained))


def check_claim(workdir: Path, config: Config, *, trained: bool = False) -> dict[str, Any]:
    """The content that ``claim`` would write; raises as ``claim`` does, writes nothing but the folder."""
    path = workdir / CLAIM
    values = to_json(config)
    values["seeds"] = list(config.run_seeds)
    values[DEFINITIONS] = {name: definition(m) for name, m in trained_methods(config.methods).items()}
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {workdir}: {error.strerror}") from error
    if not (present(path) and holds_checkpoints(workdir)):
        return values
    there = read_json(path, CONFIG_REMEDY)
    if "fit" not in _mapping(there, "data"):
        raise InputError(
            f"{workdir} holds a run of an earlier version, which did not say how pictures became squares: "
            "choose another --workdir"
        )
    there = with_defaults(there)
    without = ("data.deployment_priors", "metrics") if trained else ()
    here = values
    if config.select == AUTO and "select" in there:
        # which it stands for the data say; once they are read ``claim`` compares it
        here = {**values, "select": there["select"]}
    differing = differing_values(_comparable(there, without), _comparable(here, without))
    if set(differing) == {"seed"}:
        raise InputError(
            f"{workdir} holds runs of seed {there['seed']}: ask for further seeds of the same config with "
            f"--seeds {config.seed} in place of --seed"
        )
    if differing:
        raise InputError(
            f"{workdir} holds a run of another config (differs in {', '.join(differing)}): "
            f"{changes(differing)}; choose another --workdir, or delete it to start again"
        )
    before = _mapping(there, DEFINITIONS)
    _check_definitions(workdir, before, values[DEFINITIONS])
    named = {method["name"]: method for method in (*there.get("methods", []), *values["methods"])}
    seeds = sorted({*(there.get("seeds") or [there.get("seed", config.seed)]), *config.run_seeds})
    return {
        **values,
        "methods": list(named.values()),
        "seeds": seeds,
        DEFINITIONS: {**before, **values[DEFINITIONS]},
    }


def _check_definitions(workdir: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    for name in here.keys() & there.keys():
        differing = differing_values(there[name], here[name])
        if differing and method_holds_checkpoints(workdir / name):
            said = ", ".join(
                f"{key} is {shown(was)} there and {shown(now)} here" for key, (was, now) in differing.items()
            )
            raise InputError(
                f"{workdir} holds another method called {name} ({said}): give this one another name, or choose "
                "another --workdir"
            )


def read_claim(workdir: Path) -> Config:
    """The config of the run in ``workdir``; InputError where there is none."""
    values = _read_claim(workdir)
    values.pop(DEFINITIONS, None)
    try:
        if "fit" not in values["data"]:
            raise InputError(
                "it was written by an earlier version, which did not say how pictures became "
                "squares: train again in another --workdir"
            )
        return from_json(values)
    except InputError as error:
        raise InputError(f"{workdir / CLAIM}: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DamagedError(f"{workdir / CLAIM} is damaged ({error!r}): {CONFIG_REMEDY}") from None


def read_methods(workdir: Path) -> dict[str, Method]:
    """Every method that was trained in ``workdir``, by name, as it was defined then."""
    own = {method.name: method for method in read_claim(workdir).methods}
    known = {field.name for field in fields(Method)}
    for name, values in _mapping(_read_claim(workdir), DEFINITIONS).items():
        if name not in own and isinstance(values, dict):  # a first stage
            given = {key: _tupled(value) for key, value in values.items() if key in known}
            own[name] = Method(name=name, **given)
    return own


def _read_claim(workdir: Path) -> dict[str, Any]:
    path = workdir / CLAIM
    if not present(path):
        raise InputError(f"no run in {workdir}: there is no {CLAIM}; train one first")
    return read_json(path, CONFIG_REMEDY)


def _tupled(value: Any) -> Any:
    """JSON's lists, and its mappings of options to their values, as tuples."""
    if isinstance(value, dict):
        return tuple(value.items())
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _comparable(values: Mapping[str, Any], without: Sequence[str] = ()) -> dict[str, Any]:
    kept = what_counts({**values, "train": _mapping(values, "train"), "data": _mapping(values, "data")})
    data = {k: v for k, v in kept["data"].items() if f"data.{k}" not in without}
    rest = {
        k: v
        for k, v in kept.items()
        if k not in ("methods", "title", "deploy", "seeds", DEFINITIONS, *without)
    }
    return {**rest, "data": data}


def _mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}
