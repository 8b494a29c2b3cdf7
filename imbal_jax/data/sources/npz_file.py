"""One's own images as arrays in an NPZ file: images, labels, and where they are there patients and the split."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imbal_jax.config import Data
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import AskedGeometry, Geometry
from imbal_jax.data.label_checks import checked_labels
from imbal_jax.data.masks.mask_error import MaskError
from imbal_jax.data.masks.mask_file import whole_numbers
from imbal_jax.data.masks.values import ValueClasses
from imbal_jax.data.tables.cells import split_name
from imbal_jax.data.tables.csv_table import TextTable, spelling
from imbal_jax.data.tables.given_split import given_split
from imbal_jax.data.tables.headings import PERSON_LIKE, SPELLINGS
from imbal_jax.data.tables.labels_table import check_classes, labels_table
from imbal_jax.errors import InputError
from imbal_jax.files import npz_names, read_npz

# Names of arrays by their role; spelled as ``csv_table.spelling`` gives them.
ROLES = {
    "images": ("images", "image", "x", "data", "pixels", "imgs", "img"),
    "labels": ("labels", "label", "y", "targets", "target"),
    "masks": ("masks", "mask", "segmentations", "segmentation"),
    "patient": (*SPELLINGS["patient"], "patients", "subjects", "groups", "lesions", *PERSON_LIKE),
    "split": ("split", "splits", "fold", "folds", "subset", "partition"),
    "classes": ("classes", "classnames", "labelnames", "targetnames"),
}
_LAYOUT = (
    "expected images [N, H, W] or [N, H, W, 1 or 3] and labels or masks, and where they are known patient and split, "
    "[N] each, and classes; or train_images, train_labels, test_images, ... ; or x_train, y_train, ..."
)


@dataclass(frozen=True)
class Arrays:
    """The arrays of one file. names: role -> name of the array of each part, "" for an array of all images."""

    path: Path
    names: Mapping[str, Mapping[str, str]]
    unused: tuple[str, ...]


def npz_path(where: Path) -> Path:
    """The file ``where``, or the only one in this folder; InputError where there is none or several."""
    if where.is_file():
        return where
    found = sorted(where.glob("*.npz")) if where.is_dir() else []
    if len(found) != 1:
        has = "no NPZ file" if not found else f"{len(found)} NPZ files"
        raise InputError(f"{where}: {has}: give the file, --data.dir FILE.npz")
    return found[0]


def npz_set(options: Data, asked: AskedGeometry) -> tuple[Dataset, Mapping[str, np.ndarray] | None]:
    """The images of the file at ``options.dir``, and the split that it has.

    images: uint8 or uint16, whose whole range counts, or floats of 0 to 1; [N, H, W], [N, H, W, 1], of colour
        [N, H, W, 3] or 4, whose last is left out, or the same with channels first. Several sizes need files.
    labels: [N] or [N, 1], numbers or texts; or [N, L], one column a label with 1, 0, -1 and -2.
    masks: whole numbers or booleans [N, H, W] or [N, H, W, 1], whose values are classes as those of mask files are
        (``masks.values``), or [N, H, W, L] of labels that overlap. Read where there are no labels, or where
        --data.masks beside asks for them.
    patient, split, classes: [N], [N] (train, validation, test) and the names; each may lack.
    Every array may be one of each part instead: ``train_images`` or ``x_train``.

    Raises InputError for arrays of other shapes, naming them, and for a file that is damaged.
    """
    if options.dir is None:
        raise InputError("data.dir is not given: name the NPZ file, --data.dir FILE.npz")
    arrays = find_arrays(npz_path(options.dir), masks=options.masks)
    read = {
        role: [_read(arrays, name) for name in by_part.values()] for role, by_part in arrays.names.items()
    }
    images, notes = _images(read["images"])
    count = len(images)
    for role in ("labels", "masks", "patient", "split"):
        if role in read and sum(map(len, read[role])) != count:
            raise InputError(f"{arrays.path.name} has {sum(map(len, read[role]))} {role} for {count} images")
    geometry = asked.geometry(channels=3 if images.shape[3] >= 3 else 1)
    if "masks" in read:
        masks, names, note = _masks(read, images, geometry, options)
        about: dict[str, Sequence[np.ndarray]] = {
            role: read[role] for role in ("images", "patient", "split") if role in read
        }
        text, _ = _table(arrays, {**about, "labels": [np.zeros(count, np.int8)]}, count)
        table = labels_table(text, columns=options.columns)
        given, said = given_split(table, table.rows, [""] * count)
        data = Dataset.from_arrays(geometry.arrays(images), masks, table.patients, names)
        unused = (f"arrays not used: {', '.join(arrays.unused)}",) if arrays.unused else ()
        return replace(data, notes=(*notes, *unused, note, *said, *data.notes), geometry=geometry), given
    text, classes = _table(arrays, read, count)
    table = labels_table(
        text, options.classes or classes, columns=options.columns, label_kind=options.label_kind
    )
    check_classes(table)
    labels = table.layout.array([row.labels for row in table.rows])
    given, said = given_split(table, table.rows, [""] * count)
    data = Dataset.from_arrays(geometry.arrays(images), labels, table.patients, table.classes)
    unused = (f"arrays not used: {', '.join(arrays.unused)}",) if arrays.unused else ()
    notes = (*notes, *unused, *table.notes, *said, *data.notes)
    return replace(data, notes=notes, geometry=geometry), given


def _masks(
    read: Mapping[str, Sequence[np.ndarray]], images: np.ndarray, geometry: Geometry, options: Data
) -> tuple[np.ndarray, tuple[str, ...], str]:
    """The fitted masks int8 [N, size, size] or [N, size, size, L], the names of the classes, and a line."""
    parts = [part[..., 0] if part.ndim == 4 and part.shape[3] == 1 else part for part in read["masks"]]
    shape = images.shape[1:3]
    for part in parts:
        if part.dtype.kind not in "biuf" or part.ndim not in (3, 4) or part.shape[1:3] != shape:
            raise InputError(
                f"masks are {part.dtype} {list(part.shape)}, expected whole numbers [N, {shape[0]}, {shape[1]}] as "
                "the images are, or [N, H, W, labels]"
            )
    if len({part.shape[3:] for part in parts}) > 1:
        raise InputError("the masks of the parts differ in their number of labels")
    names = options.classes or (tuple(map(str, read["classes"][0].ravel())) if "classes" in read else ())
    all_masks = (mask for part in parts for mask in part)
    if parts[0].ndim == 4:
        whole, kept, _ = checked_labels(np.concatenate(parts), tuple(names))
        return np.stack([geometry.mask(mask) for mask in whole]), kept, "labels of pixels may overlap"
    values = ValueClasses(options.ignore_value)
    out = np.empty((len(images), geometry.size, geometry.size), np.int16)
    for place, mask in enumerate(all_masks):
        try:
            out[place] = geometry.mask(values.codes(whole_numbers(mask)))
        except MaskError as error:
            raise InputError(f"the mask of image {place} {error}") from None
    classes, table, said = values.settle(names)
    return table[out], classes, said


def find_arrays(path: Path, masks: str = "auto") -> Arrays:
    """Which array of the file has which role, by their names; InputError where there are no images or labels.

    masks: "auto" takes masks where there are no labels, "none" never, "beside" always.
    """
    found: dict[str, dict[str, str]] = {}
    unused = []
    for name in npz_names(path, "save it again"):
        role, part = _role(name)
        if role is None or part in found.get(role, {}):
            unused.append(name)
        else:
            found.setdefault(role, {})[part] = name
    if masks not in ("auto", "none", "beside"):
        raise InputError(f"data.masks is {masks!r}, allowed for an NPZ file are auto, none and beside")
    wanted = "masks" if masks == "beside" or (masks == "auto" and "labels" not in found) else "labels"
    wanted = "labels" if masks == "auto" and "masks" not in found else wanted
    unused += found.pop("labels" if wanted == "masks" else "masks", {}).values()
    for role in ("images", wanted):
        if role not in found:
            raise InputError(
                f"{path.name} has no array of {role}, only {', '.join(unused) or 'others'}: {_LAYOUT}"
            )
    parts = [part for part in ("", "train", "validation", "test") if part in found.get("images", {})]
    if "" in parts and len(parts) > 1:
        raise InputError(f"{path.name} has an array of all images and one of {parts[1]}: {_LAYOUT}")
    ordered = {}
    for role, by_part in found.items():
        if role == "classes":
            ordered[role] = by_part
        elif set(by_part) == set(parts):
            ordered[role] = {part: by_part[part] for part in parts}
        elif role in ("images", wanted):
            raise InputError(f"{path.name} has images and {wanted} of other parts: {_LAYOUT}")
        else:
            unused += by_part.values()
    for role in ("images", wanted):
        if role not in ordered:
            raise InputError(
                f"{path.name} has no array of {role}, only {', '.join(unused) or 'none'}: {_LAYOUT}"
            )
    if parts != [""] and "split" in ordered:
        unused += ordered.pop("split").values()
    return Arrays(path, ordered, tuple(sorted(unused)))


def _role(name: str) -> tuple[str | None, str]:
    """The role of an array and the part of the set, "" for all of it; None for a name that is not understood."""
    words = re.split(r"[_\-. ]+", name)
    options = [("", name)]
    if len(words) > 1:
        options += [(words[0], name[len(words[0]) :]), (words[-1], name[: -len(words[-1])])]
    for part, rest in options:
        named = split_name(part) if part else ""
        for role, known in ROLES.items():
            if named is not None and (named or not part) and spelling(rest) in known:
                return role, named
    return None, ""


def _read(arrays: Arrays, name: str) -> np.ndarray:
    return read_npz(arrays.path, [name], "save it again")[name]


def _images(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, tuple[str, ...]]:
    """uint8 or uint16 [N, H, W, C] of all parts, and notes."""
    notes = []
    for part in parts:
        if part.ndim not in (3, 4) or part.dtype.kind not in "uif":
            raise InputError(f"images are {part.dtype} {list(part.shape)}: {_LAYOUT}")
    if len({(part.shape[1:], part.dtype) for part in parts}) > 1:
        raise InputError(f"the images of the parts differ in size or type: {_LAYOUT}")
    images = np.concatenate(parts) if len(parts) > 1 else parts[0]
    images = images if images.ndim == 4 else images[..., None]
    if images.shape[1] in (1, 3) and images.shape[3] > 4:
        images = images.transpose(0, 2, 3, 1)
        notes.append("images with channels first: channels are last now")
    if images.shape[3] == 4:
        images = images[..., :3]
        notes.append("of four channels the last is left out")
    if images.shape[3] not in (1, 3):
        raise InputError(f"images have {images.shape[3]} channels: {_LAYOUT}")
    if images.dtype.kind == "f":
        low, high = (float(images.min()), float(images.max())) if images.size else (0.0, 0.0)
        if not 0 <= low <= high <= 1:
            raise InputError(
                f"images are {images.dtype} from {low:g} to {high:g}: save them as uint8 or uint16, or as "
                "floats of 0 to 1"
            )
        images = np.rint(images * np.float32(65535)).astype(np.uint16)
        notes.append("images are floats of 0 to 1")
    elif images.dtype not in (np.uint8, np.uint16):
        highest = int(images.max()) if images.size else 0
        if images.size and (int(images.min()) < 0 or highest > 65535):
            raise InputError(
                f"images are {images.dtype} from {images.min()} to {highest}: save them as uint8 or uint16"
            )
        kind = np.uint8 if highest <= 255 else np.uint16
        notes.append(f"images are {images.dtype} up to {highest}: read as {np.dtype(kind)}")
        images = images.astype(kind)
    return images, tuple(notes)


def _table(
    arrays: Arrays, read: Mapping[str, Sequence[np.ndarray]], count: int
) -> tuple[TextTable, tuple[str, ...] | None]:
    """Labels, patients and split as a table, and the names of the classes where the labels are their indices."""
    for part in read["labels"]:
        if part.ndim > 2 and part.size != len(part):
            raise InputError(
                f"labels are {part.dtype} {list(part.shape)}, expected [N] or [N, labels]: call the array masks if "
                "they are of pixels"
            )
    labels = np.concatenate([part.reshape(len(part), -1) for part in read["labels"]])
    names = tuple(map(str, read["classes"][0].ravel())) if "classes" in read else ()
    width, one = labels.shape[1], labels.shape[1] == 1
    if labels.dtype.kind not in "biufUS" or width == 0 or (not one and names and len(names) != width):
        raise InputError(f"labels are {labels.dtype} {list(labels.shape)}: {_LAYOUT}")
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8")
    columns = [list(map(str, range(count)))]
    headings = ["file"]
    classes: tuple[str, ...] | None = None
    if one and names and labels.dtype.kind in "biu":
        index = labels[:, 0].astype(int)
        if count and not 0 <= index.min() <= index.max() < len(names):
            raise InputError(
                f"labels are {index.min()} to {index.max()} for {len(names)} classes: count from 0"
            )
        headings, classes = ["file", "label"], names
        columns.append([names[place] for place in index])
    elif one:
        headings.append("label")
        columns.append(list(map(str, labels[:, 0].tolist())))
    else:
        headings += names or (f"label {place}" for place in range(width))
        columns += [list(map(str, labels[:, place].tolist())) for place in range(width)]
        classes = tuple(headings[1:])
    for role in ("patient", "split"):
        if role in read:
            headings.append(role)
            columns.append(_texts(np.concatenate([part.reshape(-1) for part in read[role]])))
    parts = list(arrays.names["images"])
    if parts != [""]:
        headings.append("split")
        columns.append([part for part, array in zip(parts, read["images"], strict=True) for _ in array])
    return TextTable(
        arrays.path.name,
        tuple(headings),
        [(row, list(cells)) for row, cells in enumerate(zip(*columns, strict=True))],
    ), classes


def _texts(values: np.ndarray) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values.tolist()]
