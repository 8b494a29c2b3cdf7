"""One data set from a config: loaded, checked, split by patient, drawn at the asked imbalance."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imbal_jax.config import Config, Data
from imbal_jax.data.dataset import Dataset, check_dataset
from imbal_jax.data.folder import read_folder
from imbal_jax.data.longtail import draw_imbalance, draw_profile, exponential_profile, step_profile
from imbal_jax.data.phantom import write_phantoms
from imbal_jax.data.public import PUBLIC
from imbal_jax.data.records import open_records
from imbal_jax.data.splits import split_by_group, split_summary
from imbal_jax.errors import InputError

Say = Callable[[str], None]
Indices = Mapping[str, np.ndarray]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """Train, validation and test, no patient in two of them; ``table`` is what the report shows of them."""

    train: Dataset
    validation: Dataset
    test: Dataset
    table: list[dict[str, object]]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes


def load(config: Config, folder: Path, say: Say = print) -> Splits:
    """The splits that ``config.data`` asks for; ``folder`` is where phantoms and caches may be written.

    ``say`` is told what was read and what is missing. Raises InputError for data that cannot be used.
    """
    options = config.data
    data, given = read(options, folder, say)
    check_dataset(data)
    if options.negative_class is not None and options.negative_class not in data.classes:
        raise InputError(
            f"data.negative-class is {options.negative_class!r}, the classes are {', '.join(data.classes)}"
        )
    indices = dict(given) if given is not None else _split(options, data)
    if options.long_tail is not None and (data.many_labels or options.imbalance is not None):
        raise InputError("data.long-tail needs one label an image, and no data.imbalance beside it")
    if options.imbalance is not None:
        indices = _draw(options, data, indices)
    if options.long_tail is not None:
        indices = _long_tail(options, data, indices)
    summary = split_summary(data.labels, data.groups, indices, data.classes)
    for name, part in summary.missing:
        if part == "train":
            raise InputError(
                f"the training split has no example of {name}: too few patients have it to split; "
                "leave the class out, or take another --data.split-seed"
            )
        say(f"the {part} split has no example of {name}: its scores there are undefined")
    return Splits(*(data.take(indices[name]) for name in SPLITS), table=summary.rows())


def read(
    options: Data, folder: Path, say: Say, classes: tuple[str, ...] | None = None
) -> tuple[Dataset, Indices | None]:
    """All images of the set, and the split that it comes with, if any; not checked yet.

    classes: names and their order for a folder's table, which may lack some; None: those of the table.
    """
    if options.source == "phantom":
        return _phantoms(options, folder, say, classes), None
    if options.source == "folder":
        if options.dir is None:
            raise InputError("data.dir is not given: name the folder of images, --data.dir DIR")
        return _folder(options, options.dir, folder, say, classes), None
    if options.source == "records":
        if options.dir is None:
            raise InputError("data.dir is not given: name the folder of records, --data.dir DIR")
        return _records(options.dir, say)
    if options.source in PUBLIC:
        source = PUBLIC[options.source]
        return source.load(options.dir, size=options.image_size, download=options.download)
    raise InputError(
        f"data.source is {options.source!r}, allowed are phantom, folder, records, {', '.join(PUBLIC)}"
    )


def _phantoms(options: Data, folder: Path, say: Say, classes: tuple[str, ...] | None) -> Dataset:
    where = options.dir or folder / "phantoms"
    write_phantoms(
        where,
        images=options.phantom_images,
        imbalance=options.phantom_imbalance,
        size=max(96, options.image_size),
        seed=options.split_seed,
        progress=_counter(say, "phantom radiographs written"),
    )
    return _folder(options, where, folder, say, classes)


def _folder(options: Data, where: Path, folder: Path, say: Say, classes: tuple[str, ...] | None) -> Dataset:
    data, summary = read_folder(
        where,
        size=options.image_size,
        labels_file=options.labels_file,
        classes=classes,
        voi=options.voi,
        cache=folder / "cache",
        progress=_counter(say, "radiographs read"),
    )
    say(str(summary))
    return data


def _records(where: Path, say: Say) -> tuple[Dataset, Indices]:
    """A prepared set, whose images stay on disk, in the splits that were stored."""
    records = open_records(where, progress=_counter(say, "records indexed"))
    absent = [name for name in SPLITS if not len(records.splits.get(name, ()))]
    if absent:
        raise InputError(
            f"{records.folder} has the splits {', '.join(records.splits)}: prepare it with {' and '.join(absent)} too"
        )
    indices = {name: records.splits[name] for name in SPLITS}
    seen = np.zeros((len(SPLITS), int(records.groups.max()) + 1), bool)
    for part, rows in enumerate(indices.values()):
        seen[part, records.groups[rows]] = True
    shared = int((seen.sum(axis=0) > 1).sum())
    if shared:
        raise InputError(
            f"{shared} patients of {records.folder} are in more than one split: split it by patient"
        )
    height, width, channels = records.images.shape[1:]
    say(
        f"{len(records):,} records of {height} x {width} x {channels} {records.images.dtype} in {len(SPLITS)} "
        "splits, read from disk as they are needed"
    )
    return Dataset(records.images, records.labels, records.groups, records.classes), indices


def _counter(say: Say, what: str) -> Callable[[int, int], None]:
    """Says every quarter how far a long walk over files has come."""
    said = [0]

    def progress(done: int, total: int) -> None:
        quarter = 4 * done // max(total, 1)
        if quarter > said[0]:
            said[0] = quarter
            say(f"{done:,} of {total:,} {what}")

    return progress


def _split(options: Data, data: Dataset) -> Indices:
    shares = {
        "train": 1 - options.validation_share - options.test_share,
        "validation": options.validation_share,
        "test": options.test_share,
    }
    return split_by_group(data.labels, data.groups, shares, seed=options.split_seed)


def _long_tail(options: Data, data: Dataset, indices: Indices) -> Indices:
    labels = data.labels[indices["train"]]
    profile = {"exponential": exponential_profile, "step": step_profile}[options.profile]
    target = profile(np.bincount(labels, minlength=len(data.classes)), options.long_tail)
    return {**indices, "train": indices["train"][draw_profile(labels, target, seed=options.split_seed)]}


def _draw(options: Data, data: Dataset, indices: Indices) -> Indices:
    if data.many_labels or options.negative_class is None:
        raise InputError("data.imbalance needs one label an image and data.negative-class, the common class")
    common = data.classes.index(options.negative_class)
    rare = [c for c in range(len(data.classes)) if c != common]
    drawn = dict(indices)
    for name in ("train", "validation"):
        part = indices[name]
        kept = draw_imbalance(
            data.labels[part], data.groups[part], ratio=options.imbalance, rare=rare, seed=options.split_seed
        )
        drawn[name] = part[kept]
    return drawn
