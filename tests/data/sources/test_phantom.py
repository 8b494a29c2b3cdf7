import csv
import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest

from imbal_jax.data.dicom.radiograph import read_radiograph
from imbal_jax.data.sources import phantom, phantom_picture
from imbal_jax.errors import InputError

IMAGES, IMBALANCE, SIZE = 120, 5, 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom.write_phantoms(
        tmp_path_factory.mktemp("phantoms") / "set", images=IMAGES, imbalance=IMBALANCE, size=SIZE, seed=3
    )


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_ratio_is_the_one_asked_for_and_every_finding_is_there(folder: Path) -> None:
    counts = Counter(row["label"] for row in table(folder))
    assert counts == {"normal": 100, "nodule": 10, "consolidation": 6, "effusion": 4}
    assert len(list(folder.rglob("*.dcm"))) == IMAGES


def test_at_one_in_a_hundred_every_finding_has_nine_patients() -> None:
    patients = phantom.cohort(8000, 100, seed=0)
    people = Counter(name for name, _ in patients)
    images = Counter()
    for name, count in patients:
        images[name] += count
    assert images.total() == 8000
    assert images["normal"] == 8000 - 79  # 8000 / 101 = 79.2
    assert min(people[name] for name in phantom.SHARES) >= 9
    assert {count for _, count in patients} == {1, 2, 3}


def test_a_patient_has_one_label_and_often_several_images(folder: Path) -> None:
    labels, images = defaultdict(set), Counter()
    for row in table(folder):
        labels[row["patient"]].add(row["label"])
        images[row["patient"]] += 1
        header = pydicom.dcmread(folder / row["file"], stop_before_pixels=True)
        assert str(header.PatientID).endswith(row["patient"])
    assert all(len(found) == 1 for found in labels.values())
    assert set(images.values()) == {1, 2, 3}


