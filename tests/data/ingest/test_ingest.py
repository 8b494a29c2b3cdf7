import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hospitals import (
    HELD,
    HELD_AFTER,
    IMAGES,
    PATIENTS,
    SIZE,
    Interrupted,
    by_picture,
    contents,
    interrupt_after,
    options,
    records,
    run,
)
from picture_folders import MARKER, radiograph, table
from PIL import Image
from rich.console import Console

from imbal_jax import cli
from imbal_jax.data.dicom.radiograph import read_radiograph
from imbal_jax.data.folders.listing import Listing
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.ingest import asked
from imbal_jax.data.ingest import ingest as run_module
from imbal_jax.data.ingest import record_writing as records_module
from imbal_jax.data.ingest.ingest import ingest
from imbal_jax.data.ingest.journal import frames, segments
from imbal_jax.data.ingest.manifest import compare_source, find_files, read_manifest, verify
from imbal_jax.data.pseudonyms import open_key, read_key
from imbal_jax.data.records.array_records import read_folder_info
from imbal_jax.data.records.record_set import open_records
from imbal_jax.errors import InputError, Stopped

# The data set


def test_records_hold_what_reading_each_file_gives(hospital: Path) -> None:
    summary = run(hospital)
    out = hospital.parent / "out"
    found = by_picture(out)
    assert len(found) == summary.records == IMAGES
    patients: dict[int, set[tuple[str, bytes]]] = {}
    for i in range(IMAGES):
        pixels = read_radiograph(hospital / f"p{i % PATIENTS}/{i}.dcm", size=SIZE)
        split, label, patient, _, flags = found[pixels.tobytes()]
        assert label == int(i % PATIENTS % 3 == 0)
        assert "burned-in-unknown" in flags.decode().split()
        patients.setdefault(i % PATIENTS, set()).add((split, patient))
    assert all(len(of) == 1 for of in patients.values()), "a patient in two splits, or under two names"
    assert len(set.union(*patients.values())) == PATIENTS
    assert len({record[3] for record in found.values()}) == IMAGES
    assert tfds.builder_from_directory(out).info.features["label"].names == ["normal", "sick"]


def test_the_reader_opens_it_with_its_index(hospital: Path) -> None:
    summary = run(hospital)
    opened = open_records(hospital.parent / "out")
    assert opened.classes == ("normal", "sick")
    assert {name: len(of) for name, of in opened.splits.items()} == {
        name: of["images"] for name, of in summary.splits.items()
    }
    found = by_picture(hospital.parent / "out")
    for pixels, label in zip(opened.images[:], opened.labels, strict=True):
        assert found[pixels.tobytes()][1] == label
    assert len(np.unique(opened.groups)) == PATIENTS


def test_sixteen_bits_and_another_window(hospital: Path) -> None:
    run(hospital, bits=16, voi="none")
    pixels = read_radiograph(hospital / "p1/1.dcm", size=SIZE, voi="none", bits=16)
    found = by_picture(hospital.parent / "out")
    assert found[pixels.tobytes()][1] == 0
    assert pixels.dtype == np.uint16


@pytest.mark.parametrize("how", ["column", "folders"])
def test_the_users_own_split_is_kept_and_completed(hospital: Path, how: str) -> None:
    parts = ["train", "train", "test"]
    where = [parts[i % PATIENTS % 3] for i in range(IMAGES)]
    rows = []
    for i, part in enumerate(where):
        path = Path(f"p{i % PATIENTS}/{i}.dcm")
        if how == "folders":
            (hospital / part / path).parent.mkdir(parents=True, exist_ok=True)
            (hospital / path).rename(hospital / part / path)
            path = part / path
        rows.append(f"{path},{'sick' if i % 4 else 'normal'}" + (f",{part}" if how == "column" else ""))
    heading = "file,label,split" if how == "column" else "file,label"
    table(hospital, heading + "\n" + "\n".join(rows) + "\n")
    summary = run(hospital)
    found = by_picture(hospital.parent / "out")
    for i, part in enumerate(where):
        inside = f"{part}/" if how == "folders" else ""
        pixels = read_radiograph(hospital / f"{inside}p{i % PATIENTS}/{i}.dcm", size=SIZE)
        there = found[pixels.tobytes()][0]
        assert (there == "test") == (part == "test")
    assert sum(record[0] == "validation" for record in found.values()) > 0
    assert any(line.startswith(f"split by {how}") for line in summary.lines())
    with pytest.raises(InputError, match="made with split official, not patient"):
        run(hospital, split="patient")


