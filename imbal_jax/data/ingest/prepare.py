"""The command ``imbal-jax prepare``, which turns a public set into records like those of an ingest."""

import shutil
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from rich.console import Console

from imbal_jax.console import say
from imbal_jax.data.images.geometry import AskedGeometry
from imbal_jax.data.ingest.journal import Place
from imbal_jax.data.ingest.manifest import write_checksums
from imbal_jax.data.ingest.record_writing import Item, Layout, write_records
from imbal_jax.data.labels import LabelLayout, image_labels, is_mask
from imbal_jax.data.records.label_index import build_index
from imbal_jax.data.sources.public_set import Example, PublicSet, Streamed
from imbal_jax.data.sources.public_sets import PUBLIC
from imbal_jax.data.splits.patient_split import (
    SplitSummary,
    complete_split,
    row_line,
    split_by_group,
    split_summary,
)
from imbal_jax.errors import InputError
from imbal_jax.files import write_json

SOURCE = "source.json"  # beside the records: where the set comes from and how it was split


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """A public data set becomes a folder of records, to be trained on with --data.source records --data.dir OUT.

    The source's own split is kept where it is by patient; parts that it lacks are split off its training part.
    """

    # nih, kermany, kermany_pneumonia, ham10000, cifar10, or one of MedMNIST: pneumoniamnist, chestmnist, ...; with
    # masks: chase, chase_second, skin_lesions.
    name: Annotated[str, tyro.conf.Positional]
    # The folder with the source's files; if they are missing, the message lists them.
    dir: Path
    # The data set to make.
    out: Path
    # Side of the square pictures, pixels.
    size: int = 224
    # How a picture becomes square: padded with black, squeezed, or cut to its central square. None is as a condensed
    # copy was made, else pad.
    fit: Literal["pad", "squeeze", "crop"] | None = None
    # 1 or 3; None is what the set has.
    channels: Literal[1, 3] | None = None
    # Fetch what is missing in DIR, where the source allows.
    download: bool = False
    # The source's own split where it has one, or one that is made.
    split: Literal["official", "patient"] = "official"
    # Share of the patients; of the training part where only validation is lacking.
    validation_share: float = 0.16
    # Share of the patients.
    test_share: float = 0.20
    # Of the split.
    seed: int = 0

    @property
    def partial(self) -> Path:
        """The folder of an unfinished run; not OUT.partial, where an interrupted ingest keeps what it has read."""
        return self.out.with_name(self.out.name + ".preparing")

    @property
    def shares(self) -> dict[str, float]:
        rest = 1 - self.validation_share - self.test_share
        return {"train": rest, "validation": self.validation_share, "test": self.test_share}


def prepare(options: PrepareOptions, console: Console | None = None) -> SplitSummary:
    """Make ``options.out``, which appears only when it is complete. What an interrupted run left is made again.

    Ids and patients are the source's public ones. Images pass through memory one at a time where the source's
    reader streams them (nih, ham10000), else all at once. Raises InputError for an unknown name, a size that the
    source does not have, missing files (saying what to place where), an official split that shares patients.
    """
    console = console or Console()
    source = _check(options)
    shutil.rmtree(options.partial, ignore_errors=True)
    journal = options.partial / "journal"
    journal.mkdir(parents=True)
    try:
        streamed = _open(options, source)
        items, shape = _keep(streamed.examples, journal)
        kind = _layout(streamed.classes, items[0].labels)
        stored = kind.array([item.labels for item in items])
        labels = image_labels(stored, len(kind.classes))
        patients = np.array([item.patient for item in items])
        given = None if options.split == "patient" else streamed.split([item.id for item in items])
        if given is None:
            indices = split_by_group(labels, patients, options.shares, seed=options.seed)
        else:
            indices = complete_split(labels, patients, given, options.shares, seed=options.seed)
        folder = write_records(
            options.partial,
            layout=Layout(shape, "uint8", kind),
            splits={name: [items[i] for i in rows] for name, rows in indices.items()},
            journal=journal,
            name=options.name,
            description=f"{source.citation}. Licence: {source.licence}. {source.homepage}",
        )
        streamed.geometry.write(folder)
        build_index(folder)
        about = {
            "name": options.name,
            "homepage": source.homepage,
            "licence": source.licence,
            "citation": source.citation,
            "geometry": streamed.geometry.options,
            "split": "made by patient" if given is None else {"the source's own": sorted(given)},
            "seed": options.seed,
        }
        write_json(folder / SOURCE, about)
        write_checksums(folder)
        folder.replace(options.out)
    finally:
        shutil.rmtree(options.partial, ignore_errors=True)
    summary = split_summary(labels, patients, indices, streamed.classes)
    say(console, f"{options.out}: {len(items):,} images of {len(set(patients)):,} patients")
    say(console, f"{source.citation}; {source.licence}")
    say(console, f"pictures: {streamed.geometry}")
    for note in streamed.notes():
        say(console, note)
    for row in summary.rows():
        say(console, row_line(row))
    for name, part in summary.missing:
        say(console, summary.lacking(name, part))
    return summary


