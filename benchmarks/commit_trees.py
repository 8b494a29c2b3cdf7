"""Two commits of this repository as folders, and commands that run their code.

A tree's package need not be installed: it is found by PYTHONPATH, from a working folder elsewhere.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
COMMAND = """
import sys

class WithoutTorch:
    @staticmethod
    def find_spec(name, *_):
        if name == "torch":
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, WithoutTorch)
from imbal_jax.cli import main
sys.exit(main())
"""
"""torch is no part of the package; where it is installed, tensorboardX would import it, which takes seconds."""

SECONDS = 900  # the longest that one command may take
TAIL = 6  # lines of stderr that are shown of a failed command


class Failed(Exception):
    """A command of a tree did not do what its case asks for."""


@dataclass(frozen=True)
class Tree:
    """One checked-out commit.

    commit: its full hash, or "" of a folder with changes that are not committed. renamed: options of the command line
    that have another name in this tree.
    """

    name: str
    folder: Path
    commit: str
    python: str = sys.executable
    compile_cache: Path | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)

    def environment(self, devices: int | None = 1) -> dict[str, str]:
        """For a process that imports the package from this tree and sees so many CPU devices.

        None: as many as it likes, compiled as ever, for what is to be timed.
        """
        values = dict(os.environ)
        values |= {
            "PYTHONPATH": str(self.folder),
            "JAX_PLATFORMS": "cpu",
        }
        if devices is None:
            values.pop("XLA_FLAGS", None)
            values.pop("JAX_COMPILATION_CACHE_DIR", None)
            return values
        values["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
        if self.compile_cache is not None:
            values["JAX_COMPILATION_CACHE_DIR"] = str(self.compile_cache)
            values["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
        return values

    def arguments(self, words: Sequence[str]) -> list[str]:
        """The command line ``imbal-jax WORDS`` of this tree."""
        return [self.python, "-c", COMMAND, *(self._spelled(word) for word in words)]

    def _spelled(self, word: str) -> str:
        flag, equals, value = word.partition("=")
        return self.renamed.get(flag, flag) + equals + value

    def run(self, words: Sequence[str], cwd: Path, devices: int = 1) -> None:
        """Run ``imbal-jax WORDS``; Failed, with the last lines of its stderr, for any exit status but 0."""
        done = subprocess.run(
            self.arguments(words),
            cwd=cwd,
            env=self.environment(devices),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=SECONDS,
        )
        if done.returncode:
            raise Failed(
                f"imbal-jax {words[0]} ended with status {done.returncode}: {last_lines(done.stderr)}"
            )

    def run_and_kill(self, words: Sequence[str], cwd: Path, lines: int, devices: int = 1) -> None:
        """Start ``imbal-jax WORDS`` and kill it once a metrics.jsonl below ``cwd`` has ``lines`` lines."""
        with open(cwd / "killed.stderr", "w") as said:
            process = subprocess.Popen(
                self.arguments(words),
                cwd=cwd,
                env=self.environment(devices),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
            end = time.monotonic() + SECONDS
            while process.poll() is None and time.monotonic() < end:
                # not below checkpoints, whose folders come and go
                found = (*cwd.glob("*/*/metrics.jsonl"), *cwd.glob("*/*/seed*/metrics.jsonl"))
                if any(path.read_bytes().count(b"\n") >= lines for path in found):
                    break
                time.sleep(0.005)
            process.kill()
            status = process.wait()
        if status != -signal.SIGKILL:
            told = last_lines((cwd / "killed.stderr").read_text())
            raise Failed(f"the run ended with status {status} before it could be killed: {told}")

    def check(self, cwd: Path) -> None:
        """Failed where Python finds another package than this tree's."""
        code = "import imbal_jax; print(imbal_jax.__file__)"
        done = subprocess.run(
            [self.python, "-c", code], cwd=cwd, env=self.environment(), capture_output=True, text=True
        )
        if done.returncode:
            raise Failed(last_lines(done.stderr))
        if not Path(done.stdout.strip()).resolve().is_relative_to(self.folder):
            raise Failed(
                f"{self.python} imports imbal_jax from {done.stdout.strip()}, not from {self.folder}"
            )


