"""Pictures and masks that a hospital has become records that hold both."""

import json
from pathlib import Path

import numpy as np
import pytest
from hospitals import SIZE, contents, records, run
from picture_folders import SIZE as SIDE
from picture_folders import radiograph
from PIL import Image
from rich.console import Console

from imbal_jax.config import Data
from imbal_jax.data.dataset import check_dataset
from imbal_jax.data.dicom.radiograph import read_radiograph
from imbal_jax.data.ingest.ingest import ingest
from imbal_jax.data.ingest.manifest import compare_source, verify
from imbal_jax.data.ingest.options import IngestOptions
from imbal_jax.data.read import read
from imbal_jax.errors import InputError

COUNT = 12


def truth(i: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    if i % 4:
        mask[2 + i : 6 + i, 3:9] = 255
    return mask


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """12 DICOM files of 6 patients, whose masks are PNG files called as they are."""
    folder = tmp_path / "hospital"
    (folder / "masks").mkdir(parents=True)
    for i in range(COUNT):
        radiograph(folder / f"images/{i}.dcm", patient=f"P{i // 2}", uid=f"1.2.{i}", seed=i)
        Image.fromarray(truth(i)).save(folder / f"masks/{i}.png")
    return folder


def ingested(folder: Path, out: str = "out", **changes: object):
    return run(folder, out, **{"labels": None, "masks": "beside", "size": SIDE, "workers": 1, **changes})


def test_records_hold_picture_and_mask_of_one_file(masked: Path) -> None:
    summary = ingested(masked)
    out = masked.parent / "out"
    found = {r["image"].tobytes(): r for of in records(out).values() for r in of}
    assert len(found) == summary.records == COUNT
    for i in range(COUNT):
        record = found[read_radiograph(masked / f"images/{i}.dcm", size=SIDE).tobytes()]
        np.testing.assert_array_equal(record["mask"], truth(i) // 255)
    assert summary.classes == ("background", "foreground")
    assert sum(of["classes"]["foreground"]["images"] for of in summary.splits.values()) == COUNT * 3 // 4
    assert summary.patients == COUNT // 2
    assert verify(out) == COUNT
    assert ingested(masked) is None  # finished: checked only


def test_training_reads_them_as_it_reads_the_folder(masked: Path, tmp_path: Path) -> None:
    ingested(masked, classes=("tissue", "scar"))
    data, split = read(Data(source="records", dir=masked.parent / "out"), tmp_path, lambda line: None)
    direct, _ = read(
        Data(source="folder", dir=masked, image_size=SIDE, classes=("tissue", "scar")),
        tmp_path / "work",
        lambda line: None,
    )
    check_dataset(data)
    assert data.classes == direct.classes == ("tissue", "scar")
    assert data.geometry == direct.geometry
    by_picture = {image.tobytes(): mask for image, mask in zip(direct.images[:], direct.labels, strict=True)}
    for image, mask in zip(data.images[:], data.labels, strict=True):
        np.testing.assert_array_equal(mask, by_picture[image.tobytes()])
    assert set(split) == {"train", "validation", "test"}


def test_a_changed_mask_is_another_data_set(masked: Path) -> None:
    ingested(masked)
    before = contents(masked.parent / "out")
    changed = truth(1)
    changed[0, 0] = 255
    Image.fromarray(changed).save(masked / "masks/1.png")
    with pytest.raises(InputError, match="made with another masks"):
        ingested(masked)
    assert contents(masked.parent / "out") == before
    found = compare_source(masked.parent / "out", masked, masked.parent / "out.key")
    assert found == {"changed": ["masks/1.png"], "added": [], "gone": []}


def test_patients_and_split_come_from_a_table_and_run_lengths_are_masks(masked: Path) -> None:
    rows = ["file,patient,split,EncodedPixels"]
    parts = ["train", "train", "train", "train", "validation", "test"]
    for i in range(COUNT):
        cells = "10 5" if i % 3 else ""
        rows.append(f"images/{i}.dcm,{'abcdef'[i // 2]},{parts[i // 2]},{cells}")
    (masked / "people.csv").write_text("\n".join(rows))
    summary = ingested(masked, labels=Path("people.csv"), masks="people.csv", run_lengths="rows", size=SIZE)
    assert {name: of["images"] for name, of in summary.splits.items()} == {
        "train": 8,
        "validation": 2,
        "test": 2,
    }
    assert sum(of["classes"]["foreground"]["images"] for of in summary.splits.values()) == COUNT * 2 // 3


def test_nothing_that_is_written_names_a_file_or_a_patient(masked: Path) -> None:
    (masked / "images/0.dcm").rename(masked / "images/Muster.dcm")
    (masked / "masks/0.png").rename(masked / "masks/Muster.png")
    ingested(masked)
    for name, content in contents(masked.parent / "out").items():
        assert b"Muster" not in content, name
        assert b"1.2.0" not in content, name


def test_what_is_missing_is_said_in_one_line(masked: Path) -> None:
    with pytest.raises(InputError, match=r"--labels is missing"):
        ingested(masked, masks="none")
    with pytest.raises(InputError, match=r"^--masks is 'gone'|^masks is 'gone'|'gone': no such file"):
        ingested(masked, masks="gone")
    (masked / "masks/1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="the mask of picture 2 in the order of names"):
        ingested(masked)


def test_the_command_says_what_it_found(masked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = IngestOptions(
        folder=masked,
        out=masked.parent / "out",
        masks="beside",
        size=SIDE,
        workers=1,
        classes=("tissue", "scar"),
    )
    ingest(options, Console(width=200))
    said = capsys.readouterr().out
    assert "values of the masks: 0 tissue, 255 scar" in said
    assert "12 files hold masks or fields of view" in said
    assert "that no row asks for" not in said
    assert not (masked.parent / "out.left_out.csv").exists()
    made = json.loads((masked.parent / "out/ingest.json").read_text())
    assert made["classes"] == ["tissue", "scar"]
    assert len(made["masks"]) > 20
