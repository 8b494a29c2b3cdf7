"""``imbal-jax predict``: a probability and a decision for each image of a file, a folder or a set of records."""

import itertools
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from imbal_jax.console import make_console, percent, say
from imbal_jax.data.dicom.radiograph import quiet
from imbal_jax.data.folders.image_file import load_picture
from imbal_jax.data.folders.listing import Listing, list_files
from imbal_jax.data.images.geometry import COLOUR_DROPPED, Geometry
from imbal_jax.data.images.refusal import REASONS, ReadError
from imbal_jax.data.ingest.progress import progress
from imbal_jax.data.pseudonyms import Key, open_key
from imbal_jax.data.records.array_records import prepared_folders
from imbal_jax.data.records.record_set import RecordSet, open_records
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.errors import InputError
from imbal_jax.files import CsvFile
from imbal_jax.runs.address import find_runs
from imbal_jax.runs.deployment import Inputs
from imbal_jax.runs.ensemble import Ensemble, ensemble_of
from imbal_jax.runs.points_table import threshold_text

AHEAD = 4  # images a thread reads before they are scored


@dataclass(frozen=True)
class Read:
    """An image, or the reason why there is none. name: its path; "" of a record, whose id is a pseudonym already."""

    id: str
    name: str
    pixels: np.ndarray | None = None
    flags: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Passed:
    """Entries of the folder that were not taken for images. lines: with counts, naming no file."""

    reads: tuple[Read, ...] = ()
    lines: tuple[str, ...] = ()


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
) -> Prediction:
    """Score what is at ``path`` with a finished run and write a row an image to ``out``, as it goes.

    Columns: ``id``; for each finding ``probability/NAME``, calibrated, and ``called/NAME``, 1 where it reaches the
    stored operating point; ``flags``, what to know of the image's quality. Files that cannot be read or are passed
    over are listed with the reason in ``out`` with the ending ``.unreadable.csv``.

    run: WORKDIR/METHOD/seedN; or WORKDIR/METHOD, for the mean of the calibrated probabilities of all its seeds, with
        thresholds chosen on the mean of their validation probabilities; or WORKDIR, where it holds one method.
    path: a DICOM, PNG, JPEG, TIFF or BMP file, a folder of such, or a folder of records.
    key_file: what files' ids are made with, of their paths below ``path``; made where there is none; ``out`` with
        the ending ``.key`` if left out. Records keep the ids they have.
    names: a second table to write, of ids and paths, which its owner alone can read: it may identify patients.
        Paths that a spreadsheet would run as a formula get an apostrophe in front.

    Raises InputError for a run or a path that cannot be used, and where not one image could be read.
    """
    console = console or make_console()
    if not path.exists():
        raise InputError("there is no file or folder at the PATH to score: give one that exists")
    check_places(path, out, key_file, names)
    mesh = make_mesh(devices)
    model = ensemble_of(find_runs(run), mesh)
    count, images, passed = _images(path, model.inputs, out, key_file, workers, console)
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
        for batch in _batches(images, batch_size):
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


def unreadable_file(out: Path) -> Path:
    return out.with_suffix(".unreadable.csv")


# Images


def _images(
    path: Path, inputs: Inputs, out: Path, key_file: Path | None, workers: int, console: Console
) -> tuple[int, Iterator[Read], Passed]:
    """How many there are, each of them, in order, and what was passed over; only those about to be scored are in
    memory."""
    geometry = inputs.geometry
    if path.is_dir() and prepared_folders(path):
        records = open_records(path)
        say(console, "\n".join(records.notes))
        if records.images.shape[1:] != inputs.shape or records.images.dtype != inputs.dtype:
            raise InputError(
                f"the records are {records.images.dtype} {list(records.images.shape[1:])}, the network takes "
                f"{inputs.dtype} {list(inputs.shape)}: ingest them as those that it was trained on"
            )
        if geometry is not None and records.geometry is not None:
            differing = geometry.difference(records.geometry)
            if differing:
                raise InputError(
                    f"the records were made with {differing}, as the network's training images were: ingest them "
                    f"so, or predict on the files"
                )
        return len(records), _records(records), Passed()
    if geometry is None:
        raise InputError(
            f"the network takes images {list(inputs.shape)} and nothing is known of how they were made: predict on "
            f"records that were made so, or train on pictures or on records that say how"
        )
    folder = path if path.is_dir() else path.parent
    listing = list_files(path) if path.is_dir() else Listing([path.name])
    files = listing.files
    if not files:
        raise InputError("; ".join([f"there is no image in {path}", *listing.lines()]))
    key = open_key(key_file or out.with_suffix(".key"), outside=(path,) if path.is_dir() else ())
    reads = [Read(key.of("file", name), name, reason=reason) for name, reason in listing.passed.items()]
    passed = Passed(tuple(reads), tuple(listing.lines()))
    return len(files), _files(folder, files, key, geometry, workers), passed


def _files(folder: Path, files: Sequence[str], key: Key, geometry: Geometry, workers: int) -> Iterator[Read]:
    def read(name: str) -> Read:
        id = key.of("file", name)
        try:
            picture = load_picture(folder / name, **geometry.options)
        except ReadError as error:
            return Read(id, name, reason=error.reason)
        return Read(id, name, picture.pixels.reshape(geometry.shape), picture.flags)

    with quiet(), ThreadPoolExecutor(workers) as pool:
        yield from _in_order(pool, read, files, AHEAD * workers)


def _in_order(
    pool: ThreadPoolExecutor, read: Callable[[str], Read], files: Iterable[str], ahead: int
) -> Iterator[Read]:
    """As ``pool.map``, which would read all files before the first is asked for."""
    left = iter(files)
    waiting: deque[Future[Read]] = deque()
    for name in itertools.islice(left, ahead):
        waiting.append(pool.submit(read, name))
    while waiting:
        done = waiting.popleft().result()
        waiting.extend(pool.submit(read, name) for name in itertools.islice(left, 1))
        yield done


def _records(records: RecordSet) -> Iterator[Read]:
    for place in range(len(records)):
        pixels, texts = records.images.described(place)
        yield Read(texts["id"] or str(place), "", pixels, tuple(texts["flags"].split()))


def _batches(images: Iterable[Read], size: int) -> Iterator[list[Read]]:
    images = iter(images)
    while batch := list(itertools.islice(images, size)):
        yield batch


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
