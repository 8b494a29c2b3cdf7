"""The ingest as an Apache Beam pipeline: the same records as on one machine."""

from pathlib import Path

import pytest

pytest.importorskip("apache_beam", reason="Apache Beam is not installed: pip install 'imbal-jax[beam]'")

import cloudpickle
import marked_hospitals as leak
from hospitals import IMAGES, Interrupted, by_picture, contents, hospital, interrupt_after, run

from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.ingest.beam import ReadFiles, elements_of
from imbal_jax.data.ingest.manifest import verify
from imbal_jax.data.ingest.reading import Job, Task
from imbal_jax.data.pseudonyms import read_key
from imbal_jax.errors import InputError

__all__ = ["hospital"]

pytestmark = pytest.mark.filterwarnings("default")  # Beam's own are many

TWO_WORKERS = "runner=DirectRunner direct_num_workers=2 direct_running_mode=multi_processing"


def test_two_workers_make_the_same_data_set_as_the_plain_ingest(hospital: Path) -> None:
    key = hospital.parent / "k"
    (hospital / "text.dcm").write_text("text")
    with (hospital / "labels.csv").open("a") as stream:
        stream.write("text.dcm,sick\nnobody.dcm,sick\n")
    plain = run(hospital, "plain", key_file=key)
    beam = run(hospital, "beam", key_file=key, beam=TWO_WORKERS)
    assert beam == plain
    assert verify(hospital.parent / "beam") == IMAGES
    assert by_picture(hospital.parent / "beam") == by_picture(hospital.parent / "plain")
    assert contents(hospital.parent / "beam") == contents(hospital.parent / "plain"), "beyond the records"


def test_an_interrupted_run_may_go_on_with_beam(hospital: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = hospital.parent / "k"
    run(hospital, "whole", key_file=key)
    with monkeypatch.context() as patched:
        interrupt_after(7, patched)
        with pytest.raises(Interrupted):
            run(hospital, "out", key_file=key)
    run(hospital, "out", key_file=key, beam="--runner=DirectRunner")
    assert contents(hospital.parent / "out") == contents(hospital.parent / "whole")


def test_nothing_of_a_patient_is_in_the_pipeline_in_what_it_says_or_in_what_it_writes(
    marked_hospital: Path, tmp_path: Path
) -> None:
    words = ["ingest", str(marked_hospital), "--labels", f"{leak.WORD}_labels.csv", "--size", str(leak.SIZE)]
    made = leak.command(*words, "--out", str(tmp_path / "set"), "--beam", TWO_WORKERS)
    assert made.returncode == 0, made.stderr
    hits = leak.search("stdout", made.stdout) + leak.search("stderr", made.stderr)
    for what, data in leak.everything(tmp_path):
        hits += leak.search(what, data)
    assert hits == []
    secret = (tmp_path / "set.key").read_text().strip()
    job = Job(tmp_path, tmp_path / "set.key", Geometry(16), False, frozenset())
    task = Task(f"{leak.WORD}.dcm", named=True)
    key = read_key(tmp_path / "set.key")
    elements = elements_of([task.path], [task], key)
    described = cloudpickle.dumps((ReadFiles(job, tmp_path), elements))
    assert key.of("file", task.path).encode() in described
    assert secret.encode() not in described
    assert bytes.fromhex(secret) not in described
    assert leak.search("the pipeline", described) == []


def test_a_runner_that_there_is_not_is_told_in_one_line(hospital: Path) -> None:
    with pytest.raises(InputError, match=r"--beam has the runner Nowhere: DirectRunner, DataflowRunner"):
        run(hospital, beam="runner=Nowhere")
