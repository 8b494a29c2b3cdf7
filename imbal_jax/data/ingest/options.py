"""Options of the command ``imbal-jax ingest``."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from imbal_jax.arguments import parse_columns
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.tables.class_folders import NAME as FOLDERS
from imbal_jax.errors import InputError


@dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """A folder of DICOM, PNG, JPEG, TIFF and BMP files becomes a data set of records that names nobody.

    The table has a heading and, in any order: file (a path below the folder, a file name or a SOPInstanceUID) or
    accession; label (the name of a class), or one column for each of many labels with 1, 0, -1 (uncertain) or nothing
    (missing); patient, or else the header's PatientID counts; and split (train, validation or test).

    Run again after an interruption, it resumes; on a finished data set it checks every byte.
    """

    # The files, at any depth.
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DICOM_DIR")]
    # The table: a path from here or below DICOM_DIR; or "folders", where folders name the classes: train/CLASS/1.png.
    # With --masks it may be left out, and gives patients and split.
    labels: Path | None = None
    # Masks in place of labels: beside (masks/NAME.png or NAME_mask.png beside the picture), a folder of masks, a COCO
    # file, or a table of run lengths; or --columns mask=COLUMN of the table. As --data.masks of train.
    masks: str = "none"
    # Of masks in files: the value of pixels that do not count.
    ignore_value: int | None = None
    # With masks: the folder of masks of the field of view, called as the pictures; pixels of 0 do not count.
    field_of_view: str = ""
    # Of masks by run lengths: down the columns, along the rows, or relative (SIIM-ACR).
    run_lengths: Literal["columns", "rows", "relative"] | None = None
    # The data set to make; an interrupted run keeps what it has read in OUT.partial.
    out: Path
    # Pixels of the square pictures.
    size: int = 224
    # How a picture becomes square: padded with black, squeezed, or cut to its central square.
    fit: Literal["pad", "squeeze", "crop"] = "pad"
    # 1 (colour becomes grey, counted in the summary) or 3.
    channels: Literal[1, 3] = 1
    # Bits of a pixel.
    bits: Literal[8, 16] = 8
    # Grey-scale window: the header's, the 0.5th to the 99.5th percentile, or all of the range.
    voi: Literal["header", "percentile", "none"] = "header"
    # Share of the patients; 0 makes no such split.
    validation_share: float = 0.16
    # Share of the patients; 0 makes no such split.
    test_share: float = 0.20
    # Of the split.
    seed: int = 0
    # Names of the classes and their order, or which columns are labels; left out: all, the normal one first.
    classes: tuple[str, ...] = ()
    # Other headings of the table: patient=subject_id file=image_path label=target split=fold.
    columns: tuple[str, ...] = ()
    # Of a table with a column for each label: one label an image, many, or (auto) one where each row has just one 1.
    label_kind: Literal["auto", "one", "many"] = "auto"
    # The split that the table's column split or folders called train, validation and test give (official; the parts
    # that lack are split off train), or one made here (patient).
    split: Literal["official", "patient"] = "official"
    # Secret that makes the identifiers; OUT.key if left out. Whoever has it and a PatientID finds the patient: keep
    # it, and apart from the data set.
    key_file: Path | None = None
    # Processes that read; 0 is one a core.
    workers: int = 0
    # The longest that reading one file may take.
    seconds: float = 120.0
    # Let an Apache Beam runner read and write; its options in one string, "runner=DirectRunner direct_num_workers=2".
    # Folder, table, key and OUT must lie where all of its machines see them.
    beam: str | None = None

    @property
    def partial(self) -> Path:
        return self.out.with_name(self.out.name + ".partial")

    @property
    def key(self) -> Path:
        return self.key_file or self.out.with_name(self.out.name + ".key")

    @property
    def label_source(self) -> Path | str:
        """The path of the table, or "folders"."""
        if self.labels is None:
            raise InputError(
                "--labels is missing: name the table of labels, or folders; or say where --masks are"
            )
        if str(self.labels) == FOLDERS and not self.labels.is_file():
            return FOLDERS
        below = self.folder / self.labels
        return below if not self.labels.is_file() and below.is_file() else self.labels

    @property
    def shares(self) -> dict[str, float]:
        shares = {
            "train": 1 - self.validation_share - self.test_share,
            "validation": self.validation_share,
            "test": self.test_share,
        }
        return {name: share for name, share in shares.items() if share > 0}

    @property
    def geometry(self) -> Geometry:
        """The options that determine how a file is read: the journal is valid for these values only."""
        return Geometry(self.size, self.fit, self.channels, self.bits, self.voi)


@contextmanager
def ingest_options_named() -> Iterator[None]:
    """Replaces option names in messages: code shared with train names --data.OPTION, which is --OPTION for ingest."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace("--data.", "--")) from None


def check_options(options: IngestOptions) -> None:
    """Raise InputError for the first value out of its range."""
    parse_columns(options.columns)
    if not options.folder.is_dir():
        raise InputError(f"no folder {options.folder}")
    if not 8 <= options.size <= 4096:
        raise InputError(f"--size is {options.size}: 8 to 4096 pixels")
    for name in ("validation_share", "test_share"):
        share = getattr(options, name)
        if not 0 <= share < 1:
            raise InputError(f"--{name.replace('_', '-')} is {share}: from 0 to below 1")
    if options.validation_share + options.test_share >= 1:
        raise InputError(
            f"--validation-share {options.validation_share} and --test-share {options.test_share} "
            "leave nothing to train on"
        )
    if not 0 <= options.seed < 2**32:
        raise InputError(f"--seed is {options.seed}: 0 or more, and below 2^32")
    if options.workers < 0:
        raise InputError(f"--workers is {options.workers}: 0 for one a core, or how many")
    if not options.seconds > 0:
        raise InputError(f"--seconds is {options.seconds}: above 0")
    if options.out.resolve().is_relative_to(options.folder.resolve()):
        raise InputError(
            f"--out {options.out} is inside {options.folder}: keep the data set apart from its source"
        )
    if options.out.is_mount():
        raise InputError(f"--out {options.out} is where a disk is mounted: name a folder on it")
    if options.beam is not None:
        if importlib.util.find_spec("apache_beam") is None:
            raise InputError("--beam needs Apache Beam: pip install 'imbal-jax[beam]'")
        from imbal_jax.data.ingest.beam import check_beam

        check_beam(options.beam)
