"""A hospital export to ingest, and what the ingest wrote."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from picture_folders import MARKER, radiograph, table
from rich.console import Console

from imbal_jax.data.ingest import ingest as run_module
from imbal_jax.data.ingest.ingest import ingest
from imbal_jax.data.ingest.options import IngestOptions
from imbal_jax.data.ingest.summary import Summary

SIZE = 16
IMAGES, PATIENTS = 24, 12


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """24 images of 12 patients, every third sick, half of the files named by path, half by UID."""
    folder = tmp_path / "hospital"
    rows = []
    for i in range(IMAGES):
        path = f"p{i % PATIENTS}/{i}.dcm"
        radiograph(
            folder / path, patient=f"{MARKER}{i % PATIENTS}", uid=f"1.2.{i}", accession=f"A{i}", seed=i
        )
        rows.append(f"{path if i % 2 else f'1.2.{i}'},{'sick' if i % PATIENTS % 3 == 0 else 'normal'}")
    table(folder, "file,label\n" + "\n".join(rows) + "\n")
    return folder


def options(folder: Path, out: str = "out", **changes: object) -> IngestOptions:
    given = {"labels": Path("labels.csv"), "size": SIZE, "workers": 2, **changes}
    return IngestOptions(folder=folder, out=folder.parent / out, **given)


def run(folder: Path, out: str = "out", **changes: object) -> Summary | None:
    return ingest(options(folder, out, **changes), Console(quiet=True))


def records(out: Path) -> dict[str, list[dict]]:
    """Of each split, read by tensorflow-datasets alone."""
    builder = tfds.builder_from_directory(out)
    return {split: list(builder.as_data_source(split)) for split in builder.info.splits}


def by_picture(out: Path) -> dict[bytes, tuple]:
    found = {}
    for split, there in records(out).items():
        for record in there:
            label = record["labels"].tolist() if "labels" in record else int(record["label"])
            found[record["image"].tobytes()] = (
                split,
                label,
                record["patient"],
                record["id"],
                record["flags"],
            )
    return found


def contents(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


class Interrupted(Exception):
    pass


def interrupt_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original = run_module.read_files

    def read_files(*arguments: object, found: Callable[..., None], **rest: object) -> None:
        seen = []

        def counted(*answer: object) -> None:
            found(*answer)
            seen.append(answer)
            if len(seen) == count:
                raise Interrupted

        original(*arguments, found=counted, **rest)

    monkeypatch.setattr(run_module, "read_files", read_files)


HELD_AFTER = 4

# The command line, which takes so many results, says so, and waits for a signal: on no machine is it done before one
# comes, and none comes while it starts a process, where Python may lose it
HELD = f"""
import sys, time
from imbal_jax import cli
from imbal_jax.data.ingest import ingest

original = ingest.read_files

def read_files(*arguments, found, **rest):
    answers = []

    def held(*answer):
        found(*answer)
        answers.append(answer)
        if len(answers) == {HELD_AFTER}:
            print("held", flush=True)
        while len(answers) == {HELD_AFTER}:
            time.sleep(0.01)

    original(*arguments, found=held, **rest)

ingest.read_files = read_files
sys.exit(cli.main())
"""
