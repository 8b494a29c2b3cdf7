"""What a finished run leaves, read as it was written."""

from pathlib import Path

import numpy as np
import pytest
from scored_runs import scored, unbalanced

from imbal_jax.errors import InputError
from imbal_jax.runs.outputs import RunOutputs, patient_codes, pixel_digests
from imbal_jax.tasks import ONE_LABEL


def test_what_is_written_reads_as_it_was(tmp_path: Path) -> None:
    before = scored(*unbalanced(50), best_step=7, skipped=2, seconds=1.5)
    before.write(tmp_path)
    after = RunOutputs.read(tmp_path)
    for name, value in vars(before).items():
        np.testing.assert_array_equal(getattr(after, name), value)
    assert after.classes == before.classes
    assert after.task is ONE_LABEL


def test_an_unfinished_run_is_none_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    assert RunOutputs.read(tmp_path) is None
    scored(*unbalanced(50)).write(tmp_path)
    (tmp_path / "test_scores.npz").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"test_scores.npz is damaged .*run again"):
        RunOutputs.read(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(InputError, match=r"result.json is damaged"):
        RunOutputs.read(tmp_path)


def test_equal_pixels_have_equal_digests_and_one_changed_pixel_another() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 1)).astype(np.uint8)
    images[3] = images[0]
    found = pixel_digests(images)
    assert found[0] == found[3]
    assert len(set(found)) == 3
    images[0, 0, 0, 0] ^= 1
    assert pixel_digests(images)[0] != found[0]


def test_patients_become_numbers() -> None:
    codes = patient_codes(np.array(["b", "a", "b"]))
    assert codes.dtype.kind == "i"
    np.testing.assert_array_equal(codes, [1, 0, 1])
