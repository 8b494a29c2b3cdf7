"""Headings that are understood for each role of a column, and headings that are never labels.

All are spelled as ``csv_table.spelling`` gives them: without case, space, hyphens, dots and underscores.
"""

import re

# The first of each role is the documented one.
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
# Headings of the file column where a table has none of those above.
PATHS = (
    "path", "paths", "relativepath", "relpath", "fullpath", "absolutepath", "abspath", "location", "fname", "files",
    "filenames", "images", "imagefilepath", "dicomfilepath", "dcm", "dcmfile", "dcmpath", "pngfile", "pngpath",
    "jpgpath", "jpegpath",
)  # fmt: skip
# An unlisted heading is the patient's if it has one of these words, unless it describes a property of the patient.
PERSON = re.compile(
    "patient|subj(?!ectiv)|participant|proband|pseudonym|volunteer|medicalrecord|empi|^mrn|mrn$|^(client|animal|mouse)"
    "(id|no|nr|number)?$|individualid|^(sub|eid|rid)(id)?$"
)
ABOUT_PERSON = re.compile(
    "age(?!nt)|sex|gender|birth|dob|weight|height|size|race|ethnic|position|orient|status|history|type|count|comment|zip|"
    "address|death|dead|alive|surviv|insur|smok|site|hospital|class|group|^is|^num|^n(?=patient)|image|file|path"
)
# Columns that group the images of a person where there is nothing better.
PERSON_LIKE = (
    "lesionid", "lesion", "caseid", "case", "donorid", "donor", "slideid", "slide", "specimenid", "specimen",
    "studyinstanceuid", "studyuid", "studyid", "study", "examid", "exam", "accessionnumber", "accession", "groupid",
    "group", "groups", "clusterid", "cluster", "familyid", "family", "eyeid", "sessionid", "visitid", "id",
)  # fmt: skip
# Of these, a column that differs in every row may only number the rows, and says nothing about patients.
NUMBERING = frozenset(
    ("id", "group", "groups", "groupid", "cluster", "clusterid", "sessionid", "visitid", "eyeid")
)
# Columns that are no labels, though they may hold 0 and 1.
NO_LABELS = frozenset(
    (
        *PERSON_LIKE, *(name for role in SPELLINGS if role != "label" for name in SPELLINGS[role]),
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
