"""The command ``imbal-jax ingest``, from the folder to the finished data set."""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from imbal_jax.console import say
from imbal_jax.cores import usable_cores
from imbal_jax.data.folders.left_out import NAME as LEFT_OUT
from imbal_jax.data.folders.left_out import write_left_out
from imbal_jax.data.folders.listing import PASSED, Listing
from imbal_jax.data.ingest.asked import what_is_asked
from imbal_jax.data.ingest.join import MASK, RECORD, UNLABELLED, Joined, Known, asked_for, join
from imbal_jax.data.ingest.journal import Pictures, Place, Read, frames, segments
from imbal_jax.data.ingest.manifest import (
    Line,
    verify,
    write_checksums,
    write_manifest,
)
from imbal_jax.data.ingest.options import IngestOptions, check_options, ingest_options_named
from imbal_jax.data.ingest.progress import progress
from imbal_jax.data.ingest.reading import INGEST_REASONS, Job, Task, still_holds, unchanged
from imbal_jax.data.ingest.record_writing import Layout, checksum, write_records
from imbal_jax.data.ingest.resume import check_finished, claimed, is_empty, made_of
from imbal_jax.data.ingest.summary import Summary, split_counts
from imbal_jax.data.ingest.workers import read_files
from imbal_jax.data.pseudonyms import Key
from imbal_jax.data.records.label_index import build_index
from imbal_jax.data.splits.patient_split import complete_split, split_by_group, split_summary
from imbal_jax.data.tables.given_split import given_split
from imbal_jax.data.tables.labels_table import Table
from imbal_jax.data.tables.row_matching import match_names
from imbal_jax.errors import InputError, Stopped

LOST = 10  # missing files, and one in LOST of all: beyond both, the drive is taken to be absent
MANY = 20_000  # records; for fewer, starting processes takes longer than the reading
Indices = Mapping[str, np.ndarray]


def ingest(options: IngestOptions, console: Console | None = None) -> Summary | None:
    """Make the data set ``options.out``; where it is finished, check it and return None.

    After an interruption, the same call resumes: what was read is kept in ``options.partial``. ``options.out`` exists
    only once it is complete. Raises InputError for wrong input, OSError where it cannot write.
    """
    console = console or Console()
    check_options(options)
    asked = what_is_asked(options)
    table, files = asked.table, asked.listing.files
    if not files:
        raise InputError(f"{options.folder} holds no image")
    if options.out.exists() and not is_empty(options.out):
        check_finished(options, asked, console)
        return None

    with claimed(options) as (key, journal):
        # Read
        matches, left = match_names(files, table)
        job = Job(
            folder=options.folder,
            key_file=options.key,
            geometry=options.geometry,
            by_accession=table.key == "accession",
            wanted=frozenset(asked_for(row, table, key) for row in left),
        )
        tasks = [Task(path, path in matches.rows) for path in files if left or path in matches.rows]
        known = read_all(options, job, files, tasks, journal, key, console)
        check_source(known, options.folder)

        # Join and split
        with ingest_options_named():
            joined = join(files, tasks, known, table, matches, left, key)
        if not joined.items:
            raise InputError(nothing_read(options, table, files, joined, known))
        joined = replace(
            joined,
            items=asked.labelled(joined.items, joined.rows),
            became=joined.became | dict.fromkeys(asked.of_masks, MASK),
        )
        labels = asked.of_images(joined.items)
        patients = np.array([item.patient for item in joined.items])
        with ingest_options_named():
            indices, said = split(options, table, joined, labels, patients)
        notes = (*table.notes, *joined.patients.lines(table.patient_column), *said)
        notes = tuple(note.replace("--data.", "--") for note in notes)
        summary = summarise(asked.counted, joined, known, labels, patients, indices, notes)

        # Write, check what was written, and hand it over
        layout = Layout(job.geometry.shape, str(job.geometry.dtype), asked.layout)
        folder = write(options, layout, journal, joined, indices, console)
        lines = manifest_lines(options, files, joined, known, checksums(layout, journal, joined), key)
        write_manifest(folder, made_of(options, asked, key), lines)
        summary.write(folder)
        options.geometry.write(folder)
        build_index(folder, workers=None if summary.records > MANY else 1)
        write_checksums(folder)
        with progress(console, "records checked", "records", summary.records) as checked:
            verify(folder, lambda done, total: checked())
        folder.replace(options.out)
    shutil.rmtree(options.partial, ignore_errors=True)
    row_of = {path: row.number for path, row in matches.rows.items()} if table.numbered else {}
    report(options, console, summary, joined, asked.listing, key, row_of=row_of)
    return summary


