"""``imbal-jax predict`` of a run that was trained on masks: a mask for each picture, and a table of areas."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from imbal_jax.console import say
from imbal_jax.data.folders.image_file import upright_size
from imbal_jax.data.images.geometry import COLOUR_DROPPED
from imbal_jax.data.images.pictures import is_picture
from imbal_jax.data.images.refusal import REASONS, ReadError
from imbal_jax.data.ingest.progress import progress
from imbal_jax.data.masks.write import write_mask_png
from imbal_jax.data.masks.write_segmentation import need_highdicom, write_segmentation
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.errors import InputError
from imbal_jax.files import CsvFile
from imbal_jax.metrics.codes import encode
from imbal_jax.runs.address import RunAddress
from imbal_jax.runs.points_table import threshold_text
from imbal_jax.runs.read_images import Passed, Read, batches, images_at, unreadable_file
from imbal_jax.runs.restore import Deployed, restore_deployed
from imbal_jax.tasks.mask_table import called
from imbal_jax.tasks.segmentation import Segmentation


class MaskWriter:
    """Writes the mask of each picture and counts its pixels. folder: receives ID.png; of overlapping labels
    ID.NUMBER.png, the numbers in the order of the classes, from 1."""

    def __init__(self, model: Deployed, folder: Path, pictures: Path, kind: Literal["png", "dicom"]) -> None:
        task = model.task
        assert isinstance(task, Segmentation)
        self._task, self._deployment, self._folder, self._pictures = task, model.deployment, folder, pictures
        self._kind = kind
        self.findings = task.findings(model.deployment.classes)

    @property
    def headings(self) -> list[str]:
        return ["id", *(f"{what}/{name}" for name in self.findings for what in ("pixels", "share")), "flags"]

    def write(self, read: Read, probabilities: np.ndarray) -> list[str]:
        """The row of a picture; its mask has the picture's own size. probabilities: [size, size, classes]."""
        found = self._calls(read, probabilities)
        classes = self._deployment.classes
        if self._task.background:
            mask = np.where(found.any(axis=-1), found.argmax(axis=-1) + self._task.background, 0)
            self._store(read, "", mask, classes)
        else:
            for place, name in enumerate(classes):
                self._store(read, f".{place + 1}", found[..., place].astype(np.uint8), ("background", name))
        cells = [read.id]
        for place in range(len(self.findings)):
            pixels = int(found[..., place].sum())
            cells += [str(pixels), f"{pixels / found[..., place].size:.6g}"]
        return [*cells, " ".join(read.flags)]

    def _store(self, read: Read, number: str, mask: np.ndarray, classes: Sequence[str]) -> None:
        picture = self._pictures / read.name
        if self._kind == "dicom" and read.name and not is_picture(picture):
            write_segmentation(self._folder / f"{read.id}{number}.dcm", mask, classes, picture)
        else:
            write_mask_png(self._folder / f"{read.id}{number}.png", mask, classes)

    def _calls(self, read: Read, probabilities: np.ndarray) -> np.ndarray:
        """bool [h, w, findings]: what is called, in the picture's own size; of a record in that of its image."""
        own = probabilities[..., self._task.background :].astype(np.float32)
        geometry = self._deployment.inputs.geometry
        if read.name and geometry is not None:
            height, width, _, aspect = upright_size(self._pictures / read.name)
            own = geometry.restore(own, height, width, aspect, beside=0.0)
        assert self._task.thresholds is not None  # a finished run has them
        return called(encode(np.clip(own, 0, 1)), self._task.thresholds, self._task.background)


def predict_masks(
    run: RunAddress,
    path: Path,
    out: Path,
    *,
    key_file: Path | None,
    names: Path | None,
    batch_size: int,
    workers: int,
    devices: int | None,
    console: Console,
    kind: Literal["png", "dicom"] = "png",
) -> int:
    """Write a mask for each picture at ``path``, and their areas to ``out``; arguments as for ``predict.predict``.

    The masks lie in a folder beside ``out``, called as it with ``_masks``: PNG, 0 and 255 of one finding, else the
    index of the class. Columns of ``out``: ``id``; for each finding ``pixels/NAME`` and ``share/NAME``, of all pixels
    of the picture; ``flags``. Returns the number of pictures; InputError where none could be read.
    """
    if kind == "dicom":
        need_highdicom()
    mesh = make_mesh(devices)
    model = restore_deployed(run, mesh)
    folder = out.with_name(f"{out.stem}_masks")
    folder.mkdir(exist_ok=True)
    count, images, passed = images_at(path, model.deployment.inputs, out, key_file, workers, console)
    writer = MaskWriter(model, folder, path if path.is_dir() else path.parent, kind)
    say(console, _opening(model, writer.findings))
    score = model.predict(mesh, batch_size)
    unread, done, grey = unreadable_file(out), 0, 0
    refused: Counter[str] = Counter()
    with ExitStack() as stack:
        advance = stack.enter_context(progress(console, "scored", "images", count))
        linked = stack.enter_context(CsvFile(names, private=True))
        listed = stack.enter_context(CsvFile(unread))
        table = stack.enter_context(CsvFile(out))
        table.row(writer.headings)
        listed.row(("id", "reason"))
        linked.row(("id", "path"))
        for batch in batches(images, batch_size):
            for read, row in _rows(batch, writer, score):
                if row is None:
                    refused[read.reason] += 1
                    listed.row((read.id, read.reason))
                else:
                    table.row(row)
                    done += 1
                    grey += COLOUR_DROPPED in read.flags
                if read.name:
                    linked.row((read.id, read.name))
            table.flush()
            advance(len(batch))
        _list_passed(passed, listed, linked)
        if not done:
            table.discard()
    if not (refused or passed.reads):
        unread.unlink()
    else:
        lines = [
            f"unreadable {number:,}: {reason}: {REASONS[reason]}"
            for reason, number in sorted(refused.items())
        ]
        say(console, "\n".join([*lines, *passed.lines, f"listed in {unread}"]))
    if grey:
        say(console, f"{grey:,} colour pictures made grey, which is what the network takes")
    if not done:
        raise InputError(f"none of the {count} files could be read: see {unread}")
    say(console, f"{done:,} masks: {folder}\nareas: {out}")
    return done


def _rows(
    batch: Sequence[Read], writer: MaskWriter, score: Callable[[np.ndarray], np.ndarray]
) -> Iterator[tuple[Read, list[str] | None]]:
    """The row of each image, None of one that could not be read."""
    good = [read.pixels for read in batch if read.pixels is not None]
    predictions = iter(score(np.stack(good)) if good else ())
    for read in batch:
        if read.pixels is None:
            yield read, None
            continue
        probabilities = next(predictions)
        try:
            yield read, writer.write(read, probabilities)
        except ReadError as error:
            yield Read(read.id, read.name, reason=error.reason), None


def _list_passed(passed: Passed, listed: CsvFile, linked: CsvFile) -> None:
    for read in passed.reads:
        listed.row((read.id, read.reason))
        linked.row((read.id, read.name))


def _opening(model: Deployed, findings: Sequence[str]) -> str:
    lines = [f"{model.method.name}, checkpoint of step {model.step}"]
    if model.deployment.inputs.geometry is not None:
        lines.append(f"pictures: {model.deployment.inputs.geometry}")
    for name in findings:
        lines.append(f"{name}: a pixel is called at {threshold_text(model.deployment.thresholds[name])}")
    return "\n".join(lines)
