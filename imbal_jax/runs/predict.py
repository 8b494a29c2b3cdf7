"""``imbal-jax predict``: a probability and a decision for each image of a file, a folder or a set of records."""

import os
from pathlib import Path
from typing import Literal

import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from imbal_jax.console import make_console, percent
from imbal_jax.engine import hosts
from imbal_jax.engine.parallel import make_mesh, own_mesh
from imbal_jax.errors import InputError
from imbal_jax.runs.address import find_runs
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.ensemble import Ensemble, ensemble_of
from imbal_jax.runs.points_table import threshold_text
from imbal_jax.runs.predict_masks import MaskScorer
from imbal_jax.runs.read_images import Read, unreadable_file
from imbal_jax.runs.restore import restore_deployed
from imbal_jax.runs.score_images import Prediction, Scorer, score_images


class ImageScorer:
    """Calibrated probabilities and calls of an image."""

    def __init__(self, model: Ensemble, mesh: Mesh, batch_size: int, out: Path) -> None:
        self._model, self._out = model, out
        self.predict = model.predict(mesh, batch_size)

    @property
    def opening(self) -> str:
        model = self._model
        lines = [model.title]
        if model.inputs.geometry is not None:
            lines.append(f"pictures: {model.inputs.geometry}")
        for c in model.findings:
            point = model.points[c]
            holds = f"hold at a prevalence of {percent(model.prevalence[c])}"
            lines.append(
                f"{model.classes[c]}: called at {threshold_text(point.threshold)} ({point.rule}); probabilities "
                f"{holds if model.calibrated(c) else 'are those of the network, not calibrated'}"
            )
        return "\n".join(lines)

    @property
    def headings(self) -> list[str]:
        names = [self._model.classes[c] for c in self._model.findings]
        return ["id", *(f"{what}/{name}" for name in names for what in ("probability", "called")), "flags"]

    def row(self, read: Read, predicted: np.ndarray, found: Prediction) -> list[str]:
        """The row of an image. predicted: probabilities [C]."""
        (called,) = self._model.called(predicted[None])
        cells = [read.id]
        for c in self._model.findings:
            cells += [f"{predicted[c]:.6g}", str(int(called[c]))]
            found.called[self._model.classes[c]] += int(called[c])
        return [*cells, " ".join(read.flags)]

    def ending(self, found: Prediction) -> str:
        """How many images, and how many of each finding."""
        names = [self._model.classes[c] for c in self._model.findings]
        called = [f"{name} {found.called[name]:,}" for name in names]
        return f"{found.scored:,} images, called {', '.join(called)}: {self._out}"


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
    columns of ``predict_masks.MaskScorer``. Files that cannot be read or are passed over are listed, with the reason,
    in ``out`` with the ending ``.unreadable.csv``.

    run: WORKDIR/METHOD/seedN; or WORKDIR/METHOD, for the mean of the calibrated probabilities of all its seeds, with
        thresholds chosen on the mean of their validation probabilities; or WORKDIR, where it holds one method.
    path: a DICOM, PNG, JPEG, TIFF or BMP file, a folder of such, or a folder of records.
    key_file: what files' ids are made with, of their paths below ``path``; made where there is none; ``out`` with
        the ending ``.key`` if left out. Records keep the ids they have.
    names: a second table to write, of ids and paths, which its owner alone can read: it may identify patients.
        Paths that a spreadsheet would run as a formula get an apostrophe in front.
    masks: of a run on masks, what they are written as: "png", or "dicom", segmentation objects of DICOM files.

    Raises InputError for a run or a path that cannot be used, and where not one image could be read. Of several
    processes each scores a part of the images on its own devices; the first joins their tables and prints.
    """
    console = (console or make_console()) if hosts.is_first() else Console(quiet=True)
    if not path.exists():
        raise InputError("there is no file or folder at the PATH to score: give one that exists")
    check_places(path, out, key_file, names)
    runs, mesh = find_runs(run), make_mesh(devices)
    if Deployment.read(runs[0].folder).thresholds:
        if len(runs) > 1:
            named = ", ".join(str(address.folder) for address in runs)
            raise InputError(
                f"{run} holds several runs on masks, which are not averaged: name one of {named}"
            )
        model, mesh = restore_deployed(runs[0], mesh), own_mesh(mesh)
        scorer: Scorer = MaskScorer(model, mesh, batch_size, path, out, masks)
        inputs = model.deployment.inputs
    else:
        ensemble, mesh = ensemble_of(runs, mesh), own_mesh(mesh)
        scorer, inputs = ImageScorer(ensemble, mesh, batch_size, out), ensemble.inputs
    return score_images(
        scorer,
        inputs,
        path,
        out,
        key_file=key_file,
        names=names,
        batch_size=batch_size,
        workers=workers,
        console=console,
    )


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
