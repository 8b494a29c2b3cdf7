"""``imbal-jax predict`` of a run that was trained on masks: a mask for each picture, and a table of areas."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jax.sharding import Mesh

from imbal_jax.data.folders.image_file import upright_size
from imbal_jax.data.images.pictures import is_picture
from imbal_jax.data.masks.write import write_mask_png
from imbal_jax.data.masks.write_segmentation import need_highdicom, write_segmentation
from imbal_jax.metrics.codes import encode
from imbal_jax.runs.points_table import threshold_text
from imbal_jax.runs.read_images import Read
from imbal_jax.runs.restore import Deployed
from imbal_jax.runs.score_images import Prediction
from imbal_jax.tasks.mask_table import called
from imbal_jax.tasks.segmentation import Segmentation


class MaskScorer:
    """Writes the mask of each picture, in its own size, and counts its pixels.

    The masks lie in a folder beside ``out``, called as it with ``_masks``: ID.png, 0 and 255 of one finding, else the
    index of the class; of overlapping labels ID.NUMBER.png, the numbers in the order of the classes, from 1. Columns:
    ``id``; for each finding ``pixels/NAME`` and ``share/NAME``, of all pixels of the picture; ``flags``.
    """

    def __init__(
        self,
        model: Deployed,
        mesh: Mesh,
        batch_size: int,
        path: Path,
        out: Path,
        kind: Literal["png", "dicom"],
    ) -> None:
        """path: of the pictures. kind: what the masks of DICOM files are written as; those of others are PNG."""
        if kind == "dicom":
            need_highdicom()
        task = model.task
        assert isinstance(task, Segmentation)
        self._model, self._task, self._deployment, self._kind, self._out = (
            model,
            task,
            model.deployment,
            kind,
            out,
        )
        self._pictures = path if path.is_dir() else path.parent
        self._folder = out.with_name(f"{out.stem}_masks")
        self._folder.mkdir(exist_ok=True)
        self.predict = model.predict(mesh, batch_size)
        self.findings = task.findings(model.deployment.classes)

    @property
    def opening(self) -> str:
        model = self._model
        lines = [f"{model.method.name}, checkpoint of step {model.step}"]
        if model.deployment.inputs.geometry is not None:
            lines.append(f"pictures: {model.deployment.inputs.geometry}")
        for name in self.findings:
            lines.append(f"{name}: a pixel is called at {threshold_text(model.deployment.thresholds[name])}")
        return "\n".join(lines)

    @property
    def headings(self) -> list[str]:
        return ["id", *(f"{what}/{name}" for name in self.findings for what in ("pixels", "share")), "flags"]

    def row(self, read: Read, predicted: np.ndarray, found: Prediction) -> list[str]:
        """The row of a picture, whose mask is written. predicted: probabilities [size, size, classes]."""
        calls = self._calls(read, predicted)
        classes = self._deployment.classes
        if self._task.background:
            mask = np.where(calls.any(axis=-1), calls.argmax(axis=-1) + self._task.background, 0)
            self._store(read, "", mask, classes)
        else:
            for place, name in enumerate(classes):
                self._store(read, f".{place + 1}", calls[..., place].astype(np.uint8), ("background", name))
        cells = [read.id]
        for place in range(len(self.findings)):
            pixels = int(calls[..., place].sum())
            cells += [str(pixels), f"{pixels / calls[..., place].size:.6g}"]
        return [*cells, " ".join(read.flags)]

    def ending(self, found: Prediction) -> str:
        """How many masks, and where they are."""
        return f"{found.scored:,} masks: {self._folder}\nareas: {self._out}"

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