def report(
    options: IngestOptions,
    console: Console,
    summary: Summary,
    joined: Joined,
    listing: Listing,
    key: Key,
    *,
    row_of: Mapping[str, int],
) -> None:
    """Print the summary, and write the table of rows and files that were left out.

    row_of: the number of each file's row, where the rows have numbers that a user can look up.
    """
    console.print(summary.table())
    left_out = options.out.with_name(f"{options.out.name}.{LEFT_OUT}")
    files_left = {
        path: word for path, word in joined.became.items() if word not in (RECORD, MASK)
    } | listing.passed
    meanings = {**INGEST_REASONS, **PASSED}
    numbers = summary.unmatched_rows
    listed = write_left_out(left_out, numbers, files_left, row_of, meanings, partial(key.of, "file"))
    where = (f"rows and files that were left out: {left_out}",) if listed else ()
    for line in (*summary.lines(), *listing.lines(), *where, f"data set {options.out}, key {options.key}"):
        say(console, line)


# Reading


def read_all(
    options: IngestOptions,
    job: Job,
    files: Sequence[str],
    tasks: Sequence[Task],
    journal: Path,
    key: Key,
    console: Console,
) -> Known:
    """The result for every task's file: from the journal where it is still valid, else read now."""
    known = from_journal(journal, tasks, key)
    ahead = [
        task
        for task in tasks
        if task.path not in known
        or not still_holds(known[task.path][0], task, job)
        or not unchanged(known[task.path][0], options.folder / task.path)
    ]
    if len(ahead) < len(tasks):
        say(console, f"{len(tasks) - len(ahead):,} files were read before")
    if options.beam is not None and ahead:
        from imbal_jax.data.ingest.beam import read_files_with_beam

        say(console, f"{len(ahead):,} files are read by Apache Beam")
        read_files_with_beam(job, files, ahead, journal, options.beam, key)
        known = from_journal(journal, tasks, key)
        if len(known) < len(tasks):
            raise Stopped(
                f"{len(tasks) - len(known):,} files are not in the journal: run the same command to resume"
            )
        return known

    with progress(console, "files read", "files", len(ahead)) as advance:

        def found(task: Task, read: Read, place: Place | None) -> None:
            known[task.path] = (read, place)
            advance()

        workers = options.workers or usable_cores()
        read_files(job, ahead, journal, workers=workers, seconds=options.seconds, found=found)
    return known


def check_source(known: Known, folder: Path) -> None:
    """Raise Stopped where at least 10 listed files, and at least 1 in 10, are missing: the drive is at fault."""
    lost = sum(read.reason == "missing" for read, _ in known.values())
    if lost >= LOST and LOST * lost >= len(known):
        raise Stopped(
            f"{lost:,} of {len(known):,} files that {folder} lists cannot be read: check that the drive is mounted "
            "and the files are readable, then run the same command to resume"
        )


def from_journal(journal: Path, tasks: Sequence[Task], key: Key) -> dict[str, tuple[Read, Place | None]]:
    """The newest result for each file, from the segment that was written to last."""
    paths = {key.of("file", task.path): task.path for task in tasks}
    known: dict[str, tuple[Read, Place | None]] = {}
    for segment in sorted(segments(journal), key=lambda path: path.stat().st_mtime_ns):
        for read, place in frames(segment):
            if read.file in paths:
                known[paths[read.file]] = (read, place)
    return known