def test_a_patient_in_two_given_parts_is_refused_and_a_split_may_be_made_here(hospital: Path) -> None:
    rows = [f"{i}.dcm,{'sick' if i % 4 else 'normal'},{'train' if i < 12 else 'test'}" for i in range(IMAGES)]
    table(hospital, "file,label,split\n" + "\n".join(rows) + "\n")
    with pytest.raises(
        InputError, match="shares 12 of 12 patients between train and test: set --split patient"
    ):
        run(hospital)
    assert run(hospital, split="patient").patients == PATIENTS


def test_a_tables_columns_are_named_and_told_apart_is_said(hospital: Path) -> None:
    rows = [f"{i}.dcm,{'sick' if i % 4 else 'normal'},someone {i // 4},0" for i in range(IMAGES)]
    table(hospital, "img_nr,finding_text,who,age\n" + "\n".join(rows) + "\n")
    summary = run(hospital, columns=("file=img_nr", "label=finding_text", "patient=who"))
    assert summary.patients == 6
    assert "patients by column who: 6" in summary.lines()
    assert summary.doubtful_patients == 12  # two images of each header's patient, under two names


def test_many_labels_keep_uncertain_and_missing_apart(hospital: Path) -> None:
    values = {i: (str(int(i % 4 == 0)), ("1", "0", "-1", "")[i % 4]) for i in range(IMAGES)}
    rows = [f"A{i},{','.join(value)}" for i, value in values.items()]
    table(hospital, "accession,mass,edema\n" + "\n".join(rows) + "\n")
    summary = run(hospital)
    found = by_picture(hospital.parent / "out")
    for i in range(IMAGES):
        pixels = read_radiograph(hospital / f"p{i % PATIENTS}/{i}.dcm", size=SIZE)
        assert found[pixels.tobytes()][1] == [int(i % 4 == 0), (1, 0, -1, -2)[i % 4]]
    edema = [split["classes"]["edema"] for split in summary.splits.values()]
    assert (sum(of["images"] for of in edema), sum(of["known"] for of in edema)) == (6, 12)
    assert open_records(hospital.parent / "out").classes == ("mass", "edema")


def test_the_tables_patients_come_before_the_headers(hospital: Path) -> None:
    rows = [f"{i}.dcm,normal,someone {i // 12}" for i in range(IMAGES - 1)] + [f"{IMAGES - 1}.dcm,sick,"]
    table(hospital, "file,label,patient\n" + "\n".join(rows) + "\n")
    summary = run(hospital)
    assert (summary.patients, summary.unknown_patients) == (3, 0)  # the last has the PatientID of its header
    # Images i and i + 12 are one patient's by their headers, and two people's by the table.
    assert summary.doubtful_patients == 12
    patient = read_key(hospital.parent / "out.key").of("patient", "someone 0")
    assert patient.encode() in {found[2] for found in by_picture(hospital.parent / "out").values()}


def test_pictures_beside_dicom_files(hospital: Path) -> None:
    picture = np.arange(SIZE * SIZE, dtype=np.uint8).reshape(SIZE, SIZE)
    Image.fromarray(picture).save(hospital / "x.png")
    with (hospital / "labels.csv").open("a") as stream:
        stream.write("x.png,sick\n")
    run(hospital)
    assert by_picture(hospital.parent / "out")[picture.tobytes()][1] == 1


def test_no_validation_split_where_none_is_asked_for(hospital: Path) -> None:
    summary = run(hospital, validation_share=0.0, test_share=0.25)
    assert {name: of["images"] for name, of in summary.splits.items()} == {"train": 18, "test": 6}
    assert set(records(hospital.parent / "out")) == {"train", "test"}


def test_the_same_files_key_and_seed_give_the_same_bytes(hospital: Path) -> None:
    run(hospital, "one", key_file=hospital.parent / "k")
    run(hospital, "two", key_file=hospital.parent / "k", workers=1)
    assert contents(hospital.parent / "one") == contents(hospital.parent / "two")
    run(hospital, "three", key_file=hospital.parent / "other")
    here, there = by_picture(hospital.parent / "one"), by_picture(hospital.parent / "three")
    assert not {found[3] for found in here.values()} & {found[3] for found in there.values()}
    assert not {found[2] for found in here.values()} & {found[2] for found in there.values()}


