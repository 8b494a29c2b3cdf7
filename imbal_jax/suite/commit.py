"""The commit of the package's code, which every line of a ledger names."""

import subprocess
from pathlib import Path

import imbal_jax


def code_commit(folder: Path | None = None) -> str:
    """``c450cd8``, or ``c450cd8-dirty`` with changes that are not committed; "" where git does not track the package.

    folder: of the package.
    """
    folder = Path(imbal_jax.__file__).parent if folder is None else folder
    tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py")
    commit = _git(folder, "rev-parse", "--short=12", "HEAD") if tracked else ""
    if not commit:
        return ""
    return commit + ("-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no", ".") else "")


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
