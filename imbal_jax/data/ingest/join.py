"""Rows of the table meet the files that were read; what remains are the items of the data set."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from imbal_jax.data.copies import Copy, settle_copies
from imbal_jax.data.ingest.journal import Place, Read
from imbal_jax.data.ingest.key import Key
from imbal_jax.data.ingest.read import Task
from imbal_jax.data.ingest.records import Item
from imbal_jax.data.table import Matches, Row, Table, match_headers

Known = Mapping[str, tuple[Read, Place | None]]  # by path below the folder
UNLABELLED, RECORD = "unlabelled", "record"


@dataclass(frozen=True)
class Joined:
    """items: in the order of their ids. became: of each file, RECORD, UNLABELLED or the reason of a refusal.
    unmatched: rows without a file. unknown_patients: items that are a patient each. doubtful_patients: patients
    of the headers that are several in the table."""

    items: list[Item]
    became: dict[str, str]
    unmatched: list[Row]
    unknown_patients: int
    doubtful_patients: int


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
    whole = []
    for path in sorted(matches.rows):
        read, place = known[path]
        became[path] = read.reason or RECORD
        if place is not None and not read.reason:
            whole.append(path)
    copies = settle_copies(
        [
            Copy(
                known[path][0].picture,
                matches.rows[path].labels,
                patient_of(matches.rows[path], known[path][0], table, key) or None,
                matches.rows[path].number,
                instance=not by_accession and path not in named,
            )
            for path in whole
        ],
        lambda k: known[whole[k]][0].content,
    )
    became |= {whole[k]: word for k, word in copies.items()}

    kept = [path for path, word in became.items() if word == RECORD]
    items = [item_of(matches.rows[path], *known[path], table, key) for path in kept]
    items = one_patient_a_picture(
        items,
        [known[path][0].picture for path in kept],
        [not patient_of(matches.rows[path], known[path][0], table, key) for path in kept],
    )
    unknown = sum(not patient_of(matches.rows[path], known[path][0], table, key) for path in kept)
    names = defaultdict(set)
    for path, item in zip(kept, items, strict=True):
        names[known[path][0].patient].add(item.patient)
    doubtful = sum(len(of) > 1 for header, of in names.items() if header)
    return Joined(sorted(items, key=lambda item: item.id), became, unmatched, unknown, doubtful)


def item_of(row: Row, read: Read, place: Place, table: Table, key: Key) -> Item:
    name = key.of("image", read.content)
    patient = patient_of(row, read, table, key) or key.of("patient", f"image {read.content}")
    return Item(id=name, patient=patient, labels=row.labels, flags=read.flags, place=place)


def one_patient_a_picture(
    items: Sequence[Item], pictures: Sequence[str], nobody: Sequence[bool]
) -> list[Item]:
    """The items; one without a patient has that of an equal picture, since both show one person."""
    whose: dict[str, str] = {}
    for k in sorted(range(len(items)), key=lambda k: nobody[k]):
        whose.setdefault(pictures[k], items[k].patient)
    return [replace(item, patient=whose[pictures[k]]) if nobody[k] else item for k, item in enumerate(items)]


def patient_of(row: Row, read: Read, table: Table, key: Key) -> str:
    """The table's patient where it has such a column, else the header's; "" unknown."""
    if table.has_patients:
        return key.of("patient", row.patient) if row.patient else ""
    return read.patient


def asked_for(row: Row, table: Table, key: Key) -> str:
    """The keyed identifier of the header that the row's key would be."""
    return key.of("accession" if table.key == "accession" else "sop", row.key)


def identifier(read: Read, by_accession: bool) -> str:
    return read.accession if by_accession else read.sop


def table_hash(table: Table, key: Key) -> str:
    """Changes with every word of the table that matters."""
    return key.of("table", repr((table.key, table.has_patients, table.classes, table.many, table.rows)))
