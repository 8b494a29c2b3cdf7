"""The data set: images in memory or on disk, their labels, and the patient of each image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from imbal_jax.data.folders.labelled_folder import FolderImages, read_folder, read_labelled_files
from imbal_jax.data.folders.mask_sources import MaskOptions, find_masks
from imbal_jax.data.folders.masked_folder import read_masked_folder
from imbal_jax.data.images.geometry import Geometry, Voi
from imbal_jax.data.images.resize import Fit
from imbal_jax.data.label_checks import check_names, check_values, checked_labels
from imbal_jax.data.labels import image_counts, image_labels, is_many, is_mask, is_overlapping
from imbal_jax.data.masks.run_lengths import RunLengths
from imbal_jax.data.tables.frame import Frame, frame_table
from imbal_jax.data.tables.labels_table import LabelKind, check_classes, labels_table
from imbal_jax.errors import InputError
from imbal_jax.metrics.clusters import missing_groups


class ImagesOnDisk(Protocol):
    """Images [N, H, W, C] that are read when they are indexed, such as ``record_set.RecordImages``."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def ndim(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> np.ndarray: ...
    def select(self, indices: Any) -> "ImagesOnDisk":
        """The images at ``indices``, which are not read yet."""
        ...


Images = np.ndarray | ImagesOnDisk