def nothing_read(
    options: IngestOptions, table: Table, files: Sequence[str], joined: Joined, known: Known
) -> str:
    refused = Counter(word for word in joined.became.values() if word in INGEST_REASONS)
    if not refused:
        return (
            f"none of {len(table.rows)} rows fits one of {len(files)} files in {options.folder}: 'file' is a path "
            "below it, a file name or a SOPInstanceUID, 'accession' an AccessionNumber"
        )
    reasons = [f"{count} {word}: {INGEST_REASONS[word]}" for word, count in sorted(refused.items())]
    said = "; ".join([*reasons, *hints(joined, known)])
    return f"none of {sum(refused.values())} labelled files in {options.folder} could be read: {said}"


def hints(joined: Joined, known: Known) -> tuple[str, ...]:
    """Hints on refusals: packages to install, and where reading failed."""
    found = {known[path][0].hint for path, word in joined.became.items() if word in INGEST_REASONS}
    return tuple(sorted(found - {""}))


# Writing


def write(
    options: IngestOptions, layout: Layout, journal: Path, joined: Joined, indices: Indices, console: Console
) -> Path:
    """The records, in a folder inside ``options.partial``."""
    config = None
    if options.beam is not None:
        from imbal_jax.data.ingest.beam import download_config

        config = download_config(options.beam)
    folder = options.partial / "records"
    shutil.rmtree(folder, ignore_errors=True)
    with progress(console, "records written", "records", len(joined.items)) as written:
        return write_records(
            folder,
            layout=layout,
            splits={name: [joined.items[i] for i in chosen] for name, chosen in indices.items()},
            journal=journal,
            written=written,
            beam=config,
        )


def checksums(layout: Layout, journal: Path, joined: Joined) -> dict[str, str]:
    """Checksums of the records by id, made from the journal and not from the written records, which they check."""
    pictures = Pictures(journal, layout.shape, layout.dtype)
    sums = {item.id: checksum(layout.example(item, pictures[item.place])) for item in joined.items}
    pictures.close()
    return sums


def manifest_lines(
    options: IngestOptions,
    files: Sequence[str],
    joined: Joined,
    known: Known,
    sums: Mapping[str, str],
    key: Key,
) -> Iterator[Line]:
    for path in files:
        word = joined.became[path]
        content = known[path][0].content if path in known else ""
        if word == MASK:
            content = key.of_file(options.folder / path)
        name = key.of("image", content) if word == "record" else ""
        yield Line(key.of("file", path), content, word, name, sums[name] if name else "")


def split(
    options: IngestOptions, table: Table, joined: Joined, labels: np.ndarray, patients: np.ndarray
) -> tuple[Indices, list[str]]:
    """The given split, completed, or one by patient; and lines that say which."""
    if options.split == "official":
        given, said = given_split(table, joined.rows, joined.paths)
        if given is not None:
            return complete_split(labels, patients, given, options.shares, seed=options.seed), said
    return split_by_group(labels, patients, options.shares, seed=options.seed), []


def summarise(
    table: Table,
    joined: Joined,
    known: Known,
    labels: np.ndarray,
    patients: np.ndarray,
    indices: Indices,
    notes: tuple[str, ...],
) -> Summary:
    """Raises InputError for a split without a patient."""
    counts = split_summary(labels, patients, indices, table.classes)
    for name, images in zip(indices, counts.images, strict=True):
        if not images:
            raise InputError(
                f"no patient is left for the {name} split: add patients, or ask for no {name} split"
            )
    words = Counter(joined.became.values())
    return Summary(
        rows=len(table.rows),
        files=len(joined.became),
        records=len(joined.items),
        refused={word: count for word, count in sorted(words.items()) if word in INGEST_REASONS},
        hints=hints(joined, known),
        unmatched_rows=tuple(sorted(row.number for row in joined.unmatched)),
        unlabelled=words[UNLABELLED],
        masks=words[MASK],
        patients=len(np.unique(patients)),
        unknown_patients=joined.patients.unknown,
        doubtful_patients=joined.patients.doubtful,
        notes=notes,
        flags=dict(sorted(Counter(flag for item in joined.items for flag in item.flags).items())),
        classes=table.classes,
        many_labels=table.many,
        splits=split_counts(labels, indices, counts),
        missing=tuple(counts.lacking(name, part) for name, part in counts.missing),
        label_ratio_error=counts.ratio_error,
    )