def _layout(classes: tuple[str, ...], labels: Sequence[int] | np.ndarray) -> LabelLayout:
    if isinstance(labels, np.ndarray):
        return LabelLayout.of(labels[None], classes)
    return LabelLayout(classes, many=len(labels) > 1)


def _check(options: PrepareOptions) -> PublicSet:
    if options.name not in PUBLIC:
        raise InputError(f"no public set is named {options.name!r}, allowed are {', '.join(PUBLIC)}")
    source = PUBLIC[options.name]
    if not options.dir.is_dir() and not options.download:
        raise InputError(f"no folder {options.dir}: make it and {source.placement}")
    shares = options.shares
    if min(shares.values()) <= 0:
        given = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise InputError(
            f"the shares are {given}: give --validation-share and --test-share that leave each above 0"
        )
    if not 8 <= options.size <= 4096:
        raise InputError(f"--size is {options.size}: 8 to 4096 pixels")
    if options.out.exists() and not (options.out.is_dir() and not any(options.out.iterdir())):
        raise InputError(f"{options.out} exists already: delete it, or choose another --out")
    return source


def _open(options: PrepareOptions, source: PublicSet) -> Streamed:
    asked = AskedGeometry(size=options.size, fit=options.fit, channels=options.channels)
    streamed = source.stream(options.dir, asked, download=options.download)
    if streamed is not None:
        return streamed
    data, given = source.load(options.dir, asked, download=options.download)
    geometry = asked.geometry() if data.geometry is None else data.geometry
    digits = len(str(len(data)))
    # one class, 1 and 0 for each of many labels, or a mask
    rows = data.labels if is_mask(data.labels) else data.labels.reshape(len(data), -1).tolist()
    examples = (
        Example(f"{i:0{digits}}", str(group), labels, pixels)
        for i, (group, labels, pixels) in enumerate(
            zip(data.groups.tolist(), rows, data.images[:], strict=True)
        )
    )
    return Streamed(data.classes, examples, lambda ids: given, geometry, lambda: data.notes)


def _keep(examples: Iterable[Example], journal: Path) -> tuple[list[Item], tuple[int, int, int]]:
    """Items whose pictures lie in ``journal``, ordered by id, and the shape of a picture."""
    items, offset, shape = [], 0, None
    with (journal / "pictures").open("wb") as stream:
        for example in examples:
            pixels = np.ascontiguousarray(example.pixels, np.uint8).tobytes()
            place = Place("pictures", offset, len(pixels), zlib.crc32(pixels))
            labels = example.labels if isinstance(example.labels, np.ndarray) else tuple(example.labels)
            items.append(Item(example.id, example.patient, labels, (), place))
            stream.write(pixels)
            offset += len(pixels)
            shape = example.pixels.shape
    if shape is None:
        raise InputError("the source holds no image: fetch it again")
    return sorted(items, key=lambda item: item.id), shape