@dataclass(frozen=True)
class Dataset:
    """Images with their labels and patients.

    images: uint8 or uint16 [N, H, W, channels], in memory or on disk; the whole range of the type stands for 0 to 1.
    labels: int32 [N], a class index; or int8 [N, L], one column a label with 1, 0, -1 (uncertain) or -2 (missing).
        Masks: int8 [N, H, W] (int16 beyond 127 classes), the class index of each pixel, -1 ignored; or of labels that
        overlap int8 [N, H, W, L], with 1, 0, -1 and -2.
    groups: int [N] or str [N], the patient of each image; no patient is in two splits.
    classes: the C class names, or the L label names.
    notes: what was found while reading, one line each: flags, rows and files left out, how patients were identified.
    geometry: how the pictures became these arrays; None if unknown.
    grouped_by: what a group is, in the report: a patient, or a lesion where the source names no patients.
    """

    images: Images
    labels: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    geometry: Geometry | None = None
    grouped_by: str = "patient"

    @classmethod
    def from_folder(
        cls,
        dir: str | Path,
        *,
        size: int,
        labels_file: str = "labels.csv",
        classes: Sequence[str] | None = None,
        voi: Voi = "header",
        cache: Path | None = None,
        workers: int | None = None,
        left_out: Path | None = None,
        masks: str = "none",
        ignore_value: int | None = None,
        run_lengths: RunLengths | None = None,
        field_of_view: str = "",
        **options: Any,
    ) -> "Dataset":
        """The labelled images below ``dir``; arguments as in ``folders.labelled_folder.read_folder``.

        masks, ignore_value, run_lengths, field_of_view: for labels that are masks, as ``config.Data`` has them.

        The notes say what was read and what was not, with counts: patients, labels, flags of the pictures, refused
        files, rows without a file and copies.
        """
        if masks != "none":
            asked = MaskOptions(
                masks,
                tuple(classes or ()),
                tuple(options.get("columns", ())),
                labels_file,
                options.get("label_kind", "auto"),
                ignore_value,
                run_lengths,
                field_of_view,
            )
            found = find_masks(Path(dir), asked) if Path(dir).is_dir() else None
            if found is not None:
                made = {name: options[name] for name in ("fit", "channels", "bits") if name in options}
                geometry = Geometry(size, voi=voi, **made)
                content, _ = read_masked_folder(
                    Path(dir), found, geometry, asked, cache=cache, left_out=left_out
                )
                return cls.of_folder(content)
        content, _ = read_folder(
            dir,
            size=size,
            labels_file=labels_file,
            classes=classes,
            voi=voi,
            cache=cache,
            workers=workers,
            left_out=left_out,
            **options,
        )
        return cls.of_folder(content)

    @classmethod
    def of_folder(cls, content: FolderImages) -> "Dataset":
        """A data set of what ``read_folder`` returned."""
        return cls(
            content.images, content.labels, content.groups, content.classes, content.notes, content.geometry
        )

    @classmethod
    def from_frame(
        cls,
        frame: Frame,
        *,
        dir: str | Path | None = None,
        size: int | None = None,
        classes: Sequence[str] | None = None,
        columns: Sequence[str] = (),
        label_kind: LabelKind = "auto",
        voi: Voi = "header",
        fit: Fit = "pad",
        channels: int = 1,
        bits: int = 8,
        workers: int | None = None,
    ) -> "Dataset":
        """A data set of the rows, in order, of a pandas or polars frame that names image files or holds the images.

        The frame has the columns of a labels table (``read_folder``), under the same headings or those that
        ``columns`` names: a file, a label or a column a label, and if possible a patient.

        Files: ``dir`` is the folder that contains them, ``size`` the side of the square images, in pixels; fit,
        channels, bits, voi as in ``geometry.Geometry``. workers: reader threads.
        Arrays: a column of arrays uint8 or uint16 [H, W] or [H, W, channels] of one shape; nothing is resized.

        Raises InputError as ``read_folder`` and ``from_arrays`` do; rows are counted from 0.
        """
        text, heading, images = frame_table(frame)
        if images and not any(word.startswith("file=") for word in columns):
            columns = (*columns, f"file={heading}")
        table = labels_table(text, classes, columns=columns, label_kind=label_kind)
        check_classes(table)
        if images:
            if size is not None or dir is not None:
                raise InputError("the frame holds the images: leave out dir and size, which are for files")
            data = cls.from_arrays(
                images,
                table.layout.array([row.labels for row in table.rows]),
                table.patients,
                table.classes,
            )
            return replace(data, notes=(*table.notes, *data.notes))
        if size is None or dir is None:
            raise InputError(
                "the frame names files: give dir, the folder that contains them, and size, in pixels"
            )
        if not Path(dir).is_dir():
            raise InputError(f"no folder {dir}")
        geometry = Geometry(size, fit, channels, bits, voi)
        content, _ = read_labelled_files(
            Path(dir), table, geometry, table_name=text.name, official=False, workers=workers
        )
        return cls.of_folder(content).take(np.argsort(content.rows, kind="stable"))

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any,
        groups: Any = None,
        classes: Sequence[str] | None = None,
    ) -> "Dataset":
        """A data set made of arrays, which are checked.

        images: uint8 or uint16 [N, H, W] or [N, H, W, channels]. labels: int [N], or [N, L] with 1, 0, -1 (uncertain)
        and -2 (missing); or masks [N, H, W], the class of each pixel, -1 where none counts (a mask of 0 and 255 or of
        booleans has the classes 0 and 1), or [N, H, W, L] of labels that overlap, as [N, L]. A last axis of 1 is
        dropped unless one name is given. groups: [N], the patient of each image; None: each counts as its own.
        classes: names; None: "0", "1", ... Raises InputError naming the first thing wrong.
        """
        images, labels = _array(images, "images"), _array(labels, "labels")
        if images.ndim == 3:
            images = images[..., None]
        if images.dtype.kind in "iuf":
            images = images.astype(images.dtype.newbyteorder("="), copy=False)
        masks = is_mask(labels) and labels.ndim <= 4 and labels.shape[:3] == images.shape[:3]
        if not (labels.ndim in (1, 2) or masks) or labels.dtype.kind not in "iub":
            raise InputError(
                f"labels are {labels.dtype} {list(labels.shape)}, expected whole numbers [N], [N, labels] "
                "or, of masks, [N, H, W] or [N, H, W, labels] as the images are"
            )
        if is_overlapping(labels) and labels.shape[3] == 1 and (classes is None or len(classes) != 1):
            labels = labels[..., 0]
        if isinstance(classes, str):
            raise InputError(f"classes are the text {classes!r}: give a list of names")
        names = tuple(map(str, classes)) if classes is not None else ()
        labels, names, notes = checked_labels(labels, names)
        if groups is None:
            groups = np.arange(images.shape[0] if images.ndim else 0)
            notes += (
                "no patients were given: each image counts as its own patient, splits may share patients",
            )
        groups = _array(groups, "groups")
        if groups.ndim != 1:
            raise InputError(f"groups have shape {list(groups.shape)}, expected one patient an image, [N]")
        return check_dataset(cls(images, labels, groups, names, notes))

    @property
    def many_labels(self) -> bool:
        return is_many(self.labels)

    @cached_property
    def image_labels(self) -> np.ndarray:
        """[N] or [N, L], the labels of whole images, which splits, draws and counts use (``labels.image_labels``)."""
        return image_labels(self.labels, len(self.classes))

    @property
    def mask_shape(self) -> tuple[int, ...]:
        """Rows and columns of a mask; nothing where the labels are of whole images."""
        return self.labels.shape[1:3] if np.ndim(self.labels) > 2 else ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def resident_bytes(self) -> int:
        """Bytes that the images and labels take in memory; images on disk are counted as if they were read."""
        return image_bytes(self.images) + self.labels.nbytes

    def take(self, indices: np.ndarray) -> "Dataset":
        """The items at ``indices``, in that order; images on disk are not read."""
        images = take_images(self.images, indices)
        return replace(self, images=images, labels=self.labels[indices], groups=self.groups[indices])


