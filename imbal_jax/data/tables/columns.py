"""Which column of a table is which: by the option, by the documented heading, or by a usual spelling of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from imbal_jax.config import COLUMN_ROLES, parse_columns
from imbal_jax.data.tables.cells import label_value, patient_name, split_name
from imbal_jax.data.tables.csv_table import TextTable, spelling
from imbal_jax.errors import InputError

OPTION = "--data.columns"  # ``imbal-jax ingest``: --columns

# By ``csv_table.spelling``: without case, space, hyphens, dots and underscores. The first is the documented one.
SPELLINGS = {
    "file": (
        "file", "filename", "filepath", "image", "imageid", "imagefile", "imagefilename", "imagename", "imagepath",
        "imageindex", "img", "imgid", "imgname", "imgpath", "dicom", "dicomfile", "dicomid", "dicompath",
        "sopinstanceuid", "idcode",
    ),
    "accession": ("accession", "accessionnumber"),
    "patient": (
        "patient", "patientid", "patientname", "patientnumber", "patientno", "patientuid", "patientkey",
        "patienthash",
        "patid", "ptid", "pid", "subject", "subjectid", "subjectname", "subjectno", "subjectnumber", "person",
        "personid", "participant", "participantid", "mrn",
    ),
    "label": (
        "label", "labels", "target", "class", "classname", "category", "diagnosis", "dx", "groundtruth", "level",
        "grade", "finding", "findings", "findinglabel", "findinglabels",
    ),
    "split": ("split", "fold", "subset", "set", "partition", "kfold", "folds", "foldid", "cvfold"),
}  # fmt: skip
# Of the files, where a table has no other.
PATHS = (
    "path", "paths", "relativepath", "relpath", "fullpath", "absolutepath", "abspath", "location", "fname", "files",
    "filenames", "images", "imagefilepath", "dicomfilepath", "dcm", "dcmfile", "dcmpath", "pngfile", "pngpath",
    "jpgpath", "jpegpath",
)  # fmt: skip
# A heading of words that nobody listed is the patient's by one of these, unless it tells something about the patient.
_PERSON = re.compile(
    "patient|subj(?!ectiv)|participant|proband|pseudonym|volunteer|medicalrecord|empi|^mrn|mrn$|^(client|animal|mouse)"
    "(id|no|nr|number)?$|individualid|^(sub|eid|rid)(id)?$"
)
_ABOUT_PERSON = re.compile(
    "age(?!nt)|sex|gender|birth|dob|weight|height|size|race|ethnic|position|orient|status|history|type|count|comment|zip|"
    "address|death|dead|alive|surviv|insur|smok|site|hospital|class|group|^is|^num|^n(?=patient)|image|file|path"
)
# What groups the images of a person where nothing better does.
PERSON_LIKE = (
    "lesionid", "lesion", "caseid", "case", "donorid", "donor", "slideid", "slide", "specimenid", "specimen",
    "studyinstanceuid", "studyuid", "studyid", "study", "examid", "exam", "accessionnumber", "accession", "groupid",
    "group", "groups", "clusterid", "cluster", "familyid", "family", "eyeid", "sessionid", "visitid", "id",
)  # fmt: skip
# Of these, what is another in every row may be a mere number of rows: nothing is known of patients then.
_NUMBERING = frozenset(
    ("id", "group", "groups", "groupid", "cluster", "clusterid", "sessionid", "visitid", "eyeid")
)
# Columns beside the labels that are none, though they may hold 0 and 1.
NO_LABELS = frozenset(
    (
        *PERSON_LIKE, *(name for role in COLUMN_ROLES if role != "label" for name in SPELLINGS[role]),
        "age", "agegroup", "ageapprox", "patientage", "sex", "gender", "patientsex", "patientgender", "race",
        "ethnicity", "weight", "height", "bmi", "smoker",
        "eye", "eyeside", "laterality", "side", "view", "viewposition", "projection", "position", "orientation",
        "site", "location", "localization", "localisation", "anatomsitegeneral", "bodypart", "bodypartexamined",
        "dxtype",
        "hospital", "institution", "center", "centre", "department", "source", "dataset", "origin",
        "scanner", "camera", "device", "manufacturer", "model", "modality", "kvp", "station",
        "date", "time", "year", "studydate", "birthdate", "birthyear", "visit", "followup", "followupnumber",
        "series", "seriesid", "seriesuid", "seriesinstanceuid",
        "frontal/lateral", "ap/pa", "id", "index", "row", "number", "no", "width", "rows", "columns", "bits", "url",
        "comment", "comments", "note", "notes", "remark", "remarks", "report", "text", "description",
        "reader", "rater", "annotator", "radiologist", "radid",
        "male", "female", "level0", "xmin", "xmax", "ymin", "ymax", "bbox", "imagedir", *PATHS,
    )
)  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """Places of the columns, None where the table has no such one.

    key: "file" or "accession", file: its place. person_like: the patient's column is a lesion's, a case's or a
    study's. others: the places of what is left. notes: lines on what was understood. nobody: the option says that no
    column is the patient's.
    """

    key: str
    file: int
    patient: int | None
    label: int | None
    split: int | None
    person_like: bool
    others: tuple[int, ...]
    notes: tuple[str, ...] = field(default=())
    nobody: bool = False


def find_columns(table: TextTable, words: Sequence[str] = (), classes: Sequence[str] = ()) -> Columns:
    """Raises InputError where a column is missing, or where two could be meant: with the option that settles it.

    words: ``ROLE=COLUMN`` each. classes: names that are label columns, whatever else they might be.
    """
    named = parse_columns(words)
    headings = [spelling(heading) for heading in table.headings]
    taken = {spelling(name) for name in classes}
    places: dict[str, int | None] = {}
    for role, heading in named.items():
        exact = [i for i, column in enumerate(table.headings) if column == heading]
        fits = exact or [i for i, column in enumerate(headings) if heading and column == spelling(heading)]
        if heading and not fits:
            raise InputError(f"{table.name} has no column {heading!r}, which {OPTION} names for {role}")
        places[role] = fits[0] if heading else None
    used = {place for place in places.values() if place is not None}

    def candidates(names: Sequence[str]) -> list[int]:
        return [
            headings.index(name)
            for name in names
            if name in headings and name not in taken and headings.index(name) not in used
        ]

    # The key
    key = next((role for role in ("file", "accession") if named.get(role)), None)
    if key is None:
        for role in ("file", "accession"):
            found = candidates(SPELLINGS[role]) if role not in named else []
            if role == "file" and role not in named and not found:
                found = candidates(PATHS)
            if found and key is None:
                key, places[role] = role, _only(table, role, found)
    if key is None:
        # Where no heading is known, the first line may be no heading: what stands there is not shown.
        known = any(heading in names for names in SPELLINGS.values() for heading in headings)
        has = f"it has: {', '.join(table.headings)}" if known else "the first line is to be a heading"
        raise InputError(
            f"{table.name} has no column 'file' or 'accession'; {has}; say which one names the files, "
            f"{OPTION} file=COLUMN"
        )
    at = places[key]
    assert at is not None
    used.add(at)
    if "label" not in named:
        places["label"] = _label(table, headings, candidates(SPELLINGS["label"]), used)
    if places["label"] is not None:
        used.add(places["label"])
    person_like = False
    if "patient" not in named:
        found = candidates(SPELLINGS["patient"]) or candidates(
            [name for name in headings if _PERSON.search(name) and not _ABOUT_PERSON.search(name)]
        )
        person_like = not found
        found = found or [place for place in candidates(PERSON_LIKE) if _parts_rows(table, place)]
        if found:
            places["patient"] = _coarsest(table, found) if person_like else _same_people(table, found)
        else:
            places["patient"] = None
        person_like &= places["patient"] is not None
    if places["patient"] is not None:
        used.add(places["patient"])
    notes = []
    if "patient" not in named and places["patient"] is None and key == "file":
        for place in range(len(headings)):
            if (
                place not in used
                and headings[place] not in {*NO_LABELS, *taken}
                and _groups_rows(table, place)
            ):
                column = table.headings[place]
                notes.append(
                    f"column {column} is not used: if it tells patients apart, {OPTION} patient={column}"
                )
    if "split" not in named:
        found = candidates(SPELLINGS["split"])
        naming = [place for place in found if _names_splits(table, place)]
        exact = [place for place in found if headings[place] == "split"]
        if not found:
            naming = [
                place for place in range(len(headings)) if place not in used and headings[place] not in taken
            ]
            naming = [place for place in naming if _is_split(table, place)]
            if any(_names_splits(table, place) for place in naming):
                naming = [place for place in naming if _names_splits(table, place)]
        notes += [
            f"column {table.headings[place]} names no train, validation and test: not used as a split"
            for place in found
            if place not in naming and place not in exact
        ]
        if len(naming) > 1 and not exact:
            raise InputError(_choose(table, "split", naming))
        places["split"] = (exact or naming or [None])[0]
    if places["split"] is not None:
        used.add(places["split"])

    understood = {
        "files" if key == "file" else "accessions": (at, key),
        "labels": (places["label"], "label"),
        "splits": (places["split"], "split"),
    }
    for what, (place, documented) in understood.items():
        if place is not None and headings[place] != documented:
            notes.append(f"{what} by column {table.headings[place]}")
    others = tuple(place for place in range(len(headings)) if place not in used)
    return Columns(
        key,
        at,
        places["patient"],
        places["label"],
        places["split"],
        person_like,
        others,
        tuple(notes),
        nobody=named.get("patient") == "",
    )


def _only(table: TextTable, role: str, found: list[int]) -> int:
    if len(found) == 1 or spelling(table.headings[found[0]]) == SPELLINGS[role][0]:
        return found[0]
    raise InputError(_choose(table, role, found))


def _choose(table: TextTable, role: str, found: Sequence[int]) -> str:
    names = [table.headings[place] for place in found]
    return (
        f"{table.name} has several columns that may be the {role}: {', '.join(names)}; say which, "
        f"{OPTION} {role}={names[0]}"
    )


def _label(table: TextTable, headings: list[str], found: list[int], used: set[int]) -> int | None:
    """The column of one label; another than ``label`` only where no other column could be one of many labels."""
    if not found:
        return None
    place = _only(table, "label", found)
    if headings[place] != "label":
        beside = [
            other
            for other in range(len(headings))
            if other not in used and other not in found and headings[other] not in NO_LABELS
            if _binary(table, other)
        ]
        if beside:
            raise InputError(
                f"{table.name} has a column {table.headings[place]} and {len(beside)} columns of 0 and 1: for one "
                f"label an image say {OPTION} label={table.headings[place]}, for many --data.classes A B"
            )
    return place


def _binary(table: TextTable, place: int) -> bool:
    return all(label_value(cells[place]) is not None for _, cells in table.rows)


def _same_people(table: TextTable, found: list[int]) -> int:
    """The first of columns that tell the same people apart."""
    first = found[0]
    for other in found[1:]:
        pairs = {(patient_name(cells[first]), patient_name(cells[other])) for _, cells in table.rows}
        if not len({one for one, _ in pairs}) == len({two for _, two in pairs}) == len(pairs):
            raise InputError(_choose(table, "patient", found))
    return first


def _parts_rows(table: TextTable, place: int) -> bool:
    """Whether the column tells some of the rows apart, and holds more than numbers of rows."""
    names = [name for _, cells in table.rows if (name := patient_name(cells[place]))]
    if spelling(table.headings[place]) in _NUMBERING and len({*names}) == len(names):
        return False
    return len({*names}) > 1 or len(table.rows) < 3


def _groups_rows(table: TextTable, place: int) -> bool:
    """Whether the column holds identifiers, by its heading, that few rows each share."""
    names = [patient_name(cells[place]) for _, cells in table.rows]
    found = re.search(
        "(id|uid|key|code|name|nr|no|number|wsi|session|acc|patient)$", spelling(table.headings[place])
    )
    return found is not None and len(names) > len({*names}) >= max(2, len(names) / 20)


def _coarsest(table: TextTable, found: list[int]) -> int:
    """Of columns of lesions, cases, studies the one whose groups hold those of all others whole."""
    if len(found) == 1:
        return found[0]
    for place in found:
        if all(_holds(table, place, other) for other in found):
            return place
    raise InputError(_choose(table, "patient", found))


def _holds(table: TextTable, place: int, other: int) -> bool:
    """Whether images of one ``other`` are of one ``place``."""
    pairs = {(patient_name(cells[place]), patient_name(cells[other])) for _, cells in table.rows}
    pairs = {pair for pair in pairs if pair[1]}
    return len(pairs) == len({one for _, one in pairs})


def _is_split(table: TextTable, place: int) -> bool:
    """Whether a column of no known heading is a split: its cells name nothing else; or it is train, yes or no."""
    words = {split_name(cells[place]) for _, cells in table.rows}
    if None not in words:
        return len(words - {""}) > 1
    heading = spelling(table.headings[place])
    return re.fullmatch(
        "(is|in)(train|training|val|valid|validation|test|testing)(set|image|split|ing)*", heading
    ) is not None and _binary(table, place)


def _names_splits(table: TextTable, place: int) -> bool:
    words = {split_name(cells[place]) for _, cells in table.rows}
    return bool(words - {None, ""})