def test_names_in_any_script_and_in_none(hospital: Path) -> None:
    radiograph(hospital / os.fsdecode(b"f\xff\xfe.dcm"), patient="x", uid="1.2.777", seed=777)
    rows = [f"{i}.dcm,{'Erguß' if i % PATIENTS % 3 == 0 else '正常'}" for i in range(IMAGES)]
    table(hospital, "file,label\n" + "\n".join([*rows, "1.2.777,Erguß"]) + "\n")
    summary = run(hospital, classes=("正常", "Erguß"))
    assert summary.records == IMAGES + 1
    assert open_records(hospital.parent / "out").classes == ("正常", "Erguß")
    assert run(hospital, classes=("正常", "Erguß")) is None


def test_shards_hold_all_records_once_whatever_their_number(
    hospital: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(hospital, "one", key_file=hospital.parent / "k")
    monkeypatch.setattr(records_module, "SHARD_BYTES", 4 * SIZE * SIZE)
    run(hospital, "many", key_file=hospital.parent / "k")
    one, many = hospital.parent / "one", hospital.parent / "many"
    lengths = tfds.builder_from_directory(many).info.splits["train"].shard_lengths
    assert len(lengths) == 4
    assert max(lengths) - min(lengths) <= 1
    assert by_picture(one) == by_picture(many)
    assert [record["id"] for record in records(one)["train"]] == [
        record["id"] for record in records(many)["train"]
    ]


# What is left out


def test_what_is_left_out_is_counted_and_listed_by_row_number_and_hash(hospital: Path) -> None:
    with (hospital / "labels.csv").open("a") as stream:
        stream.write("nobody.dcm,sick\ncut.dcm,sick\ntext.dcm,normal\ncopy.dcm,normal\n9.9.9,sick\n")
    (hospital / "cut.dcm").write_bytes((hospital / "p1" / "1.dcm").read_bytes()[:-100])
    (hospital / "text.dcm").write_text("text")
    (hospital / "copy.dcm").write_bytes((hospital / "p1" / "1.dcm").read_bytes())
    radiograph(hospital / "unasked.dcm", uid="7.7", seed=77)
    summary = run(hospital)
    assert summary.refused == {"duplicate": 1, "not-an-image": 1, "truncated": 1}
    assert summary.unmatched_rows == (26, 30)
    assert (summary.rows, summary.files, summary.records, summary.unlabelled) == (29, 28, 24, 1)
    out, key = hospital.parent / "out", hospital.parent / "out.key"
    assert json.loads((out / "summary.json").read_text())["unmatched_rows"] == [26, 30]
    paths = find_files(hospital, key)
    lines = (out / "quarantine.csv").read_text().splitlines()[1:]
    listed = {paths[line.split(",")[0]]: line.split(",")[1] for line in lines}
    copies = {"copy.dcm", "p1/1.dcm"} & listed.keys()
    assert len(copies) == 1
    assert {listed[path] for path in copies} == {"duplicate"}
    assert {k: v for k, v in listed.items() if k not in copies} == {
        "cut.dcm": "truncated",
        "text.dcm": "not-an-image",
    }
    became = {paths[line.file]: line.became for line in read_manifest(out)}
    assert became["unasked.dcm"] == "unlabelled"
    assert sum(word == "record" for word in became.values()) == 24


def test_the_summary_says_how_far_the_splits_are_from_the_whole_and_what_they_lack(
    hospital: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{i}.dcm,{'rare' if i == 1 else 'normal'}" for i in range(IMAGES)]
    table(hospital, "file,label\n" + "\n".join(rows) + "\n")
    summary = ingest(options(hospital), Console(width=200))
    shown = capsys.readouterr().out
    parts = summary.splits.values()
    shares = [(of["classes"]["rare"]["images"] / of["images"], 1 / IMAGES) for of in parts]
    # of two classes, what one has too much the other has too little
    assert summary.label_ratio_error == pytest.approx(np.mean([abs(here - whole) for here, whole in shares]))
    assert "the test split has no example of rare: 1 patient has it, 3 splits are asked" in shown
    assert "its scores there are undefined" in shown
    assert [line.split()[1] for line in shown.splitlines() if "│ rare " in line] == ["rare"]
    assert "4.2 %" in next(line for line in shown.splitlines() if "│ rare " in line)
    assert "\x1b" not in shown, "control codes in a log file"


def test_one_picture_with_two_labels_is_left_out_twice(hospital: Path) -> None:
    (hospital / "copy.dcm").write_bytes((hospital / "p1" / "1.dcm").read_bytes())
    with (hospital / "labels.csv").open("a") as stream:
        stream.write("copy.dcm,sick\n")
    summary = run(hospital)
    assert summary.refused == {"conflicting": 2}
    assert summary.records == IMAGES - 1


def test_burned_in_text_is_refused_where_the_header_says_so(hospital: Path) -> None:
    import pydicom

    for i, said in ((1, "YES"), (3, "NO")):
        path = hospital / f"p{i % PATIENTS}/{i}.dcm"
        file = pydicom.dcmread(path)
        file.BurnedInAnnotation = said
        file.save_as(path)
    summary = run(hospital)
    assert summary.refused == {"burned-in-text": 1}
    assert summary.flags["burned-in-unknown"] == IMAGES - 2


def test_a_drive_that_goes_away_is_no_reason_to_leave_images_out(
    hospital: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = asked.list_files(hospital).files
    for i in range(0, 20, 2):
        (hospital / f"p{i % PATIENTS}/{i}.dcm").rename(hospital.parent / f"{i}.away")
    names = [f"{path},{'ab'[i % 2]}" for i, path in enumerate(files)]
    table(hospital, "file,label\n" + "\n".join(names) + "\n")
    with monkeypatch.context() as patched:
        patched.setattr(asked, "list_files", lambda folder: Listing(files))
        with pytest.raises(
            Stopped, match=r"10 of 24 files that .* lists cannot be read: check that the drive"
        ):
            run(hospital)
    for i in range(0, 20, 2):
        (hospital.parent / f"{i}.away").rename(hospital / f"p{i % PATIENTS}/{i}.dcm")
    assert run(hospital).records == IMAGES


# Interrupted


def read_in(partial: Path) -> list[str]:
    return [read.file for segment in segments(partial / "journal") for read, _ in frames(segment)]


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(
    hospital: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = hospital.parent / "k"
    run(hospital, "whole", key_file=key)
    with monkeypatch.context() as patched:
        interrupt_after(7, patched)
        with pytest.raises(Interrupted):
            run(hospital, "out", key_file=key)
    partial = hospital.parent / "out.partial"
    finished = read_in(partial)
    assert 7 <= len(finished) < IMAGES
    torn = segments(partial / "journal")[0]
    torn.write_bytes(torn.read_bytes() + b"\x10\0\0\0\x10\0\0\0half a frame")
    fresh = []
    with monkeypatch.context() as patched:
        original = run_module.read_files
        patched.setattr(
            run_module,
            "read_files",
            lambda job, tasks, *a, **k: fresh.extend(tasks) or original(job, tasks, *a, **k),
        )
        run(hospital, "out", key_file=key)
    assert len(fresh) == IMAGES - len(set(finished))
    assert contents(hospital.parent / "out") == contents(hospital.parent / "whole")
    assert not partial.exists()


def test_a_file_that_changed_since_is_read_again(hospital: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        interrupt_after(IMAGES, patched)
        with pytest.raises(Interrupted):
            run(hospital)
    radiograph(hospital / "p1" / "1.dcm", patient=f"{MARKER}1", uid="1.2.1", accession="A1", seed=99)
    run(hospital)
    pixels = read_radiograph(hospital / "p1" / "1.dcm", size=SIZE)
    assert pixels.tobytes() in by_picture(hospital.parent / "out")


@pytest.mark.parametrize(("signal_", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_killed_process_goes_on_where_it_was(hospital: Path, signal_: int, status: int) -> None:
    key = hospital.parent / "k"
    run(hospital, "whole", key_file=key)
    given = {
        "labels": "labels.csv",
        "out": hospital.parent / "out",
        "size": SIZE,
        "workers": 2,
        "key-file": key,
    }
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, "ingest", *map(str, (hospital, *words))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    partial = hospital.parent / "out.partial"
    assert process.stdout is not None
    while (line := process.stdout.readline()) and line != "held\n":
        pass
    process.send_signal(signal_)
    _, error = process.communicate(timeout=60)
    assert process.returncode == status, error
    assert error.count("\n") == (0 if signal_ == signal.SIGKILL else 1), error
    assert HELD_AFTER <= len(set(read_in(partial))) < IMAGES
    assert not (hospital.parent / "out").exists()
    run(hospital, "out", key_file=key)
    assert contents(hospital.parent / "out") == contents(hospital.parent / "whole")


def test_two_runs_do_not_share_a_folder(hospital: Path) -> None:
    with (
        run_module.claimed(options(hospital)),
        pytest.raises(InputError, match="another ingest is writing to"),
    ):
        run(hospital)


def test_other_options_than_those_of_the_interrupted_run_are_refused(
    hospital: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(3, monkeypatch)
    with pytest.raises(Interrupted):
        run(hospital)
    with pytest.raises(InputError, match="made with size 16, not 32"):
        run(hospital, size=32)
    with pytest.raises(InputError, match="made with another key"):
        run(hospital, key_file=hospital.parent / "other")


# Finished


def test_a_finished_data_set_is_checked_and_not_made_again(hospital: Path) -> None:
    run(hospital)
    out = hospital.parent / "out"
    before = contents(out)
    (hospital.parent / "out.partial").mkdir()
    assert run(hospital) is None
    assert contents(out) == before
    assert not (hospital.parent / "out.partial").exists(), (
        "what a run that was killed at its very end has left"
    )
    with pytest.raises(InputError, match="made with seed 0, not 1"):
        run(hospital, seed=1)
    radiograph(hospital / "new.dcm", uid="5.5", seed=55)
    with pytest.raises(InputError, match="1 are new and 0 gone"):
        run(hospital)
    (hospital / "new.dcm").unlink()
    with (hospital / "labels.csv").open("a") as stream:
        stream.write("nobody.dcm,sick\n")
    with pytest.raises(InputError, match="made with another table"):
        run(hospital)


def damage(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name", ["radiographs-train.array_record-00000-of-00001", "manifest.jsonl", "label.labels.txt"]
)
def test_one_flipped_bit_is_found(hospital: Path, name: str) -> None:
    run(hospital)
    out = hospital.parent / "out"
    assert verify(out) == IMAGES
    damage(out / name, 0.01)
    with pytest.raises(InputError, match=f"{name} of .* was changed or damaged"):
        verify(out)


def test_records_are_checked_one_by_one_where_the_files_checksums_agree(hospital: Path) -> None:
    from imbal_jax.data.ingest.manifest import write_checksums

    run(hospital)
    out = hospital.parent / "out"
    (out / "label.labels.txt").unlink()
    with pytest.raises(InputError, match=r"label.labels.txt of .* is missing"):
        verify(out)
    (out / "label.labels.txt").write_text("normal\nsick\n")
    lines = (out / "manifest.jsonl").read_text().splitlines()
    line = json.loads(next(line for line in lines if "record" in line))
    changed = json.dumps({**line, "checksum": "0" * 32})
    (out / "manifest.jsonl").write_text("\n".join([changed, *lines[1:]]) + "\n")
    write_checksums(out)
    with pytest.raises(InputError, match=f"record {line['id']} of .* is not as it was made"):
        verify(out)


def test_the_source_is_compared_with_what_was_read_of_it(hospital: Path) -> None:
    run(hospital)
    out, key = hospital.parent / "out", hospital.parent / "out.key"
    assert compare_source(out, hospital, key) == {"changed": [], "added": [], "gone": []}
    damage(hospital / "p1" / "1.dcm", 0.9)
    gone = read_key(key).of("file", "p2/2.dcm")
    (hospital / "p2" / "2.dcm").rename(hospital / "p2" / "moved.dcm")
    assert compare_source(out, hospital, key) == {
        "changed": ["p1/1.dcm"],
        "added": ["p2/moved.dcm"],
        "gone": [gone],
    }
    open_key(hospital.parent / "other")
    with pytest.raises(InputError, match="made with another key"):
        compare_source(out, hospital, hospital.parent / "other")


# The key


def test_the_key_is_its_owners_alone_and_outside_the_data_set(hospital: Path) -> None:
    path = hospital.parent / "out.key"
    run(hospital)
    assert path.stat().st_mode & 0o777 == 0o600
    secret = path.read_text().strip()
    assert len(bytes.fromhex(secret)) == 32
    for name, data in contents(hospital.parent / "out").items():
        assert secret.encode() not in data, name
        assert bytes.fromhex(secret) not in data, name
    assert secret not in repr(read_key(path))
    path.chmod(0o640)
    with pytest.raises(InputError, match="is readable by others: run chmod 600"):
        run(hospital, "again", key_file=path)


@pytest.mark.parametrize("inside", ["out/key", "out.partial/key"])
def test_a_key_inside_the_data_set_is_refused(hospital: Path, inside: str) -> None:
    with pytest.raises(InputError, match="keep it apart from the data set"):
        run(hospital, key_file=hospital.parent / inside)


def test_identifiers_differ_by_kind_and_key(tmp_path: Path) -> None:
    one, two = open_key(tmp_path / "one"), open_key(tmp_path / "two")
    assert one.of("patient", "7") == open_key(tmp_path / "one").of("patient", "7")
    assert (
        len({one.of("patient", "7"), one.of("file", "7"), two.of("patient", "7"), one.of("patient", "8")})
        == 4
    )
    (tmp_path / "two").write_text("short\n")
    with pytest.raises(InputError, match="is no key"):
        open_key(tmp_path / "two")


# Mistakes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "ingest needs DICOM_DIR"),
        (["FOLDER", "--labels", "nothing.csv", "--out", "OUT"], "no table nothing.csv"),
        (["/nowhere", "--labels", "labels.csv", "--out", "OUT"], "no folder /nowhere"),
        (["FOLDER", "--labels", "labels.csv", "--out", "OUT", "--size", "4"], "--size is 4"),
        (["FOLDER", "--labels", "labels.csv", "--out", "OUT", "--bits", "12"], "'12'"),
        (["FOLDER", "--labels", "labels.csv", "--out", "OUT", "--sise", "32"], "--size"),
        (["FOLDER", "--labels", "labels.csv", "--out", "OUT", "--test-share", "0.9"], "nothing to train on"),
        (["FOLDER", "--labels", "labels.csv", "--out", "FOLDER/out"], "is inside"),
        (
            ["FOLDER", "--labels", "labels.csv", "--out", "FILE"],
            "exists and is not a data set made by ingest",
        ),
        (["FOLDER", "--labels", "labels.csv", "--out", "FILE/out"], "Not a directory"),
        (
            ["FOLDER", "--labels", "labels.csv", "--out", "OUT", "--key-file", "/nowhere/key"],
            "cannot make the key file",
        ),
        (["FOLDER", "--labels", "labels.csv", "--out", "OUT", "--classes", "a", "b"], "is not one of a, b"),
        (["FOLDER", "--labels", "other.csv", "--out", "OUT"], "none of 2 rows fits one of 24 files"),
        (
            ["FOLDER", "--labels", "names.csv", "--out", "OUT"],
            "12 different values in 12 rows: is it an identifier?",
        ),
        (["FOLDER", "--labels", "two.csv", "--out", "OUT"], "2 patients cannot fill 3 splits"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_status_2(
    words: list[str], said: str, hospital: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (hospital.parent / "file").write_text("")
    table(hospital, "file,label\nnobody.dcm,a\nnobody2.dcm,b\n", "other.csv")
    table(hospital, "file,label\n" + "".join(f"{i}.dcm,{MARKER}{i}\n" for i in range(12)), "names.csv")
    table(hospital, "file,label\n1.dcm,a\n2.dcm,b\n", "two.csv")
    places = {
        "FOLDER": str(hospital),
        "OUT": str(hospital.parent / "out"),
        "FILE": str(hospital.parent / "file"),
    }
    filled = [next((w.replace(k, v, 1) for k, v in places.items() if w.startswith(k)), w) for w in words]
    assert cli.main(["ingest", *filled]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1, error
    assert MARKER not in error
    assert not (hospital.parent / "out").exists()


def test_beam_that_is_not_installed_is_told_with_the_package(
    hospital: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"--beam needs Apache Beam: pip install 'imbal-jax\[beam\]'"):
        run(hospital, beam="runner=DirectRunner")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_one_line_and_the_run_goes_on_with_more_room(
    hospital: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = hospital.parent / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        words = [str(hospital), "--labels", "labels.csv", "--out", str(small / "out"), "--workers", "2"]
        for room in ("1m", "5m"):  # the journal does not fit; the journal fits and the records do not
            subprocess.run(["mount", "-o", f"remount,size={room}", small], check=True)
            assert cli.main(["ingest", *words, "--size", "400"]) == 1
            error = capsys.readouterr().err
            assert "cannot write" in error
            assert error.count("\n") == 1, error
            assert not (small / "out").exists()
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        assert cli.main(["ingest", *words, "--size", "400"]) == 0
        assert verify(small / "out") == IMAGES
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_labels_and_patients_of_the_index_are_covered_by_the_checksums(hospital: Path) -> None:
    from imbal_jax.data.ingest.manifest import write_checksums
    from imbal_jax.data.records.label_index import build_index, write_index

    run(hospital)
    out = hospital.parent / "out"
    before = np.array(open_records(out).labels)
    whole = {path.name: path.read_bytes() for path in (out / "index").iterdir()}

    def refused(message: str, reader: Callable[[Path], object]) -> None:
        with pytest.raises(InputError, match=message) as caught:
            reader(out)
        assert "\n" not in str(caught.value)

    # Labels changed in place
    np.save(out / "index" / "labels.npy", 1 - before)
    refused("was changed after", open_records)
    refused(r"index/labels.npy of .* was changed or damaged", verify)
    # and the index's own checksums written over them
    info = read_folder_info(out)
    write_index(info, 1 - before, np.array(open_groups(whole)))
    refused(r"labels.npy was changed after the data set was made", open_records)
    refused(r"index/.* was changed or damaged", verify)
    # and those of the data set: every record is compared
    write_checksums(out)
    refused(rf"index does not hold the labels and patients of {IMAGES} records", verify)
    # A patient given to another
    groups = np.array(open_groups(whole))
    groups[groups == groups[0]] = groups[groups != groups[0]][0]
    write_index(info, before, groups)
    write_checksums(out)
    refused("does not hold the labels and patients", verify)
    # Deleted, it is built again, and is what it was
    shutil.rmtree(out / "index")
    build_index(out)
    write_checksums(out)
    assert {path.name: path.read_bytes() for path in (out / "index").iterdir()} == whole
    assert verify(out) == IMAGES
    shutil.rmtree(out / "index")
    assert verify(out) == IMAGES
    np.testing.assert_array_equal(open_records(out).labels, before)

    # Made by an earlier version
    sums = json.loads((out / "checksums.json").read_text())
    sums = {name: value for name, value in sums.items() if not name.startswith("index/")}
    (out / "checksums.json").write_text(json.dumps(sums))
    assert any("does not cover labels" in note for note in open_records(out).notes)
    refused("written by an earlier version and does not cover the labels", verify)


def open_groups(files: dict[str, bytes]) -> np.ndarray:
    return np.load(io.BytesIO(files["groups.npy"]))


def test_sets_of_earlier_versions_say_what_they_are(hospital: Path) -> None:
    run(hospital, fit="squeeze")
    out = hospital.parent / "out"
    assert open_records(out).geometry == Geometry(SIZE, "squeeze")
    Geometry(SIZE, "crop").write(out)
    with pytest.raises(InputError, match=r"geometry.json was changed after the data set was made"):
        open_records(out)
    Geometry(2 * SIZE, "crop").write(out)
    (out / "checksums.json").unlink()
    with pytest.raises(InputError, match=rf"says uint8 \[{2 * SIZE}, {2 * SIZE}, 1\], the records are"):
        open_records(out)
    (out / "geometry.json").unlink()
    made = json.loads((out / "ingest.json").read_text())
    old = {key: value for key, value in made.items() if key not in ("fit", "channels")}
    (out / "ingest.json").write_text(json.dumps(old))
    records = open_records(out)
    assert records.geometry == Geometry(SIZE, "pad")
    assert "ingested by an earlier version: pictures padded" in records.notes[0]
    (out / "ingest.json").unlink()
    (out / "source.json").write_text("{}")
    records = open_records(out)
    assert records.geometry == Geometry(SIZE, "squeeze")
    assert "prepared by an earlier version: pictures squeezed" in records.notes[0]
    (out / "source.json").unlink()
    records = open_records(out)
    assert records.geometry == Geometry(SIZE, "square")
    assert "does not say how its pictures became squares" in records.notes[0]
