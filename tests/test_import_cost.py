"""Whoever wants a loss imports jax and nothing heavier."""

import importlib.util
import json
import subprocess
import sys

import pytest

import imbal_jax

HEAVY = (
    "flax",
    "orbax",
    "grain",
    "tensorflow",
    "tensorflow_datasets",
    "tensorboardX",
    "pydicom",
    "PIL",
    "matplotlib",
    "rich",
    "tyro",
    "sklearn",
    "torch",
)


def modules_after(statement: str) -> set[str]:
    """Names of the top-level modules, and of ours, in a fresh interpreter that has run ``statement``."""
    program = f"import json, sys\n{statement}\nprint(json.dumps(list(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    names = json.loads(output)
    return {name.split(".")[0] for name in names} | {name for name in names if name.startswith("imbal_jax")}


def test_importing_losses_loads_jax_and_nothing_heavier():
    loaded = modules_after("import imbal_jax.losses")
    assert {"jax", "numpy", "imbal_jax.losses"} <= loaded
    assert not loaded & set(HEAVY)
    ours = {name for name in loaded if name.startswith("imbal_jax")}
    assert {name.split(".")[1] for name in ours if "." in name} == {"losses"}


def test_importing_the_package_loads_neither_jax_nor_a_submodule():
    loaded = modules_after("import imbal_jax; imbal_jax.__version__; dir(imbal_jax)")
    assert "jax" not in loaded
    assert {name for name in loaded if name.startswith("imbal_jax")} == {"imbal_jax"}


def test_a_submodule_is_loaded_when_it_is_asked_for():
    loaded = modules_after("import imbal_jax; assert imbal_jax.losses.focal")
    assert "imbal_jax.losses" in loaded


def test_every_listed_submodule_and_name_exists():
    names = {"Config", "Dataset", "METHODS", "Method", "fit", "load_config"}
    listed = set(imbal_jax.__all__) - {"__version__"}
    assert names < listed <= set(dir(imbal_jax))
    missing = {name for name in listed - names if importlib.util.find_spec(f"imbal_jax.{name}") is None}
    assert not missing
    assert all(getattr(imbal_jax, name) is not None for name in names)


def test_unknown_attribute_raises():
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = imbal_jax.nonsense
