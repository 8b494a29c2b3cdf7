"""Joins the rows of the labels table with the files that were read, into the items of the data set."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from imbal_jax.data.folders.copies import Copy, patients_by_picture, settle_copies
from imbal_jax.data.ingest.journal import Place, Read
from imbal_jax.data.ingest.reading import Task
from imbal_jax.data.ingest.record_writing import Item
from imbal_jax.data.pseudonyms import Key
from imbal_jax.data.tables.cells import patient_likeness
from imbal_jax.data.tables.labels_table import Row, Table
from imbal_jax.data.tables.patients import (
    HEADER,
    NOBODY,
    STUDY,
    TABLE,
    Patients,
    Whose,
    count_patients,
    headers_know_better,
)
from imbal_jax.data.tables.row_matching import Matches, match_headers

Known = Mapping[str, tuple[Read, Place | None]]  # by path below the folder
UNLABELLED, RECORD, MASK = "unlabelled", "record", "mask"


@dataclass(frozen=True)
class Joined:
    """The items of the data set, and the outcome for every file and row.

    items: in the order of their ids. rows, paths: those of each item.
    became: path -> RECORD, UNLABELLED, MASK or the reason of a refusal.
    unmatched: rows without a file. patients: how patients were identified.
    """

    items: list[Item]
    rows: list[Row]
    paths: list[str]
    became: dict[str, str]
    unmatched: list[Row]
    patients: Patients


def join(
    files: Sequence[str],
    tasks: Sequence[Task],
    known: Known,
    table: Table,
    matches: Matches,
    left: Sequence[Row],
    key: Key,
) -> Joined:
    """tasks: the files that were read. left: the rows that ``match_names`` left to the headers."""
    by_accession = table.key == "accession"
    paths = defaultdict(list)
    for task in tasks:
        if not task.named:
            paths[identifier(known[task.path][0], by_accession)].append(task.path)
    asked = {row.key: paths.get(asked_for(row, table, key), ()) for row in left}
    unmatched = match_headers(matches, left, asked)

    became = dict.fromkeys(files, UNLABELLED)
    named = {task.path for task in tasks if task.named}
    places: dict[str, Place] = {}
    for path in sorted(matches.rows):
        read, place = known[path]
        became[path] = read.reason or RECORD
        if place is not None and not read.reason:
            places[path] = place
    whole = list(places)
    owners = [whose_is(matches.rows[path], known[path][0], key) for path in whole]
    copies = settle_copies(
        [
            Copy(
                known[path][0].picture,
                matches.rows[path].labels,
                None if who.source == NOBODY else who.key,
                matches.rows[path].number,
                instance=not by_accession and path not in named,
            )
            for path, who in zip(whole, owners, strict=True)
        ],
        lambda k: known[whole[k]][0].content,
    )
    became |= {whole[k]: word for k, word in copies.items()}

    kept = [path for path, word in became.items() if word == RECORD]
    reads = (known[path][0] for path in kept)
    if headers_know_better(table, (bool(read.patient) and not read.study for read in reads)):
        table = replace(table, patient_column="", person_like=False)
        matches.rows = {path: replace(row, patient="") for path, row in matches.rows.items()}
    items = {path: item_of(matches.rows[path], known[path][0], places[path], key) for path in kept}
    kept.sort(key=lambda path: items[path].id)
    rows = [matches.rows[path] for path in kept]
    whose = [whose_is(row, known[path][0], key) for row, path in zip(rows, kept, strict=True)]
    patients = patients_by_picture(
        [items[path].patient for path in kept],
        [who.source == NOBODY for who in whose],
        [known[path][0].picture for path in kept],
    )
    joined = [replace(items[path], patient=patient) for path, patient in zip(kept, patients, strict=True)]
    return Joined(joined, rows, kept, became, unmatched, count_patients(whose, table))


def item_of(row: Row, read: Read, place: Place, key: Key) -> Item:
    name, patient = key.of("image", read.content), whose_is(row, read, key).key
    return Item(id=name, patient=patient, labels=row.labels, flags=read.flags, place=place)


def whose_is(row: Row, read: Read, key: Key) -> Whose:
    """The table's patient, where it says one, else the header's, else the image is its own."""
    header = read.patient if read.patient and not read.study else None
    if row.patient:
        likeness = key.of("likeness", patient_likeness(row.patient))
        return Whose(key.of("patient", row.patient), TABLE, likeness, header)
    if read.patient:
        return Whose(read.patient, STUDY if read.study else HEADER, read.likeness, header)
    return Whose(key.of("patient", f"image {read.content}"), NOBODY)


def asked_for(row: Row, table: Table, key: Key) -> str:
    """The keyed identifier of the header that the row's key would be."""
    return key.of("accession" if table.key == "accession" else "sop", row.key)


def identifier(read: Read, by_accession: bool) -> str:
    return read.accession if by_accession else read.sop


def table_hash(table: Table, key: Key) -> str:
    """A hash of all parts of the table that affect the data set."""
    return key.of("table", repr((table.key, table.patient_column, table.classes, table.many, table.rows)))
