"""Which runs of a workdir have a checkpoint or a result."""

from pathlib import Path

from imbal_jax.files import present
from imbal_jax.runs.outputs import RESULT


def run_holds_checkpoints(folder: Path) -> bool:
    """Whether the run in ``folder``, WORKDIR/METHOD/seedN, has saved a checkpoint or is finished."""
    steps = folder / "checkpoints"
    return present(folder / RESULT) or (
        steps.is_dir() and any(step.name.isdigit() for step in steps.iterdir())
    )


def method_holds_checkpoints(folder: Path) -> bool:
    """Whether any seed of the method in ``folder``, WORKDIR/METHOD, does."""
    return any(run_holds_checkpoints(seed) for seed in folder.glob("seed*"))


def holds_checkpoints(workdir: Path) -> bool:
    """Whether any run of ``workdir`` does."""
    return workdir.is_dir() and any(
        method_holds_checkpoints(folder) for folder in workdir.iterdir() if folder.is_dir()
    )
