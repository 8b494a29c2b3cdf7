"""``imbal-jax predict``: a probability and a decision for each image of a file, a folder or a set of records."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from imbal_jax.console import make_console, percent, say
from imbal_jax.data.images.geometry import COLOUR_DROPPED
from imbal_jax.data.images.refusal import REASONS
from imbal_jax.data.ingest.progress import progress
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.errors import InputError
from imbal_jax.files import CsvFile
from imbal_jax.runs.address import find_runs
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.ensemble import Ensemble, ensemble_of
from imbal_jax.runs.points_table import threshold_text
from imbal_jax.runs.predict_masks import predict_masks
from imbal_jax.runs.read_images import Passed, Read, batches, images_at, unreadable_file


@dataclass
class Prediction:
    """What was written. scored: images. called: of each finding, how many. refused: files by reason.
    colour_dropped: pictures in colour that were made grey, as the network takes them."""

    scored: int = 0
    called: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    colour_dropped: int = 0


def predict(
    run: Path,
    path: Path,
    out: Path,
    *,
    key_file: Path | None = None,
    names: Path | None = None,
    batch_size: int = 64,
    workers: int = 2,
    devices: int | None = None,
    console: Console | None = None,
    masks: Literal["png", "dicom"] = "png",
) -> Prediction:
    """Score what is at ``path`` with a finished run and write a row an image to ``out``, as it goes.

    Columns: ``id``; for each finding ``probability/NAME``, calibrated, and ``called/NAME``, 1 where it reaches the
    stored operating point; ``flags``, what to know of the image's quality. Of a run on masks, a mask an image and the
    columns of ``predict_masks``. Files that cannot be read or are passed over are listed with the reason in ``out``
    with the ending ``.unreadable.csv``.

    run: WORKDIR/METHOD/seedN; or WORKDIR/METHOD, for the mean of the calibrated probabilities of all its seeds, with
        thresholds chosen on the mean of their validation probabilities; or WORKDIR, where it holds one method.
    path: a DICOM, PNG, JPEG, TIFF or BMP file, a folder of such, or a folder of records.
    key_file: what files' ids are made with, of their paths below ``path``; made where there is none; ``out`` with
        the ending ``.key`` if left out. Records keep the ids they have.
    names: a second table to write, of ids and paths, which its owner alone can read: it may identify patients.
        Paths that a spreadsheet would run as a formula get an apostrophe in front.

    masks: of a run on masks, what they are written as: "png", or "dicom", segmentation objects of DICOM files.

    Raises InputError for a run or a path that cannot be used, and where not one image could be read.
    """
    console = console or make_console()
    if not path.exists():
        raise InputError("there is no file or folder at the PATH to score: give one that exists")
    check_places(path, out, key_file, names)
    runs = find_runs(run)
    if Deployment.read(runs[0].folder).thresholds:
        if len(runs) > 1:
            named = ", ".join(str(address.folder) for address in runs)
            raise InputError(
                f"{run} holds several runs on masks, which are not averaged: name one of {named}"
            )
        done = predict_masks(
            runs[0],
            path,
            out,
            key_file=key_file,
            names=names,
            batch_size=batch_size,
            workers=workers,
            devices=devices,
            console=console,
            kind=masks,
        )
        return Prediction(scored=done)
    mesh = make_mesh(devices)
    model = ensemble_of(runs, mesh)
    count, images, passed = images_at(path, model.inputs, out, key_file, workers, console)
    found = Prediction()
    say(console, _opening(model))
    score = model.predict(mesh, batch_size)
    unread = unreadable_file(out)
    with ExitStack() as stack:
        advance = stack.enter_context(progress(console, "scored", "images", count))
        linked = stack.enter_context(CsvFile(names, private=True))
        listed = stack.enter_context(CsvFile(unread))
        table = stack.enter_context(CsvFile(out))
        table.row(heading(model))
        listed.row(("id", "reason"))
        linked.row(("id", "path"))
        for batch in batches(images, batch_size):
            good = [read for read in batch if read.pixels is not None]
            if good:
                probabilities = score(np.stack([read.pixels for read in batch if read.pixels is not None]))
                for row in rows(model, good, probabilities, found):
                    table.row(row)
            for read in batch:
                if read.pixels is None:
                    found.refused[read.reason] += 1
                    listed.row((read.id, read.reason))
                if read.name:
                    linked.row((read.id, read.name))
            table.flush()
            advance(len(batch))
        for read in passed.reads:
            listed.row((read.id, read.reason))
            linked.row((read.id, read.name))
        if not found.scored:
            table.discard()
    if not (found.refused or passed.reads):
        unread.unlink()
    say(console, _ending(model, found, out, passed))
    if not found.scored:
        raise InputError(f"none of the {count} files could be read: see {unread}")
    return found


def check_places(path: Path, out: Path, key_file: Path | None, names: Path | None) -> None:
    """Raise InputError where two of the files to write, or one of them and what is scored, are one."""
    places = {"--out": out, "--out's list of unreadable files": unreadable_file(out), "--names": names}
    places |= {"--key-file" if key_file else "--out's key": key_file or out.with_suffix(".key")}
    told: dict[Path, str] = {}
    for what, file in places.items():
        if file is None:
            continue
        if not file.parent.is_dir():
            raise InputError(f"cannot write {file}: there is no folder {file.parent}")
        if file.is_dir():
            raise InputError(f"{what} is the folder {file}: name a file")
        for place in {Path(os.path.realpath(p)) for p in (file, file.with_name(file.name + ".partial"))}:
            if place in told:
                raise InputError(f"{what} and {told[place]} are one file, {file}: name another")
            told[place] = what
    for what, file in places.items():
        if file is None or not file.exists():
            continue
        if path.is_file() and file.samefile(path):
            raise InputError(f"{what} is the image to score: name another file")
        for other, second in places.items():
            if other != what and second is not None and second.exists() and file.samefile(second):
                raise InputError(f"{what} and {other} are one file, {file}: name another")


def heading(model: Ensemble) -> list[str]:
    names = [model.classes[c] for c in model.findings]
    return ["id", *(f"{what}/{name}" for name in names for what in ("probability", "called")), "flags"]


def rows(
    model: Ensemble, images: Sequence[Read], probabilities: np.ndarray, found: Prediction
) -> Iterator[list[str]]:
    """The rows of scored images, which are counted in ``found``."""
    called = model.called(probabilities)
    for read, p, decided in zip(images, probabilities, called, strict=True):
        cells = [read.id]
        for c in model.findings:
            cells += [f"{p[c]:.6g}", str(int(decided[c]))]
            found.called[model.classes[c]] += int(decided[c])
        found.scored += 1
        found.colour_dropped += COLOUR_DROPPED in read.flags
        yield [*cells, " ".join(read.flags)]


# Messages


def _opening(model: Ensemble) -> str:
    lines = [model.title]
    if model.inputs.geometry is not None:
        lines.append(f"pictures: {model.inputs.geometry}")
    for c in model.findings:
        point = model.points[c]
        lines.append(
            f"{model.classes[c]}: called at {threshold_text(point.threshold)} ({point.rule}); probabilities hold "
            f"at a prevalence of {percent(model.prevalence[c])}"
        )
    return "\n".join(lines)


def _ending(model: Ensemble, found: Prediction, out: Path, passed: Passed) -> str:
    lines = [
        f"unreadable {count:,}: {reason}: {REASONS[reason]}"
        for reason, count in sorted(found.refused.items())
    ]
    lines += passed.lines
    if found.refused or passed.reads:
        lines.append(f"listed in {unreadable_file(out)}")
    if found.colour_dropped:
        lines.append(f"{found.colour_dropped:,} colour pictures made grey, which is what the network takes")
    if found.scored:
        called = [f"{model.classes[c]} {found.called[model.classes[c]]:,}" for c in model.findings]
        lines.append(f"{found.scored:,} images, called {', '.join(called)}: {out}")
    return "\n".join(lines)