def image_bytes(images: Images) -> int:
    """Bytes of all pixels in memory, from shape and type."""
    return math.prod(images.shape) * images.dtype.itemsize


def take_images(images: Images, indices: Any) -> Images:
    """The images at ``indices``; those on disk are not read."""
    return images[indices] if isinstance(images, np.ndarray) else images.select(indices)


def _array(values: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).partition(".")[0]
        raise InputError(f"{what} are no array ({reason}): give all the same shape") from None


def check_dataset(data: Dataset) -> Dataset:
    """Return ``data`` unchanged, or raise InputError naming the first thing wrong with it."""
    check_labels(data)
    present = image_counts(data.image_labels, len(data.classes)) > 0
    if not present.all():
        missing = ", ".join(name for name, has in zip(data.classes, present, strict=True) if not has)
        raise InputError(f"no example of class {missing}: remove the class or add images")
    if not (is_many(data.labels) or is_overlapping(data.labels)) and len(data.classes) == 1:
        whose = "all pixels are" if is_mask(data.labels) else f"all {len(data):,} images are"
        raise InputError(
            f"{whose} of one class, {data.classes[0]}, and a classifier needs two or more: add "
            "images of another class"
        )
    return data


def check_labels(data: Dataset) -> Dataset:
    """As ``check_dataset``, but some classes may have no example."""
    _check_shape(data)
    _check_pixels(data.images)
    count = len(data.images)
    for name, values in (("labels", data.labels), ("groups", data.groups)):
        if len(values) != count:
            raise InputError(f"{len(values)} {name} for {count} images")
    if nameless := int(missing_groups(data.groups).sum()):
        raise InputError(
            f"{nameless} of {count} groups are missing (NaN, None or nothing): give every image its patient, or a "
            "name of its own where nobody knows"
        )
    if is_mask(data.labels) and data.labels.shape[1:3] != data.images.shape[1:3]:
        shapes = [" x ".join(map(str, array.shape[1:3])) for array in (data.labels, data.images)]
        raise InputError(f"masks are {shapes[0]} pixels, the images {shapes[1]}: give them the same size")
    check_values(data.labels, data.classes)
    return data


def _check_shape(data: Dataset) -> None:
    shape = list(data.images.shape)
    if data.images.ndim != 4:
        raise InputError(f"images have shape {shape}, expected [N, height, width, channels]")
    if len(data.images) == 0:
        raise InputError("the data set holds no image")
    check_names(data.classes)
    if 0 in shape:
        raise InputError(f"images have shape {shape}: they hold no pixel")
    if shape[1] < 5 <= shape[3]:
        raise InputError(
            f"images have shape {shape}, which is {shape[3]} channels: channels come last, as "
            "images.transpose(0, 2, 3, 1) puts them"
        )


def _check_pixels(images: Images) -> None:
    if images.dtype.kind not in "biuf":
        raise InputError(f"images are {images.dtype}, expected uint8 or uint16")
    if images.dtype not in (np.uint8, np.uint16):
        count = len(images)
        finite = np.isfinite(images[:]).reshape(count, -1).all(axis=1)
        if bad := int(np.count_nonzero(~finite)):
            raise InputError(f"{bad} of {count} images hold NaN or infinite pixels: remove or repair them")
        raise InputError(
            f"images are {images.dtype}, expected uint8 or uint16: scale them to 0..255 first, as "
            "np.round(255 * images).astype(np.uint8) does for 0..1"
        )