def last_lines(text: str) -> str:
    """The last lines of a command's stderr, in one."""
    return " | ".join(line.strip() for line in text.strip().splitlines()[-TAIL:]) or "nothing on stderr"


def add_tree_options(parser: argparse.ArgumentParser) -> None:
    """What both scripts take: which trees, and how they are run."""
    parser.add_argument("commits", nargs="*", metavar="COMMIT", help="the two commits, A and B")
    parser.add_argument("--trees", nargs=2, type=Path, metavar=("A", "B"), help="two folders in their place")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs both")
    parser.add_argument(
        "--compile-cache", type=Path, help="jax's; by default a temporary one that both trees share"
    )
    parser.add_argument(
        "--rename", nargs="+", default=[], metavar="OLD=NEW", help="options with another name in B"
    )


@contextmanager
def two_trees(options: argparse.Namespace, temporary: Path) -> Iterator[list[Tree]]:
    """Both trees of ``add_tree_options``, ready to run; exits with a line where there are none."""
    compile_cache = options.compile_cache or temporary / "compiled"
    compile_cache.mkdir(parents=True, exist_ok=True)

    def ready(places: list[tuple[Path, str]]) -> list[Tree]:
        made = [
            Tree(name, folder, commit, options.python, compile_cache.resolve())
            for name, (folder, commit) in zip("AB", places, strict=True)
        ]
        made[1] = replace(made[1], renamed=parse_renamed(options.rename))
        for tree in made:
            tree.check(temporary)
            print(f"{tree.name}: {tree.commit or f'{tree.folder}, not committed'}", flush=True)
        return made

    try:
        if options.trees:
            yield ready([given_folder(folder) for folder in options.trees])
        else:
            with checked_out(options.commits, temporary) as places:
                yield ready(places)
    except Failed as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from None


@contextmanager
def checked_out(commits: Sequence[str], where: Path) -> Iterator[list[tuple[Path, str]]]:
    """Detached worktrees of ``commits`` below ``where`` and their full hashes; they are removed at the end."""
    hashes = [git(REPOSITORY, "rev-parse", "--verify", f"{commit}^{{commit}}") for commit in commits]
    folders = [where / f"tree_{'ab'[place]}" for place in range(len(commits))]
    made = []
    try:
        for folder, commit in zip(folders, hashes, strict=True):
            git(REPOSITORY, "worktree", "add", "--quiet", "--detach", str(folder), commit)
            made.append(folder)
        yield list(zip(folders, hashes, strict=True))
    finally:
        for folder in made:
            git(REPOSITORY, "worktree", "remove", "--force", str(folder))


def given_folder(folder: Path) -> tuple[Path, str]:
    """An existing folder and the commit that it holds, "" where its package differs from that commit."""
    folder = folder.resolve()
    try:
        changed = git(folder, "status", "--porcelain", "--", "imbal_jax", "configs")
        commit = git(folder, "rev-parse", "HEAD")
    except Failed:  # a copy without history
        return folder, ""
    return folder, "" if changed else commit


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"git {' '.join(words)}: {last_lines(done.stderr)}")
    return done.stdout.strip()


def parse_renamed(words: Sequence[str]) -> dict[str, str]:
    """``OLD=NEW`` option names, with or without their dashes."""
    for word in words:
        if not re.fullmatch(r"[^=]+=[^=]+", word):
            raise SystemExit(f"--rename {word}: expected OLD=NEW, as data.workers=data.readers")
    pairs = (word.split("=") for word in words)
    return {f"--{old.lstrip('-')}": f"--{new.lstrip('-')}" for old, new in pairs}
