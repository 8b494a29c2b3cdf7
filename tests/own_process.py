"""The command in a process of its own, which imports the modules of a user's folder as users' processes do."""

import os
import subprocess
import sys
from pathlib import Path


def command(
    folder: Path, *words: str, path: str = str(Path(__file__).parent)
) -> subprocess.CompletedProcess[str]:
    """``imbal-jax WORDS`` in ``folder``. path: PYTHONPATH, the folder of the user's modules."""
    return subprocess.run(
        [sys.executable, "-m", "imbal_jax", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