def test_files_satisfy_a_strict_reader_and_both_polarities_occur(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    polarity, kinds, rescaled, instances = Counter(), set(), 0, set()
    for path in folder.rglob("*.dcm"):
        file = pydicom.dcmread(path)
        assert len(str(file)) > 500  # parses every element
        assert file.pixel_array.shape == (SIZE, SIZE)
        assert file.pixel_array.max() < 4096
        assert file.SOPInstanceUID == file.file_meta.MediaStorageSOPInstanceUID
        polarity[file.PhotometricInterpretation] += 1
        kinds.add(file.Modality)
        rescaled += file.get("RescaleSlope", 1) != 1
        instances.add(file.SOPInstanceUID)
    assert 0.12 < polarity["MONOCHROME1"] / IMAGES < 0.40
    assert kinds == {"CR", "DX"}
    assert rescaled
    assert len(instances) == IMAGES


def test_our_encoder_writes_what_pydicom_writes(folder: Path, tmp_path: Path) -> None:
    path = next(folder.rglob("*.dcm"))
    file = pydicom.dcmread(path)
    str(file)  # decode every element, or pydicom would copy the bytes it read
    file.save_as(tmp_path / "again.dcm", enforce_file_format=True)
    ours, theirs = path.read_bytes(), (tmp_path / "again.dcm").read_bytes()
    assert ours[132:].split(b"\x08\x00\x05\x00", 1)[1] == theirs[132:].split(b"\x08\x00\x05\x00", 1)[1]


def test_reading_a_file_back_shows_the_generated_picture(folder: Path) -> None:
    patients = phantom.cohort(IMAGES, IMBALANCE, seed=3)
    seen = set()
    for number, (name, count) in enumerate(patients[:30]):
        pictures = phantom.patient_pictures(number, name, count, SIZE, seed=3)
        for image, picture in enumerate(pictures):
            path = folder / f"patient-{number:05d}" / f"image-{image}.dcm"
            header = pydicom.dcmread(path, stop_before_pixels=True)
            seen.add(
                (header.PhotometricInterpretation, header.Modality, float(header.get("RescaleSlope", 1)))
            )
            low = picture.center - 0.5 - (picture.width - 1) / 2
            expected = np.clip((picture.stored.astype(float) - low) / (picture.width - 1), 0, 1) * 255
            assert np.abs(read_radiograph(path, size=SIZE) - expected).max() <= 0.51
    assert len(seen) >= 5  # polarity x module x slope


def test_a_finding_changes_the_picture_and_only_near_itself() -> None:
    rng = np.random.default_rng(0)
    axis = (np.arange(64, dtype=np.float32) + 0.5) / 32 - 1
    u, v = np.meshgrid(axis, axis)
    for name in ("nodule", "consolidation", "effusion"):
        anatomy = phantom_picture.draw_anatomy(rng)
        finding = phantom_picture.draw_finding(name, anatomy, rng)
        added = phantom_picture.attenuation(anatomy, finding, u, v) - phantom_picture.attenuation(
            anatomy, phantom_picture.Finding("normal"), u, v
        )
        assert added.max() > 0.1
        assert added.min() >= 0
        area = (added > 0.05).mean()
        assert area < {"nodule": 0.01, "consolidation": 0.08, "effusion": 0.15}[name]
        assert (np.sign(u[added > 0.1]) == finding.side).all()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    again = phantom.write_phantoms(tmp_path / "a", images=IMAGES, imbalance=IMBALANCE, size=SIZE, seed=3)
    other = phantom.write_phantoms(tmp_path / "b", images=IMAGES, imbalance=IMBALANCE, size=SIZE, seed=4)
    for row in table(folder):
        assert (folder / row["file"]).read_bytes() == (again / row["file"]).read_bytes()
    assert (folder / "labels.csv").read_bytes() == (again / "labels.csv").read_bytes()
    assert (folder / "labels.csv").read_bytes() != (other / "labels.csv").read_bytes()


def test_a_complete_folder_is_returned_untouched_and_an_interrupted_one_is_finished(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    arguments = {"images": 20, "imbalance": 4, "size": 32, "progress": lambda *done: calls.append(done)}
    folder = phantom.write_phantoms(tmp_path / "set", **arguments)
    assert calls[-1] == (20, 20)
    calls.clear()
    phantom.write_phantoms(folder, **arguments)
    assert not calls
    content = (folder / "labels.csv").read_bytes()
    (folder / "labels.csv").unlink()
    next(folder.rglob("*.dcm")).write_bytes(b"half")
    phantom.write_phantoms(folder, **arguments)
    assert (folder / "labels.csv").read_bytes() == content
    assert all(path.stat().st_size > 2000 for path in folder.rglob("*.dcm"))


def test_other_arguments_and_other_peoples_folders_are_refused(tmp_path: Path) -> None:
    folder = phantom.write_phantoms(tmp_path / "set", images=20, imbalance=4, size=32)
    with pytest.raises(InputError, match=r"'imbalance': 4.*'imbalance': 3"):
        phantom.write_phantoms(folder, images=20, imbalance=3, size=32)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "labels.csv").write_text("file,label\n")
    with pytest.raises(InputError, match="not empty"):
        phantom.write_phantoms(tmp_path / "mine", images=20, imbalance=4, size=32)
    assert (tmp_path / "mine" / "labels.csv").read_text() == "file,label\n"
    with pytest.raises(InputError, match="at least 253 images"):
        phantom.write_phantoms(tmp_path / "few", images=100, imbalance=100)
    assert sum(n for _, n in phantom.cohort(253, 100, 0)) == 253
    for wrong in ({"size": 8}, {"imbalance": 0.5}):
        with pytest.raises(InputError):
            phantom.write_phantoms(tmp_path / "few", **{"images": 20, **wrong})
    assert not (tmp_path / "few").exists()
    assert json.loads((folder / "phantom.json").read_text())["images"] == 20


def test_importing_the_module_does_not_import_jax() -> None:
    modules = "imbal_jax.data.sources.phantom, imbal_jax.data.folders.labelled_folder"
    code = f"import sys, {modules}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
